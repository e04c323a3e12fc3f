// The products of exact_batch.cu by warpgroups: for compute capability 9.0 alone (sm_90a), where they are twice as fast. It comes after
// batch.cuh. Two warpgroups take turns: one multiplies while the other compares. Of the third, one warp copies codes ahead; the others look at
// what the comparing ones pass on: the 32 sums of a thread that hold a row below its query's limit, perhaps. So who multiplies never waits for
// a list in global memory.
//
//   TALL     blocks of 64 queries that a warpgroup has: 1 or 2
//   AHEAD    slices of rows on their way

constexpr int WIDE_QUERIES = 128 * TALL, WIDE_THREADS = 384, SIDES = 3;
constexpr int COMPARING = 8, LOOKING = 3;             // warps
constexpr int WAITING = 12;                           // of a comparing warp, lines of sums that wait to be looked at

// A thread's sums for one query, padded so that lines begin at different banks; the query, and the tile of rows with the thread's place in it.
struct Line {
    int4 sums[8];
    u32 query, place;
    u32 unused[2];
};

struct Wide {
    u8 queries[TALL][SLICES][128][SLICE];
    u8 rows[AHEAD][ROWS][SLICE];
    float sides[SIDES][SIDE];
    Line lines[COMPARING][WAITING];
    u32 put[COMPARING], taken[COMPARING], ended;      // lines so far; warps
    u64 full[AHEAD], empty[AHEAD], queries_full, queries_empty, sides_full[SIDES], sides_empty[SIDES];
};

__device__ __forceinline__ void barrier_init(u64& barrier, int count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address(&barrier)), "r"(count) : "memory");
}
__device__ __forceinline__ void expect(u64& barrier, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address(&barrier)), "r"(bytes) : "memory");
}
__device__ __forceinline__ void arrive(u64& barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address(&barrier)) : "memory");
}
__device__ __forceinline__ void await(u64& barrier, int phase)
{
    u32 done;
    do {
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                     : "=r"(done) : "r"(address(&barrier)), "r"(phase) : "memory");
    } while (!done);
}
__device__ __forceinline__ void copy_bulk(void* to, const void* from, int bytes, u64& barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(address(to)), "l"(from),
                 "r"(bytes), "r"(address(&barrier)) : "memory");
}
// Lines of 128 bytes whose 16-byte pieces are swizzled by their line, eight lines after each other.
__device__ __forceinline__ u64 operand(const void* shared)
{
    return (u64)((address(shared) & 0x3ffff) >> 4) | 1ull << 16 | 64ull << 32 | 1ull << 62;
}
// 64 x 32 times 32 x 128, of bytes.
__device__ __forceinline__ void multiply_wide(int (&c)[64], u64 a, u64 b)
{
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, %64, %65, 1;"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3]), "+r"(c[4]), "+r"(c[5]), "+r"(c[6]), "+r"(c[7]),
          "+r"(c[8]), "+r"(c[9]), "+r"(c[10]), "+r"(c[11]), "+r"(c[12]), "+r"(c[13]), "+r"(c[14]), "+r"(c[15]),
          "+r"(c[16]), "+r"(c[17]), "+r"(c[18]), "+r"(c[19]), "+r"(c[20]), "+r"(c[21]), "+r"(c[22]), "+r"(c[23]),
          "+r"(c[24]), "+r"(c[25]), "+r"(c[26]), "+r"(c[27]), "+r"(c[28]), "+r"(c[29]), "+r"(c[30]), "+r"(c[31]),
          "+r"(c[32]), "+r"(c[33]), "+r"(c[34]), "+r"(c[35]), "+r"(c[36]), "+r"(c[37]), "+r"(c[38]), "+r"(c[39]),
          "+r"(c[40]), "+r"(c[41]), "+r"(c[42]), "+r"(c[43]), "+r"(c[44]), "+r"(c[45]), "+r"(c[46]), "+r"(c[47]),
          "+r"(c[48]), "+r"(c[49]), "+r"(c[50]), "+r"(c[51]), "+r"(c[52]), "+r"(c[53]), "+r"(c[54]), "+r"(c[55]),
          "+r"(c[56]), "+r"(c[57]), "+r"(c[58]), "+r"(c[59]), "+r"(c[60]), "+r"(c[61]), "+r"(c[62]), "+r"(c[63])
        : "l"(a), "l"(b));
}
__device__ __forceinline__ void hold(int (&c)[64])
{
    UNROLL for (int x = 0; x < 64; ++x) asm volatile("" : "+r"(c[x])::"memory");
}

