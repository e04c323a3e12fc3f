// All rows, read once for up to TOGETHER queries, and the nearest of each. A thread adds a row of its own, in the definition's order; but a warp
// copies its 32 rows to shared memory, WIDE bytes of each at a time, so that lanes that lie side by side read bytes that do.
//
//   WIDE     bytes of a row that are copied at a time: 64, 128 or 256

constexpr int THREADS = 256, TOGETHER = 4;
[[maybe_unused]] constexpr int WARPS = THREADS / 32;
constexpr int STRIDE = WIDE + 16;               // from row to row: eight lanes that read 16 bytes each meet no bank twice; and rows that do not begin
                                                // at multiples of 16 touch one piece more
constexpr int STAGE = 32 * STRIDE;              // bytes of a warp's tile
constexpr int CELLS = WIDE / sizeof(Cell);      // components of it
constexpr int MOST_STAGES = 8;

struct Table {
    const Cell* rows; const double* row_norms; const i64* names; i64 count, dim;
    const void* queries;                 // float64 where wide, else float32
    const u8* allowed; i64 allowed_stride;
    u32* errors; i64 errors_stride;      // of a query, bytes from one to the next: 1 for a value that is no number
    u64* keys; i64* found;               // (lists, k): the nearest that blocks tell each other
    double* values; i64* ids;            // (queries, k)
    int wide, queries_count, k;
    int together, room;                  // queries of a reading, 1 or TOGETHER; rows of a query that may be among the nearest: a power of two from k + THREADS
    int held, stages;                    // components of queries in shared memory, a multiple of CELLS; tiles of a warp, 2 to MOST_STAGES
    i64 base;                            // number of the first row, where rows go by their numbers
};

// Of a block, in shared memory.
struct Nearest {
    u64 bars[TOGETHER];                  // keys above it are not among the nearest
    double lengths[TOGETHER];
    i64 numbers[TOGETHER];               // of queries; the last one again where there are fewer
    int waiting[TOGETHER], strange[TOGETHER];
    int count;
    bool last;
};

// Dynamic shared memory.
struct Memory {
    u64* keys; i64* names;               // (together, room)
    double* asked;                       // (held, queries)
    u8* tiles;                           // (WARPS, stages, STAGE)
};
__device__ __forceinline__ Memory memory_of(const Table& p, uint4* begin)
{
    Memory m;
    m.keys = reinterpret_cast<u64*>(begin);
    m.names = reinterpret_cast<i64*>(m.keys + p.together * p.room);
    m.asked = reinterpret_cast<double*>(m.names + p.together * p.room);
    m.tiles = reinterpret_cast<u8*>(m.asked + p.together * p.held) + (threadIdx.x / 32) * p.stages * STAGE;
    return m;
}

__device__ __forceinline__ u32* errors_of(const Table& p, i64 number)
{
    return reinterpret_cast<u32*>(reinterpret_cast<u8*>(p.errors) + number * p.errors_stride);
}
__device__ __forceinline__ Query query_of(const Table& p, i64 number)
{
    return {static_cast<const u8*>(p.queries) + number * p.dim * (p.wide ? 8 : 4), p.wide};
}

// Components of queries from one on, side by side, in shared memory.
template <int QUERIES> __device__ __forceinline__ void hold(const Table& p, const Memory& m, const Nearest& near, i64 from)
{
    const int some = QUERIES * (int)min((i64)p.held, p.dim - from);
#pragma unroll 1
    for (int i = threadIdx.x; i < some; i += THREADS) m.asked[i] = query_of(p, near.numbers[i % QUERIES])[from + i / QUERIES];
}

// Once in the code: what is asked for in many places takes long to compile.
__device__ __noinline__ void sort_list(u64* keys, i64* names, int size) { sort_pairs(keys, names, size); }

