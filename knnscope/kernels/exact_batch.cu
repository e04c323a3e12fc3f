// Many queries by a byte a component: a product of codes whose results are compared with each query's threshold and never written
// (certified/bound.py has the proof). Tiles of QUERIES queries by 128 rows, four warps.
//
//   QUERIES  32, 64 or 128

constexpr int STAGES = 3, THREADS = 128;
constexpr int ALONG = QUERIES == 128 ? 2 : 1;         // warps along the queries, others along the rows
constexpr int HIGH = QUERIES / ALONG / 16;            // products of 16 queries in a warp
constexpr int WIDE = ROWS / (4 / ALONG) / 8;          // products of 8 rows
constexpr int GROUPS = 4 * (4 / ALONG);               // groups of rows of a tile of which the nearest is told
constexpr int RANK = 256, CANDIDATES = 1024;

__device__ __forceinline__ void copy_ahead(void* to, const void* from)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address(to)), "l"(from) : "memory");
#else
    *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
#endif
}
__device__ __forceinline__ void copies_end()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int LEFT> __device__ __forceinline__ void await_copies()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#endif
}
__device__ __forceinline__ void load_four(u32 from, u32 (&to)[4])
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(from));
}

// Part of dynamic shared memory.
struct Shared {
    u8 queries[SLICES][QUERIES][SLICE];
    u8 rows[STAGES][ROWS][SLICE];
    float sides[2][SIDE];
    float steps[QUERIES], limits[QUERIES], coefficients[QUERIES];
};

