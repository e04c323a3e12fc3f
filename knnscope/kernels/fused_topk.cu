// Squared distances of rows to a query and the k smallest of them in one kernel: of every row only its bytes are read, and only
// k candidates a block are written. NVRTC compiles this for one DIM and one width of rows, so it includes nothing.
//
//   DIM    components of a row
//   HALF   1: rows are float16, 0: float32. Queries and sums are float32.
//
// A block a multiprocessor; the grid's second axis counts queries. A row is read by LANES neighboring lanes, a cache line at a time;
// their sums meet by shuffles. A key is the distance's bits (not negative, so that they order as it does) above the row's number:
// of two equal distances the smaller row comes first. The last block to finish merges what all have found.

typedef unsigned long long Key;

#define ROW_BYTES (DIM * (HALF ? 2 : 4))
#if ROW_BYTES % 16 == 0
typedef uint4 Piece;
#elif ROW_BYTES % 8 == 0
typedef uint2 Piece;
#elif ROW_BYTES % 4 == 0
typedef unsigned Piece;
#else
typedef unsigned short Piece;
#endif

#define ALL 0xffffffffu
#define NONE 0xffffffffffffffffull

constexpr int THREADS = 512;
constexpr int WARPS = THREADS / 32;
constexpr int FEW = 32;                                         // the largest k of nearest_few: a lane holds a neighbor
constexpr int FLOATS = sizeof(Piece) / (HALF ? 2 : 4);          // components in a piece
constexpr int PIECES = ROW_BYTES / sizeof(Piece);               // pieces of a row
constexpr int LINE = 128 / sizeof(Piece) < 32 ? 128 / sizeof(Piece) : 32;

__host__ __device__ constexpr int power_from(int n) { return n <= 1 ? 1 : 2 * power_from((n + 1) / 2); }
__host__ __device__ constexpr int least(int a, int b) { return a < b ? a : b; }
__host__ __device__ constexpr int most(int a, int b) { return a > b ? a : b; }

constexpr int LANES = least(power_from(PIECES), LINE);          // lanes that share a row
constexpr int GROUPS = 32 / LANES;                              // rows that a warp reads side by side
constexpr int STEPS = (PIECES + LANES - 1) / LANES;             // pieces of a row that a lane reads
constexpr int IN_FLIGHT = 12;                                   // loads that a lane waits for together, about
constexpr bool KEPT = STEPS * FLOATS <= 48;                     // the query stays in registers
constexpr int AT_ONCE = KEPT ? STEPS : least(STEPS, 8);         // loads of one row that a lane waits for together
constexpr int MANY_AT_ONCE = THREADS;                           // rows between two looks at the pool of nearest_many

// The query's components that one lane needs.
struct Query {
    float kept[KEPT ? STEPS * FLOATS : 1];
    const float* from;
    int part;

    __device__ __forceinline__ Query(const float* query, int part) : from(query), part(part)
    {
        if (KEPT) {
            #pragma unroll
            for (int step = 0; step < STEPS; ++step) {
                #pragma unroll
                for (int f = 0; f < FLOATS; ++f) {
                    const int piece = step * LANES + part;
                    kept[(KEPT ? step * FLOATS + f : 0)] = piece < PIECES ? query[piece * FLOATS + f] : 0.0f;
                }
            }
        }
    }

    __device__ __forceinline__ float at(int step, int f) const
    {
        return KEPT ? kept[KEPT ? step * FLOATS + f : 0] : __ldg(from + (step * LANES + part) * FLOATS + f);
    }
};

__device__ __forceinline__ float widened(const Piece& piece, int f)
{
#if HALF
    const unsigned short bits = reinterpret_cast<const unsigned short*>(&piece)[f];
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
#else
    return reinterpret_cast<const float*>(&piece)[f];
#endif
}

// A piece of a row: rows below `resident` are left to the second-level cache, others pass through it first to be evicted.
__device__ __forceinline__ Piece load(const Piece* at, bool stays) { return stays ? __ldg(at) : __ldcs(at); }