// The nearest so far of a query, in order.
__device__ __forceinline__ void cut(const Table& p, const Memory& m, Nearest& near, int q)
{
    u64* keys = m.keys + q * p.room;
    i64* names = m.names + q * p.room;
    __syncthreads();
    const int waiting = near.waiting[q], size = power_from(waiting);
    for (int i = waiting + threadIdx.x; i < size; i += THREADS) keys[i] = LAST, names[i] = -1;
    sort_list(keys, names, size);
    if (threadIdx.x == 0) {
        if (waiting >= p.k) near.bars[q] = keys[p.k - 1];
        near.waiting[q] = min(waiting, p.k);
    }
    __syncthreads();
}
// Who takes a place from ``room`` - THREADS on says so to all: nobody may look at how many wait while others add to it.
__device__ __forceinline__ void cut_the_crowded(const Table& p, const Memory& m, Nearest& near, int most)
{
    if (!__syncthreads_or(most >= p.room - THREADS)) return;
    for (int q = 0; q < near.count; ++q)
        if (near.waiting[q] > p.room - THREADS) cut(p, m, near, q);
    __syncthreads();
}
__device__ __forceinline__ int enter(const Table& p, const Memory& m, Nearest& near, int q, u64 key, i64 name)
{
    if (key > near.bars[q]) return -1;
    const int at = atomicAdd(&near.waiting[q], 1);
    m.keys[q * p.room + at] = key, m.names[q * p.room + at] = name;
    return at;
}

// A warp's way through rows: which tile is copied next, and how many are on their way.
template <bool ALIGNED> struct Reader {
    const Table& p;
    u8* const tiles;
    const i64 row_bytes;
    const int count;                                            // tiles of a row
    i64 row = 0, end = 0, then_row = 0, then_end = 0;           // of the block
    int tile = 0, ahead = 0, in = 0, out = 0;

    __device__ __forceinline__ Reader(const Table& p, u8* tiles)
        : p(p), tiles(tiles), row_bytes(p.dim * (i64)sizeof(Cell)), count((int)((row_bytes + WIDE - 1) / WIDE)) {}

    // Rows behind those that were given before.
    __device__ __forceinline__ void add(i64 from, i64 to)
    {
        if (row >= end) row = from, end = to, tile = 0;
        else then_row = from, then_end = to;
    }
    __device__ __forceinline__ void copy() const
    {
        constexpr int EACH = WIDE / 16 + !ALIGNED;
        const int lane = threadIdx.x & 31;
        const i64 first = row + (threadIdx.x & ~31), begin = (i64)tile * WIDE;
        const int some = (int)min((i64)WIDE, row_bytes - begin);
        const u8* rows = reinterpret_cast<const u8*>(p.rows);
#pragma unroll 3
        for (int m = 0; m < EACH; ++m) {
            const int r = (lane + 32 * m) / EACH, at = (lane + 32 * m) % EACH * 16;
            const u8* from = rows + (first + r) * row_bytes + begin;
            const int shift = ALIGNED ? 0 : (int)(reinterpret_cast<u64>(from) & 15);
            if (first + r >= end || at >= some + shift) continue;
            from += at - shift;
            u8* to = tiles + in * STAGE + r * STRIDE + at;
            if constexpr (ALIGNED) copy_ahead(to, from);
            else copy_ahead(to, from, (int)min((i64)16, (i64)(rows + p.count * row_bytes - from)));
        }
    }
    // The next tile of this warp, once it is there; begins to copy over the one before it.
    __device__ __forceinline__ const u8* next()
    {
        __syncwarp();
        while (ahead < p.stages && row < end) {
            copy();
            copies_end();
            in = in + 1 < p.stages ? in + 1 : 0, ++ahead;
            if (++tile < count) continue;
            tile = 0, row += THREADS;
            if (row >= end) row = then_row, end = then_end, then_row = then_end = 0;
        }
        await_all_but(ahead - 1);
        __syncwarp();
        const u8* own = tiles + out * STAGE + (threadIdx.x & 31) * STRIDE;
        out = out + 1 < p.stages ? out + 1 : 0, --ahead;
        return own;
    }
    template <int LEFT = 0> static __device__ __forceinline__ void await_all_but(int left)
    {
        if constexpr (LEFT < MOST_STAGES - 1) {
            if (left != LEFT) return await_all_but<LEFT + 1>(left);
        }
        await_copies<LEFT>();
    }
};