template <bool SAMPLE> __device__ __forceinline__ void scan(const Batch& p)
{
    extern __shared__ __align__(128) u8 tiles[];
    Shared& shared = *reinterpret_cast<Shared*>(tiles);
    const int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5, g = lane >> 2, t = lane & 3;
    const int query0 = (warp % ALONG) * HIGH * 16, row0 = (warp / ALONG) * WIDE * 8;
    const i64 items = (p.last - p.first + p.each - 1) / p.each * p.query_tiles;
    for (i64 item = blockIdx.x; item < items; item += gridDim.x) {
        const i64 first_query = item % p.query_tiles * QUERIES;
        const i64 begin = p.first + item / p.query_tiles * p.each, end = begin + p.each < p.last ? begin + p.each : p.last;
        const i64 slices = (end - begin) * SLICES;
        __syncthreads();
        for (int i = thread; i < SLICES * QUERIES * 8; i += THREADS) {
            const int slice = i / (QUERIES * 8), within = i % (QUERIES * 8);
            const u8* from = p.query_codes + (((first_query >> 7) * SLICES + slice) * 128 + (first_query & 127)) * SLICE;
            copy_ahead(&shared.queries[slice][0][0] + within * 16, from + within * 16);
        }
        for (int i = thread; i < QUERIES; i += THREADS) {
            shared.steps[i] = p.asked.steps[first_query + i];
            if (!SAMPLE) shared.limits[i] = p.asked.limits[first_query + i], shared.coefficients[i] = p.asked.coefficients[first_query + i];
        }
        const u8* codes = p.codes + begin * SLICES * (ROWS * SLICE);
        auto load = [&](i64 slice) {
            if (slice < slices) {
                const u8* from = codes + slice * (ROWS * SLICE);
                u8* to = &shared.rows[slice % STAGES][0][0];
                UNROLL for (int i = 0; i < ROWS * SLICE / 16 / THREADS; ++i) copy_ahead(to + (thread + i * THREADS) * 16, from + (thread + i * THREADS) * 16);
                if (slice % SLICES == 0) {
                    const i64 tile = slice / SLICES;
                    if (thread < SIDE / 4) copy_ahead(&shared.sides[tile & 1][4 * thread], p.sides + (begin + tile) * SIDE + 4 * thread);
                }
            }
            copies_end();
        };
        UNROLL for (int s = 0; s < STAGES - 1; ++s) load(s);
        int sums[HIGH][WIDE][4];
        UNROLL for (int i = 0; i < HIGH; ++i) UNROLL for (int j = 0; j < WIDE; ++j) UNROLL for (int x = 0; x < 4; ++x) sums[i][j][x] = ZERO;
        int slice_of = 0;
        for (i64 slice = 0; slice < slices; ++slice) {
            await_copies<STAGES - 2>();
            __syncthreads();
            load(slice + STAGES - 1);
            const u32 left = address(&shared.queries[slice_of][0][0]), right = address(&shared.rows[slice % STAGES][0][0]);
            UNROLL for (int k = 0; k < SLICE / 32; ++k) {
                u32 a[HIGH][4], b[WIDE / 2][4];
                UNROLL for (int i = 0; i < HIGH; ++i) {
                    const int line = query0 + i * 16 + (lane & 15);
                    load_four(left + line * SLICE + (((2 * k + (lane >> 4)) ^ (line & 7)) << 4), a[i]);
                }
                UNROLL for (int j = 0; j < WIDE / 2; ++j) {
                    const int line = row0 + j * 16 + ((lane >> 4) << 3) + (lane & 7);
                    load_four(right + line * SLICE + (((2 * k + ((lane >> 3) & 1)) ^ (line & 7)) << 4), b[j]);
                }
                UNROLL for (int i = 0; i < HIGH; ++i) UNROLL for (int j = 0; j < WIDE / 2; ++j) {
                    multiply(sums[i][2 * j], a[i][0], a[i][1], a[i][2], a[i][3], b[j][0], b[j][1]);
                    multiply(sums[i][2 * j + 1], a[i][0], a[i][1], a[i][2], a[i][3], b[j][2], b[j][3]);
                }
            }
            if (++slice_of < SLICES) continue;
            slice_of = 0;
            const i64 tile = slice / SLICES;
            const float4* sides = reinterpret_cast<const float4*>(shared.sides[tile & 1] + 2 * row0) + t;     // s and N of two rows
            const float2* errors_of = reinterpret_cast<const float2*>(shared.sides[tile & 1] + 2 * ROWS + row0) + t;
            float least[HIGH][2], far_off[HIGH][2];
            UNROLL for (int i = 0; i < HIGH; ++i) {
                const int line = query0 + i * 16 + g;
                const float steps[2] = {shared.steps[line], shared.steps[line + 8]};
                const float errors[2] = {shared.coefficients[line], shared.coefficients[line + 8]};
                UNROLL for (int h = 0; h < 2; ++h) least[i][h] = infinite(), far_off[i][h] = 0;
                UNROLL for (int j = 0; j < WIDE; ++j) {
                    const float4 side = sides[4 * j];
                    const float2 e = errors_of[4 * j];
                    UNROLL for (int h = 0; h < 2; ++h) {
                        const float x = part_of_bound(sums[i][j][2 * h], side.x, side.y, steps[h]);
                        const float y = part_of_bound(sums[i][j][2 * h + 1], side.z, side.w, steps[h]);
                        if (SAMPLE) {
                            if (x < least[i][h]) least[i][h] = x, far_off[i][h] = e.x;
                            if (y < least[i][h]) least[i][h] = y, far_off[i][h] = e.y;
                        } else least[i][h] = fminf(least[i][h], fminf(fmaf(-errors[h], e.x, x), fmaf(-errors[h], e.y, y)));
                    }
                }
            }
            UNROLL for (int i = 0; i < HIGH; ++i) UNROLL for (int h = 0; h < 2; ++h) {
                const int line = query0 + i * 16 + h * 8 + g;
                const i64 query = first_query + line;
                if (SAMPLE) {
                    if (query < p.queries)
                        p.groups[query * p.groups_stride + (begin + tile - p.first) * GROUPS + (warp / ALONG) * 4 + t] = make_float2(least[i][h], far_off[i][h]);
                    continue;
                }
                const float v = shared.limits[line];
                if (!(least[i][h] <= v)) continue;
                const float step = shared.steps[line], c = shared.coefficients[line];
                u32 which = 0;
                int products[2 * WIDE];
                UNROLL for (int j = 0; j < WIDE; ++j) UNROLL for (int two = 0; two < 2; ++two) {
                    const float4 side = sides[4 * j];
                    const float2 e = errors_of[4 * j];
                    const int sum = products[2 * j + two] = sums[i][j][2 * h + two];
                    const float bound = part_of_bound(sum, two ? side.z : side.x, two ? side.w : side.y, step);
                    if (fmaf(-c, two ? e.y : e.x, bound) <= v) which |= 1u << (2 * j + two);
                }
#pragma unroll 1
                while (which) {
                    const int bit = __ffs(which) - 1;
                    which &= which - 1;
                    int product = 0;
                    UNROLL for (int x = 0; x < 2 * WIDE; ++x) product = x == bit ? products[x] : product;
                    const i64 row = (begin + tile) * ROWS + row0 + (bit >> 1) * 8 + 2 * t + (bit & 1);
                    if (row >= p.count) continue;
                    const u32 at = atomicAdd(p.counts + query, 1u);
                    if (at < p.room) p.hits[query * p.room + at] = make_int2((int)row, product - ZERO);
                }
            }
            UNROLL for (int i = 0; i < HIGH; ++i) UNROLL for (int j = 0; j < WIDE; ++j) UNROLL for (int x = 0; x < 4; ++x) sums[i][j][x] = ZERO;
        }
        await_copies<0>();
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) batch_sample(const Batch p) { scan<true>(p); }
extern "C" __global__ void __launch_bounds__(THREADS, 2) batch_scan(const Batch p) { scan<false>(p); }

// A number that at least k of these ordered ones, in shared memory, are not above, and at most ``more`` others; ALL where there are fewer.
__device__ u32 kth(const u32* values, int count, int k, int more)
{
    __shared__ u32 lowest, highest;
    __shared__ int counted[2];
    __syncthreads();
    if (threadIdx.x == 0) lowest = ALL, highest = 0, counted[0] = counted[1] = 0;
    __syncthreads();
    u32 low = ALL, high = 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) low = min(low, values[i]), high = max(high, values[i]);
    atomicMin(&lowest, low), atomicMax(&highest, high);
    __syncthreads();
    low = lowest, high = highest;
    if (count < k) return ALL;
    for (int turn = 0; low < high; turn ^= 1) {
        const u32 middle = low + (high - low) / 2;
        int some = 0;
        for (int i = threadIdx.x; i < count; i += blockDim.x) some += values[i] <= middle;
        some = warp_sum(some);
        if ((threadIdx.x & 31) == 0 && some) atomicAdd(&counted[turn], some);
        __syncthreads();
        some = counted[turn];
        if (threadIdx.x == 0) counted[turn ^ 1] = 0;
        __syncthreads();
        if (some >= k && some <= k + more) return middle;
        if (some > k) high = middle;
        else low = middle + 1;
    }
    return low;
}

