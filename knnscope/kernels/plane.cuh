// What a search by the plane is made of (exact_plane.cu): what blocks tell each other, a query's numbers, and thresholds.
//
//   FULL    components of a rotated row, padded
//   LEADING  m, components that the plane holds: a multiple of 64
//   THREADS  of a block
//   QUERIES  of a search at most: 1 or 4

constexpr int STEPS = LEADING / 64;            // products of 32 components of low halves, and of high ones
constexpr int TILE = 8 * LEADING + 128;        // bytes of 16 rows
constexpr int TOGETHER = QUERIES;              // of two digits each: the eight columns of a product
constexpr bool ALONE = QUERIES == 1;           // then columns are free, for two tiles at once: each lane has a row of its own
constexpr int STEP = ALONE ? 32 : 16;          // rows that a warp takes at once
constexpr int WARPS = THREADS / 32, MEETING = 4, SCANNING = WARPS - MEETING;
constexpr int DEEP = ALONE || STEPS <= 3 ? 2 : 1;  // tiles of a warp that are on their way: what registers have room for
constexpr int LEVELS = 127 * 254;
constexpr int SHARE = 768;                     // numbers that a threshold is made of, at most
constexpr int QUEUE = 64 * SCANNING;           // rows that wait for their values: at least one step of a scan
constexpr int HITS = 1024, FEW_HITS = HITS / 4;  // rows of a query that are ranked, and so few that each counts who is before it
constexpr int PER_LANE = FULL <= 768 ? FULL / 32 : 24;  // components of a direction that are asked for early
constexpr int SLOTS = 6, KINDS = 2 + SLOTS;    // hits of a block that it tells by words, and words that it tells of a query
constexpr u32 PATIENCE = 1u << 20;             // times that a word is asked for
constexpr int COPIES = 8;                      // of a word that all blocks wait for: where all ask one place, what is told has to wait as well

struct Told {  // of one query, when it is answered
    double alpha, beta;
    u64 skipped;                               // the smallest key of a row that was looked at and not computed, at least
    u32 least, candidates, computed, errors;   // the smallest bound left out; errors: 1 no number, 2 a row is not where its bound says, 4 not answered
};

struct State {  // all 0 before the first search
    u32 number;
    int deviations[3];                              // of the second to the last part of a sum (chain.cuh)
    u32 hits[2][TOGETHER];                     // that blocks had no words for, of this search and of the next, for which they are 0
};

// In the order in which it is needed: who reads the first of 64 bytes waits for hundreds of cycles.
struct Plane {
    const void* queries;              // (queries, dim), as they were given
    const float* directions;          // (FULL, FULL), the leading ones first
    const double* centre;
    State* state;
    double scaling;
    int dim; u16 blocks; u8 wide, queries_count;  // wide: queries are float64
    u64* words;                       // (COPIES, queries, LEADING): rotated queries
    double* asked;                    // as float64, where they do not fit into shared memory
    const u8* tiles;
    i64 count;
    float* bounds;                    // (blocks, queries, place): where they do not fit into shared memory
    const u8* allowed; i64 allowed_stride;
    int kept, place;                  // where queries lie in shared memory; bounds of a block, of a query
    double rho;
    u64* meeting;                     // (COPIES, queries, blocks, each): limits
    ulonglong2* reports;              // (queries, KINDS, blocks): what blocks have found
    const Cell* rows; const double* row_norms;
    int steps, each, meet, k;         // tiles of a warp at most; rows of a block that make the threshold of a query; steps before
    const i64* names;                 // null where rows go by their numbers, from ``base`` on
    double longest;                   // at least the length of every row, for ip
    double most_length2, most_written, most_error, most_tail;
    u64* hit_keys; i64* hit_rows;     // (queries, HITS): hits that blocks had no words for
    Told* told;
    double* values; i64* ids;         // (queries, k)
    i64 base;                         // number of the first row, where rows go by their numbers
    const double* known;              // (queries, k): an answer over other rows, none of which has to be found again; null where there is none
};

// An argument of each cache line.
__device__ __forceinline__ u64 one_of_each_line(const Plane& p)
{
    auto of = [](const void* one) { return reinterpret_cast<u64>(one); };
    return of(p.words) ^ (u64)p.count ^ of(p.meeting) ^ of(p.rows) ^ (u64)__double_as_longlong(p.longest) ^ of(p.told) ^ of(p.values) ^ of(p.known);
}
__device__ __forceinline__ int asked_by(const Plane& p) { return ALONE ? 1 : p.queries_count; }
__device__ __forceinline__ i64 name_of(const Plane& p, i64 row) { return p.names ? p.names[row] : p.base + row; }

