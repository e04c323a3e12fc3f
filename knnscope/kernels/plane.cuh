// What a search by the plane is made of (exact_plane.cu): a query's numbers, thresholds, values of rows, and their order.
//
//   FULL    components of a rotated row, padded
//   LEADING  m, components that the plane holds: a multiple of 64
//   THREADS  of a block

constexpr int STEPS = LEADING / 64;            // products of 32 components of low halves, and of high ones
constexpr int TILE = 8 * LEADING + 128;        // bytes of 16 rows
constexpr int TOGETHER = 4;                    // queries of two digits each: the eight columns of a product
constexpr int WARPS = THREADS / 32, MEETING = 4, SCANNING = WARPS - MEETING;
constexpr int LEVELS = 127 * 254;
constexpr int SHARE = 768;                     // numbers that a threshold is made of, at most
constexpr int QUEUE = TOGETHER * 16 * SCANNING;  // rows that wait for their values: at least one step of a scan
constexpr int HITS = 1024, FEW_HITS = HITS / TOGETHER;  // rows of a query that are ranked, and so few that each counts who is before it
constexpr int PER_LANE = FULL <= 768 ? FULL / 32 : 24;  // components of a direction that are asked for early
constexpr u32 PATIENCE = 1u << 20;             // times that a word is asked for

struct Told {  // of one query, when it is answered
    double alpha, beta;
    u64 skipped;                               // see State
    u32 least, candidates, computed, errors;   // errors: 1 no number, 2 a row is not where its bound says, 4 not answered
};

struct State {  // all 0 before the first search, and after each but for its number
    u32 number, done;
    u32 hits[TOGETHER], candidates[TOGETHER], computed[TOGETHER], errors[TOGETHER];
    u32 least[TOGETHER];    // the smallest bound left out: the complement of its order, so that the most counts
    u64 skipped[TOGETHER];  // the smallest key of a row that was looked at and not computed, at least, likewise
};

struct Plane {
    const Cell* rows; const double* row_norms; const i64* names; // names: null where rows go by their numbers
    const u8* tiles;
    const float* directions;          // (FULL, FULL), the leading ones first
    const double* centre;
    i64 count, dim;
    double scaling, rho, longest;     // longest: at least the length of every row, for ip
    double most_length2, most_written, most_error, most_tail;
    const void* queries;              // (queries, dim), as they were given
    double* asked;                    // as float64, where they do not fit into shared memory
    const u8* allowed; i64 allowed_stride;
    u64* words;                       // (queries, LEADING): rotated queries
    u64* meeting;                     // (queries, blocks, each): limits
    float* bounds;                    // (blocks, queries, place): where they do not fit into shared memory
    u64* hit_keys; i64* hit_rows;     // (queries, HITS)
    State* state; Told* told;
    double* values; i64* ids;         // (queries, k)
    int wide, queries_count, k, place, each, meet, kept;  // wide: queries are float64; place: bounds of a block, of a query; each: rows that it makes
                                                            // the threshold of; meet: steps before; kept: where queries lie in shared memory
};

struct Asked {  // a query at work, alike in every block
    double alpha, beta, defined;                  // of V(K); the length as defined, for cosine
    double known, rest, gap;                      // |w1|, |w2|; what a row's bound may be below its key by, beside its own errors
    float step, error, tail, limit;               // t2, C1, C2, V
    u32 far;                                      // its numbers leave float32: all rows have to answer it
};

