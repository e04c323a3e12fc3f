// Runs plane_search of exact_plane.cu on threads of the host, over rows that exact_codes.cu has written. Arguments are NAME=VALUE: rows dim queries k kind
// seed, wide masked known named far, then numbers of plane_layout.py, and: searches, one after another with the same state; started, blocks that are in every
// other search: where they are fewer than blocks, the others wait in vain; late: words come when chance says so, and warps go on likewise.
// What it finds is held against plain loops in the order of the definition. Each query that is answered prints a line: what the host is told, as it lies,
// the k-th value, and the smallest key of a row that is no hit. Ends with 0 where all is right.
#include "cuda.h"

#include "blocks.h"
#include "products.h"
#include "rounding.h"

static uint2 load_here(const unsigned char* from)
{
    uint2 two;
    std::memcpy(&two, from, sizeof two);
    return two;
}

namespace writer {
#include "codes.inc"
}
#include "kernel.inc"

#include "plane_data.h"
#include "plane_numbers.h"

static std::vector<std::pair<std::string, long>> arguments;
static long given_as(const char* name)
{
    for (auto& one : arguments) if (one.first == name) return one.second;
    std::printf("no argument %s\n", name), exit(2);
}

template <class... Values> static int failed(const char* what, Values... values)
{
    std::printf(what, values...), std::puts("");
    return 1;
}

struct Near { double key; i64 name; int row; };
static bool nearer(const Near& a, const Near& b) { return a.key != b.key ? a.key < b.key : a.name < b.name; }

struct Search {
    const Rows rows;
    const int queries = given_as("queries"), k = given_as("k"), blocks = given_as("blocks"), masked = given_as("masked");
    const bool is_wide = given_as("wide");
    Plane p = {};
    double* exact;                            // queries as float64
    std::vector<std::vector<Near>> all;       // rows that may be answers, the nearest first
    std::vector<double> known;                // the k-th key of others, or endless
    std::vector<bool> far;
    bool lost = false;
    u32 number = 0;

    Search() : rows(given_as("rows"), given_as("dim"), (Kind)given_as("kind"), given_as("k") - 1, 16 * (1 + (QUERIES == 1)))
    {
        const int dim = rows.dim, each = given_as("each");
        exact = everywhere<double>(queries * dim), all.resize(queries), known.resize(queries), far.resize(queries);
        p.queries = is_wide ? (void*)exact : everywhere<float>(queries * dim);
        p.directions = rows.directions, p.centre = rows.centre, p.state = everywhere<State>(1), p.scaling = rows.scaling, p.dim = dim;
        p.blocks = blocks, p.wide = is_wide, p.queries_count = queries, p.words = everywhere<u64>(given_as("words"));
        p.asked = given_as("asked") ? everywhere<double>(given_as("asked")) : nullptr;
        p.bounds = given_as("bounds") ? everywhere<float>(given_as("bounds")) : nullptr;
        p.tiles = rows.tiles, p.count = rows.count, p.kept = given_as("kept"), p.place = given_as("place"), p.rho = rows.rho;
        if (masked > 1) p.allowed = everywhere<u8>((size_t)queries * rows.count), p.allowed_stride = rows.count;
        p.meeting = everywhere<u64>(given_as("meeting")), p.reports = everywhere<ulonglong2>(given_as("reports"));
        p.rows = rows.cells, p.row_norms = METRIC == 2 ? rows.norms : nullptr;
        p.steps = given_as("steps"), p.each = each, p.meet = given_as("meet"), p.k = k;
        i64* names = everywhere<i64>(rows.count);
        std::iota(names, names + rows.count, 0), std::shuffle(names, names + rows.count, draw);
        p.names = given_as("named") ? names : nullptr, p.base = given_as("named") ? 0 : 1000;
        p.longest = std::sqrt(rows.reach2) / rows.scaling, p.most_length2 = largest(rows.most->length2);
        p.most_written = std::sqrt(__longlong_as_double(rows.most->written2)) * (1 + 0x1p-10), p.most_error = largest(rows.most->error), p.most_tail = largest(rows.most->tail);
        p.hit_keys = everywhere<u64>(queries * HITS), p.hit_rows = everywhere<i64>(queries * HITS), p.told = everywhere<Told>(queries);
        p.values = everywhere<double>(queries * k), p.ids = everywhere<i64>(queries * k);
        p.known = given_as("known") ? everywhere<double>(queries * k) : nullptr;
        shared_bytes = given_as("shared");
    }
    bool may(int query, int row) const { return !p.allowed || p.allowed[(size_t)query * rows.count + row]; }

