// Queries as codes, by what rows are written with: centred and scaled, rotated, written with 8 bits. It comes after codes.cuh.
//
//   ALIKE    1: queries that a thread of a warpgroup compares have one step: a query, the one eight behind it, and those 64 behind these

constexpr int EIGHT = 8;  // queries of a block, and warps

// What comes in: queries as they were given, and where what is made of them goes.
struct Queries {
    const void* given; i64 wide, count, padded;   // float32, or float64 where ``wide``: (count, dim)
    Map map;
    double *values, *norms;                       // as float64; lengths as defined, for cosine
    float *flat, *rotated;                        // x', (padded, FULL)
    double* own2;
    u8* codes;
    u32* counts;                                  // of hits: none so far
    Asked asked;
};

__device__ __forceinline__ Query query_of(const Queries& p, i64 i)
{
    return {static_cast<const u8*>(p.given) + i * p.map.dim * (p.wide ? 8 : 4), (int)p.wide};
}

// x' of a query, by a warp: ``keep`` takes its components. Those beyond ``count`` keep no row. tell: whether this warp writes what others need of it.
template <typename Keep> __device__ __forceinline__ void prepare(const Queries& p, i64 i, bool tell, Keep keep)
{
    const int lane = threadIdx.x & 31;
    const Map& map = p.map;
    const Asked& asked = p.asked;
    const Query query = query_of(p, i);
    double total = 0, factor = 1, base = 0, unit2 = map.scaling * map.scaling, gain = unit2, blur = 0;
    const bool padding = i >= p.count;
    bool far = padding;
    if (METRIC && !far) {
#pragma unroll 4
        for (i64 j = lane; j < map.dim; j += 32) total += query[j] * query[j];
    }
    total = warp_sum(total);
    if (METRIC && !far) {
        const double length = sqrt(total);
        if (!(length > 0x1p-400 && length < 0x1p400)) far = true, factor = 0;
        else {
            double u = sqrt(map.reach2 / unit2) / length;
            factor = u;
            if (METRIC == 2) u *= length;
            base = 2 * map.reach2, gain = -2 * u * unit2, blur = (2 * map.dim + 40) * 0x1p-50 * map.reach2;
        }
    }
    double length2 = 0;
    constexpr int STEPS = FULL / 32, AT_ONCE = STEPS < 12 ? STEPS : 12;
    for (int start = 0; start < STEPS; start += AT_ONCE) {
        double of_query[AT_ONCE], of_centre[AT_ONCE];  // read before anything is written, which might be what is read
        UNROLL for (int c = 0; c < AT_ONCE; ++c) {
            const int j = (start + c) * 32 + lane;
            const bool is_there = !padding && j < map.dim;
            of_query[c] = is_there ? query[j] : 0, of_centre[c] = is_there ? map.centre[j] : 0;
        }
        UNROLL for (int c = 0; c < AT_ONCE; ++c) {
            const int j = (start + c) * 32 + lane;
            if (STEPS % AT_ONCE && j >= FULL) break;
            const bool is_there = !padding && j < map.dim;
            if (is_there && tell) p.values[i * map.dim + j] = of_query[c];
            const double x = is_there && !far ? (of_query[c] * factor - of_centre[c]) * map.scaling : 0;
            keep(j, (float)x);
            length2 += x * x;
        }
    }
    length2 = warp_sum(length2);
    if (lane == 0 && tell) {
        p.counts[i] = 0;
        p.own2[i] = length2 * (1 + 0x1p-40);
        asked.bases[i] = base, asked.gains[i] = gain;
        asked.blurs[i] = sqrt(blur + fabs(gain) * map.dim * 0x1p-1022);
        asked.far[i] = far || !(length2 < FAR * FAR);
    }
}

// Its length as defined, by one thread.
__device__ __forceinline__ void tell_length(const Queries& p, i64 i)
{
    if (METRIC == 2 && i < p.count) p.norms[i] = defined_length(query_of(p, i), p.map.dim);
}