struct Bars {
    Asked asked;
    const float* sides;
    const float2* groups; i64 groups_stride; int group_count;
    const u32* counts; const int2* hits; i64 room;
    double widen, longest2, widest;   // of |y|^2, and of s
    int k;
};

// T, and with it V and C.
__device__ __forceinline__ void set_bar(const Asked& asked, i64 query, double bar, double widen, double widest)
{
    const double a = reach(bar, widen, asked.blurs[query]) + asked.errors[query];
    asked.bars[query] = bar;
    asked.coefficients[query] = coefficient(a), asked.limits[query] = up((double)limit(a, asked.lengths2[query]) + 1.01 * asked.steps[query] * widest);
}

// First thresholds: of the nearest rows of groups. A block a query.
extern "C" __global__ void __launch_bounds__(1024) batch_bars(const Bars p)
{
    extern __shared__ u32 uppers[];
    const i64 query = blockIdx.x;
    if (p.asked.far[query]) return;
    const double p2 = p.asked.lengths2[query], e_q = p.asked.errors[query], loose = 4 * SLACK * (p.longest2 + p2) + 1.01 * p.asked.steps[query] * p.widest;
    for (int i = threadIdx.x; i < p.group_count; i += blockDim.x) {
        const float2 group = p.groups[query * p.groups_stride + i];
        const double e = group.y;
        uppers[i] = group.x < infinite() ? ordered(up(upper((double)group.x + e * e + p2 + loose, e, e_q))) : ALL;
    }
    const u32 found = kth(uppers, p.group_count, p.k, p.k / 8 + 1);
    if (threadIdx.x) return;
    if (found != ALL) set_bar(p.asked, query, value_from(found), p.widen, p.widest);
    else p.asked.far[query] = 1, p.asked.limits[query] = -infinite();  // nothing is known of it
}