// What another warp has announced, the same for all threads of this one, and what it did before that.
__device__ __forceinline__ u32 glance(const u32& word)
{
    const u32 value = __shfl_sync(ALL, *reinterpret_cast<const volatile u32*>(&word), 0);
    __threadfence_block();
    __syncwarp();  // a shuffle alone orders no memory
    return value;
}
// By all threads of a warp: whoever sees the value sees what each of them did before.
__device__ __forceinline__ void announce(u32& word, u32 value)
{
    __syncwarp();
    if ((threadIdx.x & 31) == 0) {
        __threadfence_block();
        *reinterpret_cast<volatile u32*>(&word) = value;
    }
}

// The sums of the threads in ``mask``, of a warp, become lines; ``put``: how many so far.
__device__ __forceinline__ void pass_on(Wide& shared, int own, const int4 (&sums)[8], u32 query, u32 place, u32 mask, u32& put)
{
    const int lane = threadIdx.x & 31;
    while (mask) {
        const int room = WAITING - (int)(put - glance(shared.taken[own]));
        const int rank = __popc(mask & ((1u << lane) - 1));
        const bool mine = (mask >> lane & 1) && rank < room;
        if (mine) {
            Line& line = shared.lines[own][(put + rank) % WAITING];
            UNROLL for (int c = 0; c < 8; ++c) line.sums[c] = sums[c];
            line.query = query, line.place = place;
        }
        const u32 done = __ballot_sync(ALL, mine);
        mask &= ~done, put += __popc(done);
        if (done) announce(shared.put[own], put);
    }
}

// An eighth of a line: rows that are below their query's limit go to its list.
__device__ __forceinline__ void look_at(const Batch& p, const Line& line, int part)
{
    const int4 four = line.sums[part];
    const i64 query = line.query, tile = line.place >> 2;
    const int t = line.place & 3;
    const float* of_tile = p.sides + tile * SIDE;
    const float4 *sides = reinterpret_cast<const float4*>(of_tile) + 8 * part + t;
    const float2 *errors_of = reinterpret_cast<const float2*>(of_tile + 2 * ROWS) + 8 * part + t;
    const float4 side[2] = {__ldg(sides), __ldg(sides + 4)};
    const float2 e[2] = {__ldg(errors_of), __ldg(errors_of + 4)};
    const float step = p.asked.steps[query], coefficient = p.asked.coefficients[query], limit = p.asked.limits[query];
    UNROLL for (int x = 0; x < 4; ++x) {
        const int j = x >> 1, sum = x == 0 ? four.x : x == 1 ? four.y : x == 2 ? four.z : four.w;
        const float bound = part_of_bound(sum, x & 1 ? side[j].z : side[j].x, x & 1 ? side[j].w : side[j].y, step);
        const i64 row = tile * ROWS + (2 * part + j) * 8 + 2 * t + (x & 1);
        if (!(fmaf(-coefficient, x & 1 ? e[j].y : e[j].x, bound) <= limit) || row >= p.count) continue;
        const u32 at = atomicAdd(p.counts + query, 1u);
        if (at < p.room) p.hits[query * p.room + at] = make_int2((int)row, sum - ZERO);
    }
}