// Codes of a rotated query, by a warp. shared: takes its step, 0 where it is far away, and gives the one that others have as well, or 0.
template <typename Shared> __device__ __forceinline__ void encode(const Queries& p, i64 i, const float* z, Shared shared)
{
    const Asked& asked = p.asked;
    const float tail = tail_of(z);
    const Extent extent = extent_of(z, tail);
    const bool far = asked.far[i];
    const float own = far ? 0 : step_for(extent.peak, extent.length2), common = shared(own), step = far ? 1 : common > 0 ? common : own;
    const Coded coded = write_codes(z, tail, step, p.codes, i, far);
    if ((threadIdx.x & 31) == 0) {
        asked.steps[i] = far ? 0 : 2 * step;
        asked.lengths2[i] = (double)step * step * coded.squares;
        asked.errors[i] = error_of(coded.missed2, p.own2[i], (FULL + 8) * 0x1p-52, p.map.rho + 0x1p-48 + SHORTENED);
        asked.bars[i] = endless();
        asked.limits[i] = far ? -infinite() : infinite();
        asked.coefficients[i] = asked.starts[i] = 0;
        asked.tails[i] = tail * (1 + 0x1p-20f);
    }
}

// Many queries: a warp each, and between these two kernels a product with all directions.
extern "C" __global__ void prepare_queries(const Queries p)
{
    let_next_begin();
    await_before();
    const i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) >> 5;
    if (i >= p.padded) return;
    prepare(p, i, true, [&](int j, float x) { p.flat[i * FULL + j] = x; });
    if ((threadIdx.x & 31) == 0) tell_length(p, i);
}
extern "C" __global__ void encode_queries(const Queries p)
{
    let_next_begin();
    await_before();
    const int own = threadIdx.x >> 5;
#if ALIKE
    __shared__ float steps[EIGHT];
    const i64 i = (i64)(blockIdx.x >> 4) * 128 + (blockIdx.x >> 2 & 3) * 16 + (blockIdx.x & 3) * 2 + (own >> 2) + (own & 1) * 8 + (own >> 1 & 1) * 64;
    auto shared = [&](float step) {
        steps[own] = step;
        __syncthreads();
        return shared_step([&](int other) { return steps[(own & 4) + other]; }, 4);
    };
#else
    const i64 i = (i64)blockIdx.x * EIGHT + own;
    auto shared = [](float) { return 0.f; };
#endif
    if (i < p.padded) encode(p, i, (i < p.count ? p.rotated : p.flat) + i * FULL, shared);  // beyond ``count`` none is rotated, and all are 0
}


// The product for some queries: a warp takes eight of them and six directions, a lane every 32nd component.
extern "C" __global__ void __launch_bounds__(256) rotate_few(const float* x, const float* directions, float* out)
{
    let_next_begin();
    await_before();
    const int lane = threadIdx.x & 31, warp = blockIdx.y * 8 + (threadIdx.x >> 5), warps = gridDim.y * 8;
    const i64 first = (i64)blockIdx.x * EIGHT;
    for (int component = warp; component < FULL; component += warps) {
        float sums[EIGHT] = {};
#pragma unroll 4
        for (int j = lane; j < FULL; j += 32) {
            const float direction = directions[(i64)component * FULL + j];
            UNROLL for (int v = 0; v < EIGHT; ++v) sums[v] = fmaf(direction, x[(first + v) * FULL + j], sums[v]);
        }
        UNROLL for (int v = 0; v < EIGHT; ++v) {
            UNROLL for (int o = 16; o; o >>= 1) sums[v] += __shfl_xor_sync(ALL, sums[v], o);
            if (lane == 0) out[(first + v) * FULL + component] = sums[v];
        }
    }
}

