// How vectors become codes, for rows (exact_codes.cu) and for queries (exact_queries.cu). It comes after batch.cuh.
//
//   FULL    components of a rotated vector, padded with zeros: a multiple of 128
//   WIDTH   components that are written with 8 bits: FULL, or fewer, the last of which is the length of all that are left out
//
// Lengths are never further apart than the vectors that they are of. So what stands for a vector, its leading components and the length of the
// others, is no further from what stands for another one than the vectors are: the lower bound of bound.py holds for it as it is.

static_assert(FULL <= 4096 && WIDTH <= FULL, "sqrt(WIDTH) / 2 is at most WIDTH / 64 from 1,024 on, and 16 below");
constexpr double FAR = 0x1p40;                  // scaled lengths whose squares float32 has room for

struct Map {
    const double* centre;   // (dim,)
    double scaling, reach2; // a power of two; M^2, scaled
    double rho;             // how far a rotated vector may be from what it should be, relative to its length
    i64 dim;
};

// A step with which no code is above 127, and all of them together no longer than 2,047: products of codes then stay below 2^22.
// ``lost``: what a row may be wrong by whatever its step; with 8 / sqrt(WIDTH) of it as a step, e / s is no more than rounding makes it.
__device__ __forceinline__ float step_for(float peak, double length2, double lost = 0)
{
    constexpr float LONGEST = 2046 - (WIDTH > 1024 ? WIDTH / 64.0f : 16);  // a code's rounding adds at most half of 1 to each of WIDTH: sqrt(WIDTH) / 2 in all
    const float least = (float)fmax(lost * (8 / sqrt((double)WIDTH)), 0x1p-100);
    return fmaxf(fmaxf(peak * (1.0f / 127), (float)sqrt(length2) * (1.00001f / LONGEST)), least);
}
// The largest of some steps, by one warp, where that is less than twice their mean: then all these vectors may have it, at a loss of half a bit or so, and
// products are compared with less (own_room of batch.cuh). Else 0. Steps of 0 are of vectors that may have any.
template <typename Steps> __device__ __forceinline__ float shared_step(Steps step_of, int count)
{
    float most = 0;
    double sum = 0;
    int there = 0;
    for (int i = threadIdx.x & 31; i < count; i += 32) {
        const float step = step_of(i);
        most = fmaxf(most, step), sum += step, there += step > 0;
    }
    most = warp_most(most), sum = warp_sum(sum), there = warp_sum(there);
    return most * there < 2 * sum ? most : 0;
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

// A step for a rotated vector is made of its largest component, as far as it is written, and the square of its length; by one warp.
struct Extent { float peak; double length2; };
__device__ __forceinline__ Extent extent_of(const float* z, float tail)
{
    float peak = 0;
    double length2 = 0;
#pragma unroll 4
    for (int j = threadIdx.x & 31; j < FULL; j += 32) peak = j < WIDTH ? fmaxf(peak, fabsf(z[j])) : peak, length2 += (double)z[j] * z[j];
    return {warp_most(fmaxf(peak, tail)), warp_sum(length2)};
}

// The codes of a rotated vector, or of zeros, by one warp: what they miss, squared, and the sum of their squares.
struct Coded { double missed2; int squares; };
__device__ __forceinline__ Coded write_codes(const float* z, float tail, float step, u8* codes, i64 number, bool zeros = false)
{
    const int lane = threadIdx.x & 31;
    const float inverse = 1 / step;
    double missed2 = 0;
    int squares = 0;
    for (int slice = 0; slice < SLICES; ++slice) {
        const float4 four = written(z, slice * SLICE + 4 * lane, tail);
        u32 bits = 0;
        UNROLL for (int c = 0; c < 4; ++c) {
            const float x = zeros ? 0 : (&four.x)[c];
            const int code = code_of(x, inverse);
            const double left = x - (double)step * code;
            missed2 += left * left;
            squares += code * code;
            bits |= (u32)(code & 255) << (8 * c);
        }
        *place(codes, number, slice, lane) = bits;
    }
    return {warp_sum(missed2), warp_sum(squares)};
}
