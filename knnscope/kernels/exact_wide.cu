// The products of exact_batch.cu by warpgroups: for compute capability 9.0 alone (sm_90a), where they are twice as fast. Each of two warpgroups has queries
// of its own, and both have the same rows: these stay until both have multiplied them. It comes after wide.cuh.
//
//   TALL     blocks of 64 queries that a warpgroup has: 1 or 2
//   AHEAD    slices of rows on their way

constexpr int WIDE_QUERIES = 128 * TALL, SIDES = 3;

struct Wide {
    u8 queries[TALL][SLICES][128][SLICE];
    u8 rows[AHEAD][ROWS][SLICE];
    float sides[SIDES][TAKEN];                        // s and N, or N / s and 1 / s and what all rows share
    Passed passed;
    u64 full[AHEAD], empty[AHEAD], queries_full, queries_empty, sides_full[SIDES], sides_empty[SIDES];
};

template <bool SAMPLE> __device__ __forceinline__ void scan_wide(const Batch& p)
{
    Wide& shared = *reinterpret_cast<Wide*>(dynamic_memory());
    nothing_passed(shared.passed);
    if (threadIdx.x == 0) {
        UNROLL for (int i = 0; i < AHEAD; ++i) barrier_init(shared.full[i], 1), barrier_init(shared.empty[i], 2);
        UNROLL for (int i = 0; i < SIDES; ++i) barrier_init(shared.sides_full[i], 1), barrier_init(shared.sides_empty[i], COMPARING);
        barrier_init(shared.queries_full, 1), barrier_init(shared.queries_empty, 2);
        barriers_are_made();
    }
    __syncthreads();
    let_next_begin();
    await_before();
    const i64 items = (p.last - p.first + p.each - 1) / p.each * p.query_tiles;
    const int group = __shfl_sync(ALL, threadIdx.x >> 7, 0);  // uniform, as the compiler can see
    if (group == 2) {
        leave_registers();
        if (threadIdx.x >= 256 + 32) {
            if (!SAMPLE) look(p, shared.passed, (threadIdx.x >> 5) - COMPARING - 1);
            return;
        }
        if (threadIdx.x != 256) return;
        int stage = 0, phase = 0, side = 0, side_phase = 0, turn = 0;
        for (i64 item = blockIdx.x; item < items; item += gridDim.x, turn ^= 1) {
            const i64 block = item % p.query_tiles * TALL;
            const i64 begin = p.first + item / p.query_tiles * p.each, end = begin + p.each < p.last ? begin + p.each : p.last;
            await(shared.queries_empty, turn ^ 1);
            expect(shared.queries_full, (int)sizeof(shared.queries));
            for (int i = 0; i < TALL; ++i)
                copy_bulk(&shared.queries[i], p.query_codes + (block + i) * (SLICES * 128 * SLICE), SLICES * 128 * SLICE, shared.queries_full);
            for (i64 tile = begin; tile < end; ++tile) {
                await(shared.sides_empty[side], side_phase ^ 1);
                expect(shared.sides_full[side], TAKEN * 4);
                copy_bulk(shared.sides[side], p.sides + tile * SIDE + (SAMPLE ? 0 : RATIOS), TAKEN * 4, shared.sides_full[side]);
                if (++side == SIDES) side = 0, side_phase ^= 1;
                for (int slice = 0; slice < SLICES; ++slice) {
                    await(shared.empty[stage], phase ^ 1);
                    expect(shared.full[stage], ROWS * SLICE);
                    copy_bulk(shared.rows[stage], p.codes + (tile * SLICES + slice) * (ROWS * SLICE), ROWS * SLICE, shared.full[stage]);
                    if (++stage == AHEAD) stage = 0, phase ^= 1;
                }
            }
        }
        return;
    }
    take_registers();
    const int lane = threadIdx.x & 31, warp = (threadIdx.x >> 5) & 3, g = lane >> 2, t = lane & 3;
    const bool first_thread = (threadIdx.x & 127) == 0;
    const int own = threadIdx.x >> 5;
    // Where operands lie: uniform, as the compiler can see, and made once.
    const u32 own_queries = __shfl_sync(ALL, address(&shared.queries[group * TALL >> 1][0][(group * TALL & 1) * 64][0]), 0);
    const u32 first_rows = __shfl_sync(ALL, address(shared.rows), 0);
    int stage = 0, phase = 0, side = 0, side_phase = 0, turn = 0;
    u32 put = 0;
    if (group == 1) give_turn(0);  // the first one begins
    for (i64 item = blockIdx.x; item < items; item += gridDim.x, turn ^= 1) {
        const i64 first_query = item % p.query_tiles * WIDE_QUERIES + group * TALL * 64 + warp * 16 + g;
        const i64 begin = p.first + item / p.query_tiles * p.each, end = begin + p.each < p.last ? begin + p.each : p.last;
        Compared<SAMPLE> asked[TALL][2];
        read_asked(p.asked, first_query, asked);
        const float inverse = shared_inverse(asked);
        await(shared.queries_full, turn);
        for (i64 tile = begin; tile < end; ++tile) {
            int sums[TALL][64];
            const int first_stage = stage;
            await_turn(group);
            UNROLL for (int slice = 0; slice < SLICES; ++slice) {
                await(shared.full[stage], phase);
                if (slice == 0) products_begin();
                const u64 rows = operand(first_rows + stage * (ROWS * SLICE));
                UNROLL for (int k = 0; k < SLICE / 32; ++k) UNROLL for (int i = 0; i < TALL; ++i)
                    multiply_wide(sums[i], operand(own_queries + (slice * 128 + i * 64) * SLICE) + 2 * k, rows + 2 * k, slice == 0 && k == 0);
                if (++stage == AHEAD) stage = 0, phase ^= 1;
            }
            products_end();
            give_turn(1 - group);
            const u32 taken = SAMPLE ? 0 : glance(shared.passed.taken[own]);
            await(shared.sides_full[side], side_phase);
            auto are_there = [&] {
                await_products<0>();
                UNROLL for (int i = 0; i < TALL; ++i) hold(sums[i]);
                if (!first_thread) return;
                for (int slice = 0, at = first_stage; slice < SLICES; ++slice, at = at + 1 == AHEAD ? 0 : at + 1) arrive(shared.empty[at]);
                if (tile + 1 == end) arrive(shared.queries_empty);
            };
            if constexpr (SAMPLE) {
                UNROLL for (int i = 0; i < TALL; ++i) UNROLL for (int h = 0; h < 2; ++h) asked[i][h].begin();
                are_there();
                UNROLL for (int j = 0; j < 16; ++j) {
                    const float4 two = reinterpret_cast<const float4*>(shared.sides[side])[4 * j + t];  // s and N of two rows
                    UNROLL for (int i = 0; i < TALL; ++i) UNROLL for (int h = 0; h < 2; ++h) asked[i][h].take(sums[i][4 * j + 2 * h], sums[i][4 * j + 2 * h + 1], two, j);
                }
                UNROLL for (int i = 0; i < TALL; ++i) UNROLL for (int h = 0; h < 2; ++h) keep_group(p, first_query + i * 64 + h * 8, tile, asked[i][h].least);
            } else {
                Near rows(shared.sides[side], inverse);
                rows.begin<0, 1>(asked);
                hold(rows.rooms);
                await(shared.sides_full[side], side_phase);  // over already: a branch, across which the compiler moves none of this
                are_there();
                rows.compare<0, 1>(sums, asked);
                bool near = false;
                UNROLL for (int i = 0; i < TALL; ++i) near |= asked[i][0].is_near() | asked[i][1].is_near();
                if (__any_sync(ALL, near)) {
                    u32 masks[TALL][2];
                    UNROLL for (int i = 0; i < TALL; ++i) UNROLL for (int h = 0; h < 2; ++h) masks[i][h] = __ballot_sync(ALL, asked[i][h].is_near());
                    pass_on<1>(shared.passed, own, sums, masks, (u32)first_query, (u32)tile << 2 | t, put, taken);
                }
            }
            __syncwarp();
            if (lane == 0) arrive(shared.sides_empty[side]);
            if (++side == SIDES) side = 0, side_phase ^= 1;
        }
    }
    __syncwarp();
    if (lane == 0) __threadfence_block(), atomicAdd(&shared.passed.ended, 1u);
}

extern "C" __global__ void __launch_bounds__(WIDE_THREADS, 1) wide_sample(const Batch p) { scan_wide<true>(p); }
extern "C" __global__ void __launch_bounds__(WIDE_THREADS, 1) wide_scan(const Batch p) { scan_wide<false>(p); }
