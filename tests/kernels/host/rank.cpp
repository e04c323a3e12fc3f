// Runs batch_rank of exact_rank.cu on threads of the host: queries k room seed, then held and most of the first turn (0: there is one turn), then of
// the last one, its blocks, the data, and whether chance says which warp goes on. Rows and queries have small whole components, which are their codes too,
// so all values are known; hits are the nearest rows in any order, or too many, or too few. Ends with 0 where each query has the nearest rows by value and
// name and a true word on those that were not computed, or was left to all rows where it must be.
#include "cuda.h"

#include "kernel.inc"

static std::mt19937 draw;
static int below(int end) { return draw() % end; }

constexpr int DIM = FULL - 3;
enum Data { ANY, CLOSE, HUGE_VALUES, CHANGED };  // rows; hundreds that bounds do not tell apart, dozens as far as each other; keys around float32's largest; some are no numbers any more
enum Kind { SHORT, LONGER, LOOSE, OVERFLOWING, TOO_FEW, TOO_FAR };  // of a list of hits

struct Row { double key; i64 name; int row; };
static bool nearer(const Row& a, const Row& b) { return a.key != b.key ? a.key < b.key : a.name < b.name; }

int main(int, char** given)
{
    auto number = [&](int i) { return atoi(given[i]); };
    const int queries = number(1), k = number(2), room = number(3), rows_there = room < 1500 ? 1500 : 6000;
    const Data data = (Data)number(10);
    draw.seed(number(4)), chance.seed(number(4)), at_random = number(11);
    // Components are so many times as large as their codes are told: values around 2^128, where nearest keys are below and others above.
    const double of_rows = data == HUGE_VALUES ? METRIC ? 0x1p59 : 0x1.8p56 : 1, of_queries = data == HUGE_VALUES ? METRIC ? 0x1p58 : 0x1.8p56 : 1;
    std::vector<std::vector<int>> rows(rows_there, std::vector<int>(FULL));
    Cell* cells = everywhere<Cell>((size_t)rows_there * DIM);
    double* row_norms = everywhere<double>(rows_there);
    i64* names = everywhere<i64>(rows_there);
    double longest2 = 0;
    for (int i = 0; i < rows_there; ++i) {
        if (i % 7 == 3) rows[i] = rows[below(i)];  // ties
        else if (data == CLOSE && i) {
            rows[i] = rows[0];
            for (int changed = 0; changed < 2; ++changed) rows[i][below(DIM)] += 1;
        } else for (int j = 0; j < DIM; ++j) rows[i][j] = below(41) - (CELL == 5 ? 0 : 20);
        for (int j = 0; j < DIM; ++j) cells[(size_t)i * DIM + j] = (Cell)(rows[i][j] * of_rows);
        if (data == CHANGED && i % 97 == 5) cells[(size_t)i * DIM + below(DIM)] = (Cell)NAN;
        row_norms[i] = std::sqrt((double)std::inner_product(rows[i].begin(), rows[i].end(), rows[i].begin(), 0));
        longest2 = max(longest2, row_norms[i] * row_norms[i]), names[i] = i;
    }
    std::shuffle(names, names + rows_there, draw);
    const double reach2 = METRIC == 2 ? 1 : longest2;
    float* sides = everywhere<float>((rows_there + 127) / 128 * SIDE);
    for (int i = 0; i < rows_there; ++i) {
        const float s = METRIC == 2 ? (float)(1 / row_norms[i]) : 1, e = up(s * (1e-5 + 0.05 * below(100)));  // so the nearest by bounds are others
        float* tile = sides + i / 128 * SIDE;
        const double length2 = row_norms[i] * row_norms[i];
        tile[2 * (i % 128)] = s, tile[2 * (i % 128) + 1] = row_term(s, (i64)std::lround(length2), METRIC == 1 ? longest2 - length2 : 0, e), tile[256 + i % 128] = e;
    }

    Rank p = {};
    Asked& asked = p.asked;
    double *values = everywhere<double>((size_t)queries * DIM), *norms = everywhere<double>(queries);
    u32* counts = everywhere<u32>(queries);
    int2* hits = everywhere<int2>((size_t)queries * room);
    for (double** one : {&asked.lengths2, &asked.errors, &asked.bases, &asked.gains, &asked.blurs, &asked.bars, &p.rests, &p.bases, &p.gains}) *one = everywhere<double>(queries);
    for (u32** one : {&p.candidates, &p.computed, &p.errors}) *one = everywhere<u32>(queries);
    asked.steps = everywhere<float>(queries), asked.tails = everywhere<float>(queries), asked.far = everywhere<u8>(queries);
    p.table = {cells, row_norms, DIM, values, norms}, p.names = names, p.sides = sides, p.counts = counts, p.hits = hits, p.room = room;
    p.widen = number(4) % 2 ? 1.05 : 1 + 0x1p-30, p.k = k,  // as loose as may be: what is left out counts
    p.count = queries, p.values = everywhere<double>(queries * k), p.ids = everywhere<i64>(queries * k);
    const int first_held = number(5);
    std::vector<Kind> kinds(queries);
    std::vector<std::vector<Row>> nearest(queries);
    for (int i = 0; i < queries; ++i) {
        std::vector<int> query(FULL);
        for (int j = 0; j < DIM; ++j) query[j] = data == CLOSE ? rows[0][j] + below(7) - 3 : below(41) - (CELL == 5 ? 0 : 20);
        for (int j = 0; j < DIM; ++j) values[(size_t)i * DIM + j] = query[j] * of_queries;
        norms[i] = std::sqrt((double)std::inner_product(query.begin(), query.end(), query.begin(), 0));
        const double unit = METRIC == 0 ? 1 : METRIC == 1 ? std::sqrt(reach2) / norms[i] : 1 / norms[i], step = (float)(2 * unit) / 2;
        asked.steps[i] = (float)(2 * unit), asked.lengths2[i] = step * step * norms[i] * norms[i], asked.errors[i] = 1e-4 * std::sqrt(asked.lengths2[i] + 1);
        asked.blurs[i] = METRIC ? 1e-5 : 0, asked.bases[i] = METRIC ? 2 * reach2 : 0, asked.gains[i] = (METRIC == 0 ? 1 : METRIC == 1 ? -2 * unit : -2) / (METRIC == 2 ? 1 : of_rows * of_queries);
        std::vector<int> products(rows_there);
        for (int r = 0; r < rows_there; ++r) {
            double sum = 0;
            for (int j = 0; j < DIM; ++j) sum = plus_term(sum, rows[r][j] * of_rows, query[j] * of_queries);
            nearest[i].push_back({key_of(value_of(sum, row_norms[r], norms[i])), names[r], r});
            products[r] = std::inner_product(rows[r].begin(), rows[r].end(), query.begin(), 0);
        }
        std::sort(nearest[i].begin(), nearest[i].end(), nearer);
        kinds[i] = (Kind)(below(3) ? below(3) : below(6));
        int count = kinds[i] == LONGER ? first_held + 1 + below(20) : kinds[i] == TOO_FEW ? k - 1 : kinds[i] == LOOSE ? first_held : k + below(60);
        for (count = min(count, room); kinds[i] != TOO_FEW && count < room && nearest[i][count].key == nearest[i][count - 1].key;) ++count;  // none of equal rows is left out
        while (count && kinds[i] != TOO_FEW && nearest[i][count].key == nearest[i][count - 1].key) --count;
        if (count < k) kinds[i] = TOO_FEW;
        const double last = asked.bases[i] + asked.gains[i] * (METRIC ? -nearest[i][max(count, 1) - 1].key : nearest[i][max(count, 1) - 1].key);
        asked.bars[i] = kinds[i] == LOOSE ? endless() : std::sqrt(max(last, 0.0)) * 1.0001;
        std::vector<int> order(count);
        std::iota(order.begin(), order.end(), 0), std::shuffle(order.begin(), order.end(), draw);
        for (int h = 0; h < count; ++h) hits[(size_t)i * room + h] = make_int2(nearest[i][order[h]].row, products[nearest[i][order[h]].row]);
        counts[i] = kinds[i] == OVERFLOWING ? room + 1 + below(9) : count, asked.far[i] = kinds[i] == TOO_FAR, p.errors[i] = 99;
    }

    Turn turn;
    kernel = [&] { batch_rank(p, turn); };
    if (first_held) {
        turn = {1, first_held, number(6)};
        launch(queries, RANK);
        if (!std::count(p.errors, p.errors + queries, LONG) || std::count(p.errors, p.errors + queries, LONG) == queries) return 2;
    }
    turn = {first_held ? 2 : 0, number(7), number(8)};
    launch(first_held ? number(9) : queries, RANK);

    int answered = 0, without_number = 0;
    auto is_changed = [&](const Row& row) { return data == CHANGED && row.row % 97 == 5; };
    for (int i = 0; i < queries; ++i) {
        const bool lost = kinds[i] >= OVERFLOWING;
        if (!lost && p.errors[i] && std::any_of(&nearest[i][0], &nearest[i][counts[i]], is_changed)) {
            ++without_number;
            continue;
        }
        if (!lost && std::any_of(&nearest[i][0], &nearest[i][k], is_changed)) return std::printf("query %d: no number is among the nearest\n", i), 1;
        if (p.errors[i] != (lost ? 4 : 0)) return std::printf("query %d of kind %d: errors %u\n", i, kinds[i], p.errors[i]), 1;
        if (lost) continue;
        ++answered;
        if (p.computed[i] > p.candidates[i] || p.candidates[i] > counts[i]) return std::printf("query %d: %u computed, %u candidates\n", i, p.computed[i], p.candidates[i]), 1;
        // As many hits as were computed may be nearer than what it says of the others.
        u32 nearer_ones = 0;
        for (u32 h = 0; h < counts[i]; ++h) {
            const double square = p.bases[i] + p.gains[i] * (METRIC ? -nearest[i][h].key : nearest[i][h].key);
            nearer_ones += std::sqrt(max(square, 0.0)) * (1 + 1e-12) < p.rests[i];
        }
        if (nearer_ones > p.computed[i]) return std::printf("query %d of kind %d: %u hits are nearer than the others, %u computed\n", i, kinds[i], nearer_ones, p.computed[i]), 1;
        for (int place = 0; place < k; ++place) {
            const Row& row = nearest[i][place];
            const double value = METRIC ? 0.0 - row.key : row.key;
            if (p.ids[i * k + place] != row.name || p.values[i * k + place] != value) return std::printf("query %d of kind %d, place %d\n", i, kinds[i], place), 1;
        }
    }
    return answered && answered < queries && (without_number > 0) == (data == CHANGED) ? 0 : 2;
}
