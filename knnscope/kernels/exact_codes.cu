// Rows and queries as codes: centred and scaled, rotated to their principal directions, written with 8 and with 4 bits.
//
//   FULL    components of a rotated row, padded with zeros: a multiple of 128
//   WIDTH   components that are written with 8 bits: FULL, or fewer, the last of which is the length of all that are left out
//   LEADING m, components that the plane holds: a multiple of 64, or 0
//
// Lengths are never further apart than the vectors that they are of. So what stands for a vector, its leading components and the length of the
// others, is no further from what stands for another one than the vectors are: the lower bound of bound.py holds for it as it is.

constexpr int SLICE = 128;                      // components, and bytes, of a row in a slice of codes
constexpr int SLICES = WIDTH / SLICE;
static_assert(FULL <= 4096 && WIDTH <= FULL, "sqrt(WIDTH) / 2 is at most WIDTH / 64 from 1,024 on, and 16 below");
constexpr double FAR = 0x1p40;                  // scaled lengths whose squares float32 has room for
#if LEADING
constexpr int PLANE_TILE = 8 * LEADING + 128;   // bytes of 16 rows of the plane
constexpr double LARGEST = 64;                  // scaled lengths that float16 has room for
constexpr float START = 0.3352f;                // see certified/components.py
#endif

struct Map {
    const double* centre;   // (dim,)
    double scaling, reach2; // a power of two; M^2, scaled
    double rho;             // how far a rotated vector may be from what it should be, relative to its length
    i64 dim;
};

// What a row leaves behind for all: largest of |z|^2, |y|^2, e1, e2, |y8|^2, s and e / s, as the bits of what is not negative; rows too long.
struct Most { u64 length2, written2, error, tail, coded2, step, ratio; u64 longer, bad; };

__device__ __forceinline__ void keep_most(u64* most, double value) { atomicMax(most, (u64)__double_as_longlong(value)); }

// x': a warp a row. ``lengths2`` of x', ``extras`` a^2 of bound.py.
extern "C" __global__ void prepare_rows(const Cell* rows, i64 first, i64 count, const Map map, float* out, double* lengths2,
                                        double* extras, Most* most)
{
    const int lane = threadIdx.x & 31;
    const i64 warps = (i64)gridDim.x * blockDim.x >> 5;
    for (i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) >> 5; i < count; i += warps) {
        const Cell* row = rows + (first + i) * map.dim;
        double total = 0, factor = 1, extra = 0;
        for (i64 j = lane; j < map.dim; j += 32) total += wide(row[j]) * wide(row[j]);
        total = warp_sum(total);
        bool bad = !(total < endless());
        if (METRIC == 1) extra = fmax(map.reach2 - total * map.scaling * map.scaling, 0.0);
        if (METRIC == 2) {
            factor = total > 0 ? 1 / sqrt(total) : 0;
            extra = total > 0 ? 0 : map.reach2;
            bad |= total > 0 && !(total > 0x1p-800 && total < 0x1p800);
        }
        double length2 = 0;
#pragma unroll 4
        for (int j = lane; j < FULL; j += 32) {
            const double x = j < map.dim ? (wide(row[j]) * factor - map.centre[j]) * map.scaling : 0;
            out[i * FULL + j] = (float)x;
            length2 += x * x;
        }
        length2 = warp_sum(length2);
        bad |= !(length2 < FAR * FAR);
        if (lane == 0) {
            lengths2[i] = length2 * (1 + 0x1p-40), extras[i] = extra;
            if (bad) atomicAdd(&most->bad, 1ull);
        }
    }
}