// The same for more queries: 64 by 32 components a block, 4 x 4 a thread, which reads four steps of both at once.
extern "C" __global__ void __launch_bounds__(128) rotate_some(const float* x, const float* directions, float* out)
{
    constexpr int HIGH = 64, WIDE = 32, DEEP = 32, ROOM = DEEP + 4;  // eight lines begin at different banks
    __shared__ __align__(16) float a[2][HIGH][ROOM], b[2][WIDE][ROOM];
    let_next_begin();
    const int thread = threadIdx.x, ty = thread / 8, tx = thread % 8;
    const float *left = x + (i64)blockIdx.x * HIGH * FULL, *right = directions + (i64)blockIdx.y * WIDE * FULL;
    auto fetch = [&](float* to, const float* from, int lines, int k) {
        UNROLL for (int i = thread; i < lines * DEEP / 4; i += 128) copy_ahead(to + i / (DEEP / 4) * ROOM + i % (DEEP / 4) * 4, from + (i64)(i / (DEEP / 4)) * FULL + k + i % (DEEP / 4) * 4);
    };
    fetch(b[0][0], right, WIDE, 0);
    await_before();
    fetch(a[0][0], left, HIGH, 0);
    copies_end();
    float sums[4][4] = {};
    for (int k = 0, stage = 0; k < FULL; k += DEEP, stage ^= 1) {
        if (k + DEEP < FULL) fetch(b[stage ^ 1][0], right, WIDE, k + DEEP), fetch(a[stage ^ 1][0], left, HIGH, k + DEEP);
        copies_end();
        await_copies<1>();
        __syncthreads();
        UNROLL for (int d = 0; d < DEEP; d += 4) {
            float u[4][4], v[4][4];
            UNROLL for (int i = 0; i < 4; ++i) {
                *reinterpret_cast<float4*>(u[i]) = *reinterpret_cast<const float4*>(&a[stage][ty + 16 * i][d]);
                *reinterpret_cast<float4*>(v[i]) = *reinterpret_cast<const float4*>(&b[stage][tx + 8 * i][d]);
            }
            UNROLL for (int c = 0; c < 4; ++c) UNROLL for (int i = 0; i < 4; ++i) UNROLL for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(u[i][c], v[j][c], sums[i][j]);
        }
        __syncthreads();
    }
    UNROLL for (int i = 0; i < 4; ++i) UNROLL for (int j = 0; j < 4; ++j)
        out[((i64)blockIdx.x * HIGH + ty + 16 * i) * FULL + blockIdx.y * WIDE + tx + 8 * j] = sums[i][j];
}

// All three for few queries. A block prepares eight and multiplies them by eight directions, which it reads before the queries are there. The last
// one of (FULL / 8) of them writes the codes. ``done``: blocks that are, of each eight queries; 0 before and after.
extern "C" __global__ void __launch_bounds__(32 * EIGHT) take_few(const Queries p, const float* directions, u32* done)
{
    extern __shared__ __align__(16) float x[];  // (EIGHT, FULL)
    constexpr int LANE = FULL / 32, EARLY = LANE < 16 ? LANE : 16;  // components of a lane, and those of a direction that it has in registers
    __shared__ bool last;
    let_next_begin();
    const int lane = threadIdx.x & 31, own = threadIdx.x >> 5, component = blockIdx.y * EIGHT + own;
    const float* direction = directions + (i64)component * FULL + lane;
    float early[EARLY];
    UNROLL for (int c = 0; c < EARLY; ++c) early[c] = __ldg(direction + 32 * c);
    await_before();
    const i64 first = (i64)blockIdx.x * EIGHT;
    const bool tells = blockIdx.y == 0;
    prepare(p, first + own, tells, [&](int j, float value) { x[own * FULL + j] = value; });
    __syncthreads();
    float sums[EIGHT] = {};
    UNROLL for (int c = 0; c < EARLY; ++c)
        UNROLL for (int v = 0; v < EIGHT; ++v) sums[v] = fmaf(early[c], x[v * FULL + 32 * c + lane], sums[v]);
#pragma unroll 4
    for (int c = EARLY; c < LANE; ++c) {
        const float one = __ldg(direction + 32 * c);
        UNROLL for (int v = 0; v < EIGHT; ++v) sums[v] = fmaf(one, x[v * FULL + 32 * c + lane], sums[v]);
    }
    UNROLL for (int v = 0; v < EIGHT; ++v) {
        UNROLL for (int o = 16; o; o >>= 1) sums[v] += __shfl_xor_sync(ALL, sums[v], o);
        if (lane == v) p.rotated[(first + v) * FULL + component] = sums[v];
    }
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(done + blockIdx.x, 1u) == gridDim.y - 1;
        if (last) done[blockIdx.x] = 0;
    }
    __syncthreads();
    if (last) {
        __threadfence();
        encode(p, first + own, p.rotated + (first + own) * FULL, [](float) { return 0.f; });
    }
    if (tells && lane == 0) tell_length(p, first + own);
}
