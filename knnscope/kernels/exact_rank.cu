// What comes before and after the products of exact_batch.cu and exact_wide.cu: thresholds of queries, and the order of what is left.
// It comes after batch.cuh and about.cuh. A block a query.
//
//   RANK     threads of a block that ranks
//   SHARP    1: thresholds are made of distances, of the rows with the smallest lower bounds, though codes bound distances from above as well:
//            they let fewer rows in, which pays where there are many

// A number that at least k of these ordered ones, in shared memory, are not above, and at most ``more`` others; ALL where there are fewer.
__device__ u32 kth(const u32* values, int count, int k, int more)
{
    __shared__ u32 lowest, highest;
    __shared__ int counted[3];  // of this turn; of the next, which is cleared meanwhile; of the one before, which others may still read
    const bool first = (threadIdx.x & 31) == 0;
    __syncthreads();
    if (threadIdx.x == 0) lowest = ALL, highest = 0, counted[0] = 0;
    __syncthreads();
    u32 low = ALL, high = 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) low = min(low, values[i]), high = max(high, values[i]);
    low = warp_least(low), high = ~warp_least(~high);
    if (first) atomicMin(&lowest, low), atomicMax(&highest, high);
    __syncthreads();
    low = lowest, high = highest;
    if (count < k) return ALL;
    for (int turn = 0; low < high; turn = turn == 2 ? 0 : turn + 1) {
        const u32 middle = low + (high - low) / 2;
        int some = 0;
        for (int i = threadIdx.x; i < count; i += blockDim.x) some += values[i] <= middle;
        some = warp_sum(some);
        if (first && some) atomicAdd(&counted[turn], some);
        if (threadIdx.x == 0) counted[turn == 2 ? 0 : turn + 1] = 0;
        __syncthreads();
        some = counted[turn];
        if (some >= k && some <= k + more) return middle;
        if (some > k) high = middle;
        else low = middle + 1;
    }
    return low;
}

struct Table {                        // as about() takes it
    const Cell* rows; const double* row_norms; i64 dim;
    const double *queries, *query_norms;
};

struct Bars {
    Table table;
    Asked asked;
    const float* sides;
    const float2* groups; i64 groups_stride; int group_count;
    const u32* counts; const int2* hits; i64 room, count;
    double widen, longest2, widest, ratio;   // of |y|^2, at most, of s, and of e / s
    int k, held;                             // hits that a block has room for: a list that is longer keeps its threshold
};

// The distance that a key is, at least: in units of scaled rows, as T is.
__device__ __forceinline__ double distance_of(const Asked& asked, i64 query, double key)
{
    const double square = asked.bases[query] + asked.gains[query] * (METRIC ? -key : key);
    return (square > 0 ? sqrt(square) : 0) * WIDEN;
}

// T, and with it V, C and K.
__device__ __forceinline__ void set_bar(const Bars& p, i64 query, double bar)
{
    const Asked& asked = p.asked;
    const double a = reach(bar, p.widen, asked.blurs[query]) + asked.errors[query], step = asked.steps[query];
    const float c = coefficient(a);
    asked.bars[query] = bar;
    const double own = (double)limit(a, asked.lengths2[query]) + 1.01 * step * p.widest, error = p.ratio * p.widest;
    asked.coefficients[query] = c, asked.limits[query] = up(own + 0x1p-21 * (fabs(own) + error * error));  // see room_for_product
    asked.starts[query] = (float)(c * p.ratio - step * OFF);
}

// Codes of all components bound distances from above as well. Where some are left out they do not, then or where that is asked thresholds are made of the distances of the
// rows with the smallest lower bounds.
constexpr bool WHOLE = WIDTH == FULL && !SHARP;
constexpr int FIRST = 768;                        // rows that a threshold is made of, at most
__device__ __forceinline__ int first_of(int k) { return WHOLE ? k : min(k + max(2, k / 4), FIRST - FIRST / 8 - 1); }

// The k-th smallest of some keys in shared memory, endless where there are fewer, by all warps of a block.
__device__ __forceinline__ double kth_key(const u64* keys, int count, int k)
{
    __shared__ u64 found;
    if (threadIdx.x == 0) found = LAST;
    __syncthreads();
    for (int i = threadIdx.x >> 5; i < count; i += blockDim.x >> 5) {
        int before = 0;
        for (int o = threadIdx.x & 31; o < count; o += 32) before += keys[o] < keys[i] || (keys[o] == keys[i] && o < i);
        before = warp_sum(before);
        if ((threadIdx.x & 31) == 0 && before == k - 1) found = keys[i];
    }
    __syncthreads();
    return found == LAST ? endless() : key_from(found);
}