// 16 bytes of a thread's row in a tile, wherever they begin.
template <bool ALIGNED> __device__ __forceinline__ uint4 piece_of(const u8* own, int shift, int number)
{
    if (ALIGNED) return *reinterpret_cast<const uint4*>(own + 16 * number);
    const u32* words = reinterpret_cast<const u32*>(own) + (shift >> 2) + 4 * number;
    const int bits = 8 * (shift & 3);
    u32 w[5];
    UNROLL for (int i = 0; i < 5; ++i) w[i] = words[i];
    return {__funnelshift_r(w[0], w[1], bits), __funnelshift_r(w[1], w[2], bits), __funnelshift_r(w[2], w[3], bits), __funnelshift_r(w[3], w[4], bits)};
}

// Adds the terms of a tile, one after the other, to the sums of all queries.
template <int QUERIES, bool ALIGNED>
__device__ __forceinline__ void add_terms(double (&sums)[QUERIES], const u8* own, int shift, const double* asked, int cells)
{
    const double2* pairs = reinterpret_cast<const double2*>(asked);
    const int whole = cells / PIECE;
    uint4 now = piece_of<ALIGNED>(own, shift, 0);
#pragma unroll 2
    for (int i = 0; i < whole; ++i) {
        const uint4 next = piece_of<ALIGNED>(own, shift, min(i + 1, whole - 1));
        UNROLL for (int c = 0; c < PIECE; ++c) {
            const double x = wide(reinterpret_cast<const Cell*>(&now)[c]);
            UNROLL for (int q = 0; q < QUERIES; ++q) {
                const double2 two = pairs[(i * PIECE * QUERIES + c * QUERIES + q) / 2];
                sums[q] = plus_term(sums[q], x, (c * QUERIES + q) % 2 ? two.y : two.x);
            }
        }
        now = next;
    }
#pragma unroll 1
    for (int c = whole * PIECE; c < cells; ++c) {
        const double x = wide(reinterpret_cast<const Cell*>(own + shift)[c]);
        UNROLL for (int q = 0; q < QUERIES; ++q) sums[q] = plus_term(sums[q], x, asked[c * QUERIES + q]);
    }
}

// Rows from ``begin`` to ``end``, which ``reader`` was given: those that may be among the nearest wait.
template <int QUERIES, bool ALIGNED>
__device__ __forceinline__ void read_rows(const Table& p, const Memory& m, Nearest& near, Reader<ALIGNED>& reader, i64 begin, i64 end)
{
    for (i64 first = begin; first < end; first += THREADS) {
        const i64 row = first + threadIdx.x;
        const int shift = ALIGNED ? 0 : (int)(reinterpret_cast<u64>(p.rows + row * p.dim) & 15);
        const bool alone = first + (threadIdx.x & ~31) >= end;  // this warp has no row
        double sums[QUERIES] = {};
        int place = 0;                                          // among the components that are held
        for (i64 from = 0; from < p.dim; from += CELLS, place += CELLS) {
            if (p.dim > p.held && (from == 0 || place == p.held)) {
                __syncthreads();
                hold<QUERIES>(p, m, near, from);
                __syncthreads();
                place = 0;
            }
            const u8* own = reader.next();
            if (!alone) add_terms<QUERIES, ALIGNED>(sums, own, shift, m.asked + place * QUERIES, (int)min((i64)CELLS, p.dim - from));
        }
        int most = -1;
        if (row < end) {
            UNROLL for (int q = 0; q < QUERIES; ++q) {
                if (q >= near.count || (p.allowed && !p.allowed[near.numbers[q] * p.allowed_stride + row])) continue;
                const double value = value_of(sums[q], METRIC == 2 ? p.row_norms[row] : 0, near.lengths[q]);
                if (isnan(value)) near.strange[q] = 1;
                else most = max(most, enter(p, m, near, q, ordered(key_of(value)), p.names ? p.names[row] : p.base + row));
            }
        }
        cut_the_crowded(p, m, near, most);
    }
}

