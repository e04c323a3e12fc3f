// Few queries by the plane: half a byte a component, of the leading ones only (certified/plane_bound.py has the proof).
//
//   WIDTH    components of a rotated row, padded
//   LEADING  m, components that the plane holds: a multiple of 64
//
// Four kernels, one after the other. ``words``: queries rotated. ``scan``: a lower bound of every row, and the smallest of each warp.
// ``probe``: distances of the rows with the smallest bounds give a threshold. ``finish``: values as defined of what that leaves; the last
// block of a query ranks them.

constexpr int STEPS = LEADING / 64;            // products of 32 components of low halves, and of high ones
constexpr int TILE = 8 * LEADING + 128;        // bytes of 16 rows
constexpr int SCAN = 384, PROBE = 512, FINISH = 256;
constexpr int TOGETHER = 4;                     // two digits each: the eight columns of a product
constexpr int LEVELS = 127 * 254;
constexpr int CHOSEN = 1024;                   // rows that a threshold is made of, at most
constexpr int HITS = 2048;                     // rows that are ranked, at most
constexpr int QUEUE = 1024;                    // rows of a block that wait for their values

struct Asked {             // one query
    double length2, length, cross, alpha, beta, key;  // |q'|^2, |q|, c.q, of V(K); the threshold's K
    double known, rest, gap;                          // |w1|, |w2|; what a row's bound may be below its key by, beside its own errors
    float limit;                                      // V
    u32 least;                                        // the smallest bound left out, ordered
    u32 hits, candidates, computed, done, errors;     // errors: 1 no number, 2 a row is not where its bound says, 4 too many hits
    u64 skipped;                                      // the smallest key of a row that was looked at and not computed, at least, ordered
};

struct Plane {
    const Cell* rows; const double* row_norms; const i64* names; // names: null where rows go by their numbers
    const u8* tiles;
    const float* directions;          // (WIDTH, WIDTH), the leading ones first
    const double* centre;
    i64 count, dim;
    double scaling, rho, longest;     // longest: at least the length of every row, for ip
    double most_length2, most_written, most_error, most_tail;
    const double *queries, *query_norms; // (queries, dim); norms as defined, for cosine
    const u8* allowed; i64 allowed_stride;
    float* words;                     // (queries, LEADING)
    float* bounds;                    // (queries, padded rows)
    u64* minima;                      // (queries, warps of a scan): bound and row
    u64* hit_keys; i64* hit_rows;     // (queries, HITS)
    Asked* asked;
    double* values; i64* ids;         // (queries, k)
    i64 padded;
    int queries_count, k, warps, together;  // together: bounds that a thread of finish looks at, 1 or 4
};

// q' of one component: what rows are centred and scaled by, for l2; the query of length 1 else.
__device__ __forceinline__ double of_query(const Plane& p, const double* query, i64 j, double factor)
{
    return METRIC == 0 ? (query[j] - p.centre[j]) * p.scaling : query[j] * factor;
}