// How far some rows are, at most, by all warps of a block. TOGETHER: rows that a warp asks for at once.
template <int TOGETHER, typename Rows> __device__ __forceinline__ void keys_of(const Table& p, i64 query, Rows row_of, int count, u64* keys)
{
    const double length = METRIC == 2 ? p.query_norms[query] : 0;
    const int warps = blockDim.x >> 5;
    for (int i = threadIdx.x >> 5; i < count; i += TOGETHER * warps) {
        i64 rows[TOGETHER];
        double least[TOGETHER], most[TOGETHER];
        UNROLL for (int r = 0; r < TOGETHER; ++r) rows[r] = row_of(min(i + r * warps, count - 1));
        about_some(p, rows, p.queries + query * p.dim, length, least, most);
        if (threadIdx.x & 31) continue;
        UNROLL for (int r = 0; r < TOGETHER; ++r)
            if (i + r * warps < count) keys[i + r * warps] = most[r] == most[r] ? ordered(most[r] + 0.0) : LAST;
    }
}

// A threshold. ``bounds``: of ``count`` rows, in order, in shared memory: upper ones where codes are whole, else lower ones; row_of: of each.
template <typename Rows> __device__ __forceinline__ bool bar_of(const Bars& p, i64 query, const u32* bounds, int count, Rows row_of, double& bar)
{
    __shared__ u32 rows[WHOLE ? 1 : FIRST];
    __shared__ u64 keys[WHOLE ? 1 : FIRST];
    __shared__ int chosen;
    const int wanted = min(first_of(p.k), count);
    const u32 limit = kth(bounds, count, wanted, wanted / 8 + 1);
    if (WHOLE) {
        bar = value_from(limit);
        return limit != ALL;
    }
    if (threadIdx.x == 0) chosen = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        if (bounds[i] > limit || bounds[i] == ALL) continue;
        const int at = atomicAdd(&chosen, 1);
        if (at < FIRST) rows[at] = row_of(i);
    }
    __syncthreads();
    const int some = min(chosen, FIRST);
    keys_of<2>(p.table, query, [&](int i) { return (i64)rows[i]; }, some, keys);
    const double key = kth_key(keys, some, p.k);
    bar = distance_of(p.asked, query, key);
    return key < endless();
}

// First thresholds: of the nearest rows of groups. A block a query.
extern "C" __global__ void __launch_bounds__(1024) batch_bars(const Bars p)
{
    extern __shared__ u32 bounds[];
    let_next_begin();
    await_before();
    const i64 query = blockIdx.x;
    if (p.asked.far[query]) return;
    const float2* groups = p.groups + query * p.groups_stride;
    const double p2 = p.asked.lengths2[query], e_q = p.asked.errors[query], loose = 4 * SLACK * (p.longest2 + p2) + 1.01 * p.asked.steps[query] * p.widest + 4 * TINY;
    for (int i = threadIdx.x; i < p.group_count; i += blockDim.x) {
        const float2 group = groups[i];
        const u32 row = (u32)__float_as_int(group.y);
        u32 bound = ALL;
        if (group.x < infinite() && row < p.count) {
            const double e = WHOLE ? side_of(p.sides, row).z : 0;
            bound = ordered(WHOLE ? up(upper(group.x + fabs((double)group.x) * TAGGED + e * e + p2 + loose, e, e_q)) : group.x);
        }
        bounds[i] = bound;
    }
    double bar;
    const bool known = bar_of(p, query, bounds, p.group_count, [&](int i) { return (u32)__float_as_int(groups[i].y); }, bar);
    if (threadIdx.x) return;
    if (known) set_bar(p, query, bar);
    else p.asked.far[query] = 1, p.asked.limits[query] = -infinite();  // nothing is known of it
}

// Bounds of a hit.
__device__ __forceinline__ void bounds_of(const Asked& asked, i64 query, const float* sides, int2 hit, float4& side, double& least, double& most)
{
    side = side_of(sides, (u32)hit.x);
    squares(side.y, side.z, asked.lengths2[query], side.x * (0.5 * asked.steps[query]) * hit.y, least, most);
}

