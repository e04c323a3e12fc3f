// All queries by the values of all rows: what answers where rows have no codes. Each block has some queries and some rows; the last of those of the
// same queries merges what they found. Nobody waits.

struct Direct {
    Table table;                         // errors: zero before and after
    i64 size; int pieces;                // rows of a block; blocks of the same queries
    u32* done; u32* told;                // (groups of queries,): blocks that have told, 0 before and after; (queries,): 8, and 1 for no number, 16 for a query that is none
};

extern "C" __global__ void __launch_bounds__(THREADS, 2) direct(const Direct d)
{
    extern __shared__ uint4 dynamic[];
    __shared__ Nearest near;
    const Table& p = d.table;
    await_before();
    const Memory m = memory_of(p, dynamic);
    const i64 group = blockIdx.x / d.pieces, piece = blockIdx.x % d.pieces, number = group * p.together;
    const int count = (int)min((i64)p.together, p.queries_count - number);
    if (threadIdx.x < TOGETHER) near.numbers[threadIdx.x] = number + min((int)threadIdx.x, count - 1);
    if (threadIdx.x == 0) near.count = count;
    __syncthreads();
    with_reader(p, m, near, [&](auto& reader, auto queries) {
        const i64 begin = piece * d.size, end = min(begin + d.size, p.count);
        reader.add(begin, end);
        __syncthreads();
        read_rows<decltype(queries)::VALUE>(p, m, near, reader, begin, end);
    });
    settle(p, m, near);
    if (d.pieces > 1) {
        tell(p, m, near, (i64)blockIdx.x * p.together);
        if (threadIdx.x == 0) near.last = atomicAdd(d.done + group, 1u) == d.pieces - 1;
        __syncthreads();
        if (!near.last) return;
        gather(p, m, near, group * d.pieces * p.together, d.pieces, [&](i64 block) { return block != piece; });
    }
    answer(p, m, near, [&](int q, u32 bits) {
        *errors_of(p, near.numbers[q]) = 0;
        d.told[near.numbers[q]] = bits;
        d.done[group] = 0;
    });
}
