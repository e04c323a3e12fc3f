// Answers over different rows become one, in the order of the definition: value, then id. A thread a neighbor: its place in the whole is its place
// in its own answer, and what comes before it in each other one, which is sorted as well.

constexpr int LISTS = 32;

struct Ends { i64 at[LISTS + 1]; };   // columns at which answers begin, and where the last one ends

__device__ bool comes_before(double key, i64 id, double other_key, i64 other_id)
{
    return key < other_key || (key == other_key && id < other_id);
}

// A key that ascends, and an id; no row comes last.
__device__ void read_neighbor(const i64* ids, const double* values, i64 at, double& key, i64& id)
{
    id = ids[at];
    key = METRIC == 0 ? values[at] : -values[at];
    if (id < 0) id = 0x7fffffffffffffffLL, key = __longlong_as_double(0x7ff0000000000000LL);
}

extern "C" __global__ void merge_answers(const i64* ids, const double* values, i64 queries, i64 columns, Ends ends, int lists, i64 k,
                                         i64* out_ids, double* out_values)
{
    const i64 all = queries * columns, step = (i64)gridDim.x * blockDim.x;
    for (i64 at = (i64)blockIdx.x * blockDim.x + threadIdx.x; at < all; at += step) {
        const i64 query = at / columns, first = query * columns, place = at - first;
        int own = 0;
        while (place >= ends.at[own + 1]) own++;
        double key;
        i64 id;
        read_neighbor(ids, values, at, key, id);
        i64 rank = place - ends.at[own];
        for (int list = 0; list < lists && rank < k; list++) {
            if (list == own) continue;
            i64 low = ends.at[list], high = ends.at[list + 1];
            while (low < high) {
                const i64 middle = low + (high - low) / 2;
                double other_key;
                i64 other_id;
                read_neighbor(ids, values, first + middle, other_key, other_id);
                // where both are no row, the earlier answer's comes first
                const bool is_before = list < own ? !comes_before(key, id, other_key, other_id) : comes_before(other_key, other_id, key, id);
                if (is_before) low = middle + 1;
                else high = middle;
            }
            rank += low - ends.at[list];
        }
        if (rank < k) out_ids[query * k + rank] = ids[at], out_values[query * k + rank] = values[at];
    }
}