// Thresholds again, of the hits so far. A block a query.
extern "C" __global__ void __launch_bounds__(256) batch_refresh(const Bars p)
{
    extern __shared__ u32 bounds[];
    let_next_begin();
    await_before();
    const i64 query = blockIdx.x;
    const int count = p.counts[query];
    if (p.asked.far[query] || count > p.held || count < p.k) return;
    const int2* hits = p.hits + query * p.room;
    const double e_q = p.asked.errors[query];
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        float4 side;
        double least, most;
        bounds_of(p.asked, query, p.sides, hits[i], side, least, most);
        bounds[i] = ordered(WHOLE ? up(upper(most, side.z, e_q)) : down(lower(least, side.z, e_q)));
    }
    double bar;
    const bool known = bar_of(p, query, bounds, count, [&](int i) { return (u32)hits[i].x; }, bar);
    __syncthreads();
    if (threadIdx.x == 0 && known && bar < p.asked.bars[query]) set_bar(p, query, bar);
}

struct Rank {
    Table table;
    const i64* names;
    Asked asked;
    const u8* codes; const float* sides;
    const u32* counts; const int2* hits; i64 room;
    double widen;
    double* values; i64* ids;
    u32 *candidates, *computed, *errors;  // errors: 1 no number, 2 a row is not where its bound says, 4 answer by all rows, LONG
    double *rests, *bases, *gains;        // no row that was not computed has a smaller distance; see Asked
    int k, count;
};

// A launch: the only one, the first of two, or the second, which ranks what the first had no room for. held, most: hits and candidates that a block has room for.
struct Turn { int number, held, most; };
constexpr u32 LONG = 8;  // of errors: that is left to the second one

// At most the length of what codes leave out of a row: its last component, and its error.
__device__ __forceinline__ double tail_of(const u8* codes, i64 row, float step, float e)
{
    const i64 line = row & 127, last = ((row >> 7) * SLICES + SLICES - 1) * 128 + line;
    const int code = (signed char)codes[last * SLICE + ((7 ^ (line & 7)) << 4) + 15];
    return WIDTH < FULL ? fabs((double)step * code) + e : 0;
}

// Values as defined of some rows, by all warps of a block: terms side by side, added by a thread a row. ``terms``: (AT_ONCE, CHUNK + 1).
constexpr int AT_ONCE = 16;
template <typename Rows, typename Keep> __device__ __forceinline__ void values_of(const Table& p, i64 query, Rows row_of, int count, double* terms, Keep keep)
{
    const int lane = threadIdx.x & 31, own = threadIdx.x >> 5;
    const double* q = p.queries + query * p.dim;
    const double length = METRIC == 2 ? p.query_norms[query] : 0;
    for (int first = 0; first < count; first += AT_ONCE) {
        const int some = min(count - first, AT_ONCE);
        double sum = 0;
        for (i64 start = 0; start < p.dim; start += CHUNK) {
            const int width = p.dim - start < CHUNK ? (int)(p.dim - start) : CHUNK;
            for (int i = own; i < some; i += RANK / 32) {
                const Cell* x = p.rows + row_of(first + i) * p.dim + start;
                double cells[CHUNK / 32];
                UNROLL for (int c = 0; c < CHUNK / 32; ++c) cells[c] = 32 * c + lane < width ? wide(x[32 * c + lane]) : 0;
                UNROLL for (int c = 0; c < CHUNK / 32; ++c)
                    if (32 * c + lane < width) terms[i * (CHUNK + 1) + 32 * c + lane] = term(cells[c], q[start + 32 * c + lane]);
            }
            __syncthreads();
            if (threadIdx.x < some) {
                const double* mine = terms + threadIdx.x * (CHUNK + 1);
#pragma unroll 16
                for (int j = 0; j < width; ++j) sum = __dadd_rn(sum, mine[j]);
            }
            __syncthreads();
        }
        if (threadIdx.x < some) {
            const i64 row = row_of(first + threadIdx.x);
            keep(first + threadIdx.x, row, value_of(sum, METRIC == 2 ? p.row_norms[row] : 0, length));
        }
    }
}