// out = x rotated: (count, FULL) times the transpose of (FULL, FULL), float32. 128 x 128 a block, 8 x 8 a thread.
extern "C" __global__ void __launch_bounds__(256) rotate(const float* x, i64 count, const float* directions, float* out)
{
    constexpr int TILE = 128, DEEP = 16, ROOM = TILE + 4;
    __shared__ __align__(16) float a[2][DEEP][ROOM], b[2][DEEP][ROOM];
    await_before();
    const i64 row0 = (i64)blockIdx.x * TILE;
    const int column0 = blockIdx.y * TILE, thread = threadIdx.x, ty = thread / 16, tx = thread % 16;
    float sums[8][8] = {};
    float4 from_a[2], from_b[2];
    auto fetch = [&](int k) {
        UNROLL for (int part = 0; part < 2; ++part) {
            const int line = (thread >> 2) + 64 * part, piece = (thread & 3) * 4;
            const i64 row = row0 + line;
            from_a[part] = row < count ? *reinterpret_cast<const float4*>(x + row * FULL + k + piece) : make_float4(0, 0, 0, 0);
            from_b[part] = *reinterpret_cast<const float4*>(directions + (i64)(column0 + line) * FULL + k + piece);
        }
    };
    auto put = [&](int stage) {
        UNROLL for (int part = 0; part < 2; ++part) {
            const int line = (thread >> 2) + 64 * part, piece = (thread & 3) * 4;
            const float* u = &from_a[part].x;
            const float* v = &from_b[part].x;
            UNROLL for (int c = 0; c < 4; ++c) a[stage][piece + c][line] = u[c], b[stage][piece + c][line] = v[c];
        }
    };
    fetch(0);
    put(0);
    __syncthreads();
    for (int k = 0, stage = 0; k < FULL; k += DEEP, stage ^= 1) {
        if (k + DEEP < FULL) fetch(k + DEEP);
        UNROLL for (int d = 0; d < DEEP; ++d) {
            float u[8], v[8];
            UNROLL for (int i = 0; i < 2; ++i) {
                *reinterpret_cast<float4*>(u + 4 * i) = *reinterpret_cast<const float4*>(&a[stage][d][ty * 4 + 64 * i]);
                *reinterpret_cast<float4*>(v + 4 * i) = *reinterpret_cast<const float4*>(&b[stage][d][tx * 4 + 64 * i]);
            }
            UNROLL for (int i = 0; i < 8; ++i) UNROLL for (int j = 0; j < 8; ++j) sums[i][j] = fmaf(u[i], v[j], sums[i][j]);
        }
        if (k + DEEP < FULL) put(stage ^ 1);
        __syncthreads();
    }
    UNROLL for (int i = 0; i < 8; ++i) {
        const i64 row = row0 + ty * 4 + 64 * (i / 4) + i % 4;
        if (row >= count) continue;
        UNROLL for (int j = 0; j < 2; ++j)
            *reinterpret_cast<float4*>(out + row * FULL + column0 + tx * 4 + 64 * j) =
                make_float4(sums[i][4 * j], sums[i][4 * j + 1], sums[i][4 * j + 2], sums[i][4 * j + 3]);
    }
}

// The same for few vectors: a warp takes eight of them and six directions, a lane every 32nd component.
extern "C" __global__ void __launch_bounds__(256) rotate_few(const float* x, const float* directions, float* out)
{
    constexpr int VECTORS = 8;
    let_next_begin();
    await_before();
    const int lane = threadIdx.x & 31, warp = blockIdx.y * 8 + (threadIdx.x >> 5), warps = gridDim.y * 8;
    const i64 first = (i64)blockIdx.x * VECTORS;
    for (int component = warp; component < FULL; component += warps) {
        float sums[VECTORS] = {};
#pragma unroll 4
        for (int j = lane; j < FULL; j += 32) {
            const float direction = directions[(i64)component * FULL + j];
            UNROLL for (int v = 0; v < VECTORS; ++v) sums[v] = fmaf(direction, x[(first + v) * FULL + j], sums[v]);
        }
        UNROLL for (int v = 0; v < VECTORS; ++v) {
            UNROLL for (int o = 16; o; o >>= 1) sums[v] += __shfl_xor_sync(ALL, sums[v], o);
            if (lane == 0) out[(first + v) * FULL + component] = sums[v];
        }
    }
}