extern "C" __global__ void __launch_bounds__(256) plane_words(const Plane p)
{
    let_next_begin();
    const int lane = threadIdx.x & 31, component = blockIdx.x * 8 + (threadIdx.x >> 5);
    const double* query = p.queries + blockIdx.y * p.dim;
    double total = 0, cross = 0, length2 = 0, factor = 1;
    float sum = 0;
    if (METRIC || component == 0) {
        for (int start = 0; start < WIDTH; start += 32 * LOADS) UNROLL for (int i = 0; i < LOADS; ++i) {
            const int j = start + 32 * i + lane;
            const double q = j < p.dim ? query[j] : 0;
            total += q * q, cross += j < p.dim ? p.centre[j] * q : 0;
        }
        total = warp_sum(total);
        if (METRIC) factor = 1 / sqrt(total);
    }
    for (int start = 0; start < WIDTH; start += 32 * LOADS) {
        float direction[LOADS];
        double x[LOADS];
        UNROLL for (int i = 0; i < LOADS; ++i) {
            const int j = start + 32 * i + lane;
            direction[i] = p.directions[(i64)component * WIDTH + j];
            x[i] = j < p.dim ? of_query(p, query, j, factor) : 0;
        }
        UNROLL for (int i = 0; i < LOADS; ++i) sum = fmaf(direction[i], (float)x[i], sum), length2 += x[i] * x[i];
    }
    UNROLL for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(ALL, sum, o);
    if (lane == 0) p.words[blockIdx.y * LEADING + component] = sum;
    if (component) return;
    length2 = warp_sum(length2), cross = warp_sum(cross);
    if (lane == 0) {
        Asked& made = p.asked[blockIdx.y];
        made.length2 = length2 * (1 + 0x1p-40), made.length = sqrt(total), made.cross = METRIC == 2 ? cross * factor : cross;
    }
}

// What a query's bounds are made of, by one warp, alike wherever it is asked for: t, |w1|, and the lengths that C1 and C2 are twice.
struct Terms { float t; double size, known, rest; };

__device__ __forceinline__ Terms terms_of(const Plane& p, int number)
{
    const float* w = p.words + number * LEADING;
    float peak = 0;
    double leading2 = 0;
    UNROLL for (int i = 0; i < LEADING / 32; ++i) {
        const float x = w[32 * i + (threadIdx.x & 31)];
        peak = fmaxf(peak, fabsf(x)), leading2 += (double)x * x;
    }
    peak = warp_most(peak), leading2 = warp_sum(leading2);
    const double size = sqrt(p.asked[number].length2);
    return {fmaxf(peak / LEVELS, 0x1p-60f), size, sqrt(leading2) * (1 + 0x1p-30) + p.rho * size,
            plane_rest(p.asked[number].length2, leading2, p.rho)};
}

// The digits of a query, by one warp: the bytes of its two columns.
__device__ __forceinline__ void digits_of(const Plane& p, int number, float t, signed char* high, signed char* low, int* biases)
{
    const int lane = threadIdx.x & 31;
    const float* w = p.words + number * LEADING;
    const float inverse = 1 / t;
    int sum_high = 0, sum_low = 0;
    UNROLL for (int i = 0; i < LEADING / 32; ++i) {
        const int j = 32 * i + lane;
        const int whole = max(min(__float2int_rn(w[j] * inverse), LEVELS), -LEVELS);
        const int upper_digit = __float2int_rn(whole * (1 / 254.f)), lower_digit = whole - 254 * upper_digit;
        high[j] = (signed char)upper_digit, low[j] = (signed char)lower_digit;
        sum_high += upper_digit, sum_low += lower_digit;
    }
    sum_high = warp_sum(sum_high), sum_low = warp_sum(sum_low);
    if (lane == 0) biases[0] = -120 * sum_high, biases[1] = -120 * sum_low;
}