// Values as defined of the hits that the last threshold leaves, ranked, by a block: the rows that are nearest by their bounds are looked at
// first; how far the k-th of them is, within rounding, leaves few of the others.
__device__ __forceinline__ void rank_query(const Rank& p, const Turn& turn, i64 query, u8* memory)
{
    u64* keys = reinterpret_cast<u64*>(memory);                    // (most,)
    i64* names = reinterpret_cast<i64*>(keys + turn.most);            // (most,)
    u32* chosen = reinterpret_cast<u32*>(names + turn.most);          // (most,)
    u32* first = chosen + turn.most;                                  // (held,), bounds in order: upper ones, or lower ones
    float* lowers = reinterpret_cast<float*>(first + turn.held);      // (held,), where codes are whole
    const int words = max((WHOLE ? 2 : 1) * turn.held, 2 * AT_ONCE * (CHUNK + 1));
    double* terms = reinterpret_cast<double*>(first);                 // of values_of, when these are no longer needed
    u32 *at_most_of = first, *at_least_of = first + words / 2;        // before that: how far some hits are, in order
    u16* picked = reinterpret_cast<u16*>(first + words);              // (held,), hits that the threshold leaves
    __shared__ int left, near, close, kept;  // hits that the threshold leaves, those looked at first, these and others that are near enough, and rows
    __shared__ u32 error;
    __shared__ u64 rest_key;
    const int count = p.counts[query], lane = threadIdx.x & 31, own = threadIdx.x >> 5;
    const int2* hits = p.hits + query * p.room;
    const double* q = p.table.queries + query * p.table.dim;
    const double length = METRIC == 2 ? p.table.query_norms[query] : 0, e_q = p.asked.errors[query];
    const double blur = p.asked.blurs[query], base = p.asked.bases[query], gain = p.asked.gains[query];
    const bool lost = p.asked.far[query] || count > p.room || count < p.k;
    if (threadIdx.x == 0) left = near = kept = 0, error = 0, rest_key = LAST, p.bases[query] = base, p.gains[query] = gain;
    double bar = p.asked.bars[query];
    auto by_all_rows = [&](u32 how) {
        if (threadIdx.x == 0) p.errors[query] = how, p.candidates[query] = p.computed[query] = 0;
    };
    if (lost) return by_all_rows(4);
    const u32 without_room = turn.number == 1 ? LONG : 4;
    if (count > turn.held) return by_all_rows(without_room);
#pragma unroll 2
    for (int i = threadIdx.x; i < count; i += RANK) {
        float4 side;
        double least, most;
        bounds_of(p.asked, query, p.sides, hits[i], side, least, most);
        const float at_least = down(lower(least, side.z, e_q));
        if (WHOLE) lowers[i] = at_least;
        first[i] = ordered(WHOLE ? up(upper(most, side.z, e_q)) : at_least);
    }
    const int wanted = min(first_of(p.k), count);
    u32 nearest = kth(first, count, wanted, wanted / 8 + 1);
    if (WHOLE) bar = fmin(bar, (double)value_from(nearest));
    auto lower_bound = [&](int hit) { return WHOLE ? lowers[hit] : value_from(first[hit]); };
    __syncthreads();
    const double far_enough = reach(bar, p.widen, blur);
    if (WHOLE) nearest = ordered(up(bar));
    for (int pass = 0; pass < 2; ++pass) {
        for (int i = threadIdx.x; i < count; i += RANK) {
            if (lower_bound(i) > far_enough || (first[i] <= nearest) != (pass == 0)) continue;
            picked[atomicAdd(&left, 1)] = (u16)i;
        }
        __syncthreads();
        if (pass == 0 && threadIdx.x == 0) near = close = left;
        __syncthreads();
    }
    if (near > turn.most) return by_all_rows(without_room);
    keys_of<1>(p.table, query, [&](int i) { return (i64)(u32)hits[picked[i]].x; }, near, keys);
    __syncthreads();
    const double enough = kth_key(keys, near, p.k);  // a bar for keys
    // the distance that this key is: rows whose bound is above it need not be looked at
    const double enough_far = enough < endless() ? fmin(far_enough, reach(distance_of(p.asked, query, enough), p.widen, blur)) : far_enough;
    __syncthreads();
    // Those whose bound is near enough, one after another, so that each warp has as many.
    for (int begin = near; begin < left; begin += RANK) {
        const int i = begin + threadIdx.x, hit = i < left ? picked[i] : 0;
        const bool in = i < left && lower_bound(hit) <= enough_far;
        __syncthreads();
        if (in) picked[atomicAdd(&close, 1)] = (u16)hit;
    }
    auto keep = [&](int hit, u32 row) {
        const int at = atomicAdd(&kept, 1);
        if (at < turn.most) chosen[at] = (u32)hit, names[at] = row;
    };
    __syncthreads();
    // Of rows that bounds do not tell apart, those looked at first are any: so many as are further than the k-th of all are left out.
    const bool told = 2 * close <= words;
    for (int i = threadIdx.x; i < near; i += RANK) {
        if (told) at_least_of[i] = 0, at_most_of[i] = keys[i] == LAST ? ALL : ordered(up(key_from(keys[i])));
        else keep(picked[i], (u32)hits[picked[i]].x);
    }
    u64 own_rest = LAST;
    for (int begin = near + own; begin < close; begin += RANK) {  // a hit a lane: where its row is takes long to come
        const int i = begin + lane * (RANK / 32), hit = i < close ? picked[i] : 0, some = min((close - begin - 1) / (RANK / 32) + 1, 32);
        const u32 row = (u32)hits[hit].x;
        double at_least = 0, at_most = 0;
        for (int of = 0; of < some; ++of) {
            double least, most;
            about(p.table, __shfl_sync(ALL, row, of), q, length, least, most);
            if (lane == of) at_least = least, at_most = most;
        }
        if (i >= close) continue;
        const bool out = at_least > enough;
        if (out) own_rest = min(own_rest, ordered(at_least));
        if (!told && !out) keep(hit, row);
        if (told) at_least_of[i] = out ? ALL : at_least == at_least ? ordered(down(at_least)) : 0, at_most_of[i] = out || at_most != at_most ? ALL : ordered(up(at_most));
    }
    if (told) {
        __syncthreads();
        const u32 cut = kth(at_most_of, close, p.k, p.k / 8 + 1);
        for (int i = threadIdx.x; i < close; i += RANK) {
            if (at_least_of[i] <= min(cut, ALL - 1)) keep(picked[i], (u32)hits[picked[i]].x);
            else if (at_least_of[i] != ALL) own_rest = min(own_rest, ordered(fmin((double)value_from(at_least_of[i]), 0x1p127)));
        }
    }
    if (own_rest != LAST) atomicMin(&rest_key, own_rest);
    __syncthreads();
    const int computed = kept;
    if (computed > turn.most) return by_all_rows(without_room);
    values_of(p.table, query, [&](int i) { return names[i]; }, computed, terms, [&](int i, i64 row, double value) {
        if (isnan(value)) atomicOr(&error, 1u);
        const double square = base + gain * value, distance = square > 0 ? sqrt(square) : 0;
        const int at = (int)chosen[i];
        float4 side;
        double least, most;
        bounds_of(p.asked, query, p.sides, hits[at], side, least, most);
        if (!WHOLE) most += 4 * tail_of(p.codes, row, side.x, side.z) * p.asked.tails[query];
        if (!(down(lower(least, side.z, e_q)) <= reach(distance, p.widen, blur)) || !(distance <= reach(upper(most, side.z, e_q), p.widen, blur)))
            atomicOr(&error, 2u);
        keys[i] = ordered(key_of(value)), names[i] = p.names ? p.names[row] : row;
    });
    __syncthreads();
    auto write = [&](int place, u64 key, i64 name) {
        const double found = key == LAST ? endless() : key_from(key);
        p.values[query * p.k + place] = METRIC ? 0.0 - found : found;
        p.ids[query * p.k + place] = name;
    };
    for (int i = own; i < computed; i += RANK / 32) {  // a warp counts who is before a row
        int before = 0;
        for (int o = lane; o < computed; o += 32) before += keys[o] < keys[i] || (keys[o] == keys[i] && names[o] < names[i]);
        before = warp_sum(before);
        if (lane == 0 && before < p.k) write(before, keys[i], names[i]);
    }
    for (int i = computed + threadIdx.x; i < p.k; i += RANK) write(i, LAST, -1);
    if (threadIdx.x == 0) {
        p.errors[query] = error, p.candidates[query] = left, p.computed[query] = computed;
        double rest = enough_far;
        if (rest_key != LAST) {
            const double square = base + gain * (METRIC ? -key_from(rest_key) : key_from(rest_key));
            rest = fmin(rest, square > 0 ? sqrt(square) / WIDEN : 0);
        }
        p.rests[query] = rest;
    }
}

// A block a query; in the second turn blocks look through all for those that had no room.
extern "C" __global__ void __launch_bounds__(RANK, 1024 / RANK) batch_rank(const Rank p, const Turn turn)
{
    extern __shared__ __align__(16) u8 memory[];
    let_next_begin();
    await_before();
    const bool is_second = turn.number == 2;
    for (i64 begin = blockIdx.x; begin < p.count; begin += (is_second ? RANK : 1) * (i64)gridDim.x) {
        const i64 own = begin + threadIdx.x * (i64)gridDim.x;
        if (is_second && !__syncthreads_or(own < p.count && p.errors[own] == LONG)) continue;
        for (int i = 0; i < (is_second ? RANK : 1); ++i) {
            const i64 query = begin + i * (i64)gridDim.x;
            if (query >= p.count || (is_second && p.errors[query] != LONG)) continue;
            __syncthreads();
            rank_query(p, turn, query, memory);
        }
    }
}