// Keys of ROWS rows for each group of lanes, in all its lanes; NONE beyond the last row.
template <int ROWS>
__device__ __forceinline__ void measure(
    const Piece* __restrict__ rows, const Query& query, unsigned first, unsigned count, unsigned resident, int part, int group,
    Key (&keys)[ROWS])
{
    float sums[ROWS][FLOATS] = {};
    const bool stays = first < resident;
    #pragma unroll 1
    for (int begin = 0; begin < STEPS; begin += AT_ONCE) {
        Piece pieces[ROWS][AT_ONCE];
        #pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            const unsigned row = min(first + r * GROUPS + group, count - 1);
            #pragma unroll
            for (int s = 0; s < AT_ONCE; ++s) {
                const int piece = (begin + s) * LANES + part;
                if (begin + s < STEPS && piece < PIECES) pieces[r][s] = load(rows + (size_t)row * PIECES + piece, stays);
            }
        }
        #pragma unroll
        for (int s = 0; s < AT_ONCE; ++s) {
            if (begin + s < STEPS && (begin + s) * LANES + part < PIECES) {
                #pragma unroll
                for (int f = 0; f < FLOATS; ++f) {
                    const float q = query.at(AT_ONCE == STEPS ? s : begin + s, f);
                    #pragma unroll
                    for (int r = 0; r < ROWS; ++r) {
                        const float difference = widened(pieces[r][s], f) - q;
                        sums[r][f] = fmaf(difference, difference, sums[r][f]);
                    }
                }
            }
        }
    }
    #pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        float sum = 0.0f;
        #pragma unroll
        for (int f = 0; f < FLOATS; ++f) sum += sums[r][f];
        #pragma unroll
        for (int distance = LANES / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(ALL, sum, distance);
        const unsigned row = first + r * GROUPS + group;
        keys[r] = row < count ? (Key)__float_as_uint(sum) << 32 | row : NONE;
    }
}

// Where a key would stand among others, all of them different but NONE.
__device__ __forceinline__ int rank_of(Key key, int index, const Key* keys, int count)
{
    int rank = 0;
    #pragma unroll 8
    for (int i = 0; i < count; ++i) rank += keys[i] < key || (keys[i] == key && i < index);
    return rank;
}

__device__ __forceinline__ void answer(Key key, long long at, long long* ids, float* distances)
{
    ids[at] = (long long)(key & ALL);
    distances[at] = __uint_as_float((unsigned)(key >> 32));
}

// Whether this block is the last of its query to come here; then what the others wrote before is visible to it.
__device__ __forceinline__ bool last_block(unsigned* done)
{
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(done, 1u) == gridDim.x - 1;
        if (last) *done = 0;  // ready for the next launch
    }
    __syncthreads();
    __threadfence();
    return last;
}

// k up to FEW: every warp keeps its nearest in order, one a lane. At most THREADS blocks.
// `found`: gridDim.x * k keys a query. `done`: a counter a query, zero at first and again at the end.
extern "C" __global__ void __launch_bounds__(THREADS, 1) nearest_few(
    const Piece* __restrict__ rows, const float* __restrict__ queries, unsigned count, int k, unsigned resident, Key* found,
    unsigned* done, long long* ids, float* distances)
{
    constexpr int ROWS = most(1, IN_FLIGHT / STEPS);
    constexpr unsigned SPAN = ROWS * GROUPS;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, part = lane % LANES, group = lane / LANES;
    const Query query(queries + (size_t)blockIdx.y * DIM, part);
    Key list = NONE, bound = NONE;
    for (size_t first = (size_t)(blockIdx.x * WARPS + warp) * SPAN; first < count; first += (size_t)gridDim.x * WARPS * SPAN) {
        Key keys[ROWS];
        measure<ROWS>(rows, query, (unsigned)first, count, resident, part, group, keys);
        #pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            unsigned nearer = __ballot_sync(ALL, part == 0 && keys[r] < bound);
            while (nearer) {
                const Key key = __shfl_sync(ALL, keys[r], __ffs(nearer) - 1);
                nearer &= nearer - 1;
                if (key < bound) {
                    const int place = __popc(__ballot_sync(ALL, list < key));
                    const Key before = __shfl_up_sync(ALL, list, 1);
                    list = lane < place ? list : lane == place ? key : before;
                    bound = __shfl_sync(ALL, list, k - 1);
                }
            }
        }
    }

    __shared__ Key pool[THREADS], best[FEW * FEW];
    __shared__ Key limit;
    __shared__ int kept;
    found += (size_t)blockIdx.y * gridDim.x * k;
    if (lane < k) pool[warp * k + lane] = list;
    __syncthreads();
    if (threadIdx.x < WARPS * k) {
        const int rank = rank_of(pool[threadIdx.x], threadIdx.x, pool, WARPS * k);
        if (rank < k) found[blockIdx.x * k + rank] = pool[threadIdx.x];
    }
    if (!last_block(done + blockIdx.y)) return;

    // At most k blocks have a nearest row that is no further than the k-th of all blocks' nearest, and no other block matters.
    if (threadIdx.x < gridDim.x) pool[threadIdx.x] = __ldcg(found + threadIdx.x * k);
    if (threadIdx.x == 0) kept = 0, limit = NONE;
    __syncthreads();
    if (threadIdx.x < gridDim.x && rank_of(pool[threadIdx.x], threadIdx.x, pool, gridDim.x) == k - 1) limit = pool[threadIdx.x];
    __syncthreads();
    for (int i = threadIdx.x; i < gridDim.x * k; i += THREADS) {
        const Key key = __ldcg(found + i);
        if (key <= limit && key != NONE) best[atomicAdd(&kept, 1)] = key;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < kept; i += THREADS) {
        const int rank = rank_of(best[i], i, best, kept);
        if (rank < k) answer(best[i], (long long)blockIdx.y * k + rank, ids, distances);
    }
}

