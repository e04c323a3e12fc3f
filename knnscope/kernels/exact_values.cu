// Values as search/definition.py defines them, of all rows: what every other path is held to, and falls back on.

// Norms of rows, for cosine.
extern "C" __global__ void row_norms(const Cell* rows, i64 count, i64 dim, double* norms)
{
    for (i64 row = (i64)blockIdx.x * blockDim.x + threadIdx.x; row < count; row += (i64)gridDim.x * blockDim.x) {
        double sum = 0;
        each_cell(rows + row * dim, dim, [&](i64, double x) { sum = __dadd_rn(sum, __dmul_rn(x, x)); });
        norms[row] = __dsqrt_rn(sum);
    }
}

// Norms of queries, one a thread.
extern "C" __global__ void query_norms(const double* queries, i64 count, i64 dim, double* norms)
{
    const i64 query = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (query >= count) return;
    norms[query] = defined_length(queries + query * dim, dim);
}

// Keys, ordered, (queries, rows); those of rows that may not be answers come last. ``errors`` counts values that are no number.
extern "C" __global__ void all_values(const Cell* rows, i64 count, i64 dim, const double* row_norms, const double* queries,
                                      const double* query_norms, const u8* allowed, i64 allowed_stride, u64* keys, u32* errors)
{
    const double* query = queries + blockIdx.y * dim;
    const double query_norm = METRIC == 2 ? query_norms[blockIdx.y] : 0;
    for (i64 row = (i64)blockIdx.x * blockDim.x + threadIdx.x; row < count; row += (i64)gridDim.x * blockDim.x) {
        u64 key = LAST;
        if (!allowed || allowed[blockIdx.y * allowed_stride + row]) {
            const double sum = defined_sum(rows + row * dim, query, dim);
            const double value = value_of(sum, METRIC == 2 ? row_norms[row] : 0, query_norm);
            if (isnan(value)) atomicAdd(errors, 1u);
            else key = ordered(key_of(value));
        }
        keys[blockIdx.y * count + row] = key;
    }
}

// Values of the rows of an answer, (queries, k), from their keys; those that are not there are infinitely far.
extern "C" __global__ void values_from(const u64* keys, i64 count, double* values)
{
    const i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const double key = keys[i] == LAST ? endless() : key_from(keys[i]);
    values[i] = METRIC ? 0.0 - key : key;
}
