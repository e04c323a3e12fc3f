// One to four queries by the plane: half a byte a component, of the leading ones only (certified/plane_bound.py has the proof).
//
// One launch of one block a multiprocessor, all of which are there at once (it is started as a cooperative one). Blocks tell each other
// words of 64 bits that hold a number of 32 bits and the number of the search, so that who waits for one reads it by itself. In a block most warps
// scan: a lower bound of every row. The others rotate the query, then make a threshold while rows are left to scan: from how far the rows with the
// smallest bounds of every block are. Then all compute what the threshold leaves, as defined, and the last block ranks.

// What the warps of a block share.
struct Shared {
    Asked asked[TOGETHER];
    double parts[TOGETHER][3][WARPS];
    u64 skipped[TOGETHER];
    i64 chosen[TOGETHER][SCANNING];
    u32 minima[TOGETHER][SCANNING], rows[TOGETHER][SCANNING];
    int biases[2 * TOGETHER], waiting;
    u32 least[TOGETHER], candidates[TOGETHER], computed[TOGETHER], errors[TOGETHER];
    bool last;
};

// The rows with the smallest bounds of a block, ``each`` of them, by one warp.
__device__ __forceinline__ void choose(const u32* minima, const u32* rows, int each, i64* chosen)
{
    const int lane = threadIdx.x & 31;
    u32 mine = lane < SCANNING ? minima[lane] : ALL;
    const u32 row = lane < SCANNING ? rows[lane] : 0;
    for (int turn = 0; turn < each; ++turn) {
        const u32 first = warp_least(mine);
        const int who = __ffs(__ballot_sync(ALL, mine == first)) - 1;
        if (lane == who) chosen[turn] = first == ALL ? -1 : (i64)row, mine = ALL;
    }
}

__device__ __forceinline__ void among_meeting() { asm volatile("bar.sync 2, %0;" ::"n"(32 * MEETING) : "memory"); }

// A threshold for every query, by the warps that do not scan: V of the k-th nearest of the rows that all blocks have chosen.
__device__ __forceinline__ void meet(const Plane& p, Shared& own_block, const double* queries, u32* limits, u32 number, bool& lost)
{
    const int lane = threadIdx.x & 31, own = (threadIdx.x >> 5) - SCANNING, total = gridDim.x * p.each;
    if (own < p.queries_count) choose(own_block.minima[own], own_block.rows[own], p.each, own_block.chosen[own]);
    among_meeting();
    for (int i = own; i < p.queries_count * p.each; i += MEETING) {
        const int query = i % p.queries_count, place = i / p.queries_count;
        const i64 row = own_block.chosen[query][place];
        const Asked& asked = own_block.asked[query];
        double least = 0, most = endless();
        if (row >= 0) about(p, row, queries + query * p.dim, asked.defined, least, most);
        const float limit = most < endless() ? up(plane_limit(most, asked.alpha, asked.beta)) : infinite();
        if (lane == 0) tell(p.meeting + query * total + blockIdx.x * p.each + place, ordered(limit), number);
    }
    for (int query = 0; query < p.queries_count; ++query)
        for (int i = 32 * own + lane; i < total; i += 32 * MEETING) limits[query * SHARE + i] = await_word(p.meeting + query * total + i, number, lost);
    among_meeting();
    if (own >= p.queries_count) return;
    const u32 limit = smallest_of(limits + own * SHARE, total, p.k);
    if (lane == 0) own_block.asked[own].limit = own_block.asked[own].far ? -infinite() : limit == ALL ? infinite() : value_from(limit);
}