struct Asked {  // a query at work, alike in every block
    double alpha, beta, defined;                  // of V(K); the length as defined, for cosine
    double known, rest;                           // |w1|, |w2|
    float step, error, tail, limit;               // t2, C1, C2, V
    float gap;                                    // what a row's bound may be below its key by, beside its own errors
    u32 far;                                      // its numbers leave float32: all rows have to answer it
};

// Words that blocks tell each other: 32 or 96 bits, and the number of the search, in one piece. So who waits for one reads it by itself.
__device__ __forceinline__ void tell(u64* place, u32 value, u32 number)
{
    asm volatile("st.volatile.global.u64 [%0], %1;" ::"l"(place), "l"((u64)number << 32 | value) : "memory");
}
// A word to all blocks, by one warp; ``words``: the first of ``count`` that they wait for, in each copy.
__device__ __forceinline__ void tell_all(u64* words, int count, int place, u32 value, u32 number)
{
    const int lane = threadIdx.x & 31;
    if (lane < COPIES) tell(words + lane * count + place, value, number);
}
__device__ __forceinline__ const u64* copy_of(const u64* words, int count) { return words + blockIdx.x % COPIES * count; }
__device__ __forceinline__ u64 look(const u64* place)
{
    u64 word;
    asm volatile("ld.volatile.global.u64 %0, [%1];" : "=l"(word) : "l"(place) : "memory");
    return word;
}
__device__ __forceinline__ void tell(ulonglong2* place, u64 value, u32 more, u32 number)
{
    asm volatile("{ .reg .b128 word; mov.b128 word, {%0, %1}; st.relaxed.gpu.global.b128 [%2], word; }" ::"l"(value), "l"((u64)number << 32 | more), "l"(place) : "memory");
}
__device__ __forceinline__ ulonglong2 look(const ulonglong2* place)
{
    ulonglong2 word;
    asm volatile("{ .reg .b128 word; ld.relaxed.gpu.global.b128 word, [%2]; mov.b128 {%0, %1}, word; }" : "=l"(word.x), "=l"(word.y) : "l"(place) : "memory");
    return word;
}
__device__ __forceinline__ u32 number_of(u64 word) { return (u32)(word >> 32); }
__device__ __forceinline__ u32 number_of(const ulonglong2& word) { return (u32)(word.y >> 32); }

// Words, once they are told: APART from each other, from one on. is_wanted: of each; the others are read as well, for loads of conditions would wait for
// each other; ``lost`` is set where one never comes.
template <int APART, typename Word, int COUNT, typename Is> __device__ __forceinline__ void await_words(Word (&words)[COUNT], const Word* from, Is is_wanted, u32 number, u32& lost)
{
    for (u32 tries = 0; tries < PATIENCE; ++tries) {
        bool fresh = true;
        UNROLL for (int i = 0; i < COUNT; ++i) words[i] = look(from + APART * i);
        UNROLL for (int i = 0; i < COUNT; ++i) fresh &= number_of(words[i]) == number || !is_wanted(i);
        if (fresh) return;
    }
    lost = 1;
}

// Barriers of some warps of a block, by their numbers: who arrives does not wait. Each is met at one place of the code: at several, a tool that looks
// at barriers takes warps for divergent.
template <int NUMBER, int COUNT> __device__ __forceinline__ void wait_at() { asm volatile("bar.sync %0, %1;" ::"n"(NUMBER), "n"(COUNT) : "memory"); }
template <int NUMBER, int COUNT> __device__ __forceinline__ void arrive_at() { asm volatile("bar.arrive %0, %1;" ::"n"(NUMBER), "n"(COUNT) : "memory"); }
constexpr int READY = 1, MINIMA = 2, MEET = 3, LENGTHS = 4;  // READY: digits and errors of queries; LENGTHS: of the first query, then of the others
__device__ __forceinline__ void wait_at_pair(int number) { asm volatile("bar.sync %0, 64;" ::"r"(number) : "memory"); }  // of two warps
__device__ __forceinline__ void arrive_at_pair(int number) { asm volatile("bar.arrive %0, 64;" ::"r"(number) : "memory"); }

