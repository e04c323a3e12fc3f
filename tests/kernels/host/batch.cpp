// Runs exact_batch.cu on threads of the host: rows queries blocks each seed late shared. ``late``: copies come as late as waiting for them allows; ``shared``:
// bytes of shared memory that a block is given. What comes out is held against sums over components in their own order. Ends with 0 where every group and
// every hit is right, and every row that is near is a hit.
#include "cuda.h"

#include "products.h"

#include "kernel.inc"

#include "codes.h"

int main(int, char** given)
{
    const int count = atoi(given[1]), queries = atoi(given[2]), blocks = atoi(given[3]), each = atoi(given[4]);
    draw.seed(atoi(given[5])), late = atoi(given[6]);
    if (sizeof(Shared) > atoi(given[7])) return failed("shared memory is short of bytes", 0, (int)sizeof(Shared));
    const int tiles = (count + ROWS - 1) / ROWS, groups = tiles * GROUPS;
    Drawn drawn(count, queries, (queries + 255) / 256 * 256, groups);
    Batch& p = drawn.p;
    p.each = each, p.query_tiles = (queries + QUERIES - 1) / QUERIES;

    p.first = tiles > 2, p.last = tiles;  // not from the first row on
    kernel = [&] { scan<true>(p); };
    launch(blocks, THREADS);
    for (int query = 0; query < queries; ++query)
        for (int group = 0; group < (tiles - p.first) * GROUPS; ++group) {
            const int tile = (int)p.first + group / GROUPS, part = group % GROUPS / 4, t = group % 4;
            float least = infinite();
            for (int i = 0; i < 2 * WIDE; ++i) {
                const int row = tile * ROWS + part * WIDE * 8 + i / 2 * 8 + 2 * t + i % 2;
                if (row < count) least = fminf(least, drawn.part(query, row));
            }
            const float2 found = p.groups[(size_t)query * groups + group];
            const int row = __float_as_int(found.y);
            if (found.x != least) return failed("a group's bound is not its smallest", query, group);
            if (least < infinite() && (row % ROWS / (WIDE * 8) != part || row / ROWS != tile || drawn.part(query, row) != least)) return failed("a group's row is another", query, row);
        }
    kernel = [&] { scan<false>(p); };
    return drawn.scans_failed([&] { launch(blocks, THREADS); });
}
