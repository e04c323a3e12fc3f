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
    const int tiles = (count + ROWS - 1) / ROWS, groups = tiles * 4;
    const int query_tiles = (queries + WIDE_QUERIES - 1) / WIDE_QUERIES;
    Drawn drawn(count, queries, query_tiles * WIDE_QUERIES, groups);
    Batch& p = drawn.p;
    p.each = each, p.query_tiles = query_tiles;

    p.first = tiles > 2, p.last = tiles;  // not from the first row on
    kernel = [&] { scan<true>(p); };
    launch(clusters * BLOCKS, WIDE_THREADS);
    for (int query = 0; query < queries; ++query)
        for (int tile = (int)p.first; tile < tiles; ++tile)
            for (int t = 0; t < 4; ++t) {
                float least = infinite();
                for (int i = 0; i < 32; ++i) {
                    const int row = tile * ROWS + i / 2 * 8 + 2 * t + i % 2;
                    if (row < count) least = fminf(least, tagged(drawn.part(query, row), i));
                }
                const float2 found = p.groups[(size_t)query * groups + (tile - p.first) * 4 + t];
                const int row = __float_as_int(found.y), i = __float_as_int(found.x) & 31;
                if (!(least < infinite()) && !(found.x < infinite())) continue;  // no row is left
                if (found.x != least) return failed("a group's bound is not its smallest", query, tile * ROWS + t);
                if (row != tile * ROWS + i / 2 * 8 + 2 * t + i % 2) return failed("a group's row is another", query, row);
            }
    kernel = [&] { scan<false>(p); };
    return drawn.scans_failed([&] { launch(clusters * BLOCKS, WIDE_THREADS); });
}
