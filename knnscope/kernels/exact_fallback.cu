// Queries that another path could not answer, by the values of all rows. It is queued behind every search and ends at once where there are
// none, so that nobody has to wait to find out.

constexpr int MOST_STEPS = 16;           // steps of THREADS rows that a block takes at once

struct Fallback {
    Table table;                         // errors: 4 where a query is to be answered here; then 8, and 1 for no number, 16 for a query that is none
    u32* full;                           // (blocks,): the first query of those of which a block has told its nearest, from 1; 0 once they were read
    u32* taken; u32* done;               // (queries,), at the first one's place: pieces of rows that were taken, and whose nearest are told; 0 before and after
};

__device__ __forceinline__ void wait_a_little() { __nanosleep(200); }

// Pieces of rows are taken by whoever is there: nobody waits for a block that has not begun, whatever else the GPU has to do.
__device__ __forceinline__ void answer_some(const Fallback& f, const Memory& m, Nearest& near, u32& piece)
{
    const Table& p = f.table;
    const i64 first = near.numbers[0];
    auto is_left = [&] { return (*reinterpret_cast<volatile u32*>(errors_of(p, first)) & 4) != 0; };
    const i64 even = p.count / ((i64)THREADS * 4 * gridDim.x), size = THREADS * min(max(even, (i64)1), (i64)MOST_STEPS);
    const u32 pieces = (u32)((p.count + size - 1) / size);
    auto take = [&] {
        u32 one = atomicAdd(f.taken + first, 1u);
        __threadfence();
        if (one < pieces && !is_left()) {  // all is told, and the counter begins again: this was not to be taken
            atomicSub(f.taken + first, 1u);
            one = pieces;
        }
        return one;
    };
    if (threadIdx.x == 0) piece = is_left() ? take() : pieces;
    __syncthreads();
    u32 now = piece, mine = 0;
    if (now >= pieces) return;
    with_reader(p, m, near, [&](auto& reader, auto queries) {
        reader.add(now * size, min((now + 1) * size, p.count));
        for (; now < pieces; ++mine) {
            __syncthreads();
            if (threadIdx.x == 0) piece = take();  // early, so that its rows are on their way when these are done
            __syncthreads();
            const i64 begin = now * size;
            now = piece;
            if (now < pieces) reader.add(now * size, min((now + 1) * size, p.count));
            read_rows<decltype(queries)::VALUE>(p, m, near, reader, begin, min(begin + size, p.count));
        }
    });
    volatile u32* full = f.full + blockIdx.x;
    if (threadIdx.x == 0) while (*full) wait_a_little();  // what it told of other queries is not read yet
    settle(p, m, near);
    tell(p, m, near, (i64)blockIdx.x * p.together);
    if (threadIdx.x == 0) {
        *full = (u32)first + 1;
        __threadfence();
        near.last = atomicAdd(f.done + first, mine) == pieces - mine;
    }
    __syncthreads();
    if (!near.last) return;
    gather(p, m, near, 0, gridDim.x, [&](i64 block) { return block != blockIdx.x && __ldcg(f.full + block) == (u32)first + 1; });
    answer(p, m, near, [&](int q, u32 bits) {
        if (q == near.count - 1) f.done[first] = 0;
        *reinterpret_cast<volatile u32*>(errors_of(p, near.numbers[q])) = bits;
    });
    for (int block = threadIdx.x; block < gridDim.x; block += THREADS) {
        u32* one_full = f.full + block;
        if (__ldcg(one_full) == (u32)first + 1) atomicExch(one_full, 0u);
    }
    if (threadIdx.x == 0) {
        __threadfence();
        atomicExch(f.taken + first, 0u);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) fallback(const Fallback f)
{
    extern __shared__ uint4 dynamic[];
    __shared__ Nearest near;
    __shared__ u32 piece, marks[WARPS], early;
    __shared__ u8 places[THREADS];
    const Table& p = f.table;
    touch(reinterpret_cast<u64>(p.rows) ^ reinterpret_cast<u64>(p.errors) ^ (u64)p.errors_stride ^ (u64)p.queries_count, early);
    await_before();
    u32 left = 0;
#pragma unroll 1
    for (i64 one = threadIdx.x; one < p.queries_count; one += THREADS) left |= *reinterpret_cast<volatile u32*>(errors_of(p, one)) & 4;
    if (!__syncthreads_or(left)) return;  // which nearly all searches come to
    const Memory m = memory_of(p, dynamic);
    for (i64 begin = 0; begin < p.queries_count; begin += THREADS) {
        const i64 one = begin + threadIdx.x;
        const u32 bits = one < p.queries_count ? *reinterpret_cast<volatile u32*>(errors_of(p, one)) : 0;
        if (!__syncthreads_or(bits & 4)) continue;
        // Those that are left, and those that were: so all blocks read the same ones together, whenever they come.
        if (threadIdx.x < WARPS) marks[threadIdx.x] = 0;
        __syncthreads();
        if (bits & 12) atomicOr(&marks[threadIdx.x / 32], 1u << threadIdx.x % 32);
        __syncthreads();
        int before = 0, all = 0;
        for (int i = 0; i < WARPS; ++i) {
            if (i < threadIdx.x / 32) before += __popc(marks[i]);
            all += __popc(marks[i]);
        }
        if (bits & 12) places[before + __popc(marks[threadIdx.x / 32] & ((1u << threadIdx.x % 32) - 1))] = (u8)threadIdx.x;
        for (int first = 0; first < all; first += p.together) {
            __syncthreads();
            const int count = min(p.together, all - first);
            if (threadIdx.x < TOGETHER) near.numbers[threadIdx.x] = begin + places[first + min((int)threadIdx.x, count - 1)];
            if (threadIdx.x == 0) near.count = count;
            __syncthreads();
            answer_some(f, m, near, piece);
        }
        __syncthreads();
    }
}
