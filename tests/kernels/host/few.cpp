// Runs exact_few.cu on threads of the host: rows queries blocks seed. Codes are written where exact_codes.cu writes them (place); what comes out is held
// against sums over components in their own order. Ends with 0 where every group and every hit is right.
#include "cuda.h"

#include "products.h"

static uint4 stream(const unsigned char* from)
{
    uint4 piece;
    std::memcpy(&piece, from, sizeof piece);
    return piece;
}

#include "kernel.inc"

#include "codes.h"

int main(int, char** given)
{
    const int count = atoi(given[1]), queries = atoi(given[2]), blocks = atoi(given[3]);
    draw.seed(atoi(given[4]));
    const int groups = blocks * WARPS;
    Drawn drawn(count, queries, QUERIES, groups);
    const int tiles = drawn.tiles;
    Batch& p = drawn.p;

    p.first = tiles > 2, p.last = tiles;  // not from the first row on
    kernel = [&] { scan<true>(p); };
    launch(blocks, THREADS);
    for (int query = 0; query < queries; ++query) {
        std::vector<float> least(groups, infinite());
        for (int row = (int)p.first * ROWS; row < count; ++row) {
            float& group = least[(row - (int)p.first * ROWS) / STEP % groups];
            group = fminf(group, drawn.part(query, row));
        }
        for (int group = 0; group < groups; ++group) {
            const float2 found = p.groups[query * groups + group];
            const int row = __float_as_int(found.y);
            if (found.x != least[group]) return failed("a group's bound is not its smallest", query, group);
            if (found.x < infinite() && found.x != drawn.part(query, row)) return failed("a group's row has another bound", query, row);
        }
    }
    kernel = [&] { scan<false>(p); };
    return drawn.scans_failed([&] { launch(blocks, THREADS); });
}