// Reads rows in the way that suits their number of queries and where they begin: ``run`` is given how many, and a reader.
template <typename Run> __device__ __forceinline__ void with_reader(const Table& p, const Memory& m, Nearest& near, Run run)
{
    const bool aligned = ((reinterpret_cast<u64>(p.rows) | (u64)p.dim * sizeof(Cell)) & 15) == 0;
    auto begin = [&](auto reader, auto queries) {
        constexpr int QUERIES = decltype(queries)::VALUE;
        if (threadIdx.x < QUERIES) {
            const int q = threadIdx.x;
            near.waiting[q] = near.strange[q] = 0, near.bars[q] = LAST;
            near.lengths[q] = METRIC == 2 ? defined_length(query_of(p, near.numbers[q]), p.dim) : 0;
        }
        hold<QUERIES>(p, m, near, 0);
        run(reader, queries);
    };
    auto with = [&](auto queries) {
        if (aligned) begin(Reader<true>(p, m.tiles), queries);
        else begin(Reader<false>(p, m.tiles), queries);
    };
    if (near.count == 1) with(Number<1>());
    else with(Number<TOGETHER>());
}

// The nearest of each query that this block has seen, in order, and whether a value was no number.
__device__ __forceinline__ void settle(const Table& p, const Memory& m, Nearest& near)
{
    for (int q = 0; q < near.count; ++q) {
        cut(p, m, near, q);
        if (near.strange[q] && threadIdx.x == 0) atomicOr(errors_of(p, near.numbers[q]), 1u);
    }
    __syncthreads();
}
// The same to where others read them; ``list``: the first of this block's lists.
__device__ __forceinline__ void tell(const Table& p, const Memory& m, const Nearest& near, i64 list)
{
    for (int q = 0; q < near.count; ++q) {
        for (int i = threadIdx.x; i < p.k; i += THREADS) {
            const bool there = i < near.waiting[q];
            p.keys[(list + q) * p.k + i] = there ? m.keys[q * p.room + i] : LAST;
            p.found[(list + q) * p.k + i] = there ? m.names[q * p.room + i] : -1;
        }
    }
    __threadfence();
    __syncthreads();
}

// What other blocks have told: of ``blocks``, those that ``is_there``; the lists of the first begin at ``list``.
template <typename Is> __device__ __forceinline__ void gather(const Table& p, const Memory& m, Nearest& near, i64 list, i64 blocks, Is is_there)
{
    __threadfence();
    for (int q = 0; q < near.count; ++q) {
        for (i64 first = 0; first < blocks * p.k; first += THREADS) {
            const i64 i = first + threadIdx.x, block = i / p.k;
            int at = -1;
            if (i < blocks * p.k && is_there(block)) {
                const i64 place = (list + block * p.together + q) * p.k + i % p.k;
                const u64 key = __ldcg(p.keys + place);
                if (key != LAST) at = enter(p, m, near, q, key, __ldcg(p.found + place));
            }
            cut_the_crowded(p, m, near, at);
        }
        cut(p, m, near, q);
    }
}

// Writes the answers; ``end`` is given each query's place and bits: 8, and 1 and 16 as ``errors`` has them (certified/cuda/answer.py).
template <typename End> __device__ __forceinline__ void answer(const Table& p, const Memory& m, Nearest& near, End end)
{
    for (int q = 0; q < near.count; ++q) {
        const i64 number = near.numbers[q];
        const Query query = query_of(p, number);
        bool finite = true;
        for (i64 j = threadIdx.x; j < p.dim; j += THREADS) finite = finite && fabs(query[j]) < endless();
        const bool strange = __syncthreads_or(!finite), wrong = *reinterpret_cast<volatile u32*>(errors_of(p, number)) & 1;
        for (int i = threadIdx.x; i < p.k; i += THREADS) {  // where a value is no number, nobody can say which rows are the nearest
            const bool there = i < near.waiting[q] && !wrong && !strange;
            const double found = there ? key_from(m.keys[q * p.room + i]) : endless();
            p.values[number * p.k + i] = METRIC ? 0.0 - found : found;
            p.ids[number * p.k + i] = there ? m.names[q * p.room + i] : -1;
        }
        __syncthreads();
        if (threadIdx.x == 0) end(q, 8u | (wrong ? 1u : 0u) | (strange ? 16u : 0u));
    }
}