// Thresholds again, of the hits so far. A block a query.
extern "C" __global__ void __launch_bounds__(RANK) batch_refresh(const Bars p)
{
    extern __shared__ u32 uppers[];
    const i64 query = blockIdx.x;
    const int count = p.counts[query];
    if (p.asked.far[query] || count > p.room) return;
    const double p2 = p.asked.lengths2[query], e_q = p.asked.errors[query], t = 0.5 * p.asked.steps[query];
    for (int i = threadIdx.x; i < count; i += RANK) {
        const int2 hit = p.hits[query * p.room + i];
        const float4 side = side_of(p.sides, (u32)hit.x);
        double least, most;
        squares(side.y, side.z, p2, side.x * t * hit.y, least, most);
        uppers[i] = ordered(up(upper(most, side.z, e_q)));
    }
    const u32 found = kth(uppers, count, p.k, p.k / 8 + 1);
    const double before = p.asked.bars[query];
    __syncthreads();
    if (threadIdx.x == 0 && found != ALL && (double)value_from(found) < before) set_bar(p.asked, query, value_from(found), p.widen, p.widest);
}

struct Rank {
    const Cell* rows; const double* row_norms; const i64* names; i64 dim;
    const double *queries, *query_norms;
    Asked asked;
    const float* sides;
    const u32* counts; const int2* hits; i64 room;
    double widen;
    double* values; i64* ids;
    u32 *candidates, *computed, *errors;  // errors: 1 no number, 2 a row is not where its bound says, 4 answer by all rows
    double* rests;                        // no row that was not computed has a smaller distance
    int k;
};