// The largest of numbers that are not negative.
__device__ __forceinline__ float warp_largest(float x)
{
#if __CUDA_ARCH__ >= 800
    return __uint_as_float(__reduce_max_sync(ALL, __float_as_uint(x)));
#else
    return warp_most(x);
#endif
}

// A component of a query as it was given.
__device__ __forceinline__ double given(const Plane& p, i64 at)
{
    return p.wide ? static_cast<const double*>(p.queries)[at] : (double)static_cast<const float*>(p.queries)[at];
}

// A component as rows are rotated: for l2 rows are centred and scaled, and so is a query; else it is the query of length 1. ``query``: as float64.
__device__ __forceinline__ double component(const Plane& p, const double* query, int j, double inverse)
{
    if (j >= p.dim) return 0;
    return METRIC ? query[j] * inverse : (query[j] - p.centre[j]) * p.scaling;
}

// A sum over the components of a query, by one warp: alike in every warp.
template <typename Of> __device__ __forceinline__ double over_components(Of of)
{
    const int lane = threadIdx.x & 31;
    double sum = 0;
#pragma unroll 4
    for (int j = lane; j < FULL; j += 32) sum += of(j);
    return warp_sum(sum);
}
__device__ __forceinline__ double square_length(const Plane& p, const double* query)
{
    return over_components([&](int j) { return j < p.dim ? query[j] * query[j] : 0; });
}

// What a query's numbers are made of, by one warp.
struct Lengths { double own2, total, cross; };   // |x|^2 of what is rotated; |q|^2, and the product with the centre, for ip and cosine
__device__ __forceinline__ Lengths lengths_of(const Plane& p, const double* query)
{
    Lengths made = {0, 0, 0};
    if (METRIC) {
        made.total = square_length(p, query);
        made.cross = over_components([&](int j) { return j < p.dim ? p.centre[j] * query[j] : 0; });
    }
    const double inverse = METRIC ? 1 / sqrt(made.total) : 0;
    made.own2 = over_components([&](int j) {
        const double x = component(p, query, j, inverse);
        return x * x;
    });
    return made;
}

// The step of a query's digits, by one warp, from its words.
__device__ __forceinline__ float step_of(const u64 (&words)[LEADING / 32])
{
    float peak = 0;
    UNROLL for (int i = 0; i < LEADING / 32; ++i) peak = fmaxf(peak, fabsf(__uint_as_float((u32)words[i])));
    return fmaxf(warp_largest(peak) * (1.f / LEVELS), 0x1p-60f);
}

__device__ __forceinline__ float inverse_about(float x)
{
    float inverse;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(x));
    return inverse;
}

// The digits of a query and its biases, by one warp: within 0.51 steps of its words, for what the reciprocal errs by is below 0.01 of LEVELS.
constexpr int LINE = LEADING + 16;  // of digits, so that lanes of a warp read from 32 banks
__device__ __forceinline__ void write_digits(const u64 (&words)[LEADING / 32], float t, float& step, signed char* high, signed char* low, int* biases)
{
    const int lane = threadIdx.x & 31;
    const float inverse = inverse_about(t);
    int sum_high = 0, sum_low = 0;
    UNROLL for (int i = 0; i < LEADING / 32; ++i) {
        const int j = 32 * i + lane;
        const int whole = max(min(__float2int_rn(__uint_as_float((u32)words[i]) * inverse), LEVELS), -LEVELS);
        const int upper_digit = __float2int_rn(whole * (1 / 254.f)), lower_digit = whole - 254 * upper_digit;
        high[j] = (signed char)upper_digit, low[j] = (signed char)lower_digit;
        sum_high += upper_digit, sum_low += lower_digit;
    }
    sum_high = warp_sum(sum_high), sum_low = warp_sum(sum_low);
    if (lane == 0) biases[0] = -120 * sum_high, biases[1] = -120 * sum_low, step = t / 8;
}

// The square roots of a number in float32, at least and at most.
__device__ __forceinline__ double root_above(double x) { return __fsqrt_ru(__double2float_ru(x)); }

