// Rows as codes: centred and scaled, rotated to their principal directions, written with 8 and with 4 bits. It comes after codes.cuh.
//
//   LEADING m, components that the plane holds: a multiple of 64, or 0

#if LEADING
constexpr int PLANE_TILE = 8 * LEADING + 128;   // bytes of 16 rows of the plane
constexpr double LARGEST = 64;                  // scaled lengths that float16 has room for
constexpr float START = 0.3352f;                // see certified/components.py
#endif

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

// Codes of rotated rows and their sides (SIDE), a warp a row, a block a tile of them.
extern "C" __global__ void __launch_bounds__(256) encode_rows(const float* rotated, i64 count, const Map map, const double* lengths2, const double* extras,
                                                              u8* codes, float* sides, u8* plane, Most* most)
{
    constexpr int WARPS = 8;
    __shared__ float steps[ROWS];
    __shared__ int largest;  // |N / s|, as bits
    const int lane = threadIdx.x & 31, own = threadIdx.x >> 5;
    const double loose = METRIC == 0 ? 0 : METRIC == 1 ? map.reach2 * (map.dim + 4) * 0x1p-51 : map.reach2 * (map.dim + 8) * 0x1p-49;
    const double blur = METRIC == 2 ? (map.dim + 8) * 0x1p-52 * map.scaling : 0;
    for (i64 first = (i64)blockIdx.x * ROWS; first < count; first += (i64)gridDim.x * ROWS) {
        const int some = (int)(count - first < ROWS ? count - first : ROWS);
        if (threadIdx.x == 0) largest = 0;
        for (int line = own; line < some; line += WARPS) {
            const float* z = rotated + (first + line) * FULL;
            const Extent extent = extent_of(z, tail_of(z));
            const float step = step_for(extent.peak, extent.length2, map.rho * sqrt(lengths2[first + line]) + sqrt(loose) + TINY);
            if (lane == 0) steps[line] = step;
        }
        __syncthreads();
        const float shared = shared_step([&](int i) { return steps[i]; }, some);
        float* side = sides + (first / ROWS) * SIDE;
        for (int line = own; line < some; line += WARPS) {
            const i64 i = first + line;
            const float* z = rotated + i * FULL;
            const double length2 = lengths2[i];
            const float step = shared > 0 ? shared : steps[line];
            const Coded coded = write_codes(z, tail_of(z), step, codes, i);
            if (lane == 0) {
                const double e = error_of(coded.missed2, length2, (FULL + 8) * 0x1p-52, map.rho + SHORTENED);
                const float e_up = up(sqrt(e * e + loose) * WIDEN), n = row_term(step, coded.squares, extras[i], e_up);
                const float2 ratios = ratios_of(step, n);
                side[2 * line] = step, side[2 * line + 1] = n, side[2 * ROWS + line] = e_up;
                side[RATIOS + ratio_at(line)] = ratios.x, side[RATIOS + ROWS + ratio_at(line)] = ratios.y;
                atomicMax(&largest, __float_as_int(fabsf(ratios.x)));
                keep_most(&most->step, step), keep_most(&most->ratio, (double)e_up / step);
                keep_most(&most->coded2, (double)step * step * coded.squares + extras[i]);
            }
            write_plane(z, i, length2, map, plane, most, blur);
        }
        __syncthreads();
        if (threadIdx.x == 0) *reinterpret_cast<About*>(side + 5 * ROWS) = {shared > 0 ? 1 / shared : 1, shared > 0 ? __int_as_float(largest) : infinite()};
    }
}
