// The products of exact_wide.cu where rows have more components than leave room for that: slices of rows go as they come. Both warpgroups have the same
// queries, and tiles of rows by turns; so each slice is multiplied once, and then its place is free. Blocks of a cluster have queries of their own and
// fetch each row once for all of them. It comes after wide.cuh.
//
//   TALL     blocks of 64 queries: 1 or 2
//   TILES    tiles of rows that a warpgroup multiplies at once: 1, or 2 where TALL is 1
//   SHARING  blocks of a cluster
//   AHEAD    slices of rows on their way

static_assert(TALL * TILES <= 2, "sums have 128 registers");
static_assert(AHEAD >= 2 * TILES, "a slice is free when the next one is multiplied");
constexpr int PARTS = TALL * TILES;                   // of a thread's sums: 64 queries by 128 rows
constexpr int OWN_QUERIES = 64 * TALL, WIDE_QUERIES = OWN_QUERIES * SHARING;  // of a block, of a cluster
constexpr int SIDES = TILES == 1 ? 3 : 2;

struct Wide {
    u8 queries[SLICES][OWN_QUERIES][SLICE];
    u8 rows[AHEAD][ROWS][SLICE];
    float sides[SIDES][TILES][TAKEN];                 // s and N, or N / s and 1 / s and what all rows share
    Passed passed;
    u64 full[AHEAD], empty[AHEAD], queries_full, queries_empty, sides_full[SIDES], sides_empty[SIDES];
};

// A place in a ring, and the parity of the turn that it is in.
template <int SIZE> struct Ring {
    int at = 0, phase = 0;
    __device__ __forceinline__ void next() { if (++at == SIZE) at = 0, phase ^= 1; }
    template <int STEPS> __device__ __forceinline__ void pass()
    {
        at += STEPS % SIZE, phase ^= STEPS / SIZE & 1;
        if (at >= SIZE) at -= SIZE, phase ^= 1;
    }
    __device__ __forceinline__ int before(int steps) const { return at >= steps ? at - steps : at - steps + SIZE; }
};

// Tiles of rows and queries that a cluster goes through before its next ones.
struct Item {
    i64 begin, end, query;  // the first one of this block
    __device__ __forceinline__ Item(const Batch& p, i64 number)
    {
        begin = p.first + number / p.query_tiles * p.each, end = begin + p.each < p.last ? begin + p.each : p.last;
        query = number % p.query_tiles * WIDE_QUERIES + blockIdx.x % SHARING * OWN_QUERIES;
    }
};

// Whoever copies: one thread. Slices of rows go to all blocks of a cluster, and each of these fetches its part of them.
template <bool SAMPLE> __device__ __forceinline__ void copy_codes(const Batch& p, Wide& shared, i64 first_item, i64 items)
{
    constexpr int PART = ROWS * SLICE / SHARING;
    const u32 rank = blockIdx.x % SHARING;
    Ring<AHEAD> stage;
    Ring<SIDES> side;
    int turn = 0;
    for (i64 number = first_item; number < items; number += gridDim.x / SHARING, turn ^= 1) {
        const Item item(p, number);
        await(shared.queries_empty, turn ^ 1);
        expect(shared.queries_full, (int)sizeof(shared.queries));
        for (int i = 0; i < SLICES; ++i) {
            const u8* from = p.query_codes + ((item.query / 128 * SLICES + i) * 128 + item.query % 128) * SLICE;
            copy_bulk(&shared.queries[i], from, OWN_QUERIES * SLICE, shared.queries_full);
        }
        for (i64 tile = item.begin; tile < item.end; tile += TILES) {
            await(shared.sides_empty[side.at], side.phase ^ 1);
            expect(shared.sides_full[side.at], TILES * TAKEN * 4);
            for (int i = 0; i < TILES; ++i)  // behind the last tile there may be none: then that comes twice, and is not looked at
                copy_bulk(shared.sides[side.at][i], p.sides + min(tile + i, item.end - 1) * SIDE + (SAMPLE ? 0 : RATIOS), TAKEN * 4, shared.sides_full[side.at]);
            side.next();
            for (int slice = 0; slice < SLICES; ++slice) for (int i = 0; i < TILES; ++i) {
                const u8* from = p.codes + (min(tile + i, item.end - 1) * SLICES + slice) * (ROWS * SLICE) + rank * PART;
                u8* to = &shared.rows[stage.at][0][0] + rank * PART;
                await(shared.empty[stage.at], stage.phase ^ 1);
                expect(shared.full[stage.at], ROWS * SLICE);
                if (SHARING == 1) copy_bulk(to, from, PART, shared.full[stage.at]);
                else copy_to_all(to, from, PART, shared.full[stage.at], (1 << SHARING) - 1);
                stage.next();
            }
        }
    }
}

