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
struct __align__(16) Line {
    int2 sums[16];
    uint2 from;
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
__device__ __forceinline__ u64 operand(u32 shared) { return (u64)((shared & 0x3ffff) >> 4) | 1ull << 16 | 64ull << 32 | 1ull << 62; }
#define FOUR(c, x, as) as(c[x]), as(c[x + 1]), as(c[x + 2]), as(c[x + 3])
#define SIXTEEN(c, x, as) FOUR(c, x, as), FOUR(c, x + 4, as), FOUR(c, x + 8, as), FOUR(c, x + 12, as)
#define SUMS(c, as) SIXTEEN(c, 0, as), SIXTEEN(c, 16, as), SIXTEEN(c, 32, as), SIXTEEN(c, 48, as)
#define WGMMA                                                                                                        \
    "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 "                                                             \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                        \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "                               \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                               \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, %64, %65, "
// 64 x 32 times 32 x 128, of bytes; ``first``: sums begin with it, so nothing has to clear them while others wait for their turn.
__device__ __forceinline__ void multiply_wide(int (&c)[64], u64 a, u64 b, bool first)
{
    if (first) asm volatile(WGMMA "0;" : SUMS(c, "=r") : "l"(a), "l"(b));
    else asm volatile(WGMMA "1;" : SUMS(c, "+r") : "l"(a), "l"(b));
}
__device__ __forceinline__ void hold(int (&c)[64])
{
    UNROLL for (int x = 0; x < 64; ++x) asm volatile("" : "+r"(c[x])::"memory");
}

// What another warp has announced, and what it did before that.
__device__ __forceinline__ u32 acquired(const u32& word)
{
    u32 value;
    asm volatile("ld.acquire.cta.shared::cta.u32 %0, [%1];" : "=r"(value) : "r"(address(&word)) : "memory");
    return value;
}
// The same for all threads of a warp.
__device__ __forceinline__ u32 glance(const u32& word)
{
    const u32 value = __shfl_sync(ALL, acquired(word), 0);
    __syncwarp();  // a shuffle alone orders no memory
    return value;
}
// By all threads of a warp: whoever sees the value sees what each of them did before.
__device__ __forceinline__ void announce(u32& word, u32 value)
{
    __syncwarp();
    if ((threadIdx.x & 31) == 0) {
        asm volatile("st.release.cta.shared::cta.u32 [%0], %1;" ::"r"(address(&word)), "r"(value) : "memory");
    }
}

// The sums of threads of a warp become lines. ``masks``: which threads, of each 8 queries; ``put``, ``taken``: lines so far, and those known to be looked at.
__device__ __forceinline__ void pass_on(Wide& shared, int own, const int (&sums)[TALL][64], u32 (&masks)[TALL][2], u32 first_query, u32 place, u32& put, u32 taken)
{
    const int lane = threadIdx.x & 31;
    for (;;) {
        const u32 room = WAITING - (put - taken);
        u32 count = 0;
        UNROLL for (int i = 0; i < TALL; ++i) UNROLL for (int h = 0; h < 2; ++h) {
            if (!masks[i][h]) continue;
            const u32 rank = count + __popc(masks[i][h] & ((1u << lane) - 1));
            if ((masks[i][h] >> lane & 1) && rank < room) {
                Line& line = shared.lines[own][(put + rank) % WAITING];
                UNROLL for (int j = 0; j < 16; ++j)  // as they lie in registers: the compiler would move them first
                    asm volatile("st.shared.v2.u32 [%0], {%1, %2};" ::"r"(address(line.sums + j)), "r"(sums[i][4 * j + 2 * h]), "r"(sums[i][4 * j + 2 * h + 1]) : "memory");
                line.from = make_uint2(first_query + i * 64 + h * 8, place);
            }
            count += __popc(masks[i][h]);
        }
        if (room) announce(shared.put[own], put += min(count, room));
        if (count <= room) return;
        u32 gone = room;
        UNROLL for (int i = 0; i < TALL; ++i) UNROLL for (int h = 0; h < 2; ++h)
            for (; gone && masks[i][h]; --gone) masks[i][h] &= masks[i][h] - 1;
        taken = glance(shared.taken[own]);
    }
}

// An eighth of a line: rows that are below their query's limit go to its list.
__device__ __forceinline__ void look_at(const Batch& p, const Line& line, int part)
{
    const int4 four = *reinterpret_cast<const int4*>(line.sums + 2 * part);
    const i64 query = line.from.x, tile = line.from.y >> 2;
    const int t = line.from.y & 3;
    const float* of_tile = p.sides + tile * SIDE;
    const float4 *sides = reinterpret_cast<const float4*>(of_tile) + 8 * part + t;
    const float2 *errors_of = reinterpret_cast<const float2*>(of_tile + 2 * ROWS) + 8 * part + t;
    const float4 side[2] = {__ldg(sides), __ldg(sides + 4)};
    const float2 e[2] = {__ldg(errors_of), __ldg(errors_of + 4)};
    const float step = p.asked.steps[query], coefficient = p.asked.coefficients[query], limit = p.asked.limits[query];
    UNROLL for (int x = 0; x < 4; ++x) {
        const int j = x >> 1, sum = ZERO + (x == 0 ? four.x : x == 1 ? four.y : x == 2 ? four.z : four.w);
        const float bound = part_of_bound(sum, x & 1 ? side[j].z : side[j].x, x & 1 ? side[j].w : side[j].y, step);
        const i64 row = tile * ROWS + (2 * part + j) * 8 + 2 * t + (x & 1);
        if (!(fmaf(-coefficient, x & 1 ? e[j].y : e[j].x, bound) <= limit) || row >= p.count) continue;
        const u32 at = atomicAdd(p.counts + query, 1u);
        if (at < p.room) p.hits[query * p.room + at] = make_int2((int)row, sum - ZERO);
    }
}

// A number whose last five bits say which it is (``TAGGED``); no number where it was infinite, which fminf passes over.
__device__ __forceinline__ float tagged(float x, int which) { return __int_as_float((__float_as_int(x) & ~31) | which); }

// What a warp of the third group does until all that compare have ended: every third of these is its own. A lane knows one of them.
__device__ __forceinline__ void look(const Batch& p, Wide& shared, int first)
{
    const int lane = threadIdx.x & 31;
    u32 taken = 0;
    for (;;) {
        const bool ended = glance(shared.ended) == COMPARING;
        const u32 put = lane < COMPARING && lane % LOOKING == first ? acquired(shared.put[lane]) : 0;
        __syncwarp();
        u32 waiting = __ballot_sync(ALL, put != taken);
        if (!waiting && ended) return;
        if (!waiting) __nanosleep(128);
#pragma unroll 1
        for (; waiting; waiting &= waiting - 1) {
            const int own = __ffs(waiting) - 1;
            const u32 begin = __shfl_sync(ALL, taken, own), some = min(__shfl_sync(ALL, put, own) - begin, 4u);
            if (lane >> 3 < some) look_at(p, shared.lines[own][(begin + (lane >> 3)) % WAITING], lane & 7);
            announce(shared.taken[own], begin + some);
            if (lane == own) taken += some;
        }
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
        UNROLL for (int i = 0; i < SIDES; ++i) barrier_init(shared.sides_full[i], 1), barrier_init(shared.sides_empty[i], COMPARING);
        barrier_init(shared.queries_full, 1), barrier_init(shared.queries_empty, 2);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    }
    __syncthreads();
    let_next_begin();
    await_before();
    const i64 items = (p.last - p.first + p.each - 1) / p.each * p.query_tiles;
    const int group = __shfl_sync(ALL, threadIdx.x >> 7, 0);  // uniform, as the compiler can see
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
    // Where operands lie: uniform, as the compiler can see, and made once.
    const u32 own_queries = __shfl_sync(ALL, address(&shared.queries[group * TALL >> 1][0][(group * TALL & 1) * 64][0]), 0);
    const u32 first_rows = __shfl_sync(ALL, address(shared.rows), 0);
    int stage = 0, phase = 0, side = 0, side_phase = 0, turn = 0;
    u32 put = 0;
    if (group == 1) asm volatile("bar.arrive 1, 256;" ::: "memory");  // the first one begins
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
            const int first_stage = stage;
            asm volatile("bar.sync %0, 256;" ::"r"(1 + group) : "memory");
            UNROLL for (int slice = 0; slice < SLICES; ++slice) {
                await(shared.full[stage], phase);
                if (slice == 0) asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
                const u64 rows = operand(first_rows + stage * (ROWS * SLICE));
                UNROLL for (int k = 0; k < SLICE / 32; ++k) UNROLL for (int i = 0; i < TALL; ++i)
                    multiply_wide(sums[i], operand(own_queries + (slice * 128 + i * 64) * SLICE) + 2 * k, rows + 2 * k, slice == 0 && k == 0);
                if (++stage == AHEAD) stage = 0, phase ^= 1;
            }
            asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
            asm volatile("bar.arrive %0, 256;" ::"r"(2 - group) : "memory");
            asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
            UNROLL for (int i = 0; i < TALL; ++i) hold(sums[i]);
            if (first_thread) {
                for (int slice = 0, at = first_stage; slice < SLICES; ++slice, at = at + 1 == AHEAD ? 0 : at + 1) arrive(shared.empty[at]);
                if (tile + 1 == end) arrive(shared.queries_empty);
            }
            await(shared.sides_full[side], side_phase);
            const u32 taken = SAMPLE ? 0 : glance(shared.taken[own]);
            const float4* sides = reinterpret_cast<const float4*>(shared.sides[side]) + t;  // s and N of two rows
            float least[TALL][2];
            UNROLL for (int i = 0; i < TALL; ++i) UNROLL for (int h = 0; h < 2; ++h) least[i][h] = infinite();
            UNROLL for (int j = 0; j < 16; ++j) {
                const float4 line = sides[4 * j];
                UNROLL for (int i = 0; i < TALL; ++i) UNROLL for (int h = 0; h < 2; ++h) {
                    const int x = ZERO + sums[i][4 * j + 2 * h], y = ZERO + sums[i][4 * j + 2 * h + 1];
                    if (SAMPLE) {
                        least[i][h] = fminf(least[i][h], tagged(part_of_bound(x, line.x, line.y, steps[i][h]), 2 * j));
                        least[i][h] = fminf(least[i][h], tagged(part_of_bound(y, line.z, line.w, steps[i][h]), 2 * j + 1));
                    } else {
                        least[i][h] = fminf(least[i][h], loose_bound(x, line.x, line.y, steps[i][h], starts[i][h]));
                        least[i][h] = fminf(least[i][h], loose_bound(y, line.z, line.w, steps[i][h], starts[i][h]));
                    }
                }
            }
            u32 masks[TALL][2], any = 0;
            UNROLL for (int i = 0; i < TALL; ++i) UNROLL for (int h = 0; h < 2; ++h) {
                const i64 query = first_query + i * 64 + h * 8;
                if (!SAMPLE) any |= masks[i][h] = __ballot_sync(ALL, least[i][h] <= limits[i][h]);
                else if (query < p.queries) {
                    const int tag = __float_as_int(least[i][h]) & 31;
                    p.groups[query * p.groups_stride + (tile - p.first) * 4 + t] = make_float2(least[i][h], __int_as_float((int)tile * ROWS + (tag >> 1) * 8 + 2 * t + (tag & 1)));
                }
            }
            if (any) pass_on(shared, own, sums, masks, (u32)first_query, (u32)tile << 2 | t, put, taken);
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
