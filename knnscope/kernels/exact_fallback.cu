// Queries that another path could not answer, by the values of all rows. It is queued behind every search and ends at once where there are
// none, so that nobody has to wait to find out.

constexpr int THREADS = 256, ROOM = 2048;  // rows of a block that may be among the nearest
constexpr int CROWDED = ROOM - THREADS;       // who takes this place says so to all: nobody may look at how many wait while others add to it

struct Fallback {
    const Cell* rows; const double* row_norms; const i64* names; i64 count, dim;
    const void* queries;
    const u8* allowed; i64 allowed_stride;
    u32* errors; i64 errors_stride;      // of a query: 4 where it is to be answered here; then 8, and 1 for no number, 16 for a query that is none
    u64* keys; i64* found;               // (blocks, k): the nearest of each block
    u32* done;                           // (queries,): blocks that have told their nearest; 0 before, and when they are put together
    double* values; i64* ids;            // (queries, k)
    int wide, queries_count, k;
};

__device__ __forceinline__ void wait_a_little() { __nanosleep(200); }

// The nearest so far of those that wait, in order.
__device__ __forceinline__ void cut(u64* keys, i64* names, int& waiting, u64& bar, int k)
{
    __syncthreads();
    const int size = power_from(waiting);
    for (int i = waiting + threadIdx.x; i < size; i += THREADS) keys[i] = LAST, names[i] = -1;
    sort_pairs(keys, names, size);
    __syncthreads();
    if (threadIdx.x == 0) {
        if (waiting >= k) bar = keys[k - 1];
        waiting = min(waiting, k);
    }
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(THREADS) fallback(const Fallback p)
{
    __shared__ u64 keys[ROOM], bar;
    __shared__ i64 names[ROOM];
    __shared__ double length;
    __shared__ int waiting, strange;
    __shared__ bool last;
    await_before();
    auto errors_of = [&](i64 number) { return reinterpret_cast<u32*>(reinterpret_cast<u8*>(p.errors) + number * p.errors_stride); };
    auto is_left = [&](i64 number) { return (*reinterpret_cast<volatile u32*>(errors_of(number)) & 4) != 0; };
    i64 before = -1;  // the query before: its lists are where those of the next one go
    for (i64 number = 0; number < p.queries_count; ++number) {
        const i64 one = number + threadIdx.x;
        if (number % THREADS == 0 && !__syncthreads_or(one < p.queries_count && is_left(one))) {
            number += THREADS - 1;
            continue;
        }
        if (!is_left(number)) continue;
        u32* errors = errors_of(number);
        const Query query = {static_cast<const u8*>(p.queries) + number * p.dim * (p.wide ? 8 : 4), p.wide};
        __syncthreads();
        if (threadIdx.x == 0) waiting = 0, bar = LAST, strange = 0, length = METRIC == 2 ? defined_length(query, p.dim) : 0;
        __syncthreads();
        const i64 step = (i64)gridDim.x * THREADS;
        for (i64 first = (i64)blockIdx.x * THREADS; first < p.count; first += step) {
            const i64 row = first + threadIdx.x;
            int at = -1;
            if (row < p.count && (!p.allowed || p.allowed[number * p.allowed_stride + row])) {
                const double value = value_of(defined_sum(p.rows + row * p.dim, query, p.dim), METRIC == 2 ? p.row_norms[row] : 0, length);
                const u64 key = ordered(key_of(value));
                if (isnan(value)) strange = 1;
                else if (key <= bar) {
                    at = atomicAdd(&waiting, 1);
                    keys[at] = key, names[at] = p.names ? p.names[row] : row;
                }
            }
            if (__syncthreads_or(at >= CROWDED)) cut(keys, names, waiting, bar, p.k);
        }
        if (strange && threadIdx.x == 0) atomicOr(errors, 1u);
        if (before >= 0 && threadIdx.x == 0) while (*reinterpret_cast<volatile u32*>(p.done + before)) wait_a_little();
        before = number;
        cut(keys, names, waiting, bar, p.k);
        for (int i = threadIdx.x; i < p.k; i += THREADS) {
            p.keys[(i64)blockIdx.x * p.k + i] = i < waiting ? keys[i] : LAST;
            p.found[(i64)blockIdx.x * p.k + i] = i < waiting ? names[i] : -1;
        }
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0) last = atomicAdd(p.done + number, 1u) == gridDim.x - 1;
        __syncthreads();
        if (!last) continue;
        __threadfence();
        for (i64 first = 0; first < (i64)gridDim.x * p.k; first += THREADS) {
            const i64 i = first + threadIdx.x;
            int at = -1;
            if (i < (i64)gridDim.x * p.k && i / p.k != blockIdx.x) {  // its own are there
                const u64 key = __ldcg(p.keys + i);
                if (key != LAST && key <= bar) {
                    at = atomicAdd(&waiting, 1);
                    keys[at] = key, names[at] = __ldcg(p.found + i);
                }
            }
            if (__syncthreads_or(at >= CROWDED)) cut(keys, names, waiting, bar, p.k);
        }
        cut(keys, names, waiting, bar, p.k);
        const bool wrong = *reinterpret_cast<volatile u32*>(errors) & 1;
        for (i64 j = threadIdx.x; j < p.dim; j += THREADS) if (!(fabs(query[j]) < endless())) strange = 2;
        __syncthreads();
        for (int i = threadIdx.x; i < p.k; i += THREADS) {  // where a value is no number, nobody can say which rows are the nearest
            const bool there = i < waiting && !wrong && strange != 2;
            const double found = there ? key_from(keys[i]) : endless();
            p.values[number * p.k + i] = METRIC ? 0.0 - found : found;
            p.ids[number * p.k + i] = there ? names[i] : -1;
        }
        if (threadIdx.x == 0) {
            *errors = 8u | (wrong ? 1u : 0u) | (strange == 2 ? 16u : 0u);
            __threadfence();
            *reinterpret_cast<volatile u32*>(p.done + number) = 0;
        }
    }
}