// What a scan needs beside digits: |w1| and |w2| at most. With L = |w1| as it was computed, s = |q'| and r = rho s it is at least L (1 - 2^-29) - r, so
// |w2|^2 is at most s^2 (1 + 2^-29) - L^2 (1 - 2^-28) + 2 L r.
constexpr float U1 = 0x1p-23f;  // the unit of float32 at 1
struct Reach { float most2, astray; };  // |q'|^2 and rho |q'|, at least
__device__ __forceinline__ Reach reach_of(const Plane& p, double own2)
{
    const double length2 = own2 * (1 + 0x1p-40);
    return {__double2float_ru(length2 * (1 + 0x1p-29)), __double2float_ru(p.rho * root_above(length2))};
}
// From components as float32, which is there sooner.
__device__ __forceinline__ Reach reach_of(const Plane& p, const float* components)
{
    float sum = 0;
    for (int j = threadIdx.x & 31; j < FULL; j += 32) sum = __fmaf_ru(components[j], components[j], sum);
    UNROLL for (int o = 16; o; o >>= 1) sum = __fadd_ru(sum, __shfl_xor_sync(ALL, sum, o));
    const float most2 = __fmaf_ru(sum, 1 + 4 * U1, (float)TINY);
    return {most2, __fmul_ru(__double2float_ru(p.rho), __fsqrt_ru(most2))};
}
// In float32, rounded to the safe side: all warps that scan wait for it.
__device__ __forceinline__ void write_errors(const Reach& from, const u64 (&words)[LEADING / 32], Asked& made)
{
    float least2 = 0, most2 = 0;  // |w1|^2
    UNROLL for (int i = 0; i < LEADING / 32; ++i) {
        const float w = __uint_as_float((u32)words[i]);
        least2 = __fmaf_rd(w, w, least2), most2 = __fmaf_ru(w, w, most2);
    }
    UNROLL for (int o = 16; o; o >>= 1)
        least2 = __fadd_rd(least2, __shfl_xor_sync(ALL, least2, o)), most2 = __fadd_ru(most2, __shfl_xor_sync(ALL, most2, o));
    const float leading = __fsqrt_ru(most2), known = __fmaf_ru(leading, 1 + U1, from.astray);
    const float rest2 = __fmaf_ru(-least2, 1 - U1, __fmaf_ru(2 * leading, from.astray, from.most2));
    const float rest = __fmaf_ru(__fsqrt_ru(fmaxf(0.f, rest2)), 1 + U1, (float)TINY);
    if ((threadIdx.x & 31) == 0) {
        made.known = known, made.rest = rest;
        made.error = 2 * known, made.tail = 2 * rest;
    }
}

// What limits and the looks at rows need, while others scan. A digit's rounding is at most half a step, and what float32 adds:
// |h| <= 0.51 t sqrt(m) + rho |q'|.
__device__ __forceinline__ void complete(const Plane& p, float t, const Lengths& lengths, Asked& made)
{
    const double length2 = lengths.own2 * (1 + 0x1p-40);
    const double length = METRIC ? sqrt(lengths.total) : 0, cross = METRIC ? lengths.cross * (METRIC == 2 ? 1 / length : 1) : 0;
    const double h = (0.51 * t * sqrt((double)LEADING) + p.rho * root_above(length2)) * (1 + 0x1p-30) + TINY;
    const double largest = p.most_length2 + 2 * p.most_written * (made.known + h) + 2 * p.most_error * made.known + 2 * p.most_tail * made.rest;
    const double loose = 2 * p.most_written * h * WIDEN + 8 * U * largest;
    double gap = 2 * loose + length2 * 0x1p-36;
    if (METRIC == 0) {
        made.alpha = p.scaling * p.scaling * (1 + (p.dim + 8) * 0x1p-50);
        made.beta = loose - length2 * (1 - 0x1p-38) + p.dim * 0x1p-1022;
    } else {
        const double err = METRIC == 2 ? (2 * p.dim + 40) * 0x1p-51 : (p.dim + 8) * 0x1p-51 * p.longest * length;
        made.alpha = 2 * p.scaling * (METRIC == 1 ? 1 / length : 1);
        made.beta = made.alpha * (cross + err) + loose;
        gap += 2 * made.alpha * err + made.alpha * fabs(cross) * 0x1p-47;
    }
    made.gap = up(gap);
    made.far = !(length2 < 0x1p40) || !(fabs(made.beta) < endless()) || !(made.alpha > 0) ||
               (METRIC && !(length > 0x1p-400 && length < 0x1p400));
}