__device__ __forceinline__ void tell(u64* place, u32 value, u32 number)
{
    asm volatile("st.volatile.global.u64 [%0], %1;" ::"l"(place), "l"((u64)number << 32 | value) : "memory");
}
__device__ __forceinline__ u64 look(const u64* place)
{
    u64 word;
    asm volatile("ld.volatile.global.u64 %0, [%1];" : "=l"(word) : "l"(place) : "memory");
    return word;
}
// The value of a word, once it is told; ``lost`` where that never comes.
__device__ __forceinline__ u32 await_word(const u64* place, u32 number, bool& lost)
{
    u64 word = look(place);
    for (u32 tries = 0; (u32)(word >> 32) != number && tries < PATIENCE; ++tries) word = look(place);
    lost |= (u32)(word >> 32) != number;
    return (u32)word;
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

__device__ __forceinline__ int warp_count(int x)
{
#if __CUDA_ARCH__ >= 800
    return __reduce_add_sync(ALL, x);
#else
    return warp_sum(x);
#endif
}

// Sums over a block, from those of its warps: alike in every block.
__device__ __forceinline__ double sum_of(const double* parts)
{
    const int lane = threadIdx.x & 31;
    return warp_sum(lane < WARPS ? parts[lane] : 0);
}

// Queries at work, by all warps of a block: as float64 into ``asked``, centred and scaled into ``flat``; the sums of each warp for their lengths.
// For l2 rows are centred and scaled, and so is a query; else it is the query of length 1.
__device__ __forceinline__ void take(const Plane& p, double* asked, float* flat, double (*parts)[3][WARPS])
{
    constexpr int LINES = FULL / 32;
    const int lane = threadIdx.x & 31, own = threadIdx.x >> 5, count = p.queries_count * LINES;
    double total[TOGETHER] = {}, cross[TOGETHER] = {}, length2[TOGETHER] = {};
    auto add = [&](double (&sums)[TOGETHER], int query, double x) {
        UNROLL for (int i = 0; i < TOGETHER; ++i) sums[i] += i == query ? x : 0;
    };
    auto store = [&](const double (&sums)[TOGETHER], int which) {
        UNROLL for (int i = 0; i < TOGETHER; ++i) {
            if (i >= p.queries_count) break;
            const double sum = warp_sum(sums[i]);
            if (lane == 0) parts[i][which][own] = sum;
        }
    };
    for (int line = own; line < count; line += WARPS) {
        const int query = line / LINES, j = line % LINES * 32 + lane;
        double q = 0;
        if (j < p.dim) {
            const i64 at = query * p.dim + j;
            q = p.wide ? static_cast<const double*>(p.queries)[at] : (double)static_cast<const float*>(p.queries)[at];
            asked[at] = q;
            if (METRIC) add(total, query, q * q), add(cross, query, p.centre[j] * q);
            else q = (q - p.centre[j]) * p.scaling, add(length2, query, q * q);
        }
        if (METRIC == 0) flat[32 * line + lane] = (float)q;
    }
    if (METRIC) {
        store(total, 0), store(cross, 1);
        __syncthreads();
        for (int line = own; line < count; line += WARPS) {
            const int query = line / LINES, j = line % LINES * 32 + lane;
            const double q = j < p.dim ? asked[query * p.dim + j] * (1 / sqrt(sum_of(parts[query][0]))) : 0;
            flat[32 * line + lane] = (float)q, add(length2, query, q * q);
        }
    }
    store(length2, 2);
}

// The digits of a query, its bias and all that its bounds are made of, by one warp, from its words. A digit's rounding is at most half a step,
// and what float32 adds: |h| <= 0.51 t sqrt(m) + rho |q'|.
__device__ __forceinline__ void complete(const Plane& p, const float* w, const double (*parts)[WARPS], Asked& made, signed char* high,
                                         signed char* low, int* biases)
{
    const int lane = threadIdx.x & 31;
    const double length2 = sum_of(parts[2]) * (1 + 0x1p-40), length = METRIC ? sqrt(sum_of(parts[0])) : 0;
    const double cross = METRIC ? sum_of(parts[1]) * (METRIC == 2 ? 1 / length : 1) : 0;
    float peak = 0;
    double leading2 = 0;
    UNROLL for (int i = 0; i < LEADING / 32; ++i) {
        const float x = w[32 * i + lane];
        peak = fmaxf(peak, fabsf(x)), leading2 += (double)x * x;
    }
    peak = warp_most(peak), leading2 = warp_sum(leading2);
    const float t = fmaxf(peak / LEVELS, 0x1p-60f), inverse = 1 / t;
    int sum_high = 0, sum_low = 0;
    UNROLL for (int i = 0; i < LEADING / 32; ++i) {
        const int j = 32 * i + lane;
        const int whole = max(min(__float2int_rn(w[j] * inverse), LEVELS), -LEVELS);
        const int upper_digit = __float2int_rn(whole * (1 / 254.f)), lower_digit = whole - 254 * upper_digit;
        high[j] = (signed char)upper_digit, low[j] = (signed char)lower_digit;
        sum_high += upper_digit, sum_low += lower_digit;
    }
    sum_high = warp_sum(sum_high), sum_low = warp_sum(sum_low);
    const double root = sqrt(lane ? leading2 : length2), size = __shfl_sync(ALL, root, 0), leading = __shfl_sync(ALL, root, 1);
    if (lane) return;
    biases[0] = -120 * sum_high, biases[1] = -120 * sum_low;
    const double known = leading * (1 + 0x1p-30) + p.rho * size, least = fmax(0.0, leading * (1 - 0x1p-29) - p.rho * size);
    const double rest = sqrt(fmax(0.0, length2 * (1 + 0x1p-29) - least * least)) * WIDEN + TINY;  // plane_rest
    const double h = (0.51 * t * sqrt((double)LEADING) + p.rho * size) * (1 + 0x1p-30) + TINY;
    const double largest = p.most_length2 + 2 * p.most_written * (known + h) + 2 * p.most_error * known + 2 * p.most_tail * rest;
    const double loose = 2 * p.most_written * h * WIDEN + 8 * U * largest;
    made.gap = 2 * loose + length2 * 0x1p-36;
    if (METRIC == 0) {
        made.alpha = p.scaling * p.scaling * (1 + (p.dim + 8) * 0x1p-50);
        made.beta = loose - length2 * (1 - 0x1p-38) + p.dim * 0x1p-1022;
    } else {
        const double err = METRIC == 2 ? (2 * p.dim + 40) * 0x1p-51 : (p.dim + 8) * 0x1p-51 * p.longest * length;
        made.alpha = 2 * p.scaling * (METRIC == 1 ? 1 / length : 1);
        made.beta = made.alpha * (cross + err) + loose;
        made.gap += 2 * made.alpha * err + made.alpha * fabs(cross) * 0x1p-47;
    }
    made.known = known, made.rest = rest;
    made.step = t / 8, made.error = up(2 * known), made.tail = up(2 * rest);
    made.far = !(length2 < 0x1p40) || !(fabs(made.beta) < endless()) || !(made.alpha > 0) ||
               (METRIC && !(length > 0x1p-400 && length < 0x1p400));
}

// A tile of 16 rows, as the lanes of a warp multiply it: rows g and g + 8.
__device__ __forceinline__ void fetch(const Plane& p, i64 tile, uint4 (&codes)[STEPS], uint2 (&sides)[2])
{
    const int lane = threadIdx.x & 31;
    const u8* from = p.tiles + tile * TILE;
    UNROLL for (int u = 0; u < STEPS; ++u) codes[u] = __ldg(reinterpret_cast<const uint4*>(from + u * 512) + lane);
    UNROLL for (int r = 0; r < 2; ++r) sides[r] = __ldg(reinterpret_cast<const uint2*>(from + 8 * LEADING) + (lane >> 2) + 8 * r);
}

// The k-th smallest of some numbers, 32 or more, or one that is not smaller, by one warp: nothing hangs on which. ALL where there are fewer.
__device__ __forceinline__ u32 smallest_of(u32* numbers, int total, int k)
{
    const int lane = threadIdx.x & 31;
    u32 least = ALL, most = 0;
    if (k <= 16) {  // of the smallest of each lane, which differ
        for (int i = lane; i < total; i += 32) least = min(least, numbers[i]);
        __syncwarp();
        numbers[lane] = least;
        __syncwarp();
        int before = 0;
#pragma unroll 2
        for (int o = 0; o < 32; o += 4) {
            const uint4 some = *reinterpret_cast<const uint4*>(numbers + o);
            UNROLL for (int c = 0; c < 4; ++c) {
                const u32 other = reinterpret_cast<const u32*>(&some)[c];
                before += other < least || (other == least && o + c < lane);
            }
        }
        return __shfl_sync(ALL, least, __ffs(__ballot_sync(ALL, before == k - 1)) - 1);
    }
    int all = 0;
#pragma unroll 4
    for (int i = lane; i < total; i += 32) {
        const u32 one = numbers[i];
        least = min(least, one), most = max(most, one == ALL ? 0 : one), all += one != ALL;
    }
    if (warp_count(all) < k) return ALL;
    least = warp_least(least), most = ~warp_least(~most);
    while (least < most) {
        const u32 middle = least + (most - least) / 2;
        int below = 0;
#pragma unroll 4
        for (int i = lane; i < total; i += 32) below += numbers[i] <= middle;
        below = warp_count(below);
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

// Whether a key, as a bound's value, is as near as the row's own bound says; a row that is never left out may be anywhere.
__device__ __forceinline__ bool is_near(const Plane& p, const Asked& asked, i64 row, double bound, double value)
{
    const uint2 side = __ldg(reinterpret_cast<const uint2*>(p.tiles + (row >> 4) * TILE + 8 * LEADING) + (row & 15));
    const double n = from_half((u16)(side.x >> 16)), e1 = from_half((u16)side.y), e2 = from_half((u16)(side.y >> 16));
    const double width = 4 * (asked.known * e1 + asked.rest * e2) * (1 + 0x1p-20) + n * 0x1p-8 + asked.gap;
    return !(width < endless()) || value <= bound + (width + (fabs(bound) + fabs(value)) * 0x1p-20) * (1 + 0x1p-20) + 0x1p-22;
}

// The hits of every query in order, and what the host is told; by the last block. ``keys``, ``names``: HITS each.
__device__ __forceinline__ void rank(const Plane& p, const Asked* asked, u64* keys, i64* names)
{
    const int lane = threadIdx.x & 31, own = threadIdx.x >> 5;
    State& state = *p.state;
    auto fetch = [&](int query, int i, int to) {
        const i64 row = __ldcg(p.hit_rows + query * HITS + i);
        keys[to] = __ldcg(p.hit_keys + query * HITS + i), names[to] = p.names ? p.names[row] : row;
    };
    auto write = [&](int query, int place, u64 key, i64 name) {
        const double found = key == LAST ? endless() : key_from(key);
        p.values[query * p.k + place] = METRIC ? 0.0 - found : found;
        p.ids[query * p.k + place] = name;
    };
    int hits[TOGETHER];
    UNROLL for (int query = 0; query < TOGETHER; ++query) hits[query] = (int)__ldcg(&state.hits[query]);
    if (own == WARPS - 1 && lane < p.queries_count) {
        const u32 errors = __ldcg(&state.errors[lane]) | (asked[lane].far || __ldcg(&state.hits[lane]) > HITS ? 4u : 0u);
        p.told[lane] = {asked[lane].alpha, asked[lane].beta, ~__ldcg(&state.skipped[lane]), ~__ldcg(&state.least[lane]),
                        __ldcg(&state.candidates[lane]), __ldcg(&state.computed[lane]), errors};
        state.candidates[lane] = state.computed[lane] = state.errors[lane] = state.least[lane] = 0;
        state.skipped[lane] = 0;
    }
    UNROLL for (int query = 0; query < TOGETHER; ++query) {
        if (query >= p.queries_count) break;
        const int few = hits[query] > FEW_HITS ? 0 : hits[query];
        for (int i = threadIdx.x; i < few; i += THREADS) fetch(query, i, query * FEW_HITS + i);
        if (hits[query] <= FEW_HITS) for (int i = few + threadIdx.x; i < p.k; i += THREADS) write(query, i, LAST, -1);
    }
    __syncthreads();
    UNROLL for (int query = 0; query < TOGETHER; ++query) {
        if (query >= p.queries_count) break;
        const int few = hits[query] > FEW_HITS ? 0 : hits[query], first = query * FEW_HITS;
        for (int i = own; i < few; i += WARPS) {  // a warp counts who is before a hit
            const u64 key = keys[first + i];
            const i64 name = names[first + i];
            int before = 0;
            for (int o = lane; o < few; o += 32) before += keys[first + o] < key || (keys[first + o] == key && names[first + o] < name);
            before = warp_sum(before);
            if (lane == 0 && before < p.k) write(query, before, key, name);
        }
    }
    UNROLL for (int query = 0; query < TOGETHER; ++query) {
        const int many = min(hits[query], HITS), size = power_from(many);
        if (query >= p.queries_count || many <= FEW_HITS) continue;
        __syncthreads();
        for (int i = threadIdx.x; i < size; i += THREADS) {
            if (i < many) fetch(query, i, i);
            else keys[i] = LAST, names[i] = -1;
        }
        sort_pairs(keys, names, size);
        for (int i = threadIdx.x; i < p.k; i += THREADS) write(query, i, keys[i], names[i]);
    }
    __syncthreads();
    if (threadIdx.x < TOGETHER) state.hits[threadIdx.x] = 0;
    if (threadIdx.x == 0) state.done = 0, state.number = state.number + 1;
}