// A slice of rows is free here, for all who fetch a part of it.
__device__ __forceinline__ void leave(Wide& shared, int stage)
{
    const u32 block = threadIdx.x & 127;
    if (block < SHARING) arrive_at(shared.empty[stage], block);
}

template <bool SAMPLE> __device__ __forceinline__ void scan_slices(const Batch& p)
{
    Wide& shared = *reinterpret_cast<Wide*>(dynamic_memory());
    nothing_passed(shared.passed);
    if (threadIdx.x == 0) {
        UNROLL for (int i = 0; i < AHEAD; ++i) barrier_init(shared.full[i], 1), barrier_init(shared.empty[i], SHARING);
        UNROLL for (int i = 0; i < SIDES; ++i) barrier_init(shared.sides_full[i], 1), barrier_init(shared.sides_empty[i], 4);
        barrier_init(shared.queries_full, 1), barrier_init(shared.queries_empty, COMPARING);
        barriers_are_made();
    }
    if (SHARING == 1) __syncthreads();
    else meet_cluster();
    let_next_begin();
    await_before();
    const i64 items = (p.last - p.first + p.each - 1) / p.each * p.query_tiles, first_item = blockIdx.x / SHARING;
    const int group = __shfl_sync(ALL, threadIdx.x >> 7, 0);  // uniform, as the compiler can see
    if (group == 2) {
        leave_registers();
        if (threadIdx.x >= 256 + 32) {
            if (!SAMPLE) look(p, shared.passed, (threadIdx.x >> 5) - COMPARING - 1);
        } else if (threadIdx.x == 256) {
            copy_codes<SAMPLE>(p, shared, first_item, items);
        }
        return;
    }
    take_registers();
    const int lane = threadIdx.x & 31, warp = (threadIdx.x >> 5) & 3, g = lane >> 2, t = lane & 3, own = threadIdx.x >> 5;
    // Where operands lie: uniform, as the compiler can see, and made once.
    const u32 own_queries = __shfl_sync(ALL, address(shared.queries), 0), first_rows = __shfl_sync(ALL, address(shared.rows), 0);
    Ring<AHEAD> stage;
    Ring<SIDES> side;
    int turn = 0, taker = 0;  // the warpgroup whose tiles come next
    u32 put = 0;
    if (group == 1) give_turn(0);  // the first one begins
    for (i64 number = first_item; number < items; number += gridDim.x / SHARING, turn ^= 1) {
        const Item item(p, number);
        const i64 first_query = item.query + warp * 16 + g;
        Compared<SAMPLE> read[TALL][2];
        read_asked(p.asked, first_query, read);
        const float inverse = shared_inverse(read);
        await(shared.queries_full, turn);
        for (i64 tile = item.begin; tile < item.end; tile += TILES) {
            const bool ours = taker == group, alone = tile == item.begin && tile + TILES >= item.end;
            taker ^= 1;
            if (!ours) {
                // Each warp says that it is done with queries: one that has not seen yet that they came would not see it after the next ones.
                if (alone && lane == 0) arrive(shared.queries_empty);
                stage.template pass<SLICES * TILES>(), side.next();
                continue;
            }
            int sums[PARTS][64];
            await_turn(group);
            UNROLL for (int slice = 0; slice < SLICES; ++slice) {
                u64 rows[TILES];
                UNROLL for (int i = 0; i < TILES; ++i) {
                    await(shared.full[stage.at], stage.phase);
                    rows[i] = operand(first_rows + stage.at * (ROWS * SLICE));
                    stage.next();
                }
                if (slice == 0) products_begin();
                UNROLL for (int k = 0; k < SLICE / 32; ++k) UNROLL for (int i = 0; i < PARTS; ++i)
                    multiply_wide(sums[i], operand(own_queries + (slice * OWN_QUERIES + i / TILES * 64) * SLICE) + 2 * k, rows[i % TILES] + 2 * k, slice == 0 && k == 0);
                products_end();
                if (slice == 0) continue;
                await_products<1>();  // the slice before is free, while this one is multiplied
                UNROLL for (int i = 0; i < TILES; ++i) leave(shared, stage.before(2 * TILES - i));
            }
            give_turn(1 - group);
            const u32 taken = SAMPLE ? 0 : glance(shared.passed.taken[own]);
            await(shared.sides_full[side.at], side.phase);
            Compared<SAMPLE> asked[PARTS][2];
            UNROLL for (int i = 0; i < PARTS; ++i) UNROLL for (int h = 0; h < 2; ++h) asked[i][h] = read[i / TILES][h];
            auto are_there = [&] {
                await_products<0>();
                UNROLL for (int i = 0; i < PARTS; ++i) hold(sums[i]);
                UNROLL for (int i = 0; i < TILES; ++i) leave(shared, stage.before(TILES - i));
                if (lane == 0 && tile + 2 * TILES >= item.end) arrive(shared.queries_empty);  // our last one of the item
            };
            if constexpr (SAMPLE) {
                UNROLL for (int i = 0; i < PARTS; ++i) UNROLL for (int h = 0; h < 2; ++h) asked[i][h].begin();
                are_there();
                UNROLL for (int j = 0; j < 16; ++j) UNROLL for (int i = 0; i < PARTS; ++i) {
                    const float4 two = reinterpret_cast<const float4*>(shared.sides[side.at][i % TILES])[4 * j + t];  // s and N of two rows
                    UNROLL for (int h = 0; h < 2; ++h) asked[i][h].take(sums[i][4 * j + 2 * h], sums[i][4 * j + 2 * h + 1], two, j);
                }
            } else {
                Near rows(shared.sides[side.at][0], inverse);
                rows.begin<0, TILES>(asked);
                hold(rows.rooms);
                await(shared.sides_full[side.at], side.phase);  // over already: a branch, across which the compiler moves none of this
                are_there();
                rows.compare<0, TILES>(sums, asked);
                if constexpr (TILES == 2) {
                    Near others(shared.sides[side.at][1], inverse);
                    others.begin<1, TILES>(asked);
                    others.compare<1, TILES>(sums, asked);
                }
            }
            u32 masks[PARTS][2], any = 0;
            UNROLL for (int i = 0; i < PARTS; ++i) UNROLL for (int h = 0; h < 2; ++h) {
                const bool is_there = TILES == 1 || tile + i % TILES < item.end;
                if constexpr (!SAMPLE) any |= masks[i][h] = __ballot_sync(ALL, is_there && asked[i][h].is_near());
                else if (is_there) keep_group(p, first_query + i / TILES * 64 + h * 8, tile + i % TILES, asked[i][h].least);
            }
            if (any) pass_on<TILES>(shared.passed, own, sums, masks, (u32)first_query, (u32)tile << 2 | t, put, taken);
            __syncwarp();
            if (lane == 0) arrive(shared.sides_empty[side.at]);
            side.next();
        }
    }
    __syncwarp();
    if (lane == 0) __threadfence_block(), atomicAdd(&shared.passed.ended, 1u);
    if (SHARING > 1) meet_cluster();  // others may still tell this block that they have read
}

#if SHARING > 1
#define IN_CLUSTERS __cluster_dims__(SHARING, 1, 1)
#else
#define IN_CLUSTERS
#endif
extern "C" __global__ void IN_CLUSTERS __launch_bounds__(WIDE_THREADS, 1) slices_sample(const Batch p) { scan_slices<true>(p); }
extern "C" __global__ void IN_CLUSTERS __launch_bounds__(WIDE_THREADS, 1) slices_scan(const Batch p) { scan_slices<false>(p); }
