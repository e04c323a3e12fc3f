// What the kernels of certified search share: types of rows, the values that search/definition.py defines, and order.
// It comes before each of them; NVRTC compiles it, so it includes nothing.
//
//   CELL    type of a row's components: 0 float32, 1 float16, 2 bfloat16, 3 float64, 4 int8, 5 uint8, 6 int32
//   METRIC  0 l2, 1 ip, 2 cosine

typedef unsigned long long u64;
typedef long long i64;
typedef unsigned u32;
typedef unsigned short u16;
typedef unsigned char u8;

#define ALL 0xffffffffu
#define UNROLL _Pragma("unroll")

#define LAST 0xffffffffffffffffull  // comes after every key

__device__ __forceinline__ float infinite() { return __int_as_float(0x7f800000); }
__device__ __forceinline__ float no_number() { return __int_as_float(0x7fffffff); }  // nothing is below it, nor above
__device__ __forceinline__ double endless() { return __longlong_as_double(0x7ff0000000000000ll); }

#if CELL == 0
typedef float Cell;
#elif CELL == 1 || CELL == 2
typedef u16 Cell;
#elif CELL == 3
typedef double Cell;
#elif CELL == 4
typedef signed char Cell;
#elif CELL == 5
typedef u8 Cell;
#else
typedef int Cell;
#endif

template <int N> struct Number { static constexpr int VALUE = N; };  // that a compiler knows, as an argument

[[maybe_unused]] constexpr int PIECE = 16 / sizeof(Cell);  // components in 16 bytes

// A component, which float64 holds without rounding.
__device__ __forceinline__ double wide(Cell cell)
{
#if CELL == 1
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(cell));
    return value;
#elif CELL == 2
    return __uint_as_float((u32)cell << 16);
#else
    return cell;
#endif
}

// One step of the definition: every operation is rounded by itself.
__device__ __forceinline__ double plus_term(double sum, double x, double q)
{
    if (METRIC == 0) {
        const double t = __dsub_rn(x, q);
        return __dadd_rn(sum, __dmul_rn(t, t));
    }
    return __dadd_rn(sum, __dmul_rn(x, q));
}

__device__ __forceinline__ double term(double x, double q)
{
    const double t = METRIC == 0 ? __dsub_rn(x, q) : x;
    return __dmul_rn(t, METRIC == 0 ? t : q);
}

// A row's components one after the other, 16 bytes at a time where rows begin at multiples of 16. The next Ahead pieces are on their way while
// these are added: a thread that waits for its own row has nothing else to do.
template <int Ahead = 4, typename Step> __device__ __forceinline__ void each_cell(const Cell* row, i64 dim, Step step)
{
    i64 j = 0;
    if ((reinterpret_cast<u64>(row) & 15) == 0 && dim >= Ahead * PIECE) {
        const uint4* pieces = reinterpret_cast<const uint4*>(row);
        const i64 last = dim / PIECE - 1;
        uint4 now[Ahead], next[Ahead];
        UNROLL for (int i = 0; i < Ahead; ++i) now[i] = __ldg(pieces + i);
        for (i64 first = 0; first + Ahead <= last + 1; first += Ahead) {
            UNROLL for (int i = 0; i < Ahead; ++i) next[i] = __ldg(pieces + min(first + Ahead + i, last));
            UNROLL for (int i = 0; i < Ahead; ++i) {
                UNROLL for (int c = 0; c < PIECE; ++c, ++j) step(j, wide(reinterpret_cast<const Cell*>(&now[i])[c]));
                now[i] = next[i];
            }
        }
    }
    for (; j < dim; ++j) step(j, wide(row[j]));
}

// A query as it was given, float32 or float64: both are read as float64, without rounding.
struct Query {
    const void* values;
    int wide;
    __device__ __forceinline__ double operator[](i64 j) const
    {
        return wide ? static_cast<const double*>(values)[j] : (double)static_cast<const float*>(values)[j];
    }
};

// The sum that the definition takes, in its order.
template <typename Asked> __device__ __forceinline__ double defined_sum(const Cell* row, const Asked& query, i64 dim)
{
    double sum = 0;
    each_cell(row, dim, [&](i64 j, double x) { sum = plus_term(sum, x, query[j]); });
    return sum;
}