// A lower bound of every row of this warp's tiles, into ``bounds``; the smallest are deposited after ``p.meet`` of them.
__device__ __forceinline__ void scan(const Plane& p, Shared& own_block, const signed char (*digits)[LEADING], float* bounds, uint4 (&next)[STEPS],
                                     uint2 (&next_sides)[2])
{
    const int lane = threadIdx.x & 31, own = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    const int warp = own * gridDim.x + blockIdx.x, warps = gridDim.x * SCANNING;
    const i64 tiles = (p.count + 15) >> 4;
    u32 b[2][STEPS][2];
    UNROLL for (int half = 0; half < 2; ++half) UNROLL for (int u = 0; u < STEPS; ++u) UNROLL for (int part = 0; part < 2; ++part)
        b[half][u][part] = *reinterpret_cast<const u32*>(&digits[g][half * (LEADING / 2) + 32 * u + 16 * part + 4 * t]);
    const bool mine = t < p.queries_count;
    const Asked& me = own_block.asked[mine ? t : 0];
    const float step = me.step, error = me.error, tail = me.tail;
    const int bias_high = own_block.biases[2 * t], bias_low = own_block.biases[2 * t + 1];
    const u8* allowed = p.allowed ? p.allowed + (mine ? t : 0) * p.allowed_stride : nullptr;
    float* to = bounds + (mine ? t : 0) * p.place + own * 16;
    float best = infinite();
    u32 best_row = 0;
    auto deposit = [&] {
        u32 least = best < infinite() ? ordered(best) : ALL, row = best_row;
        UNROLL for (int o = 4; o < 32; o *= 2) {
            const u32 other = __shfl_xor_sync(ALL, least, o), its = __shfl_xor_sync(ALL, row, o);
            if (other < least) least = other, row = its;
        }
        if (g == 0 && mine) own_block.minima[t][own] = least, own_block.rows[t][own] = row;
        __threadfence_block();
        asm volatile("bar.arrive 1, %0;" ::"n"(THREADS) : "memory");
    };
    int done = 0;
    for (i64 tile = warp; tile < tiles; tile += warps) {
        uint4 x[STEPS];
        const uint2 sides[2] = {next_sides[0], next_sides[1]};
        UNROLL for (int u = 0; u < STEPS; ++u) x[u] = next[u];
        if (tile + warps < tiles) fetch(p, tile + warps, next, next_sides);
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
                to[g + 8 * r] = bound;
                if (bound < best) best = bound, best_row = (u32)row;
            }
        }
        to += 16 * SCANNING;
        if (++done == p.meet) deposit();
    }
    if (done < p.meet) deposit();
}