// A block's candidates in shared memory: those below `bound` are put in; before it could run over, all but the k smallest go.
struct Pool {
    Key* keys;
    int* count;
    int slots, k;
    Key bound;

    __device__ __forceinline__ void offer(Key key, bool wanted, int lane)
    {
        wanted = wanted && key < bound;
        const unsigned nearer = __ballot_sync(ALL, wanted);
        if (!nearer) return;
        int base = 0;
        if (lane == __ffs(nearer) - 1) base = atomicAdd(count, __popc(nearer));
        base = __shfl_sync(ALL, base, __ffs(nearer) - 1);
        if (wanted) keys[base + __popc(nearer & ((1u << lane) - 1))] = key;
    }

    // Between offers, by the whole block: leaves room for `room` more. Sorted afterwards where it had to, or was told to.
    __device__ void tidy(int room, bool always)
    {
        __syncthreads();
        const int held = *count;
        __syncthreads();
        if (!always && held + room <= slots) return;
        int size = 2;
        while (size < held) size *= 2;
        for (int i = held + threadIdx.x; i < size; i += THREADS) keys[i] = NONE;
        __syncthreads();
        for (int span = 2; span <= size; span *= 2) {
            for (int stride = span / 2; stride > 0; stride /= 2) {
                for (int i = threadIdx.x; i < size / 2; i += THREADS) {
                    const int low = 2 * i - (i & (stride - 1)), high = low + stride;
                    const Key a = keys[low], b = keys[high];
                    if ((a > b) == ((low & span) == 0)) keys[low] = b, keys[high] = a;
                }
                __syncthreads();
            }
        }
        if (held >= k) bound = keys[k - 1];
        if (threadIdx.x == 0) *count = min(held, k);
        __syncthreads();
    }
};

// What all blocks have found, written; the last of them merges it into the answer.
__device__ __forceinline__ void finish(Pool& pool, Key* found, unsigned* done, long long* ids, float* distances, int lane)
{
    const int k = pool.k;
    pool.tidy(MANY_AT_ONCE, true);
    found += (size_t)blockIdx.y * gridDim.x * k;
    const int held = *pool.count;
    for (int i = threadIdx.x; i < k; i += THREADS) found[(size_t)i * gridDim.x + blockIdx.x] = i < held ? pool.keys[i] : NONE;
    if (!last_block(done + blockIdx.y)) return;

    // All firsts, then all seconds, and so on. As many at a time as there are threads are one or more of every block, and each
    // block's are in order: where none of them is wanted, none that follows is.
    if (threadIdx.x == 0) *pool.count = 0;
    pool.bound = NONE;
    pool.tidy(0, false);
    const size_t all = (size_t)k * gridDim.x;
    for (size_t start = 0; start < all; start += THREADS) {
        const size_t i = start + threadIdx.x;
        const Key key = i < all ? __ldcg(found + i) : NONE;
        if (!__syncthreads_or(key < pool.bound)) break;
        pool.offer(key, true, lane);
        pool.tidy(THREADS, false);
    }
    pool.tidy(MANY_AT_ONCE, true);
    for (int i = threadIdx.x; i < k; i += THREADS) answer(pool.keys[i], (long long)blockIdx.y * k + i, ids, distances);
}