// V(K) of a query, from its terms. A digit's rounding is at most half a step, and what float32 adds: |h| <= 0.51 t sqrt(m) + rho |q'|.
__device__ __forceinline__ void complete(const Plane& p, const Terms& terms, Asked& made)
{
    const double h = (0.51 * terms.t * sqrt((double)LEADING) + p.rho * terms.size) * (1 + 0x1p-30) + TINY;
    const double largest =
        p.most_length2 + 2 * p.most_written * (terms.known + h) + 2 * p.most_error * terms.known + 2 * p.most_tail * terms.rest;
    const double loose = 2 * p.most_written * h * WIDEN + 8 * U * largest;
    if (METRIC == 0) {
        made.alpha = p.scaling * p.scaling * (1 + (p.dim + 8) * 0x1p-50);
        made.beta = loose - made.length2 * (1 - 0x1p-38) + p.dim * 0x1p-1022;
    } else {
        const double err = METRIC == 2 ? (2 * p.dim + 40) * 0x1p-51 : (p.dim + 8) * 0x1p-51 * p.longest * made.length;
        made.alpha = 2 * p.scaling * (METRIC == 1 ? 1 / made.length : 1);
        made.beta = made.alpha * (made.cross + err) + loose;
    }
    made.known = terms.known, made.rest = terms.rest;
    made.gap = 2 * loose + made.length2 * 0x1p-36;
    if (METRIC) made.gap += 2 * made.alpha * (METRIC == 2 ? (2 * p.dim + 40) * 0x1p-51 : (p.dim + 8) * 0x1p-51 * p.longest * made.length) + made.alpha * fabs(made.cross) * 0x1p-47;
    // a query whose numbers leave float32 has to be answered by all rows
    const bool far = !(made.length2 < 0x1p40) || !(fabs(made.beta) < endless()) || !(made.alpha > 0) ||
                     (METRIC && !(made.length > 0x1p-400 && made.length < 0x1p400));
    made.errors = far ? 4 : 0;
}

extern "C" __global__ void __launch_bounds__(SCAN, 2) plane_scan(const Plane p)
{
    __shared__ __align__(16) signed char digits[2 * TOGETHER][LEADING];
    __shared__ float scales[TOGETHER][3];  // t2, C1, C2
    __shared__ int biases[2 * TOGETHER];
    const int lane = threadIdx.x & 31, own = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    const int warp = own * gridDim.x + blockIdx.x, warps = gridDim.x * (SCAN / 32);
    const i64 tiles = (p.count + 15) >> 4;
    uint4 next[STEPS];
    uint2 next_sides[2];
    auto fetch = [&](i64 tile) {
        const u8* from = p.tiles + tile * TILE;
        UNROLL for (int u = 0; u < STEPS; ++u) next[u] = __ldg(reinterpret_cast<const uint4*>(from + u * 512) + lane);
        UNROLL for (int r = 0; r < 2; ++r) next_sides[r] = __ldg(reinterpret_cast<const uint2*>(from + 8 * LEADING) + g + 8 * r);
    };
    if (warp < tiles) fetch(warp);  // before the query: it does not wait for it
    await_before();
    let_next_begin();
    for (int i = threadIdx.x; i < 2 * TOGETHER * LEADING / 4; i += SCAN) reinterpret_cast<int*>(digits)[i] = 0;
    if (threadIdx.x < 2 * TOGETHER) biases[threadIdx.x] = 0;
    __syncthreads();
    if (own < p.queries_count) {
        const Terms terms = terms_of(p, own);
        digits_of(p, own, terms.t, digits[2 * own], digits[2 * own + 1], biases + 2 * own);
        if (lane == 0) scales[own][0] = terms.t / 8, scales[own][1] = up(2 * terms.known), scales[own][2] = up(2 * terms.rest);
    }
    __syncthreads();
    u32 b[2][STEPS][2];
    UNROLL for (int half = 0; half < 2; ++half) UNROLL for (int u = 0; u < STEPS; ++u) UNROLL for (int part = 0; part < 2; ++part)
        b[half][u][part] = *reinterpret_cast<const u32*>(&digits[g][half * (LEADING / 2) + 32 * u + 16 * part + 4 * t]);
    const bool mine = t < p.queries_count;
    const float* me = scales[mine ? t : 0];
    const float step = me[0], error = me[1], tail = me[2];
    const int bias_high = biases[2 * t], bias_low = biases[2 * t + 1];
    const u8* allowed = p.allowed ? p.allowed + (mine ? t : 0) * p.allowed_stride : nullptr;
    float best = infinite();
    u32 best_row = 0;
    for (i64 tile = warp; tile < tiles; tile += warps) {
        uint4 x[STEPS];
        uint2 sides[2] = {next_sides[0], next_sides[1]};
        UNROLL for (int u = 0; u < STEPS; ++u) x[u] = next[u];
        if (tile + warps < tiles) fetch(tile + warps);
        int low[4] = {0, 0, 0, 0}, high[4] = {bias_high, bias_low, bias_high, bias_low};
        UNROLL for (int u = 0; u < STEPS; ++u) {
            multiply_unsigned(low, x[u].x & 0x0f0f0f0fu, x[u].y & 0x0f0f0f0fu, x[u].z & 0x0f0f0f0fu, x[u].w & 0x0f0f0f0fu, b[0][u][0], b[0][u][1]);
            multiply_unsigned(high, x[u].x & 0xf0f0f0f0u, x[u].y & 0xf0f0f0f0u, x[u].z & 0xf0f0f0f0u, x[u].w & 0xf0f0f0f0u, b[1][u][0], b[1][u][1]);
        }
        UNROLL for (int r = 0; r < 2; ++r) {
            const i64 row = tile * 16 + g + 8 * r;
            const float f = fmaf((float)(16 * low[2 * r] + high[2 * r]), 254.f, (float)(16 * low[2 * r + 1] + high[2 * r + 1]));
            const float s = from_half((u16)sides[r].x), n = from_half((u16)(sides[r].x >> 16));
            const float e1 = from_half((u16)sides[r].y), e2 = from_half((u16)(sides[r].y >> 16));
            float bound = fmaf(-(s * step), f, n);
            bound = fmaf(-error, e1, bound);
            bound = fmaf(-tail, e2, bound);
            if (row >= p.count || (allowed && !allowed[row])) bound = infinite();
            if (mine) {
                p.bounds[t * p.padded + row] = bound;
                if (bound < best) best = bound, best_row = (u32)row;
            }
        }
    }
    u64 least = best < infinite() ? (u64)ordered(best) << 32 | best_row : LAST;
    UNROLL for (int o = 4; o < 32; o *= 2) {
        const u64 other = __shfl_xor_sync(ALL, least, o);
        least = other < least ? other : least;
    }
    if (g == 0 && mine) p.minima[t * p.warps + warp] = least;
}

