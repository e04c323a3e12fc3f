// One to four queries by the plane: half a byte a component, of the leading ones only (certified/plane_bound.py has the proof).
//
// One launch of one block a multiprocessor, all of which are there at once (it is started as a cooperative one), which tell each other what they
// have found. Warps rotate the query, a component each. Then most warps of a block scan: a lower bound of every row. The others make a threshold while
// rows are left to scan: from how far the rows with the smallest bounds of every block are. All compute what the threshold leaves, as defined, and one
// block ranks. A search of few rows is a chain of waits, so what need not be waited for is done beside.

// The row with the smallest bound of a block, or one after it, by one warp; -1 where there are fewer.
__device__ __forceinline__ i64 chosen(const u32* minima, const u32* rows, int place)
{
    const int lane = threadIdx.x & 31;
    u32 mine = lane < SCANNING ? minima[lane] : ALL;
    for (int turn = 0;; ++turn) {
        const u32 first = warp_least(mine);
        const int who = __ffs(__ballot_sync(ALL, mine == first)) - 1;
        if (turn == place) return first == ALL ? -1 : (i64)rows[who];
        if (lane == who) mine = ALL;
    }
}

// V of the k-th neighbor of a query among other rows: who is beyond it is none of the nearest of all, and who is as far as it is not beyond.
__device__ __forceinline__ float known_limit(const Plane& p, const Asked& asked, int query)
{
    const double key = p.known ? key_of(p.known[(i64)query * p.k + p.k - 1]) : endless();
    return key < endless() ? up(plane_limit(key, asked.alpha, asked.beta)) : infinite();
}

// A threshold for every query, by the warps that do not scan: V of the k-th nearest of the rows that all blocks have chosen.
__device__ __forceinline__ void meet(const Plane& p, Shared& own_block, const double* queries, u32* limits)
{
    const u32 number = own_block.number;
    constexpr int MOST = SHARE / (32 * MEETING), FIRST = 16;  // FIRST: neighbors up to which the smallest limit of each thread is enough
    const int lane = threadIdx.x & 31, own = (threadIdx.x >> 5) - SCANNING, total = p.blocks * p.each;
    for (int query = own, place = 0; place < p.each; query += MEETING) {
        while (query >= p.queries_count) query -= p.queries_count, ++place;
        if (place >= p.each) break;
        const i64 row = chosen(own_block.minima[query], own_block.rows[query], place);
        const Asked& asked = own_block.asked[query];
        double least = 0, most = endless();
        if (row >= 0) about(p, row, queries + query * p.dim, asked.defined, least, most);
        const float limit = most < endless() ? up(plane_limit(most, asked.alpha, asked.beta)) : infinite();
        if (lane == 0) tell(p.meeting + query * total + blockIdx.x * p.each + place, ordered(limit), number);
    }
    for (int query = 0; query < p.queries_count; ++query) {
        u64 words[MOST];
        u32 least = ALL;
        auto at = [&](int c) { return 32 * (own + MEETING * c) + lane; };
        await_words(words, [&](int c) -> const u64* { return at(c) < total ? p.meeting + query * total + at(c) : nullptr; }, number, own_block.lost);
        UNROLL for (int c = 0; c < MOST; ++c) {
            if (at(c) >= total) continue;
            if (p.k > FIRST) limits[query * SHARE + at(c)] = (u32)words[c];
            least = min(least, (u32)words[c]);
        }
        if (p.k <= FIRST) limits[query * SHARE + at(0)] = least;
    }
    wait_at<MEET, 32 * MEETING>();
    if (own >= p.queries_count) return;
    const u32 limit = smallest_of(limits + own * SHARE, p.k > FIRST ? total : 32 * MEETING, p.k);
    if (lane == 0) own_block.asked[own].limit = own_block.asked[own].far ? -infinite() : fminf(limit == ALL ? infinite() : value_from(limit), known_limit(p, own_block.asked[own], own));
}