// Any k up to slots - MANY_AT_ONCE; `slots` keys of dynamic shared memory, a power of two from 2 * MANY_AT_ONCE on.
// At most THREADS blocks. `found`: k * gridDim.x keys a query, a block's first beside the other blocks' first.
extern "C" __global__ void __launch_bounds__(THREADS, 1) nearest_many(
    const Piece* __restrict__ rows, const float* __restrict__ queries, unsigned count, int k, unsigned resident, Key* found,
    unsigned* done, long long* ids, float* distances, int slots)
{
    constexpr int ROWS = most(1, least(IN_FLIGHT / STEPS, MANY_AT_ONCE / (WARPS * GROUPS)));
    constexpr unsigned SPAN = ROWS * GROUPS;
    constexpr int ROUNDS = most(1, MANY_AT_ONCE / (WARPS * SPAN));
    extern __shared__ Key keys_of_block[];
    __shared__ int held;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, part = lane % LANES, group = lane / LANES;
    const Query query(queries + (size_t)blockIdx.y * DIM, part);
    if (threadIdx.x == 0) held = 0;
    Pool pool{keys_of_block, &held, slots, k, NONE};
    const size_t stride = (size_t)gridDim.x * WARPS * SPAN;
    int round = 0;
    pool.tidy(0, false);
    for (size_t start = (size_t)blockIdx.x * WARPS * SPAN; start < count; start += stride) {  // the same rounds for all warps
        const size_t first = start + warp * SPAN;
        if (first < count) {
            Key keys[ROWS];
            measure<ROWS>(rows, query, (unsigned)first, count, resident, part, group, keys);
            #pragma unroll
            for (int r = 0; r < ROWS; ++r) pool.offer(keys[r], part == 0, lane);
        }
        if (++round % ROUNDS == 0) pool.tidy(MANY_AT_ONCE, false);
    }
    finish(pool, found, done, ids, distances, lane);
}

// The k smallest of `count` distances of each query, of equal ones the first; otherwise as nearest_many.
extern "C" __global__ void __launch_bounds__(THREADS, 1) select_nearest(
    const float* __restrict__ values, unsigned count, int k, Key* found, unsigned* done, long long* ids, float* distances,
    int slots)
{
    extern __shared__ Key keys_of_block[];
    __shared__ int held;
    if (threadIdx.x == 0) held = 0;
    Pool pool{keys_of_block, &held, slots, k, NONE};
    pool.tidy(0, false);
    values += (size_t)blockIdx.y * count;
    for (size_t start = (size_t)blockIdx.x * THREADS; start < count; start += (size_t)gridDim.x * THREADS) {
        const size_t row = start + threadIdx.x;
        pool.offer(row < count ? (Key)__float_as_uint(values[row]) << 32 | (unsigned)row : NONE, true, threadIdx.x % 32);
        pool.tidy(MANY_AT_ONCE, false);
    }
    finish(pool, found, done, ids, distances, threadIdx.x % 32);
}

// Every row's key, (queries, count), for a k that no pool holds.
extern "C" __global__ void __launch_bounds__(THREADS, 1) all_keys(
    const Piece* __restrict__ rows, const float* __restrict__ queries, unsigned count, Key* found)
{
    constexpr int ROWS = most(1, IN_FLIGHT / STEPS);
    constexpr unsigned SPAN = ROWS * GROUPS;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, part = lane % LANES, group = lane / LANES;
    const Query query(queries + (size_t)blockIdx.y * DIM, part);
    found += (size_t)blockIdx.y * count;
    for (size_t first = (size_t)(blockIdx.x * WARPS + warp) * SPAN; first < count; first += (size_t)gridDim.x * WARPS * SPAN) {
        Key keys[ROWS];
        measure<ROWS>(rows, query, (unsigned)first, count, 0, part, group, keys);
        #pragma unroll
        for (int r = 0; r < ROWS; ++r)
            if (part == 0 && keys[r] != NONE) found[first + r * GROUPS + group] = keys[r];
    }
}

// Every row's distance, its root taken, (queries, count).
extern "C" __global__ void __launch_bounds__(THREADS, 1) all_distances(
    const Piece* __restrict__ rows, const float* __restrict__ queries, unsigned count, unsigned resident, float* found)
{
    constexpr int ROWS = most(1, IN_FLIGHT / STEPS);
    constexpr unsigned SPAN = ROWS * GROUPS;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, part = lane % LANES, group = lane / LANES;
    const Query query(queries + (size_t)blockIdx.y * DIM, part);
    found += (size_t)blockIdx.y * count;
    for (size_t first = (size_t)(blockIdx.x * WARPS + warp) * SPAN; first < count; first += (size_t)gridDim.x * WARPS * SPAN) {
        Key keys[ROWS];
        measure<ROWS>(rows, query, (unsigned)first, count, resident, part, group, keys);
        #pragma unroll
        for (int r = 0; r < ROWS; ++r)
            if (part == 0 && keys[r] != NONE) found[first + r * GROUPS + group] = sqrtf(__uint_as_float((unsigned)(keys[r] >> 32)));
    }
}