// The threshold: each warp takes the rows of the smallest bounds among its share of them, and computes how far these are.
extern "C" __global__ void __launch_bounds__(PROBE) plane_probe(const Plane p)
{
    __shared__ u64 keys[CHOSEN];
    __shared__ i64 rows[CHOSEN];
    constexpr int WARPS = PROBE / 32, SHARE = 20;
    const int number = blockIdx.x, lane = threadIdx.x & 31, own = threadIdx.x >> 5;
    const int each = min((2 * p.k + 16 + WARPS - 1) / WARPS, CHOSEN / WARPS);
    Asked& asked = p.asked[number];
    const double* query = p.queries + number * p.dim;
    const double length = METRIC == 2 ? p.query_norms[number] : 0;
    await_before();
    let_next_begin();
    u64 mine[SHARE];
    UNROLL for (int i = 0; i < SHARE; ++i) {
        const int at = i * PROBE + threadIdx.x;
        mine[i] = at < p.warps ? p.minima[number * p.warps + at] : LAST;
    }
    for (int turn = 0; turn < each; ++turn) {
        u64 least = LAST;
        UNROLL for (int i = 0; i < SHARE; ++i) least = mine[i] < least ? mine[i] : least;
        u64 first = least;
        UNROLL for (int o = 16; o; o >>= 1) {
            const u64 other = __shfl_xor_sync(ALL, first, o);
            first = other < first ? other : first;
        }
        UNROLL for (int i = 0; i < SHARE; ++i) if (mine[i] == first) mine[i] = LAST;  // rows differ, so only one is
        if (lane == 0) rows[own * each + turn] = first == LAST ? -1 : (i64)(u32)first;
    }
    __syncwarp();
    for (int i = own * each; i < own * each + each; ++i) {
        double least = 0, most = endless();
        if (rows[i] >= 0) about(p, rows[i], query, length, least, most, nullptr);
        if (lane == 0) keys[i] = rows[i] >= 0 && most == most ? ordered(most + 0.0) : LAST;
    }
    const int count = each * WARPS, size = power_from(count);
    for (int i = count + threadIdx.x; i < size; i += PROBE) keys[i] = LAST, rows[i] = 0;
    sort_pairs(keys, rows, size);
    if (own) return;
    const Terms terms = terms_of(p, number);
    if (lane == 0) {
        Asked made = asked;
        complete(p, terms, made);
        made.key = count >= p.k && keys[p.k - 1] != LAST ? key_from(keys[p.k - 1]) : endless();
        made.limit = made.key < endless() ? up(plane_limit(made.key, made.alpha, made.beta)) : infinite();
        made.least = ALL, made.hits = made.candidates = made.computed = made.done = 0, made.skipped = LAST;
        asked = made;
    }
}

