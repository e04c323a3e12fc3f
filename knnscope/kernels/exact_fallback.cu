// Queries that another path could not answer, by the values of all rows. It is queued behind every search and ends at once where there are
// none, so that nobody has to wait to find out.

constexpr int THREADS = 256, ROOM = 2048;  // rows of a block that may be among the nearest
constexpr int CROWDED = ROOM - THREADS;       // who takes this place says so to all: nobody may look at how many wait while others add to it
constexpr int HELD = 512;                     // components of a query that all threads read from shared memory
constexpr int MOST_STEPS = 16;                // steps of THREADS rows that a block takes at once

struct Fallback {
    const Cell* rows; const double* row_norms; const i64* names; i64 count, dim;
    const void* queries;
    const u8* allowed; i64 allowed_stride;
    u32* errors; i64 errors_stride;      // of a query: 4 where it is to be answered here; then 8, and 1 for no number, 16 for a query that is none
    u64* keys; i64* found;               // (blocks, k): the nearest of each block
    u32* full;                           // (blocks,): the query of which a block has told its nearest, from 1; 0 once they were read
    u32* taken; u32* done;               // (queries,): pieces of rows that were taken, and whose nearest are told; 0 before and after
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

// Pieces of rows are taken by whoever is there: nobody waits for a block that has not begun, whatever else the GPU has to do.
extern "C" __global__ void __launch_bounds__(THREADS, 2) fallback(const Fallback p)
{
    __shared__ u64 keys[ROOM], bar;
    __shared__ i64 names[ROOM];
    __shared__ double held[HELD], length;
    __shared__ int waiting, strange;
    __shared__ u32 piece;
    __shared__ bool last;
    await_before();
    auto errors_of = [&](i64 number) { return reinterpret_cast<u32*>(reinterpret_cast<u8*>(p.errors) + number * p.errors_stride); };
    auto is_left = [&](i64 number) { return (*reinterpret_cast<volatile u32*>(errors_of(number)) & 4) != 0; };
    const i64 even = p.count / ((i64)THREADS * 4 * gridDim.x), size = THREADS * min(max(even, (i64)1), (i64)MOST_STEPS);
    const u32 pieces = (u32)((p.count + size - 1) / size);
    auto take = [&](i64 number) {
        u32 one = atomicAdd(p.taken + number, 1u);
        __threadfence();
        if (one < pieces && !is_left(number)) {  // all is told, and the counter begins again: this was not to be taken
            atomicSub(p.taken + number, 1u);
            one = pieces;
        }
        return one;
    };
    for (i64 number = 0; number < p.queries_count; ++number) {
        const i64 one = number + threadIdx.x;
        if (number % THREADS == 0 && !__syncthreads_or(one < p.queries_count && is_left(one))) {
            number += THREADS - 1;
            continue;
        }
        __syncthreads();
        if (threadIdx.x == 0) piece = is_left(number) ? take(number) : pieces;
        __syncthreads();
        if (piece >= pieces) continue;
        u32* errors = errors_of(number);
        const Query query = {static_cast<const u8*>(p.queries) + number * p.dim * (p.wide ? 8 : 4), p.wide};
        auto hold = [&](i64 from) {
            for (int j = threadIdx.x; j < HELD && from + j < p.dim; j += THREADS) held[j] = query[from + j];
        };
        if (threadIdx.x == 0) waiting = 0, bar = LAST, strange = 0, length = METRIC == 2 ? defined_length(query, p.dim) : 0;
        hold(0);
        __syncthreads();
        u32 mine = 0;
        for (; piece < pieces; ++mine) {
            const i64 begin = piece * size, end = min(begin + size, p.count);
            for (i64 first = begin; first < end; first += THREADS) {
                const i64 row = first + threadIdx.x;
                int at = -1;
                const bool asked = row < end && (!p.allowed || p.allowed[number * p.allowed_stride + row]);
                double sum = 0;
                for (i64 from = 0; from < p.dim; from += HELD) {
                    if (p.dim > HELD) {
                        __syncthreads();
                        hold(from);
                        __syncthreads();
                    }
                    if (asked) each_cell<8>(p.rows + row * p.dim + from, min(p.dim - from, (i64)HELD), [&](i64 j, double x) { sum = plus_term(sum, x, held[j]); });
                }
                if (asked) {
                    const double value = value_of(sum, METRIC == 2 ? p.row_norms[row] : 0, length);
                    const u64 key = ordered(key_of(value));
                    if (isnan(value)) strange = 1;
                    else if (key <= bar) {
                        at = atomicAdd(&waiting, 1);
                        keys[at] = key, names[at] = p.names ? p.names[row] : row;
                    }
                }
                if (__syncthreads_or(at >= CROWDED)) cut(keys, names, waiting, bar, p.k);
            }
            if (threadIdx.x == 0) piece = take(number);
            __syncthreads();
        }
        volatile u32* full = p.full + blockIdx.x;
        if (strange && threadIdx.x == 0) atomicOr(errors, 1u);
        if (threadIdx.x == 0) while (*full) wait_a_little();  // what it told of another query is not read yet
        cut(keys, names, waiting, bar, p.k);
        for (int i = threadIdx.x; i < p.k; i += THREADS) {
            p.keys[(i64)blockIdx.x * p.k + i] = i < waiting ? keys[i] : LAST;
            p.found[(i64)blockIdx.x * p.k + i] = i < waiting ? names[i] : -1;
        }
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0) {
            *full = (u32)number + 1;
            __threadfence();
            last = atomicAdd(p.done + number, mine) == pieces - mine;
        }
        __syncthreads();
        if (!last) continue;
        __threadfence();
        for (i64 first = 0; first < (i64)gridDim.x * p.k; first += THREADS) {
            const i64 i = first + threadIdx.x, block = i / p.k;
            int at = -1;
            if (i < (i64)gridDim.x * p.k && block != blockIdx.x && __ldcg(p.full + block) == (u32)number + 1) {  // its own are there
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
        for (int block = threadIdx.x; block < gridDim.x; block += THREADS) {
            u32* one_full = p.full + block;
            if (__ldcg(one_full) == (u32)number + 1) atomicExch(one_full, 0u);
        }
        if (threadIdx.x == 0) {
            p.done[number] = 0;
            *reinterpret_cast<volatile u32*>(errors) = 8u | (wrong ? 1u : 0u) | (strange == 2 ? 16u : 0u);
            __threadfence();
            atomicExch(p.taken + number, 0u);
        }
    }
}
