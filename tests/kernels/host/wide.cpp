// Runs exact_wide.cu or exact_slices.cu on threads of the host: rows queries clusters each seed late shared. ``late``: chance says which warp goes on and which copy comes,
// too; ``shared``: bytes of shared memory that a block is given. What comes out is held against sums over components in their own order. Ends with 0
// where every group and every hit is right, and every row that is near is a hit.
#include "warpgroups.h"

#include "kernel.inc"
#include "codes.h"

#ifdef SHARING
constexpr int BLOCKS = SHARING;
template <bool SAMPLE> static void scan(const Batch& p) { scan_slices<SAMPLE>(p); }
#else
constexpr int BLOCKS = 1;
template <bool SAMPLE> static void scan(const Batch& p) { scan_wide<SAMPLE>(p); }
#endif

int main(int, char** given)
{
    const int count = atoi(given[1]), queries = atoi(given[2]), clusters = atoi(given[3]), each = atoi(given[4]);
    draw.seed(atoi(given[5])), chance.seed(atoi(given[5])), late = at_random = atoi(given[6]);
    if (sizeof(Wide) > atoi(given[7])) return failed("shared memory is short of bytes", 0, (int)sizeof(Wide));
    clusters_of(BLOCKS);
    const int tiles = (count + ROWS - 1) / ROWS, rows_room = tiles * ROWS, room = count, groups = tiles * 4;
    const int padded = (queries + 255) / 256 * 256;
    const Written rows(count, rows_room), asked(queries, padded);
    float* sides = everywhere<float>((size_t)tiles * SIDE);
    const float ratio = 3;
    for (int row = 0; row < rows_room; ++row) {
        float* tile = sides + row / ROWS * SIDE;
        const int line = row % ROWS;
        const bool there = row < count;
        tile[2 * line] = there ? between(0.001f, 0.002f) : 0, tile[2 * line + 1] = there ? between(0, 3) : infinite();
        tile[2 * ROWS + line] = there ? between(0, ratio) * tile[2 * line] : 0;
    }
    Batch p = {};
    p.codes = rows.codes, p.sides = sides, p.query_codes = asked.codes, p.count = count, p.queries = queries, p.room = room, p.groups_stride = groups;
    p.each = each, p.query_tiles = (queries + WIDE_QUERIES - 1) / WIDE_QUERIES;
    p.asked.steps = everywhere<float>(padded), p.asked.limits = everywhere<float>(padded);
    p.asked.starts = everywhere<float>(padded), p.asked.coefficients = everywhere<float>(padded);
    p.counts = everywhere<u32>(padded), p.hits = everywhere<int2>((size_t)padded * room), p.groups = everywhere<float2>((size_t)queries * groups);
    for (int query = 0; query < padded; ++query) {
        p.asked.steps[query] = between(0.02f, 0.04f), p.asked.coefficients[query] = between(1, 2);
        p.asked.starts[query] = p.asked.coefficients[query] * ratio - p.asked.steps[query] * OFF;
        p.asked.limits[query] = query < queries ? between(-1, query % 8 ? 0 : 1) : -infinite();
    }
    std::vector<int> products((size_t)queries * count);
    for (int query = 0; query < queries; ++query)
        for (int row = 0; row < count; ++row) products[(size_t)query * count + row] = std::inner_product(rows[row], rows[row] + WIDTH, asked[query], 0);
    auto part = [&](int query, int row) {
        const float4 side = side_of(sides, row);
        return part_of_bound(products[(size_t)query * count + row] + ZERO, side.x, side.y, p.asked.steps[query]);
    };

    p.first = tiles > 2, p.last = tiles;  // not from the first row on
    kernel = [&] { scan<true>(p); };
    launch(clusters * BLOCKS, WIDE_THREADS);
    for (int query = 0; query < queries; ++query)
        for (int tile = (int)p.first; tile < tiles; ++tile)
            for (int t = 0; t < 4; ++t) {
                float least = infinite();
                for (int i = 0; i < 32; ++i) {
                    const int row = tile * ROWS + i / 2 * 8 + 2 * t + i % 2;
                    if (row < count) least = fminf(least, tagged(part(query, row), i));
                }
                const float2 found = p.groups[(size_t)query * groups + (tile - p.first) * 4 + t];
                const int row = __float_as_int(found.y), i = __float_as_int(found.x) & 31;
                if (!(least < infinite()) && !(found.x < infinite())) continue;  // no row is left
                if (found.x != least) return failed("a group's bound is not its smallest", query, tile * ROWS + t);
                if (row != tile * ROWS + i / 2 * 8 + 2 * t + i % 2) return failed("a group's row is another", query, row);
            }
    const int cut = tiles / 2;
    for (int pass = 0; pass < 2; ++pass) {
        p.first = pass ? cut : 0, p.last = pass ? tiles : cut;
        kernel = [&] { scan<false>(p); };
        launch(clusters * BLOCKS, WIDE_THREADS);
    }
    long kept = 0;
    for (int query = 0; query < padded; ++query) {
        if (query >= queries && p.counts[query]) return failed("a hit of nobody", query, 0);
        if (query >= queries) continue;
        std::vector<char> hit(count);
        for (u32 i = 0; i < p.counts[query]; ++i) {
            const int2 one = p.hits[(size_t)query * room + i];
            if (one.x < 0 || one.x >= count || hit[one.x]) return failed("a hit is no row, or twice there", query, one.x);
            if (one.y != products[(size_t)query * count + one.x]) return failed("a product is wrong", query, one.x);
            hit[one.x] = 1;
        }
        for (int row = 0; row < count; ++row) {
            const float4 side = side_of(sides, row);
            const float bound = fmaf(-p.asked.coefficients[query], side.z, part(query, row)), limit = p.asked.limits[query];
            if (hit[row] && !(bound <= limit)) return failed("a hit is not below the limit", query, row);
            if (!hit[row] && bound <= limit - 1.01f * p.asked.steps[query] * side.x) return failed("a row is lost", query, row);  // set_bar
            kept += hit[row];
        }
    }
    if (!kept || kept == (long)queries * count) return failed("limits that tell nothing", 0, (int)kept);
}
