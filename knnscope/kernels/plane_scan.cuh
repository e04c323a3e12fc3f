// The scan of a search by the plane (exact_plane.cu): a lower bound of every row.

// Tiles that are there before anything else is known.
__device__ __forceinline__ void fetch_first(const Plane& p, Tile (&ahead)[DEEP])
{
    const int own = threadIdx.x >> 5, warp = own * p.blocks + blockIdx.x, warps = p.blocks * SCANNING;
    UNROLL for (int d = 0; d < DEEP; ++d) {
        const i64 tile = ALONE ? 2 * warp + d : warp + d * warps;
        if (tile < (p.count + 15) >> 4) fetch(p, tile, ahead[d]);
    }
}

// The sums of a tile's low halves and of its high ones, added to.
__device__ __forceinline__ void multiply_tile(const Tile& tile, int (&low)[4], int (&high)[4], const u32 (&b)[2][STEPS][2])
{
    UNROLL for (int u = 0; u < STEPS; ++u) {
        const uint4& x = tile.codes[u];
        multiply_unsigned(low, x.x & 0x0f0f0f0fu, x.y & 0x0f0f0f0fu, x.z & 0x0f0f0f0fu, x.w & 0x0f0f0f0fu, b[0][u][0], b[0][u][1]);
        multiply_unsigned(high, x.x & 0xf0f0f0f0u, x.y & 0xf0f0f0f0u, x.z & 0xf0f0f0f0u, x.w & 0xf0f0f0f0u, b[1][u][0], b[1][u][1]);
    }
}

// A row's bound, from its products with both digits.
__device__ __forceinline__ float bound_of(const uint2& side, int low_upper, int high_upper, int low_lower, int high_lower, float step, float error, float tail)
{
    const float f = fmaf((float)(16 * low_upper + high_upper), 254.f, (float)(16 * low_lower + high_lower));
    const float s = from_half((u16)side.x), n = from_half((u16)(side.x >> 16));
    const float e1 = from_half((u16)side.y), e2 = from_half((u16)(side.y >> 16));
    return fmaf(-tail, e2, fmaf(-error, e1, fmaf(-(s * step), f, n)));
}

// A lane's digits, of one column; ``line``: its number. zero: the column has none.
__device__ __forceinline__ void digits_of(const signed char (*digits)[LINE], int line, u32 (&b)[2][STEPS][2], bool zero = false)
{
    const int t = threadIdx.x & 3;
    UNROLL for (int half = 0; half < 2; ++half) UNROLL for (int u = 0; u < STEPS; ++u) UNROLL for (int part = 0; part < 2; ++part)
        b[half][u][part] = zero ? 0 : *reinterpret_cast<const u32*>(&digits[line][half * (LEADING / 2) + 32 * u + 16 * part + 4 * t]);
}