    // Queries: a row, or near one, or as near as none, or what has no bound.
    void ask(bool one_is_far)
    {
        const int dim = rows.dim;
        for (int query = 0; query < queries; ++query) {
            const int row = rows.kind == SPARSE ? 0 : below(rows.kind == TIES ? 7 : rows.kind == DOUBLES ? 1 : rows.count);
            const std::vector<double> other = rows.turned(rows.drawn(query == 3 ? 1 : 0.1));
            far[query] = one_is_far && query == queries - 1;
            for (int j = 0; j < dim; ++j) {
                double x = rows.cell(row, j);
                if (query == 3) x = CELL == 5 ? 128 + 25 * other[j] : other[j];
                else if (query != 1) x += (CELL == 5 ? 2 : 1e-3) * (other[j] - 0.3);
                if (far[query]) x = METRIC ? 0 : 1e30;
                exact[query * dim + j] = is_wide ? x : (float)x;
                if (!is_wide) ((float*)p.queries)[query * dim + j] = (float)x;
            }
            for (int r = 0; r < rows.count; ++r) if (p.allowed) const_cast<u8*>(p.allowed)[(size_t)query * rows.count + r] = below(masked) == 0;
            define(query);
            known[query] = p.known && all[query].size() > k / 2 && query != 2 ? all[query][k / 2].key : endless();
            if (p.known)
                for (int i = 0; i < k; ++i) {
                    const double key = i < k - 1 ? known[query] - (k - i) : known[query];
                    const_cast<double*>(p.known)[query * k + i] = METRIC ? 0.0 - key : key;
                }
        }
    }
    // The definition, in its order.
    void define(int query)
    {
        const int dim = rows.dim;
        const double* q = exact + query * dim;
        double length = 0;
        for (int j = 0; j < dim; ++j) length += q[j] * q[j];
        length = std::sqrt(length);
        all[query].clear();
        for (int row = 0; row < rows.count; ++row) {
            if (!may(query, row)) continue;
            double sum = 0;
            for (int j = 0; j < dim; ++j) {
                const double x = rows.cell(row, j);
                sum += METRIC ? x * q[j] : (x - q[j]) * (x - q[j]);
            }
            const double scale = rows.norms[row] * length;
            if (METRIC == 2) sum = scale != 0 ? sum / scale : 0;
            all[query].push_back({METRIC ? 0.0 - sum : sum, p.names ? p.names[row] : p.base + row, row});
        }
        std::sort(all[query].begin(), all[query].end(), nearer);
    }

    void go()
    {
        std::fill(p.values, p.values + queries * k, NAN), std::fill(p.ids, p.ids + queries * k, -7);
        const int started = given_as("started");
        lost = started < blocks && number % 2 == 0, ++number;
        PATIENCE = lost ? 20 : 1 << 20;
        kernel = [&] { plane_search(p); };
        launch(lost ? started : blocks, THREADS);
    }

    // What a block has told of a query.
    const ulonglong2& word(int query, int kind, int block) const { return p.reports[(query * KINDS + kind) * blocks + block]; }

    // Rows that are ranked, and their number.
    int judge_hits(int query, std::vector<char>& is_hit) const
    {
        std::vector<std::pair<u64, i64>> hits;
        for (int block = 0; block < blocks; ++block)
            for (int kind = 0; kind < KINDS; ++kind) {
                const ulonglong2 one = word(query, kind, block);
                if ((u32)(one.y >> 32) != number) return failed("block %d told no word %d of query %d in search %u", block, kind, query, number), -1;
                if (kind >= 2 && (u32)one.y != ALL) hits.push_back({one.x, (u32)one.y});
            }
        const int more = p.state->hits[number & 1][query];
        for (int i = 0; i < min(more, HITS); ++i) hits.push_back({p.hit_keys[query * HITS + i], p.hit_rows[query * HITS + i]});
        std::vector<double> keys(rows.count, NAN);
        for (const Near& one : all[query]) keys[one.row] = one.key;
        for (auto [key, row] : hits) {
            if (row < 0 || row >= rows.count || is_hit[row]) return failed("query %d: row %lld is none, or twice a hit", query, row), -1;
            if (key_from(key) != keys[row]) return failed("query %d: row %lld at %a, not %a", query, row, key_from(key), keys[row]), -1;
            is_hit[row] = 1;
        }
        return (int)hits.size() + max(0, more - HITS);
    }