// A lower bound of every row of this warp's tiles, into ``bounds``; the smallest are deposited after ``p.meet`` of them.
__device__ __forceinline__ void scan(const Plane& p, Shared& own_block, const signed char (*digits)[LINE], float* bounds, Tile (&ahead)[DEEP])
{
    const int lane = threadIdx.x & 31, own = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    const int warp = own * p.blocks + blockIdx.x, warps = p.blocks * SCANNING;
    const i64 tiles = (p.count + 15) >> 4;
    u32 b[2][STEPS][2];
    UNROLL for (int half = 0; half < 2; ++half) UNROLL for (int u = 0; u < STEPS; ++u) UNROLL for (int part = 0; part < 2; ++part)
        b[half][u][part] = *reinterpret_cast<const u32*>(&digits[g][half * (LEADING / 2) + 32 * u + 16 * part + 4 * t]);
    const bool mine = t < p.queries_count;
    const Asked& me = own_block.asked[mine ? t : 0];
    const float step = me.step;
    float error = 0, tail = 0;
    const int bias_high = own_block.biases[2 * t], bias_low = own_block.biases[2 * t + 1];
    const u8* allowed = p.allowed ? p.allowed + (mine ? t : 0) * p.allowed_stride : nullptr;
    float* to = bounds + (mine ? t : 0) * p.place + own * p.steps * 16 + g;
    float best = infinite();
    u32 best_row = 0;
    auto deposit = [&] {
        u32 least = best < infinite() ? ordered(best) : ALL, row = best_row;
        UNROLL for (int o = 4; o < 32; o *= 2) {
            const u32 other = __shfl_xor_sync(ALL, least, o), its = __shfl_xor_sync(ALL, row, o);
            if (other < least) least = other, row = its;
        }
        if (g == 0 && mine) own_block.minima[t][own] = least, own_block.rows[t][own] = row;
        arrive_at<MINIMA, THREADS>();
    };
    int done = 0;
    for (i64 first = warp; first < tiles; first += DEEP * warps) {
        UNROLL for (int d = 0; d < DEEP; ++d) {
            const i64 tile = first + d * warps;
            if (tile >= tiles) break;
            int low[4] = {0, 0, 0, 0}, high[4] = {bias_high, bias_low, bias_high, bias_low};
            UNROLL for (int u = 0; u < STEPS; ++u) {
                const uint4& x = ahead[d].codes[u];
                multiply_unsigned(low, x.x & 0x0f0f0f0fu, x.y & 0x0f0f0f0fu, x.z & 0x0f0f0f0fu, x.w & 0x0f0f0f0fu, b[0][u][0], b[0][u][1]);
                multiply_unsigned(high, x.x & 0xf0f0f0f0u, x.y & 0xf0f0f0f0u, x.z & 0xf0f0f0f0u, x.w & 0xf0f0f0f0u, b[1][u][0], b[1][u][1]);
            }
            const uint2 sides[2] = {ahead[d].sides[0], ahead[d].sides[1]};
            if (tile + DEEP * warps < tiles) fetch(p, tile + DEEP * warps, ahead[d]);
            if (done == 0) wait_at<ERRORS, THREADS>(), error = me.error, tail = me.tail;
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
                    to[8 * r] = bound;
                    if (bound < best) best = bound, best_row = (u32)row;
                }
            }
            to += 16;
            if (++done == p.meet) deposit();
        }
    }
    if (done == 0) wait_at<ERRORS, THREADS>();
    if (done < p.meet) deposit();
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) plane_search(const Plane p)
{
    extern __shared__ __align__(16) u8 room[];  // terms, bounds, where they fit, and queries; hits at the end
    __shared__ __align__(16) union { u32 limits[TOGETHER * SHARE]; Queue queue; } early;
    __shared__ __align__(16) signed char digits[2 * TOGETHER][LINE];
    __shared__ Shared own_block;
    const int own = threadIdx.x >> 5, lane = threadIdx.x & 31, meeting = own - SCANNING, count = p.queries_count * LEADING;
    let_next_begin();
    int item = (own + MEETING) % WARPS * p.blocks + blockIdx.x;
    float direction[PER_LANE];
    auto ask = [&] {
        const float* from = p.directions + (i64)(item % LEADING) * FULL + lane;
        UNROLL for (int i = 0; i < PER_LANE; ++i) direction[i] = __ldg(from + 32 * i);
    };
    if (item < count) ask();
    float* flat = reinterpret_cast<float*>(room);  // queries until words are told, where rows are centred
    double* queries = p.asked ? p.asked : reinterpret_cast<double*>(room + p.kept);
    for (int i = threadIdx.x; i < p.queries_count * FULL; i += THREADS) {
        const int query = i / FULL, j = i % FULL;
        const double middle = !METRIC && j < p.dim ? p.centre[j] : 0, q = j < p.dim ? given(p, query * p.dim + j) : 0;
        if (j < p.dim) queries[query * p.dim + j] = q;
        if (!METRIC) flat[i] = (float)((q - middle) * p.scaling);
    }
    if (threadIdx.x == THREADS - 1) own_block.number = *reinterpret_cast<volatile u32*>(&p.state->number) + 1, own_block.lost = 0;
    __syncthreads();
    while (item < count) {  // once, unless there are few blocks
        const double* query = queries + item / LEADING * p.dim;
        const float* x = flat + item / LEADING * FULL;
        const float* from = p.directions + (i64)(item % LEADING) * FULL;
        const double inverse = METRIC ? 1 / sqrt(square_length(p, query)) : 0;
        auto at = [&](int j) { return METRIC ? (float)component(p, query, j, inverse) : x[j]; };
        float sum = 0;
        UNROLL for (int i = 0; i < PER_LANE; ++i) sum = fmaf(direction[i], at(32 * i + lane), sum);
        for (int j = 32 * PER_LANE + lane; j < FULL; j += 32) sum = fmaf(__ldg(from + j), at(j), sum);
        UNROLL for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(ALL, sum, o);
        if (lane == 0) tell(p.words + item, __float_as_uint(sum), own_block.number);
        item += WARPS * p.blocks;
        if (item < count) ask();
    }
    double* terms = reinterpret_cast<double*>(room);
    float* bounds = p.bounds ? p.bounds + (i64)blockIdx.x * p.queries_count * p.place : reinterpret_cast<float*>(terms + WARPS * CHUNK);
    if (meeting < 0) {
        Tile ahead[DEEP];
        UNROLL for (int d = 0; d < DEEP; ++d) {  // before the query's numbers: it does not wait for them
            const i64 tile = (i64)(own + d * SCANNING) * p.blocks + blockIdx.x;
            if (tile < (p.count + 15) >> 4) fetch(p, tile, ahead[d]);
        }
        const int query = SCANNING - 1 - own;
        if (query < p.queries_count) {
            const Lengths lengths = lengths_of(p, queries + query * p.dim);
            if (lane == 0) own_block.lengths[query] = lengths;
            __threadfence_block();
            asm volatile("bar.arrive %0, 64;" ::"r"(LENGTHS + query) : "memory");
        }
        for (int i = threadIdx.x + p.queries_count * 2 * LINE / 4; i < 2 * TOGETHER * LINE / 4; i += 32 * SCANNING) reinterpret_cast<int*>(digits)[i] = 0;
        if (threadIdx.x < 2 * TOGETHER && threadIdx.x >= 2 * p.queries_count) own_block.biases[threadIdx.x] = 0;
        begin_counts(own_block);
        wait_at<DIGITS, THREADS>();
        scan(p, own_block, digits, bounds, ahead);
    } else {
        Asked& asked = own_block.asked[meeting];
        const Lengths& lengths = own_block.lengths[meeting];
        Rotated rotated = {0, 0};
        Sizes sizes = {0, 0, 0};
        const bool has_one = meeting < p.queries_count;
        if (has_one) {
            u64 words[LEADING / 32];
            await_words(words, [&](int i) { return p.words + meeting * LEADING + 32 * i + lane; }, own_block.number, own_block.lost);
            rotated = write_digits(words, asked.step, digits[2 * meeting], digits[2 * meeting + 1], own_block.biases + 2 * meeting);
        }
        arrive_at<DIGITS, THREADS>();
        if (has_one) {
            asm volatile("bar.sync %0, 64;" ::"r"(LENGTHS + meeting) : "memory");
            sizes = write_errors(p, lengths.own2, rotated.leading2, asked);
        }
        arrive_at<ERRORS, THREADS>();
        if (has_one && lane == 0) complete(p, sizes, rotated.t, lengths, asked);
        if (METRIC == 2) {
            for (int query = 0; query < p.queries_count; ++query) {
                const double* q = queries + query * p.dim;
                const double sum = sum_in_order<MEETING>(p.dim, [&](i64 j) { return __dmul_rn(q[j], q[j]); }, terms, own_block.length, meeting, true, wait_at<MEET, 32 * MEETING>);
                if (lane == 0 && meeting == 0) own_block.asked[query].defined = __dsqrt_rn(sum);
            }
        }
        wait_at<MEET, 32 * MEETING>();
        wait_at<MINIMA, THREADS>();
        meet(p, own_block, queries, early.limits);
    }
    __syncthreads();
    finish(p, own_block, queries, bounds, early.queue, terms);
    bool spilled = false;
    for (int query = 0; query < p.queries_count; ++query) spilled |= (own_block.errors(query) & 8u) != 0;
    if (spilled) {
        __threadfence();
        __syncthreads();
    }
    if (own < p.queries_count) report(p, own_block, own);
    if (blockIdx.x) return;
    __syncthreads();
    rank(p, own_block, reinterpret_cast<u64*>(room), reinterpret_cast<i64*>(room) + HITS);
}