__device__ __forceinline__ u16 half_up(double value)
{
    u16 half;
    asm("cvt.rp.f16.f32 %0, %1;" : "=h"(half) : "f"(__double2float_ru(value)));
    return half;
}
__device__ __forceinline__ u16 half_down(double value)
{
    u16 half;
    asm("cvt.rm.f16.f32 %0, %1;" : "=h"(half) : "f"(__double2float_rd(value)));
    return half;
}
__device__ __forceinline__ u16 half_near(float value)
{
    u16 half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
    return half;
}
// A step with which no code is above 127, and all of them together no longer than 2,047: products of codes then stay below 2^22.
// ``lost``: what a row may be wrong by whatever its step; with 8 / sqrt(WIDTH) of it as a step, e / s is no more than rounding makes it.
__device__ __forceinline__ float step_for(float peak, double length2, double lost = 0)
{
    constexpr float LONGEST = 2046 - (WIDTH > 1024 ? WIDTH / 64.0f : 16);  // a code's rounding adds at most half of 1 to each of WIDTH: sqrt(WIDTH) / 2 in all
    const float least = (float)fmax(lost * (8 / sqrt((double)WIDTH)), 0x1p-100);
    return fmaxf(fmaxf(peak * (1.0f / 127), (float)sqrt(length2) * (1.00001f / LONGEST)), least);
}
// What is written of a rotated vector: four components from ``j`` on.
__device__ __forceinline__ float4 written(const float* z, int j, float tail)
{
    float4 four = *reinterpret_cast<const float4*>(z + j);
    if (WIDTH < FULL && j == WIDTH - 4) four.w = tail;
    return four;
}
// The length of what is left out; its rounding is among what a length may be wrong by (SHORTENED).
__device__ __forceinline__ float tail_of(const float* z)
{
    double tail2 = 0;
    if (WIDTH < FULL) for (int j = WIDTH - 1 + (threadIdx.x & 31); j < FULL; j += 32) tail2 += (double)z[j] * z[j];
    return WIDTH < FULL ? (float)sqrt(warp_sum(tail2)) : 0;
}
constexpr double SHORTENED = WIDTH < FULL ? 0x1p-22 : 0;
__device__ __forceinline__ int code_of(float z, float inverse) { return (int)fminf(fmaxf(rintf(z * inverse), -127.f), 127.f); }

// The place of four codes: tiles of 128 rows, slices of 128 bytes, pieces of 16 bytes at places that eight rows do not share.
__device__ __forceinline__ u32* place(u8* codes, i64 row, int slice, int lane)
{
    const i64 tile = row >> 7;
    const int line = row & 127;
    return reinterpret_cast<u32*>(codes + ((tile * SLICES + slice) * 128 + line) * SLICE + (((lane >> 2) ^ (line & 7)) << 4)) + (lane & 3);
}

__device__ __forceinline__ float level_of(float z, float inverse) { return fminf(fmaxf(floorf(z * inverse) + 8, 0.f), 15.f); }