    int judge_answer(int query) const
    {
        const auto& own = all[query];
        for (int place = 0; place < k; ++place) {
            const bool there = place < (int)own.size();
            const i64 id = p.ids[query * k + place];
            const double value = p.values[query * k + place], wanted = there ? own[place].key : endless();
            // beyond what others have found a row may be missing: then so are all that are further
            if (id == -1 && (!there || own[place].key > known[query])) {
                if (value != (METRIC ? -endless() : endless())) return failed("query %d, place %d: nobody, at %a", query, place, value);
                continue;
            }
            if (!there || id != own[place].name || value != (METRIC ? 0.0 - wanted : wanted))
                return failed("query %d, place %d: row %lld at %a, not %lld at %a", query, place, id, value, there ? own[place].name : -1, wanted);
        }
        return 0;
    }

    // Limits that a threshold is made of: each is that of a row, so the i-th of them is not below that of the i-th nearest.
    int judge_limits(int query) const
    {
        const int total = blocks * p.each;
        std::vector<float> limits;
        for (int i = 0; i < total; ++i) {
            const u64 word = p.meeting[query * total + i];
            for (int copy = 1; copy < COPIES; ++copy)
                if (p.meeting[copy * queries * total + query * total + i] != word) return failed("query %d: copies of limit %d", query, i);
            if (word >> 32 != number) return failed("query %d: limit %d is of search %llu", query, i, word >> 32);
            limits.push_back(value_from((u32)word));
        }
        std::sort(limits.begin(), limits.end());
        for (int i = 0; i < total && i < (int)all[query].size(); ++i) {
            const long double limit = (long double)p.told[query].alpha * all[query][i].key + p.told[query].beta;
            if (!(limits[i] >= limit)) return failed("query %d: limit %d of rows is %a, not %La", query, i, limits[i], limit);
        }
        for (int i = (int)all[query].size(); i < total; ++i)
            if (limits[i] < infinite()) return failed("query %d: a limit of nobody", query);
        return 0;
    }

    int judge() const
    {
        const State& state = *p.state;
        if (state.number != number) return failed("search %u has number %u", number, state.number);
        for (int i = 0; i < TOGETHER; ++i) if (state.hits[(number + 1) & 1][i]) return failed("hits of the next search: %u", state.hits[(number + 1) & 1][i]);
        for (int one : state.deviations) if (std::abs(one) > 100000) return failed("a deviation of %d", one);
        for (int query = 0; query < queries; ++query) {
            const Told& told = p.told[query];
            if (lost) {
                if (!(told.errors & 4)) return failed("query %d: a word never came, errors are %u", query, told.errors);
                continue;
            }
            if (far[query]) {
                if (told.errors != 4) return failed("query %d is far, errors are %u", query, told.errors);
                continue;
            }
            std::vector<char> is_hit(rows.count);
            const int hits = judge_hits(query, is_hit);
            if (hits < 0) return 1;
            if (told.errors != (hits > HITS ? 4 : 0)) return failed("query %d: %d hits, errors are %u", query, hits, told.errors);
            if (int wrong = judge_limits(query)) return wrong;
            if (told.errors) {
                std::puts("left to all rows");
                continue;
            }
            if (told.computed < hits || told.computed > told.candidates || told.candidates > all[query].size())
                return failed("query %d: %u candidates, %u computed, %d hits", query, told.candidates, told.computed, hits);
            if (int wrong = judge_answer(query)) return wrong;
            double left = endless();
            for (const Near& one : all[query]) if (!is_hit[one.row]) left = min(left, one.key);
            for (size_t i = 0; i < sizeof told; ++i) std::printf("%02x", ((const u8*)&told)[i]);
            std::printf(" %a %a\n", p.values[query * k + k - 1], left);
        }
        return 0;
    }
};

int main(int count, char** given)
{
    for (int i = 1; i < count; ++i) {
        const std::string one = given[i];
        arguments.push_back({one.substr(0, one.find('=')), atol(one.c_str() + one.find('=') + 1)});
    }
    draw.seed(given_as("seed")), chance.seed(given_as("seed"));
    Search search;
    blocks_tell(), late_words = at_random = given_as("late");
    for (int i = 0; i < given_as("searches"); ++i) {
        search.ask(given_as("far"));
        search.go();
        if (search.judge()) return 1;
        for (int query = 0; query < search.queries && !i; ++query)
            if (!search.far[query] && judge_numbers(search.p, search.exact + query * search.rows.dim, query, search.known[query])) return 1;
    }
    return 0;
}