// A value from its sum; a quotient by what has overflowed would be 0, as if it were known.
__device__ __forceinline__ double value_of(double sum, double row_norm, double query_norm)
{
    if (METRIC != 2) return sum;
    const double scale = __dmul_rn(row_norm, query_norm);
    if (isinf(scale)) return __longlong_as_double(0x7ff8000000000000ll);
    return scale != 0 ? __ddiv_rn(sum, scale) : 0;
}

// What values are ranked by, ascending: similarities with the other sign. -0 becomes 0, which it equals.
__device__ __forceinline__ double key_of(double value) { return (METRIC ? -value : value) + 0.0; }

// Whole numbers in the order of keys.
__device__ __forceinline__ u64 ordered(double key)
{
    const u64 bits = __double_as_longlong(key);
    return bits >> 63 ? ~bits : bits | 1ull << 63;
}
__device__ __forceinline__ double key_from(u64 order)
{
    return __longlong_as_double(order >> 63 ? order ^ 1ull << 63 : ~order);
}
__device__ __forceinline__ u32 ordered(float value)
{
    const u32 bits = __float_as_uint(value);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float value_from(u32 order)
{
    return __uint_as_float(order >> 31 ? order ^ 0x80000000u : ~order);
}

// The length of a query as defined: its squares in their order.
template <typename Asked> __device__ __forceinline__ double defined_length(const Asked& query, i64 dim)
{
    double sum = 0;
#pragma unroll 16
    for (i64 j = 0; j < dim; ++j) sum = __dadd_rn(sum, __dmul_rn(query[j], query[j]));
    return __dsqrt_rn(sum);
}

__device__ __forceinline__ double warp_sum(double x)
{
    UNROLL for (int o = 16; o; o >>= 1) x += __shfl_xor_sync(ALL, x, o);
    return x;
}
__device__ __forceinline__ float warp_most(float x)
{
    UNROLL for (int o = 16; o; o >>= 1) x = fmaxf(x, __shfl_xor_sync(ALL, x, o));
    return x;
}
__device__ __forceinline__ int warp_sum(int x)
{
#if __CUDA_ARCH__ >= 800
    return __reduce_add_sync(ALL, x);
#else
    UNROLL for (int o = 16; o; o >>= 1) x += __shfl_xor_sync(ALL, x, o);
    return x;
#endif
}
__device__ __forceinline__ u32 warp_least(u32 x)
{
#if __CUDA_ARCH__ >= 800
    return __reduce_min_sync(ALL, x);
#else
    UNROLL for (int o = 16; o; o >>= 1) x = min(x, __shfl_xor_sync(ALL, x, o));
    return x;
#endif
}

// The smallest of ``count`` pairs (key, name) first: a bitonic sort of a power of two of them by all threads of a block.
__device__ __forceinline__ void sort_pairs(u64* keys, i64* names, int size)
{
    for (int run = 2; run <= size; run *= 2) {
        for (int apart = run / 2; apart; apart /= 2) {
            __syncthreads();
            for (int i = threadIdx.x; i < size / 2; i += blockDim.x) {
                const int low = 2 * i - (i & (apart - 1)), high = low + apart;
                const bool up = (low & run) == 0;
                const u64 a = keys[low], b = keys[high];
                const i64 c = names[low], d = names[high];
                if ((a > b || (a == b && c > d)) == up) {
                    keys[low] = b, keys[high] = a;
                    names[low] = d, names[high] = c;
                }
            }
        }
    }
    __syncthreads();
}
__device__ __forceinline__ int power_from(int n) { return n <= 1 ? 1 : 1 << (32 - __clz(n - 1)); }

// bound.py, for numbers of the same meaning.
constexpr double WIDEN = 1 + 0x1p-48, U = 0x1p-24, SLACK = 16 * U, TINY = 0x1p-100;

__device__ __forceinline__ float up(double value) { return __double2float_rn(value + fabs(value) * (2 * U) + TINY); }
__device__ __forceinline__ float down(double value) { return __double2float_rn(value - fabs(value) * (2 * U) - TINY); }

__device__ __forceinline__ double error_of(double residual2, double length2, double relative, double lost)
{
    return (sqrt(residual2) + lost * sqrt(length2)) * (1 + relative) * WIDEN + TINY;
}
__device__ __forceinline__ float row_term(float scale, i64 squares, double extra, float e)
{
    const double y2 = (double)scale * scale * squares + extra;
    return down(y2 * (1 - SLACK) / WIDEN - (double)e * e * (1 + SLACK) * WIDEN);
}
__device__ __forceinline__ double reach(double bar, double widen, double blur) { return (bar * widen + blur) * WIDEN; }
__device__ __forceinline__ float coefficient(double a) { return up(2 * a * (1 + SLACK) * WIDEN); }
__device__ __forceinline__ float limit(double a, double p2) { return up(a * a * WIDEN - p2 / WIDEN + SLACK * p2 + TINY); }
__device__ __forceinline__ void squares(float n, double e, double p2, double product, double& least, double& most)
{
    const double low = (n + e * e) / WIDEN, high = (n + TINY + e * e * (1 + 2 * SLACK)) * (1 + 3 * SLACK) + TINY;  // bound.longest2
    const double rounding = (fabs(product) + p2 + high) * (WIDEN - 1);
    least = low + p2 - 2 * product - rounding;
    most = high + p2 - 2 * product + rounding;
}
__device__ __forceinline__ double lower(double square, double e, double e_q)
{
    return fmax(sqrt(fmax(square, 0.0)) / WIDEN - (e + e_q) * WIDEN, 0.0);
}
__device__ __forceinline__ double upper(double square, double e, double e_q)
{
    return (sqrt(fmax(square, 0.0)) + e + e_q) * WIDEN;
}

// plane_bound.py.
__device__ __forceinline__ double plane_residual(double residual2, double length, double rho)
{
    return (sqrt(residual2) + rho * length) * (1 + 0x1p-30) + TINY;
}
__device__ __forceinline__ double plane_rest(double length2, double leading2, double rho)
{
    const double known = fmax(0.0, sqrt(leading2) * (1 - 0x1p-29) - rho * sqrt(length2));
    return sqrt(fmax(0.0, length2 * (1 + 0x1p-29) - known * known)) * WIDEN + TINY;
}
__device__ __forceinline__ double plane_limit(double key, double alpha, double beta)
{
    return alpha * key + beta + (fabs(alpha * key) + fabs(beta)) * (WIDEN - 1) + TINY;
}

// Products of bytes on tensor cores: 16 x 32 times 32 x 8. Before 8.0 they take 8 x 16 times 16 x 8, whose operands lie alike.
__device__ __forceinline__ void multiply(int (&sums)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1)
{
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#else
    asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};" : "+r"(sums[0]), "+r"(sums[1]) : "r"(a0), "r"(b0));
    asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};" : "+r"(sums[0]), "+r"(sums[1]) : "r"(a2), "r"(b1));
    asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};" : "+r"(sums[2]), "+r"(sums[3]) : "r"(a1), "r"(b0));
    asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};" : "+r"(sums[2]), "+r"(sums[3]) : "r"(a3), "r"(b1));