// A row of the plane: its bytes as exact_plane.cu multiplies them, 16 rows to a tile, and its s, N, e1, e2.
__device__ __forceinline__ void write_plane(const float* z, i64 row, double length2, const Map& map, u8* plane, Most* most, double blur)
{
#if LEADING
    const int lane = threadIdx.x & 31;
    double leading2 = 0;
    for (int j = lane; j < LEADING; j += 32) leading2 += (double)z[j] * z[j];
    leading2 = warp_sum(leading2);
    const float first = START * sqrtf((float)(leading2 / LEADING)), to = first > 1e-18f ? 1 / first : 0;
    double dot = 0, square = 0;
    for (int j = lane; j < LEADING; j += 32) {
        const float level = level_of(z[j], to) - 7.5f;
        dot += (double)level * z[j], square += (double)level * level;
    }
    dot = warp_sum(dot), square = warp_sum(square);
    const bool longer = !(length2 <= LARGEST * LARGEST);
    const u16 half = longer ? 0 : half_near((float)fmax(0.0, dot / square));
    const float step = from_half(half), inverse = step > 1e-18f ? 1 / step : 0;
    u8* tile = plane + (row >> 4) * PLANE_TILE;
    const int line = row & 15;
    double missed2 = 0, written2 = 0;
    for (int word = lane; word < LEADING / 8; word += 32) {
        u32 bits = 0;
        UNROLL for (int half_of = 0; half_of < 2; ++half_of) {
            UNROLL for (int byte = 0; byte < 4; ++byte) {
                const float x = z[half_of * (LEADING / 2) + 4 * word + byte], level = level_of(x, inverse);
                const double y = (double)step * (level - 7.5f), left = x - y;
                missed2 += left * left, written2 += y * y;
                bits |= (u32)level << (8 * byte + 4 * half_of);
            }
        }
        const int pair = word >> 3, within = word & 7;
        const int at = pair * 512 + ((line & 7) * 4 + (within & 3)) * 16 + (2 * (within >> 2) + (line >> 3)) * 4;
        *reinterpret_cast<u32*>(tile + at) = bits;
    }
    missed2 = warp_sum(missed2), written2 = warp_sum(written2);
    if (lane == 0) {
        const double error = plane_residual(missed2, sqrt(length2), map.rho) + blur, tail = plane_rest(length2, leading2, map.rho) + blur;
        const u16 term = METRIC == 0 && !longer ? half_down(length2 * (1 - 0x1p-38)) : 0;
        const u32 low = half | (u32)term << 16, high = (longer ? 0x7c00u : half_up(error)) | (u32)(longer ? 0 : half_up(tail)) << 16;
        *reinterpret_cast<uint2*>(tile + 8 * LEADING + line * 8) = make_uint2(low, high);
        if (longer) atomicAdd(&most->longer, 1ull);
        else {
            keep_most(&most->length2, length2), keep_most(&most->written2, written2);
            keep_most(&most->error, error), keep_most(&most->tail, tail);
        }
    }
#endif
}

// Codes of rotated rows, a warp a row: ``sides``: of 128 rows, s and N of bound.py side by side, then e.
extern "C" __global__ void encode_rows(const float* rotated, i64 first, i64 count, const Map map, const double* lengths2, const double* extras,
                                       u8* codes, float* sides, u8* plane, Most* most)
{
    const int lane = threadIdx.x & 31;
    const i64 warps = (i64)gridDim.x * blockDim.x >> 5;
    for (i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) >> 5; i < count; i += warps) {
        const float* z = rotated + i * FULL;
        const double length2 = lengths2[i];
        float peak = 0;
        double own2 = 0;
        const float tail = tail_of(z);
        for (int j = lane; j < FULL; j += 32) peak = j < WIDTH ? fmaxf(peak, fabsf(z[j])) : peak, own2 += (double)z[j] * z[j];
        peak = fmaxf(peak, tail);
        peak = warp_most(peak), own2 = warp_sum(own2);
        const double loose = METRIC == 0 ? 0 : METRIC == 1 ? map.reach2 * (map.dim + 4) * 0x1p-51 : map.reach2 * (map.dim + 8) * 0x1p-49;
        const float step = step_for(peak, own2, map.rho * sqrt(length2) + sqrt(loose) + TINY), inverse = 1 / step;
        double residual2 = 0;
        int squares_ = 0;
        for (int slice = 0; slice < SLICES; ++slice) {
            const float4 four = written(z, slice * SLICE + 4 * lane, tail);
            u32 bits = 0;
            UNROLL for (int c = 0; c < 4; ++c) {
                const float x = (&four.x)[c];
                const int code = code_of(x, inverse);
                const double left = x - (double)step * code;
                residual2 += left * left;
                squares_ += code * code;
                bits |= (u32)(code & 255) << (8 * c);
            }
            *place(codes, first + i, slice, lane) = bits;
        }
        residual2 = warp_sum(residual2), squares_ = warp_sum(squares_);
        if (lane == 0) {
            const double e = error_of(residual2, length2, (FULL + 8) * 0x1p-52, map.rho + SHORTENED);
            const float e_up = up(sqrt(e * e + loose) * WIDEN);
            float* side = sides + ((first + i) >> 7) * 384 + 2 * ((first + i) & 127);
            side[0] = step, side[1] = row_term(step, squares_, extras[i], e_up), side[256 - ((first + i) & 127)] = e_up;
            keep_most(&most->step, step), keep_most(&most->ratio, (double)e_up / step);
            keep_most(&most->coded2, (double)step * step * squares_ + extras[i]);
        }
        const double blur = METRIC == 2 ? (map.dim + 8) * 0x1p-52 * map.scaling : 0;
        write_plane(z, first + i, length2, map, plane, most, blur);
    }
}