// Values as defined of the hits that the last threshold leaves, ranked. A block a query: the rows that are nearest by their bounds are
// computed first, within rounding; how far the k-th of them is leaves few of the others.
extern "C" __global__ void __launch_bounds__(RANK) batch_rank(const Rank p)
{
    extern __shared__ __align__(16) u8 memory[];
    u64* keys = reinterpret_cast<u64*>(memory);                    // (CANDIDATES,)
    i64* names = reinterpret_cast<i64*>(keys + CANDIDATES);        // (CANDIDATES,)
    u32* uppers = reinterpret_cast<u32*>(names + CANDIDATES);      // (room,)
    float* lowers = reinterpret_cast<float*>(uppers + p.room);     // (room,)
    __shared__ int left, near;
    __shared__ u32 error;
    __shared__ u64 rest_key;
    const i64 query = blockIdx.x;
    const int count = p.counts[query], lane = threadIdx.x & 31, own = threadIdx.x >> 5;
    const double* q = p.queries + query * p.dim;
    const double length = METRIC == 2 ? p.query_norms[query] : 0;
    bool lost = p.asked.far[query] || count > p.room;
    const double p2 = p.asked.lengths2[query], e_q = p.asked.errors[query], t = 0.5 * p.asked.steps[query];
    const double blur = p.asked.blurs[query], base = p.asked.bases[query], gain = p.asked.gains[query];
    if (threadIdx.x == 0) left = near = 0, error = 0, rest_key = LAST;
    double bar = p.asked.bars[query];
    if (!lost) {
        for (int i = threadIdx.x; i < count; i += RANK) {
            const int2 hit = p.hits[query * p.room + i];
            const float4 side = side_of(p.sides, (u32)hit.x);
            double least, most;
            squares(side.y, side.z, p2, side.x * t * hit.y, least, most);
            uppers[i] = ordered(up(upper(most, side.z, e_q)));
            lowers[i] = down(lower(least, side.z, e_q));
        }
        const u32 found = kth(uppers, count, p.k, p.k / 8 + 1);
        if (found == ALL) lost = true;  // fewer than k
        else bar = fmin(bar, (double)value_from(found));
    }
    __syncthreads();
    const u32 nearest = ordered(up(bar));
    const double far_enough = reach(bar, p.widen, blur);
    if (!lost) {  // the rows of which the k nearest by their upper bounds are some come first
        for (int pass = 0; pass < 2; ++pass) {
            for (int i = threadIdx.x; i < count; i += RANK) {
                if (lowers[i] > far_enough || (uppers[i] <= nearest) != (pass == 0)) continue;
                const int at = atomicAdd(&left, 1);
                if (at < CANDIDATES) names[at] = i;
            }
            __syncthreads();
            if (pass == 0 && threadIdx.x == 0) near = left;
            __syncthreads();
        }
    }
    if (left > CANDIDATES) lost = true;
    if (lost) {
        if (threadIdx.x == 0) p.errors[query] = 4, p.candidates[query] = p.computed[query] = 0;
        return;
    }
    // keys within rounding of the first ones: at most; the k-th of them is a bar for keys
    for (int i = own; i < near; i += RANK / 32) {
        double least, most;
        about(p, (u32)p.hits[query * p.room + names[i]].x, q, length, least, most);
        if (lane == 0) keys[i] = most == most ? ordered(most + 0.0) : LAST;
    }
    __syncthreads();
    double enough = endless();
    {   // near is about k: the largest of k to k + k / 8 + 1 keys will do
        u64 largest = 0;
        for (int i = lane; i < near; i += 32) largest = keys[i] > largest ? keys[i] : largest;
        UNROLL for (int o = 16; o; o >>= 1) {
            const u64 other = __shfl_xor_sync(ALL, largest, o);
            largest = other > largest ? other : largest;
        }
        if (near >= p.k && largest != LAST) enough = key_from(largest);
    }
    // the distance that this key is: rows whose bound is above it need not be looked at
    const double enough_square = base + gain * (METRIC ? -enough : enough);
    const double enough_far = enough < endless() ? fmin(far_enough, reach(enough_square > 0 ? sqrt(enough_square) : 0, p.widen, blur)) : far_enough;
    __syncthreads();
    for (int i = own; i < left; i += RANK / 32) {
        const int hit = (int)names[i];
        const i64 row = (u32)p.hits[query * p.room + hit].x;
        double least = -endless(), most;
        bool out = lowers[hit] > enough_far;
        if (!out && i >= near) about(p, row, q, length, least, most);
        if (lane == 0) {
            if (!out && least > enough) atomicMin(&rest_key, ordered(least)), out = true;
            keys[i] = out ? LAST : 0;
        }
    }
    __syncthreads();
    const int size = power_from(left);
    int computed = 0;
    for (int i = threadIdx.x; i < size; i += RANK) {
        if (i >= left || keys[i] == LAST) {
            keys[i] = LAST, names[i] = -1;
            continue;
        }
        const int hit = (int)names[i];
        const i64 row = (u32)p.hits[query * p.room + hit].x;
        const double value = value_of(defined_sum(p.rows + row * p.dim, q, p.dim), METRIC == 2 ? p.row_norms[row] : 0, length);
        ++computed;
        if (isnan(value)) atomicOr(&error, 1u);
        const double square = base + gain * value, distance = square > 0 ? sqrt(square) : 0;
        if (!(lowers[hit] <= reach(distance, p.widen, blur)) || !(distance <= reach(value_from(uppers[hit]), p.widen, blur))) atomicOr(&error, 2u);
        keys[i] = ordered(key_of(value));
        names[i] = p.names ? p.names[row] : row;
    }
    if (threadIdx.x == 0) near = 0;
    __syncthreads();
    if (computed) atomicAdd(&near, computed);
    sort_pairs(keys, names, size);
    for (int i = threadIdx.x; i < p.k; i += RANK) {
        const double found = keys[i] == LAST ? endless() : key_from(keys[i]);
        p.values[query * p.k + i] = METRIC ? 0.0 - found : found;
        p.ids[query * p.k + i] = keys[i] == LAST ? -1 : names[i];
    }
    if (threadIdx.x == 0) {
        p.errors[query] = error, p.candidates[query] = left, p.computed[query] = near;
        double rest = enough_far;
        if (rest_key != LAST) {
            const double square = base + gain * (METRIC ? -key_from(rest_key) : key_from(rest_key));
            rest = fmin(rest, square > 0 ? sqrt(square) / WIDEN : 0);
        }
        p.rests[query] = rest;
    }
}