// A tile of 16 rows, as the lanes of a warp multiply it: rows g and g + 8. sides: of both, or of the one that is the lane's own.
constexpr int SIDES = ALONE ? 1 : 2;
struct Tile { uint4 codes[STEPS]; uint2 sides[SIDES]; };
__device__ __forceinline__ void fetch(const Plane& p, i64 number, Tile& tile)
{
    const int lane = threadIdx.x & 31;
    const u8* from = p.tiles + number * TILE;
    UNROLL for (int u = 0; u < STEPS; ++u) tile.codes[u] = __ldg(reinterpret_cast<const uint4*>(from + u * 512) + lane);
    UNROLL for (int r = 0; r < SIDES; ++r) tile.sides[r] = __ldg(reinterpret_cast<const uint2*>(from + 8 * LEADING) + (lane >> 2) + 8 * (ALONE ? lane & 1 : r));
}
__device__ __forceinline__ uint2 side_of(const Plane& p, i64 row)
{
    return __ldg(reinterpret_cast<const uint2*>(p.tiles + (row >> 4) * TILE + 8 * LEADING) + (row & 15));
}

// The same, asked for here: the compiler would wait until it is needed.
__device__ __forceinline__ uint2 load_here(const u8* from)
{
    uint2 two;
    asm volatile("ld.global.nc.v2.u32 {%0,%1}, [%2];" : "=r"(two.x), "=r"(two.y) : "l"(from));
    return two;
}
__device__ __forceinline__ uint2 side_early(const Plane& p, i64 row)
{
    return load_here(p.tiles + (row >> 4) * TILE + 8 * LEADING + (row & 15) * 8);
}

// The compiler takes numbers apart as soon as they are asked for, and so would wait for them.
__device__ __forceinline__ void needed_from_here(uint2& side) { asm volatile("" : "+r"(side.x), "+r"(side.y)); }

// The k-th smallest of what the lanes of a warp have, or a number that is not smaller: they are told apart by their lanes, in the last bits.
__device__ __forceinline__ u32 smallest_of_few(u32* numbers, u32 least, int k)
{
    const u32 lane = threadIdx.x & 31, own = (least & ~31u) | lane;
    numbers[lane] = own;
    __syncwarp();
    int before = 0;
    UNROLL for (int o = 0; o < 32; o += 4) {
        const uint4 some = *reinterpret_cast<const uint4*>(numbers + o);
        before += (some.x < own) + (some.y < own) + (some.z < own) + (some.w < own);
    }
    const u32 found = __shfl_sync(ALL, least, __ffs(__ballot_sync(ALL, before == k - 1)) - 1);
    return min(found | 31, max(found, 0xff800000u));  // which is that of what is endless
}

// The same of any numbers, for any k; ALL where there are fewer.
__device__ __forceinline__ u32 smallest_of(const u32* numbers, int total, int k)
{
    const int lane = threadIdx.x & 31;
    u32 least = ALL, most = 0;
    int all = 0;
#pragma unroll 4
    for (int i = lane; i < total; i += 32) {
        const u32 one = numbers[i];
        least = min(least, one), most = max(most, one == ALL ? 0 : one), all += one != ALL;
    }
    if (warp_sum(all) < k) return ALL;
    least = warp_least(least), most = ~warp_least(~most);
    while (least < most) {
        const u32 middle = least + (most - least) / 2;
        int below = 0;
#pragma unroll 4
        for (int i = lane; i < total; i += 32) below += numbers[i] <= middle;
        below = warp_sum(below);
        if (below >= k) most = middle;
        else least = middle + 1;
        if (below >= k && below <= k + k / 16) break;
    }
    return most;
}

// Whether a key is beyond what a limit in float32 leaves for certain.
__device__ __forceinline__ bool is_beyond(double key, const Asked& asked)
{
    const double scaled = asked.alpha * key;
    return scaled + asked.beta - (fabs(scaled) + fabs(asked.beta)) * (WIDEN - 1) - TINY > asked.limit;
}

// Whether a key, as a bound's value, is as near as the row's own bound says; a row that is never left out may be anywhere. In float32: it may be
// generous.
__device__ __forceinline__ bool is_near(const Asked& asked, const uint2& side, float bound, float value)
{
    const float n = from_half((u16)(side.x >> 16)), e1 = from_half((u16)side.y), e2 = from_half((u16)(side.y >> 16));
    const float width = fmaf(2 * (1 + 0x1p-18f), fmaf(asked.error, e1, asked.tail * e2), fmaf(n, 0x1p-8f, asked.gap));
    return !(width < infinite()) || value <= bound + (width + (fabsf(bound) + fabsf(value)) * 0x1p-18f) + 0x1p-22f;
}