#if QUERIES == 1
// Two tiles a step. Digits lie in the first half of the columns where the first tile is multiplied, in the other where the second is: so their sums
// lie side by side, and each lane has a row of its own. The rows of a step lie in ``bounds`` in their order.
__device__ __forceinline__ void scan(const Plane& p, Shared& own_block, const signed char (*digits)[LINE], float* bounds, Tile (&ahead)[DEEP])
{
    const int lane = threadIdx.x & 31, own = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    const u32 steps = (u32)((p.count + STEP - 1) / STEP), tiles = (u32)((p.count + 15) >> 4), apart = p.blocks * SCANNING;
    u32 first[2][STEPS][2], second[2][STEPS][2];
    digits_of(digits, g & 1, first, g >= 4), digits_of(digits, g & 1, second, g < 4);
    const Asked& me = own_block.asked[0];
    const float size = me.step;
    const int upper = own_block.biases[0], lower = own_block.biases[1];
    const int at = (t >> 1) * 16 + (t & 1) * 8 + g;
    float* to = bounds + own * p.steps * STEP + at;
    const float error = me.error, tail = me.tail;
    float best = infinite();
    u32 best_row = 0;
    auto deposit = [&] {
        const u32 mine = best < infinite() ? ordered(best) : ALL, least = warp_least(mine);
        if (lane == __ffs(__ballot_sync(ALL, mine == least)) - 1) own_block.minima[0][own] = least, own_block.rows[0][own] = best_row;
        arrive_at<MINIMA, THREADS>();
    };
    u32 step = own * p.blocks + blockIdx.x;
    int done = 0;
#pragma unroll 1
    for (int part = 0; part < 2; ++part) {  // before the smallest are deposited, and after
        const int until = part ? p.steps : p.meet;
#pragma unroll 1
        for (; done < until && step < steps; ++done, step += apart) {
            int low[4] = {0, 0, 0, 0}, high[4] = {upper, lower, upper, lower};
            const uint2 side = t < 2 ? ahead[0].sides[0] : ahead[1].sides[0];
            const u32 next = 2 * (step + apart);
            multiply_tile(ahead[0], low, high, first);
            if (next < tiles) fetch(p, next, ahead[0]);
            multiply_tile(ahead[1], low, high, second);
            if (next + 1 < tiles) fetch(p, next + 1, ahead[1]);
            const bool other = t & 1;
            float bound = bound_of(side, other ? low[2] : low[0], other ? high[2] : high[0], other ? low[3] : low[1], other ? high[3] : high[1], size, error, tail);
            const u32 row = step * STEP + at;
            if (row >= p.count || (p.allowed && !p.allowed[row])) bound = infinite();
            *to = bound, to += STEP;
            if (bound < best) best = bound, best_row = row;
        }
        if (part == 0) deposit();
    }
}
#else
// A lower bound of every row of this warp's tiles, into ``bounds``; the smallest are deposited after ``p.meet`` of them.
__device__ __forceinline__ void scan(const Plane& p, Shared& own_block, const signed char (*digits)[LINE], float* bounds, Tile (&ahead)[DEEP])
{
    const int lane = threadIdx.x & 31, own = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    const int warp = own * p.blocks + blockIdx.x, warps = p.blocks * SCANNING;
    const i64 tiles = (p.count + 15) >> 4;
    u32 b[2][STEPS][2];
    digits_of(digits, g, b);
    const bool mine = t < p.queries_count;
    const Asked& me = own_block.asked[mine ? t : 0];
    const float step = me.step;
    const float error = me.error, tail = me.tail;
    const int bias_high = own_block.biases[2 * t], bias_low = own_block.biases[2 * t + 1];
    const u8* allowed = p.allowed ? p.allowed + (mine ? t : 0) * p.allowed_stride : nullptr;
    float* to = bounds + (mine ? t : 0) * p.place + own * p.steps * 16 + g;
    float best = infinite();
    u32 best_row = 0;
    auto deposit = [&] {
        u32 least = best < infinite() ? ordered(best) : ALL, row = best_row;
        UNROLL for (int o = 4; o < 32; o *= 2) {
            const u32 other = __shfl_xor_sync(ALL, least, o), its = __shfl_xor_sync(ALL, row, o);
            if (other < least) least = other, row = its;
        }
        if (g == 0 && mine) own_block.minima[t][own] = least, own_block.rows[t][own] = row;
        arrive_at<MINIMA, THREADS>();
    };
    i64 first = warp;
    int done = 0;
#pragma unroll 1
    for (int part = 0; part < 2; ++part) {  // before the smallest are deposited, and after
        const int until = part ? p.steps : p.meet;
#pragma unroll 1
        for (; done < until && first < tiles; done += DEEP, first += DEEP * warps) {
            UNROLL for (int d = 0; d < DEEP; ++d) {
                const i64 tile = first + d * warps;
                if (tile >= tiles) break;
                int low[4] = {0, 0, 0, 0}, high[4] = {bias_high, bias_low, bias_high, bias_low};
                multiply_tile(ahead[d], low, high, b);
                const uint2 sides[2] = {ahead[d].sides[0], ahead[d].sides[1]};
                if (tile + DEEP * warps < tiles) fetch(p, tile + DEEP * warps, ahead[d]);
                UNROLL for (int r = 0; r < 2; ++r) {
                    const i64 row = tile * 16 + g + 8 * r;
                    float bound = bound_of(sides[r], low[2 * r], high[2 * r], low[2 * r + 1], high[2 * r + 1], step, error, tail);
                    if (row >= p.count || (allowed && !allowed[row])) bound = infinite();
                    if (mine) {
                        to[8 * r] = bound;
                        if (bound < best) best = bound, best_row = (u32)row;
                    }
                }
                to += 16;
            }
        }
        if (part == 0) deposit();
    }
}
#endif
