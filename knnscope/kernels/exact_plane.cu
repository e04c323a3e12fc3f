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

// The limit of a query: V, or what is known of other rows, whose k-th neighbor is as far: who is beyond it is none of the nearest of all.
__device__ __forceinline__ float limit_of(const Plane& p, const Asked& asked, int query, u32 limit)
{
    if (asked.far) return no_number();
    float found = limit == ALL ? infinite() : value_from(limit);
    if (p.known) {
        const double key = key_of(p.known[(i64)query * p.k + p.k - 1]);
        if (key < endless()) found = fminf(found, up(plane_limit(key, asked.alpha, asked.beta)));
    }
    return found;
}

// A threshold for every query, by the warps that do not scan: V of the k-th nearest of the rows that all blocks have chosen.
__device__ __forceinline__ void meet(const Plane& p, Shared& own_block, const double* queries, u32* limits)
{
    const u32 number = own_block.number;
    constexpr int MOST = SHARE / (32 * MEETING), SOME = 9, FEW = 16;  // SOME: words of a lane that are asked for at once; FEW: neighbors up to which lanes are enough
    const int lane = threadIdx.x & 31, own = (threadIdx.x >> 5) - SCANNING, total = p.blocks * p.each;
    for (int task = own; task < asked_by(p) * p.each; task += MEETING) {
        const int query = ALONE ? 0 : task % p.queries_count, place = ALONE ? task : task / p.queries_count;
        const i64 row = chosen(own_block.minima[query], own_block.rows[query], place);
        const Asked& asked = own_block.asked[query];
        double least = 0, most = endless();
        if (row >= 0) about(p, row, queries + query * p.dim, asked.defined, least, most);
        const float limit = most < endless() ? up(plane_limit(most, asked.alpha, asked.beta)) : infinite();
        tell_all(p.meeting, asked_by(p) * total, query * total + blockIdx.x * p.each + place, ordered(limit), number);
    }
    const u64* meeting = copy_of(p.meeting, asked_by(p) * total);
    u32 limit;
    if (p.k <= FEW) {  // of the smallest limit of each lane, by one warp a query: nobody else is waited for
        if (own >= asked_by(p)) return;
        const u64* from = meeting + own * total;
        u32 least = ALL;
        for (int first = 0; first < total; first += 32 * SOME) {
            u64 words[SOME];
            auto at = [&](int c) { return first + 32 * c + lane; };
            await_words<32>(words, from + at(0), [&](int c) { return at(c) < total; }, number, own_block.lost);
            UNROLL for (int c = 0; c < SOME; ++c) least = min(least, at(c) < total ? (u32)words[c] : ALL);
        }
        limit = smallest_of_few(limits + own * SHARE, least, p.k);
    } else {
        for (int query = 0; query < asked_by(p); ++query) {
            u64 words[MOST];
            auto at = [&](int c) { return 32 * (own + MEETING * c) + lane; };
            await_words<32 * MEETING>(words, meeting + query * total + at(0), [&](int c) { return at(c) < total; }, number, own_block.lost);
            UNROLL for (int c = 0; c < MOST; ++c) if (at(c) < total) limits[query * SHARE + at(c)] = (u32)words[c];
        }
        wait_at<MEET, 32 * MEETING>();
        if (own >= asked_by(p)) return;
        limit = smallest_of(limits + own * SHARE, total, p.k);
    }
    if (lane == 0) own_block.asked[own].limit = limit_of(p, own_block.asked[own], own, limit);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) plane_search(const Plane p)
{
    extern __shared__ __align__(16) u8 room[];  // terms, bounds, where they fit, and queries; hits at the end
    __shared__ __align__(16) union { u32 limits[TOGETHER * SHARE]; Queue queue; } early;
    __shared__ __align__(16) signed char digits[2 * TOGETHER][LINE];
    __shared__ Shared own_block;
    const int own = threadIdx.x >> 5, lane = threadIdx.x & 31, meeting = own - SCANNING;
    let_next_begin();
    const int queries_count = asked_by(p), count = queries_count * LEADING, cells = queries_count * FULL;
    double asked_for = 0, middle = 0;  // of this thread's first component
    auto read = [&](int i) {
        const int j = ALONE ? i : i % FULL;
        asked_for = j < p.dim ? given(p, (ALONE ? 0 : i / FULL) * p.dim + j) : 0, middle = !METRIC && j < p.dim ? p.centre[j] : 0;
    };
    if (threadIdx.x < cells) read(threadIdx.x);
    const int word = threadIdx.x - (THREADS - TEAM);  // of what earlier searches have left: its number, and deviations
    const u32 before = word >= 0 ? reinterpret_cast<volatile u32*>(p.state)[word] : 0;
    int item = (own + MEETING) % WARPS * p.blocks + blockIdx.x;
    float direction[PER_LANE];
    auto ask = [&] {
        const float* from = p.directions + (i64)(item % LEADING) * FULL + lane;
        UNROLL for (int i = 0; i < PER_LANE; ++i) direction[i] = __ldg(from + 32 * i);
    };
    if (item < count) ask();
    else if (own >= SCANNING - 4) touch(one_of_each_line(p), own_block.early);
    float* flat = reinterpret_cast<float*>(room);  // queries until words are told, where rows are centred
    double* queries = p.asked ? p.asked : reinterpret_cast<double*>(room + p.kept);
    for (int i = threadIdx.x; i < cells; i += THREADS) {
        const int query = ALONE ? 0 : i / FULL, j = ALONE ? i : i % FULL;
        if (i >= THREADS) read(i);
        if (j < p.dim) queries[query * p.dim + j] = asked_for;
        if (!METRIC) flat[i] = (float)((asked_for - middle) * p.scaling);
    }
    if (word == 0) own_block.number = before + 1, own_block.lost = 0;
    if (word >= 0) own_block.deviations[word] = word ? (int)before : 0, own_block.length.deviations[word] = 0;
    __syncthreads();
    while (item < count) {  // once, unless there are few blocks
        const int query = ALONE ? 0 : item / LEADING;
        const double* q = queries + query * p.dim;
        const float* x = flat + query * FULL;
        const float* from = p.directions + (i64)(item % LEADING) * FULL;
        const double inverse = METRIC ? 1 / sqrt(square_length(p, q)) : 0;
        auto at = [&](int j) { return METRIC ? (float)component(p, q, j, inverse) : x[j]; };
        float sum = 0;
        UNROLL for (int i = 0; i < PER_LANE; ++i) sum = fmaf(direction[i], at(32 * i + lane), sum);
        for (int j = 32 * PER_LANE + lane; j < FULL; j += 32) sum = fmaf(__ldg(from + j), at(j), sum);
        UNROLL for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(ALL, sum, o);
        tell_all(p.words, count, item, __float_as_uint(sum), own_block.number);
        item += WARPS * p.blocks;
        if (item < count) ask();
    }
    double* terms = reinterpret_cast<double*>(room);
    float* bounds = p.bounds ? p.bounds + (i64)blockIdx.x * queries_count * p.place : reinterpret_cast<float*>(terms + WARPS * CHUNK);
    if (meeting < 0) {
        Tile ahead[DEEP];
        fetch_first(p, ahead);  // before the query's numbers: it does not wait for them
        const int query = SCANNING - 1 - own;
        if (query < queries_count) {
            const Lengths lengths = lengths_of(p, queries + query * p.dim);
            if (lane == 0) own_block.lengths[query] = lengths;
            __syncwarp();
            arrive_at_pair(LENGTHS + query);
        }
        for (int i = threadIdx.x + queries_count * 2 * LINE / 4; i < 2 * TOGETHER * LINE / 4; i += 32 * SCANNING) reinterpret_cast<int*>(digits)[i] = 0;
        if (threadIdx.x < 2 * TOGETHER && threadIdx.x >= 2 * queries_count) own_block.biases[threadIdx.x] = 0;
        begin_counts(own_block);
        wait_at<READY, THREADS>();
        scan(p, own_block, digits, bounds, ahead);
    } else {
        const bool halved = queries_count <= MEETING / 2;  // a query has two warps: one for its digits, one for its errors
        const int query = halved && meeting >= MEETING / 2 ? meeting - MEETING / 2 : meeting;
        const bool has_digits = meeting < queries_count, has_errors = query < queries_count && (!halved || meeting >= MEETING / 2);
        Asked& asked = own_block.asked[min(query, TOGETHER - 1)];
        const Lengths& lengths = own_block.lengths[min(query, TOGETHER - 1)];
        Reach reach = {0, 0};
        auto look_ahead = [&] {
            if (METRIC) wait_at_pair(LENGTHS + query);
            reach = METRIC ? reach_of(p, lengths.own2) : reach_of(p, flat + query * FULL);
        };
        u64 words[LEADING / 32];
        if (has_errors && halved) look_ahead();
        if (has_digits || has_errors) {
            await_words<32>(words, copy_of(p.words, count) + query * LEADING + lane, [](int) { return true; }, own_block.number, own_block.lost);
        }
        if (has_digits) write_digits(words, step_of(words), asked.step, digits[2 * query], digits[2 * query + 1], own_block.biases + 2 * query);
        if (has_errors) {
            if (!halved) look_ahead();
            write_errors(reach, words, asked);
        }
        arrive_at<READY, THREADS>();
        if (has_errors) {
            if (!METRIC) wait_at_pair(LENGTHS + query);
            const float t = step_of(words);
            if (lane == 0) complete(p, t, lengths, asked);
        }
        if (METRIC == 2) {
            for (int query = 0; query < queries_count; ++query) {
                const double* q = queries + query * p.dim;
                auto fetch = [&](int j) { return q[j]; };
                auto square = [](double x, int) { return __dmul_rn(x, x); };
                const double sum = sum_in_order<MEETING>(p.dim, fetch, square, terms, own_block.length, meeting, true, query > 0, wait_at<MEET, 32 * MEETING>);
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
    for (int query = 0; query < queries_count; ++query) spilled |= (own_block.errors(query) & 8u) != 0;
    if (spilled) {
        __threadfence();
        __syncthreads();
    }
    if (own < queries_count) report(p, own_block, own);
    keep_deviations(p, own_block);
    if (blockIdx.x) return;
    rank(p, own_block, reinterpret_cast<u64*>(room), reinterpret_cast<i64*>(room) + HITS);
}