// Whether a key, as a bound's value, is as near as the row's own bound says; a row that is never left out may be anywhere.
__device__ __forceinline__ bool is_near(const Plane& p, const Asked& asked, i64 row, double bound, double value)
{
    const uint2 side = __ldg(reinterpret_cast<const uint2*>(p.tiles + (row >> 4) * TILE + 8 * LEADING) + (row & 15));
    const double n = from_half((u16)(side.x >> 16)), e1 = from_half((u16)side.y), e2 = from_half((u16)(side.y >> 16));
    const double width = 4 * (asked.known * e1 + asked.rest * e2) * (1 + 0x1p-20) + n * 0x1p-8 + asked.gap;
    return !(width < endless()) || value <= bound + (width + (fabs(bound) + fabs(value)) * 0x1p-20) * (1 + 0x1p-20) + 0x1p-22;
}

// A row's value as defined, by one warp: terms side by side, added by its first lane. ``terms``: KEPT numbers of this warp, which hold
// the row's already where they all fit.
__device__ __forceinline__ double value_by_warp(const Plane& p, i64 row, const double* query, double length, double* terms)
{
    const int lane = threadIdx.x & 31;
    const Cell* x = p.rows + row * p.dim;
    double sum = 0;
    for (i64 start = 0; start < p.dim; start += KEPT) {
        const int some = (int)(p.dim - start < KEPT ? p.dim - start : KEPT);
        if (WIDTH > KEPT) for (int j = lane; j < some; j += 32) terms[j] = term(wide(x[start + j]), query[start + j]);
        __syncwarp();
        if (lane == 0) {
            int j = 0;
            for (; j + 16 <= some; j += 16) UNROLL for (int c = 0; c < 16; ++c) sum = __dadd_rn(sum, terms[j + c]);
            for (; j < some; ++j) sum = __dadd_rn(sum, terms[j]);
        }
        __syncwarp();
    }
    return value_of(sum, METRIC == 2 ? p.row_norms[row] : 0, length);
}