// Queries as bound.py has them.
struct Asked {
    double *lengths2, *errors, *bases, *gains, *blurs, *bars; // |p|^2, e_q; a value v has the squared distance base + gain v; T
    float *steps, *limits, *coefficients, *starts, *tails;     // 2 t, V, C, K of loose_bound, the length of what is left out
    u8* far;
};

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

// x' of queries, a warp each. Those beyond ``count`` keep no row.
extern "C" __global__ void prepare_queries(const Queries p)
{
    let_next_begin();
    await_before();
    const int lane = threadIdx.x & 31;
    const i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) >> 5;
    if (i >= p.padded) return;
    const Map& map = p.map;
    const Asked& asked = p.asked;
    const Query query = {static_cast<const u8*>(p.given) + i * map.dim * (p.wide ? 8 : 4), (int)p.wide};
    if (lane == 0) p.counts[i] = 0;
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
#pragma unroll 4
    for (int j = lane; j < FULL; j += 32) {
        double x = 0;
        if (!padding && j < map.dim) {
            const double q = query[j];
            p.values[i * map.dim + j] = q;
            if (!far) x = (q * factor - map.centre[j]) * map.scaling;
        }
        p.flat[i * FULL + j] = (float)x;
        length2 += x * x;
    }
    length2 = warp_sum(length2);
    if (lane == 0) {
        p.own2[i] = length2 * (1 + 0x1p-40);
        asked.bases[i] = base, asked.gains[i] = gain;
        if (METRIC == 2 && !padding) p.norms[i] = defined_length(query, map.dim);
        asked.blurs[i] = sqrt(blur + fabs(gain) * map.dim * 0x1p-1022);
        asked.far[i] = far || !(length2 < FAR * FAR);
    }
}

// Codes of rotated queries, a warp each.
extern "C" __global__ void encode_queries(const Queries p)
{
    let_next_begin();
    await_before();
    const int lane = threadIdx.x & 31;
    const i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) >> 5;
    if (i >= p.padded) return;
    const Asked& asked = p.asked;
    const float* z = p.rotated + i * FULL;
    float peak = 0;
    double sum2 = 0;
    const float tail = tail_of(z);
    for (int j = lane; j < FULL; j += 32) peak = j < WIDTH ? fmaxf(peak, fabsf(z[j])) : peak, sum2 += (double)z[j] * z[j];
    peak = fmaxf(peak, tail);
    peak = warp_most(peak), sum2 = warp_sum(sum2);
    const bool far = asked.far[i];
    const float step = far ? 1 : step_for(peak, sum2), inverse = 1 / step;
    double residual2 = 0;
    int squares_ = 0;
    for (int slice = 0; slice < SLICES; ++slice) {
        const float4 four = written(z, slice * SLICE + 4 * lane, tail);
        u32 bits = 0;
        UNROLL for (int c = 0; c < 4; ++c) {
            const float x = far ? 0 : (&four.x)[c];
            const int code = code_of(x, inverse);
            const double left = x - (double)step * code;
            residual2 += left * left;
            squares_ += code * code;
            bits |= (u32)(code & 255) << (8 * c);
        }
        *place(p.codes, i, slice, lane) = bits;
    }
    residual2 = warp_sum(residual2), squares_ = warp_sum(squares_);
    if (lane == 0) {
        asked.steps[i] = far ? 0 : 2 * step;
        asked.lengths2[i] = (double)step * step * squares_;
        asked.errors[i] = error_of(residual2, p.own2[i], (FULL + 8) * 0x1p-52, p.map.rho + 0x1p-48 + SHORTENED);
        asked.bars[i] = endless();
        asked.limits[i] = far ? -infinite() : infinite();
        asked.coefficients[i] = asked.starts[i] = 0;
        asked.tails[i] = tail * (1 + 0x1p-20f);
    }
}