// What a warp of the third group does until all that compare have ended.
__device__ __forceinline__ void look(const Batch& p, Wide& shared, int first)
{
    const int lane = threadIdx.x & 31;
    u32 taken[(COMPARING + LOOKING - 1) / LOOKING] = {};
    for (;;) {
        const bool ended = glance(shared.ended) == COMPARING;
        bool idle = true;
        UNROLL for (int i = 0; i < (COMPARING + LOOKING - 1) / LOOKING; ++i) {
            const int own = first + i * LOOKING;
            if (own >= COMPARING) break;
            const u32 some = min(glance(shared.put[own]) - taken[i], 4u);
            if (!some) continue;
            idle = false;
            const u32 mine = taken[i] + (lane >> 3);
            if (lane >> 3 < some) look_at(p, shared.lines[own][mine % WAITING], lane & 7);
            taken[i] += some;
            announce(shared.taken[own], taken[i]);
        }
        if (idle && ended) return;
        if (idle) __nanosleep(64);
    }
}

template <bool SAMPLE> __device__ __forceinline__ void scan_wide(const Batch& p)
{
    extern __shared__ __align__(1024) u8 everything[];
    Wide& shared = *reinterpret_cast<Wide*>(everything);
    if (threadIdx.x < COMPARING) shared.put[threadIdx.x] = shared.taken[threadIdx.x] = 0;
    if (threadIdx.x == 0) shared.ended = 0;
    if (threadIdx.x == 0) {
        UNROLL for (int i = 0; i < AHEAD; ++i) barrier_init(shared.full[i], 1), barrier_init(shared.empty[i], 2);
        UNROLL for (int i = 0; i < SIDES; ++i) barrier_init(shared.sides_full[i], 1), barrier_init(shared.sides_empty[i], 8);
        barrier_init(shared.queries_full, 1), barrier_init(shared.queries_empty, 2);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    }
    __syncthreads();
    let_next_begin();
    await_before();
    const i64 items = (p.last - p.first + p.each - 1) / p.each * p.query_tiles;
    const int group = threadIdx.x >> 7;
    if (group == 2) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x >= 256 + 32) {
            if (!SAMPLE) look(p, shared, (threadIdx.x >> 5) - COMPARING - 1);
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
                expect(shared.sides_full[side], SIDE * 4);
                copy_bulk(shared.sides[side], p.sides + tile * SIDE, SIDE * 4, shared.sides_full[side]);
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
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    const int lane = threadIdx.x & 31, warp = (threadIdx.x >> 5) & 3, g = lane >> 2, t = lane & 3;
    const bool first_thread = (threadIdx.x & 127) == 0;
    const int own = threadIdx.x >> 5;
    int stage = 0, phase = 0, side = 0, side_phase = 0, turn = 0;
    u32 put = 0;
    if (group == 1) asm volatile("bar.arrive 1, 256;" ::: "memory");
    for (i64 item = blockIdx.x; item < items; item += gridDim.x, turn ^= 1) {
        const i64 first_query = item % p.query_tiles * WIDE_QUERIES + group * TALL * 64 + warp * 16 + g;
        const i64 begin = p.first + item / p.query_tiles * p.each, end = begin + p.each < p.last ? begin + p.each : p.last;
        float steps[TALL][2], starts[TALL][2], limits[TALL][2];
        UNROLL for (int i = 0; i < TALL; ++i) UNROLL for (int h = 0; h < 2; ++h) {
            const i64 query = first_query + i * 64 + h * 8;
            steps[i][h] = p.asked.steps[query];
            starts[i][h] = SAMPLE ? 0 : p.asked.starts[query], limits[i][h] = SAMPLE ? 0 : p.asked.limits[query];
        }
        await(shared.queries_full, turn);
        for (i64 tile = begin; tile < end; ++tile) {
            int sums[TALL][64];
            UNROLL for (int i = 0; i < TALL; ++i) UNROLL for (int x = 0; x < 64; ++x) sums[i][x] = ZERO;
            int before = -1;
            asm volatile("bar.sync %0, 256;" ::"r"(1 + group) : "memory");
#pragma unroll 1
            for (int slice = 0; slice < SLICES; ++slice) {
                await(shared.full[stage], phase);
                UNROLL for (int i = 0; i < TALL; ++i) hold(sums[i]);
                asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
                UNROLL for (int k = 0; k < SLICE / 32; ++k) UNROLL for (int i = 0; i < TALL; ++i) {
                    const int block = group * TALL + i;
                    multiply_wide(sums[i], operand(&shared.queries[block >> 1][slice][(block & 1) * 64][0]) + 2 * k,
                                  operand(&shared.rows[stage][0][0]) + 2 * k);
                }
                asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
                UNROLL for (int i = 0; i < TALL; ++i) hold(sums[i]);
                asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
                if (before >= 0 && first_thread) arrive(shared.empty[before]);
                before = stage;
                if (++stage == AHEAD) stage = 0, phase ^= 1;
            }
            asm volatile("bar.arrive %0, 256;" ::"r"(2 - group) : "memory");
            asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
            UNROLL for (int i = 0; i < TALL; ++i) hold(sums[i]);
            if (first_thread) {
                arrive(shared.empty[before]);
                if (tile + 1 == end) arrive(shared.queries_empty);
            }
            await(shared.sides_full[side], side_phase);
            const float4* sides = reinterpret_cast<const float4*>(shared.sides[side]) + t;  // s and N of two rows
            float least[TALL][2];
            int nearest[TALL][2];
            UNROLL for (int i = 0; i < TALL; ++i) UNROLL for (int h = 0; h < 2; ++h) least[i][h] = infinite(), nearest[i][h] = 0;
            UNROLL for (int j = 0; j < 16; ++j) {
                const float4 line = sides[4 * j];
                UNROLL for (int i = 0; i < TALL; ++i) UNROLL for (int h = 0; h < 2; ++h) {
                    const int x = sums[i][4 * j + 2 * h], y = sums[i][4 * j + 2 * h + 1];
                    if (SAMPLE) {
                        const float first = part_of_bound(x, line.x, line.y, steps[i][h]), second = part_of_bound(y, line.z, line.w, steps[i][h]);
                        if (first < least[i][h]) least[i][h] = first, nearest[i][h] = 8 * j;
                        if (second < least[i][h]) least[i][h] = second, nearest[i][h] = 8 * j + 1;
                    } else {
                        least[i][h] = fminf(least[i][h], loose_bound(x, line.x, line.y, steps[i][h], starts[i][h]));
                        least[i][h] = fminf(least[i][h], loose_bound(y, line.z, line.w, steps[i][h], starts[i][h]));
                    }
                }
            }
            UNROLL for (int i = 0; i < TALL; ++i) UNROLL for (int h = 0; h < 2; ++h) {
                const i64 query = first_query + i * 64 + h * 8;
                if (SAMPLE) {
                    if (query < p.queries) p.groups[query * p.groups_stride + (tile - p.first) * 4 + t] = make_float2(least[i][h], __int_as_float((int)tile * ROWS + nearest[i][h] + 2 * t));
                    continue;
                }
                const u32 mask = __ballot_sync(ALL, least[i][h] <= limits[i][h]);
                if (!mask) continue;
                int4 own_sums[8];
                UNROLL for (int c = 0; c < 8; ++c) {
                    const int* four = sums[i] + 8 * c + 2 * h;
                    own_sums[c] = make_int4(four[0], four[1], four[4], four[5]);
                }
                pass_on(shared, own, own_sums, (u32)query, (u32)tile << 2 | t, mask, put);
            }
            __syncwarp();
            if (lane == 0) arrive(shared.sides_empty[side]);
            if (++side == SIDES) side = 0, side_phase ^= 1;
        }
    }
    __syncwarp();
    if (lane == 0) __threadfence_block(), atomicAdd(&shared.ended, 1u);
}

extern "C" __global__ void __launch_bounds__(WIDE_THREADS, 1) wide_sample(const Batch p) { scan_wide<true>(p); }
extern "C" __global__ void __launch_bounds__(WIDE_THREADS, 1) wide_scan(const Batch p) { scan_wide<false>(p); }
