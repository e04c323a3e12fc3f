// Runs exact_fallback.cu, or exact_direct.cu where DIRECT is 1, on threads of the host. Ends with 0 where every answer is the definition's. Arguments:
// rows k queries blocks seed levels dim, in_turn late together held stages masked offset. Blocks: of the same queries, for exact_direct.cu.
#include "cuda.h"
#include "kernel.inc"

static Cell cell_of(int value)
{
#if CELL == 2
    return (u16)(__float_as_uint((float)value) >> 16);
#else
    return (Cell)value;
#endif
}

int main(int, char** given)
{
    const int count = atoi(given[1]), k = atoi(given[2]), queries = atoi(given[3]), blocks = atoi(given[4]), levels = atoi(given[6]), dim = atoi(given[7]);
    in_turn = atoi(given[8]), late = atoi(given[9]);
    const int together = atoi(given[10]), held = atoi(given[11]), stages = atoi(given[12]), masked = atoi(given[13]), offset = atoi(given[14]);
    std::mt19937 random(atoi(given[5]));
    const size_t size = (size_t)count * dim;
    Cell* rows = everywhere<Cell>(size + 16) + offset;  // of components that do not begin at a multiple of 16 bytes
    std::vector<double> wide_rows(size), norms_here(count), lengths(queries);
    float* asked = everywhere<float>((size_t)queries * dim);
    for (size_t i = 0; i < size; ++i) wide_rows[i] = (int)(random() % levels), rows[i] = cell_of((int)wide_rows[i]);
    for (int i = 0; i < queries * dim; ++i) asked[i] = (int)(random() % levels);
    double* norms = everywhere<double>(count);
    for (int i = 0; i < count; ++i) {
        for (int j = 0; j < dim; ++j) norms[i] += wide_rows[(size_t)i * dim + j] * wide_rows[(size_t)i * dim + j];
        norms[i] = std::sqrt(norms[i]);
    }
    i64* names = everywhere<i64>(count);
    const bool named = atoi(given[5]) % 2 == 0;  // else rows go by their numbers, from ``base`` on
    const i64 base = named ? 0 : 1000;
    std::iota(names, names + count, base);
    if (named) std::shuffle(names, names + count, random);
    u8* allowed = everywhere<u8>((size_t)queries * count);
    for (size_t i = 0; i < (size_t)queries * count; ++i) allowed[i] = random() % masked == 0;
    double* values = everywhere<double>((size_t)queries * k);
    i64* ids = everywhere<i64>((size_t)queries * k);
    u32* errors = everywhere<u32>(queries);
    int room = 1;
    while (room < k + THREADS) room *= 2;
    const int groups = (queries + together - 1) / together, lists = (DIRECT ? groups * blocks : blocks) * together;
    if ((size_t)together * (16 * room + 8 * held) + (size_t)WARPS * stages * STAGE > SHARED_BYTES || held % CELLS) return 5;
    const Table table = {rows, norms, named ? names : nullptr, count, dim, asked, masked > 1 ? allowed : nullptr, count, errors, 4,
                         everywhere<u64>((size_t)lists * k), everywhere<i64>((size_t)lists * k), values, ids, 0, queries, k, together, room, held, stages, base};
    u32 *full = everywhere<u32>(blocks), *taken = everywhere<u32>(queries), *done = everywhere<u32>(queries), *told = errors;
#if DIRECT
    const std::vector<u32> before(queries, 4);
    const i64 each = ((count + THREADS - 1) / THREADS + blocks - 1) / blocks * THREADS;
    const int pieces = (int)((count + each - 1) / each);
    told = everywhere<u32>(queries);
    const Direct p = {table, each, pieces, done, told};
    kernel = [&] { direct(p); };
    launch(groups * pieces, THREADS);
    if (std::any_of(errors, errors + queries, [](u32 one) { return one != 0; })) return 1;
#else
    for (int q = 0; q < queries; ++q) errors[q] = random() % max(2, queries / 8) ? 0 : 4;  // some of many, half of few
    const std::vector<u32> before(errors, errors + queries);
    const Fallback p = {table, full, taken, done};
    kernel = [&] { fallback(p); };
    launch(blocks, THREADS);
#endif
    for (const u32* all : {done, taken}) if (std::any_of(all, all + queries, [](u32 one) { return one != 0; })) return 1;
    if (std::any_of(full, full + blocks, [](u32 one) { return one != 0; })) return 1;
    for (int q = 0; q < queries; ++q) {
        if (!before[q]) {
            if (told[q]) return 1;
            continue;
        }
        std::vector<std::pair<double, i64>> all;
        double length = 0;
        for (int j = 0; j < dim; ++j) length += (double)asked[q * dim + j] * asked[q * dim + j];
        length = std::sqrt(length);
        for (int i = 0; i < count; ++i) {
            if (masked > 1 && !allowed[(size_t)q * count + i]) continue;
            double sum = 0;
            for (int j = 0; j < dim; ++j) {
                const double x = wide_rows[(size_t)i * dim + j], y = asked[q * dim + j];
                sum += METRIC ? x * y : (x - y) * (x - y);
            }
            if (METRIC == 2) sum = norms[i] * length != 0 ? sum / (norms[i] * length) : 0;
            all.push_back({METRIC ? 0.0 - sum : sum, names[i]});
        }
        std::sort(all.begin(), all.end());
        while (all.size() < k) all.push_back({INFINITY, -1});
        if (told[q] != 8) return 1;
        for (int i = 0; i < k; ++i) {
            const double expected = METRIC ? 0.0 - all[i].first : all[i].first;
            if (values[q * k + i] == expected && ids[q * k + i] == all[i].second) continue;
            std::printf("query %d, neighbor %d: row %lld at %g, not %lld at %g\n", q, i, ids[q * k + i], values[q * k + i], all[i].second, expected);
            return 1;
        }
    }
}