// What a threshold leaves of the bounds of a block is computed, by all its warps.
__device__ __forceinline__ void finish(const Plane& p, Shared& own_block, const double* queries, const float* bounds, u32* queue,
                                       float* queue_bounds, u8* queue_query, double* terms)
{
    const int lane = threadIdx.x & 31, own = threadIdx.x >> 5;
    const int warp = own * gridDim.x + blockIdx.x, warps = gridDim.x * SCANNING;
    const i64 tiles = (p.count + 15) >> 4;
    const int steps = p.place / (16 * SCANNING);
    int span = steps;
    for (int begin = 0; begin < steps;) {
        const int end = min(begin + span, steps);
        for (int query = 0; query < p.queries_count && own < SCANNING; ++query) {
            const float limit = own_block.asked[query].limit;
            const float* from = bounds + query * p.place + own * 16;
            u32 rest = ALL;
            for (int at = 16 * begin + lane; at < 16 * end; at += 32) {
                const i64 tile = (i64)(at >> 4) * warps + warp;
                if (tile >= tiles) break;
                const float bound = from[(at >> 4) * 16 * SCANNING + (at & 15)];
                if (bound == infinite()) continue;
                if (bound > limit) rest = min(rest, ordered(bound));
                else {
                    const int place = atomicAdd(&own_block.waiting, 1);
                    if (place < QUEUE) queue[place] = (u32)(tile * 16 + (at & 15)), queue_bounds[place] = bound, queue_query[place] = (u8)query;
                }
            }
            UNROLL for (int o = 16; o; o >>= 1) rest = min(rest, __shfl_xor_sync(ALL, rest, o));
            if (lane == 0 && rest != ALL) atomicMin(&own_block.least[query], rest);
        }
        __syncthreads();
        const int count = own_block.waiting;
        const bool again = count > QUEUE;  // fewer at a time
        if (again || end < steps) {
            __syncthreads();
            if (threadIdx.x == 0) own_block.waiting = 0;
        }
        if (again) {
            span = 1;
            __syncthreads();
            continue;
        }
        for (int i = own; i < count; i += WARPS) {
            const int query = queue_query[i];
            const Asked& asked = own_block.asked[query];
            if (*reinterpret_cast<volatile u32*>(&p.state->hits[query]) > HITS) continue;  // all rows have to answer it
            const i64 row = queue[i];
            const double* q = queries + query * p.dim;
            if (lane == 0) atomicAdd(&own_block.candidates[query], 1u);
            if (count > WARPS) {  // else each has its warp, which computes it at once
                double low, high;
                about(p, row, q, asked.defined, low, high);
                if (lane == 0 && !is_near(p, asked, row, queue_bounds[i], plane_limit(low, asked.alpha, asked.beta))) atomicOr(&own_block.errors[query], 2u);
                if (is_beyond(low, asked)) {  // where it is no number it is looked at
                    if (lane == 0) atomicMin(&own_block.skipped[query], ordered(low));
                    continue;
                }
            }
            const double value = value_by_warp(p, row, q, asked.defined, terms + own * CHUNK);
            if (lane == 0) {
                atomicAdd(&own_block.computed[query], 1u);
                const double key = key_of(value);
                if (isnan(value)) atomicOr(&own_block.errors[query], 1u);
                else if (!(queue_bounds[i] <= plane_limit(key, asked.alpha, asked.beta) + 0x1p-100)) atomicOr(&own_block.errors[query], 2u);
                else if (!is_near(p, asked, row, queue_bounds[i], plane_limit(key, asked.alpha, asked.beta))) atomicOr(&own_block.errors[query], 2u);
                else if (is_beyond(key, asked)) atomicMin(&own_block.skipped[query], ordered(key));
                else {
                    const u32 place = atomicAdd(&p.state->hits[query], 1u);
                    if (place < HITS) p.hit_keys[query * HITS + place] = ordered(key), p.hit_rows[query * HITS + place] = row;
                }
            }
        }
        begin = end;
        __syncthreads();
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) plane_search(const Plane p)
{
    extern __shared__ __align__(16) u8 room[];  // bounds, where they fit; hits at the end
    constexpr int WORDS = LEADING > SHARE ? LEADING : SHARE, QUEUES = 9 * QUEUE / (4 * TOGETHER) + 1;
    __shared__ __align__(16) u8 early[4 * TOGETHER * (WORDS > QUEUES ? WORDS : QUEUES)];  // words, then limits, then the queue
    __shared__ __align__(16) signed char digits[2 * TOGETHER][LEADING];
    __shared__ __align__(16) double terms[WARPS * CHUNK];
    __shared__ Shared own_block;
    const int lane = threadIdx.x & 31, own = threadIdx.x >> 5;
    let_next_begin();
    const u32 number = *reinterpret_cast<volatile u32*>(&p.state->number) + 1;
    float* words = reinterpret_cast<float*>(early);
    float* bounds = p.bounds ? p.bounds + (i64)blockIdx.x * p.queries_count * p.place : reinterpret_cast<float*>(room);
    float* flat = reinterpret_cast<float*>(room);  // queries until words are told; then bounds lie there
    double* queries = p.asked ? p.asked : reinterpret_cast<double*>(room + p.kept);
    bool lost = false;
    uint4 next[STEPS];
    uint2 next_sides[2];
    const int count = p.queries_count * LEADING, meeting = own - SCANNING;
    int item = meeting * gridDim.x + blockIdx.x;
    float direction[PER_LANE];
    auto directions = [&](int component) {
        UNROLL for (int i = 0; i < PER_LANE; ++i) direction[i] = __ldg(p.directions + (i64)component * FULL + 32 * i + lane);
    };
    if (own < SCANNING) {
        const i64 tile = own * gridDim.x + blockIdx.x;
        if (tile < (p.count + 15) >> 4) fetch(p, tile, next, next_sides);  // before the query: it does not wait for it
        for (int i = threadIdx.x; i < 2 * TOGETHER * LEADING / 4; i += 32 * SCANNING) reinterpret_cast<int*>(digits)[i] = 0;
        if (threadIdx.x < TOGETHER) {
            const int query = threadIdx.x;
            own_block.least[query] = ALL, own_block.skipped[query] = LAST;
            own_block.candidates[query] = own_block.computed[query] = own_block.errors[query] = 0;
            own_block.biases[2 * query] = own_block.biases[2 * query + 1] = 0;
        }
        if (threadIdx.x == 0) own_block.waiting = 0;
    } else if (item < count) directions(item % LEADING);
    take(p, queries, flat, own_block.parts);
    __syncthreads();
    if (own >= SCANNING) {
        for (; item < count; item += MEETING * gridDim.x) {
            const float* x = flat + item / LEADING * FULL;
            float sum = 0;
            UNROLL for (int i = 0; i < PER_LANE; ++i) sum = fmaf(direction[i], x[32 * i + lane], sum);
            for (int j = 32 * PER_LANE + lane; j < FULL; j += 32) sum = fmaf(__ldg(p.directions + (i64)(item % LEADING) * FULL + j), x[j], sum);
            UNROLL for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(ALL, sum, o);
            if (lane == 0) tell(p.words + item, __float_as_uint(sum), number);
            if (item + MEETING * (int)gridDim.x < count) directions((item + MEETING * (int)gridDim.x) % LEADING);
        }
    }
    for (int i = threadIdx.x; i < count; i += THREADS) words[i] = __uint_as_float(await_word(p.words + i, number, lost));
    __syncthreads();
    if (meeting >= 0 && meeting < p.queries_count)
        complete(p, words + meeting * LEADING, own_block.parts[meeting], own_block.asked[meeting], digits[2 * meeting], digits[2 * meeting + 1],
                 own_block.biases + 2 * meeting);
    __syncthreads();
    if (own < SCANNING) scan(p, own_block, digits, bounds, next, next_sides);
    else {
        if (lane == 0 && meeting < p.queries_count) own_block.asked[meeting].defined = METRIC == 2 ? defined_length(queries + meeting * p.dim, p.dim) : 0;
        asm volatile("bar.sync 1, %0;" ::"n"(THREADS) : "memory");
        meet(p, own_block, queries, reinterpret_cast<u32*>(early), number, lost);
    }
    if (lost) atomicOr(&own_block.errors[0], 4u);
    __syncthreads();
    u32* queue = reinterpret_cast<u32*>(early);
    float* queue_bounds = reinterpret_cast<float*>(queue + QUEUE);
    finish(p, own_block, queries, bounds, queue, queue_bounds, reinterpret_cast<u8*>(queue_bounds + QUEUE), terms);
    if (threadIdx.x < p.queries_count) {
        const int query = threadIdx.x;
        State& state = *p.state;
        if (own_block.candidates[query]) atomicAdd(&state.candidates[query], own_block.candidates[query]);
        if (own_block.computed[query]) atomicAdd(&state.computed[query], own_block.computed[query]);
        const u32 errors = own_block.errors[query] | (own_block.errors[0] & 4u);  // a lost word spoils all queries
        if (errors) atomicOr(&state.errors[query], errors);
        if (own_block.least[query] != ALL) atomicMax(&state.least[query], ~own_block.least[query]);
        if (own_block.skipped[query] != LAST) atomicMax(&state.skipped[query], ~own_block.skipped[query]);
    }
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) own_block.last = atomicAdd(&p.state->done, 1u) == gridDim.x - 1;
    __syncthreads();
    if (!own_block.last) return;
    __threadfence();
    rank(p, own_block.asked, reinterpret_cast<u64*>(room), reinterpret_cast<i64*>(room) + HITS);
}
