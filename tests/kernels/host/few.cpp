// Runs exact_few.cu on threads of the host: rows queries blocks seed. Codes are written where exact_codes.cu writes them (place); what comes out is held
// against sums over components in their own order. Ends with 0 where every group and every hit is right.
#include "cuda.h"

// m16n8k32 of bytes, as PTX says which lane holds which numbers.
struct Operands { unsigned a[4], b[2]; };
static int byte_of(unsigned word, int byte) { return (signed char)(word >> 8 * byte); }
static void multiply(int (&sums)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1)
{
    among_warp(Operands{{a0, a1, a2, a3}, {b0, b1}}, [&](auto of) {
        const int lane = threadIdx.x % WARP;
        for (int c = 0; c < 4; ++c) {
            const int row = lane / 4 + 8 * (c / 2), column = lane % 4 * 2 + c % 2;
            for (int k = 0; k < 32; ++k) {
                const Operands left = of(row % 8 * 4 + k % 16 / 4), right = of(column * 4 + k % 16 / 4);
                sums[c] += byte_of(left.a[row / 8 + 2 * (k / 16)], k % 4) * byte_of(right.b[k / 16], k % 4);
            }
        }
        return 0;
    });
}
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
    const int tiles = (count + ROWS - 1) / ROWS, padded = tiles * ROWS, room = count, groups = blocks * WARPS;
    const Written rows(count, padded), asked(queries, 128);
    float* sides = everywhere<float>((size_t)tiles * SIDE);
    const float ratio = 3;
    for (int row = 0; row < padded; ++row) {
        float* tile = sides + row / ROWS * SIDE;
        const int line = row % ROWS;
        const bool there = row < count;
        tile[2 * line] = there ? between(0.001f, 0.002f) : 0, tile[2 * line + 1] = there ? between(0, 3) : infinite();
        tile[2 * ROWS + line] = there ? between(0, ratio) * tile[2 * line] : 0;
    }
    Batch p = {};
    p.codes = rows.codes, p.sides = sides, p.query_codes = asked.codes, p.count = count, p.queries = queries, p.room = room, p.groups_stride = groups;
    p.asked.steps = everywhere<float>(QUERIES), p.asked.limits = everywhere<float>(QUERIES);
    p.asked.starts = everywhere<float>(QUERIES), p.asked.coefficients = everywhere<float>(QUERIES);
    p.counts = everywhere<u32>(QUERIES), p.hits = everywhere<int2>((size_t)QUERIES * room), p.groups = everywhere<float2>((size_t)queries * groups);
    for (int query = 0; query < QUERIES; ++query) {
        p.asked.steps[query] = between(0.02f, 0.04f), p.asked.coefficients[query] = between(1, 2);
        p.asked.starts[query] = p.asked.coefficients[query] * ratio - p.asked.steps[query] * OFF;
        p.asked.limits[query] = query < queries ? between(-1, 1) : -infinite();
    }
    std::vector<int> products((size_t)queries * count);
    for (int query = 0; query < queries; ++query)
        for (int row = 0; row < count; ++row) products[query * count + row] = std::inner_product(rows[row], rows[row] + WIDTH, asked[query], 0);
    auto part = [&](int query, int row) {
        const float4 side = side_of(sides, row);
        return part_of_bound(products[query * count + row] + ZERO, side.x, side.y, p.asked.steps[query]);
    };

    p.first = tiles > 2, p.last = tiles;  // not from the first row on
    kernel = [&] { scan<true>(p); };
    launch(blocks, THREADS);
    for (int query = 0; query < queries; ++query) {
        std::vector<float> least(groups, infinite());
        for (int row = (int)p.first * ROWS; row < count; ++row) {
            float& group = least[(row - (int)p.first * ROWS) / STEP % groups];
            group = fminf(group, part(query, row));
        }
        for (int group = 0; group < groups; ++group) {
            const float2 found = p.groups[query * groups + group];
            const int row = __float_as_int(found.y);
            if (found.x != least[group]) return failed("a group's bound is not its smallest", query, group);
            if (found.x < infinite() && found.x != part(query, row)) return failed("a group's row has another bound", query, row);
        }
    }
    const int cut = tiles / 2;
    for (int pass = 0; pass < 2; ++pass) {
        p.first = pass ? cut : 0, p.last = pass ? tiles : cut;
        kernel = [&] { scan<false>(p); };
        launch(blocks, THREADS);
    }
    long kept = 0;
    for (int query = 0; query < QUERIES; ++query) {
        if (query >= queries && p.counts[query]) return failed("a hit of nobody", query, 0);
        if (query >= queries) continue;
        std::vector<char> hit(count);
        for (u32 i = 0; i < p.counts[query]; ++i) {
            const int2 one = p.hits[query * room + i];
            if (one.x < 0 || one.x >= count || hit[one.x]) return failed("a hit is no row, or twice there", query, one.x);
            if (one.y != products[query * count + one.x]) return failed("a product is wrong", query, one.x);
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