extern "C" __global__ void __launch_bounds__(FINISH) plane_finish(const Plane p)
{
    __shared__ __align__(16) u64 shared[2 * HITS];  // terms of each warp while rows are computed, then hits while they are ranked
    __shared__ u32 queue[QUEUE];
    __shared__ float queue_bounds[QUEUE];
    __shared__ int waiting;
    __shared__ u32 least;
    __shared__ bool last;
    static_assert(2 * HITS >= FINISH / 32 * KEPT, "terms fit");
    const int number = blockIdx.y, lane = threadIdx.x & 31, own = threadIdx.x >> 5;
    Asked& asked = p.asked[number];
    const double* query = p.queries + number * p.dim;
    const float* bounds = p.bounds + number * p.padded;
    await_before();
    const float limit_ = asked.limit;
    const double key = asked.key, length = METRIC == 2 ? p.query_norms[number] : 0, alpha = asked.alpha, beta = asked.beta;
    double* terms = reinterpret_cast<double*>(shared) + own * KEPT;
    if (threadIdx.x == 0) waiting = 0, least = ALL;
    __syncthreads();
    u32 rest = ALL;
    u64 skipped = LAST;
    int candidates = 0, computed = 0;
    const i64 stride = (i64)gridDim.x * FINISH * p.together;
    for (i64 first = (i64)blockIdx.x * FINISH * p.together; first < p.padded; first += stride) {
        const i64 at = first + threadIdx.x * p.together;
        if (at < p.padded && !(asked.errors & 4)) {
            float4 four;
            if (p.together == 4) four = *reinterpret_cast<const float4*>(bounds + at);
            else four.x = bounds[at];
            UNROLL for (int c = 0; c < 4; ++c) {
                const float bound = (&four.x)[c];
                if (c >= p.together) break;
                if (bound == infinite()) continue;
                if (bound > limit_) rest = min(rest, ordered(bound));
                else {
                    const int place = atomicAdd(&waiting, 1);
                    queue[place] = (u32)(at + c), queue_bounds[place] = bound;
                }
            }
        }
        __syncthreads();
        const int count = waiting;
        for (int i = own; i < count; i += FINISH / 32) {
            const i64 row = queue[i];
            double low, high;
            about(p, row, query, length, low, high, terms);
            if (lane == 0 && !is_near(p, asked, row, queue_bounds[i], plane_limit(low, alpha, beta))) atomicOr(&asked.errors, 2u);
            if (low > key) {  // where it is no number it is looked at
                skipped = min(skipped, ordered(low));
                continue;
            }
            const double value = value_by_warp(p, row, query, length, terms);
            if (lane == 0) {
                ++computed;
                const double own_key = key_of(value);
                if (isnan(value)) atomicOr(&asked.errors, 1u);
                else if (!(queue_bounds[i] <= plane_limit(own_key, alpha, beta) + 0x1p-100)) atomicOr(&asked.errors, 2u);
                else if (own_key <= key) {
                    const u32 place = atomicAdd(&asked.hits, 1u);
                    if (place < HITS) p.hit_keys[number * HITS + place] = ordered(own_key), p.hit_rows[number * HITS + place] = row;
                }
            }
        }
        if (threadIdx.x == 0) candidates += count;
        __syncthreads();
        if (threadIdx.x == 0) waiting = 0;
        __syncthreads();
    }
    atomicMin(&least, rest);
    if (computed) atomicAdd(&asked.computed, (u32)computed);
    if (lane == 0 && skipped != LAST) atomicMin(&asked.skipped, skipped);
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        if (candidates) atomicAdd(&asked.candidates, (u32)candidates);
        atomicMin(&asked.least, least);
        __threadfence();
        last = atomicAdd(&asked.done, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    const u32 hits = *reinterpret_cast<volatile u32*>(&asked.hits);
    if (hits > HITS) {
        if (threadIdx.x == 0) atomicOr(&asked.errors, 4u);
        return;
    }
    const int size = power_from((int)hits);
    u64* keys = shared;
    i64* names = reinterpret_cast<i64*>(shared) + HITS;
    for (int i = threadIdx.x; i < size; i += FINISH) {
        const bool there = i < (int)hits;
        const i64 row = there ? __ldcg(p.hit_rows + number * HITS + i) : 0;
        keys[i] = there ? __ldcg(p.hit_keys + number * HITS + i) : LAST;
        names[i] = there ? (p.names ? p.names[row] : row) : -1;
    }
    sort_pairs(keys, names, size);
    for (int i = threadIdx.x; i < p.k; i += FINISH) {
        const bool there = i < (int)hits;
        const double found = there ? key_from(keys[i]) : endless();
        p.values[number * p.k + i] = METRIC ? 0.0 - found : found;
        p.ids[number * p.k + i] = there ? names[i] : -1;
    }
}