#endif
}
// The same of bytes without a sign on the left.
__device__ __forceinline__ void multiply_unsigned(int (&sums)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1)
{
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#else
    asm("mma.sync.aligned.m8n8k16.row.col.s32.u8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};" : "+r"(sums[0]), "+r"(sums[1]) : "r"(a0), "r"(b0));
    asm("mma.sync.aligned.m8n8k16.row.col.s32.u8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};" : "+r"(sums[0]), "+r"(sums[1]) : "r"(a2), "r"(b1));
    asm("mma.sync.aligned.m8n8k16.row.col.s32.u8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};" : "+r"(sums[2]), "+r"(sums[3]) : "r"(a1), "r"(b0));
    asm("mma.sync.aligned.m8n8k16.row.col.s32.u8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};" : "+r"(sums[2]), "+r"(sums[3]) : "r"(a3), "r"(b1));
#endif
}

__device__ __forceinline__ float from_half(u16 half)
{
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
    return value;
}

// Arguments that are read early, while nobody waits for them: no cache holds them when a kernel begins. ``place``: in shared memory, of no other use.
__device__ __forceinline__ void touch(u64 arguments, u32& place) { *static_cast<volatile u32*>(&place) = (u32)(arguments >> 32 ^ arguments); }

// A kernel that was queued to begin before the one before it has ended: what that one has written is there from here on.
__device__ __forceinline__ void await_before()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ __forceinline__ void let_next_begin()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
