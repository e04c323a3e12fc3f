// What exact_wide.cu and exact_slices.cu share: two warpgroups take turns, one multiplies while the other compares. Of the third, one warp copies codes
// ahead; the others look at what the comparing ones pass on: the 32 sums of a thread that hold a row below its query's limit, perhaps. So who multiplies
// never waits for a list in global memory. It comes after batch.cuh and warpgroups.cuh.

constexpr int WIDE_THREADS = 384;
constexpr int COMPARING = 8, LOOKING = 3;             // warps
constexpr int WAITING = 12;                           // of a comparing warp, lines of sums that wait to be looked at

// A thread's sums for one query, padded so that lines begin at different banks; the query, and the tile of rows with the thread's place in it.
struct __align__(16) Line {
    int2 sums[16];
    uint2 from;
    u32 unused[2];
};

struct Passed {
    Line lines[COMPARING][WAITING];
    u32 put[COMPARING], taken[COMPARING], ended;      // lines so far; warps
};
__device__ __forceinline__ void nothing_passed(Passed& shared)
{
    if (threadIdx.x < COMPARING) shared.put[threadIdx.x] = shared.taken[threadIdx.x] = 0;
    if (threadIdx.x == 0) shared.ended = 0;
}

// The same for all threads of a warp.
__device__ __forceinline__ u32 glance(const u32& word)
{
    const u32 value = __shfl_sync(ALL, acquired(word), 0);
    __syncwarp();  // a shuffle alone orders no memory
    return value;
}
// By all threads of a warp: whoever sees the value sees what each of them did before.
__device__ __forceinline__ void announce(u32& word, u32 value)
{
    __syncwarp();
    if ((threadIdx.x & 31) == 0) released(word, value);
}

// The sums of threads of a warp become lines. PARTS: of sums, each for 64 queries and a tile of rows; SAME of them have the same queries. ``masks``: which threads, of each 8 queries; ``put``, ``taken``: lines so far, and those known to be looked at.
template <int SAME, int PARTS> __device__ __forceinline__ void pass_on(Passed& shared, int own, const int (&sums)[PARTS][64], u32 (&masks)[PARTS][2], u32 first_query, u32 place, u32& put, u32 taken)
{
    const int lane = threadIdx.x & 31;
    for (;;) {
        const u32 room = WAITING - (put - taken);
        u32 count = 0;
        UNROLL for (int i = 0; i < PARTS; ++i) UNROLL for (int h = 0; h < 2; ++h) {
            if (!masks[i][h]) continue;
            const u32 rank = count + __popc(masks[i][h] & ((1u << lane) - 1));
            if ((masks[i][h] >> lane & 1) && rank < room) {
                Line& line = shared.lines[own][(put + rank) % WAITING];
                UNROLL for (int j = 0; j < 16; ++j) put_pair(line.sums[j], sums[i][4 * j + 2 * h], sums[i][4 * j + 2 * h + 1]);
                line.from = make_uint2(first_query + i / SAME * 64 + h * 8, place + (i % SAME << 2));
            }
            count += __popc(masks[i][h]);
        }
        if (room) announce(shared.put[own], put += min(count, room));
        if (count <= room) return;
        u32 gone = room;
        UNROLL for (int i = 0; i < PARTS; ++i) UNROLL for (int h = 0; h < 2; ++h)
            for (; gone && masks[i][h]; --gone) masks[i][h] &= masks[i][h] - 1;
        taken = glance(shared.taken[own]);
    }
}

// Rows of a query that are below its limit: bit x of ``which`` is of first + x % 2 + 8 (x / 2). ``at``: where they go in its list, when that has been told.
struct Found {
    u32 which, at, query;
    int first;
    int4 sums;
};
__device__ __forceinline__ void keep(const Batch& p, Found& found)
{
    const int sums[4] = {found.sums.x, found.sums.y, found.sums.z, found.sums.w};
    UNROLL for (int x = 0; x < 4; ++x)
        if (found.which >> x & 1 && found.at++ < p.room) p.hits[found.query * p.room + found.at - 1] = make_int2(found.first + 8 * (x >> 1) + (x & 1), sums[x]);
    found.which = 0;
}

// An eighth of a line. The list's end is far away: it is asked for, and what was found before is kept meanwhile.
__device__ __forceinline__ void look_at(const Batch& p, int4 four, uint2 from, int part, Found& found)
{
    const i64 query = from.x, tile = from.y >> 2;
    const int t = from.y & 3;
    const float* of_tile = p.sides + tile * SIDE;
    const float4 *sides = reinterpret_cast<const float4*>(of_tile) + 8 * part + t;
    const float2 *errors_of = reinterpret_cast<const float2*>(of_tile + 2 * ROWS) + 8 * part + t;
    const float4 side[2] = {__ldg(sides), __ldg(sides + 4)};
    const float2 e[2] = {__ldg(errors_of), __ldg(errors_of + 4)};
    const float step = p.asked.steps[query], coefficient = p.asked.coefficients[query], limit = p.asked.limits[query];
    keep(p, found);
    found.query = from.x, found.first = (int)tile * ROWS + 16 * part + 2 * t, found.sums = four;
    const int sums[4] = {four.x, four.y, four.z, four.w};
    UNROLL for (int x = 0; x < 4; ++x) {
        const int j = x >> 1;
        const float bound = part_of_bound(ZERO + sums[x], x & 1 ? side[j].z : side[j].x, x & 1 ? side[j].w : side[j].y, step);
        if (fmaf(-coefficient, x & 1 ? e[j].y : e[j].x, bound) <= limit && found.first + 8 * j + (x & 1) < p.count) found.which |= 1u << x;
    }
    if (found.which) found.at = atomicAdd(p.counts + query, (u32)__popc(found.which));
}

// A number whose last five bits say which it is (``TAGGED``); no number where it was infinite, which fminf passes over.
__device__ __forceinline__ float tagged(float x, int which) { return __int_as_float((__float_as_int(x) & ~31) | which); }

// What a warp of the third group does until all that compare have ended: every third of these is its own. A lane knows one of them.
__device__ __forceinline__ void look(const Batch& p, Passed& shared, int first)
{
    const int lane = threadIdx.x & 31;
    u32 taken = 0;
    Found found = {};
    for (;;) {
        const bool ended = glance(shared.ended) == COMPARING;
        const u32 put = lane < COMPARING && lane % LOOKING == first ? acquired(shared.put[lane]) : 0;
        __syncwarp();
        u32 waiting = __ballot_sync(ALL, put != taken);
        if (!waiting) keep(p, found);
        if (!waiting && ended) return;
        if (!waiting) __nanosleep(128);
#pragma unroll 1
        for (; waiting; waiting &= waiting - 1) {
            const int own = __ffs(waiting) - 1;
            const u32 begin = __shfl_sync(ALL, taken, own), some = min(__shfl_sync(ALL, put, own) - begin, 4u);
            const bool there = lane >> 3 < some;
            const Line& line = shared.lines[own][(begin + (there ? lane >> 3 : 0)) % WAITING];
            const int4 four = *reinterpret_cast<const int4*>(line.sums + 2 * (lane & 7));
            const uint2 from = line.from;
            announce(shared.taken[own], begin + some);
            if (there) look_at(p, four, from, lane & 7, found);
            if (lane == own) taken += some;
        }
    }
}

// What a thread compares products of a query with, and what it has found in a tile: of a sample the smallest bound, else whether any row is near.
template <bool SAMPLE> struct Compared;
template <> struct Compared<true> {
    float step, least;
    __device__ __forceinline__ void read(const Asked& asked, i64 query) { step = asked.steps[query]; }
    __device__ __forceinline__ void prepare() {}
    __device__ __forceinline__ void begin() { least = infinite(); }
    // Products with two rows beside each other, and s and N of these.
    __device__ __forceinline__ void take(int x, int y, float4 sides, int pair)
    {
        least = fminf(least, tagged(part_of_bound(ZERO + x, sides.x, sides.y, step), 2 * pair));
        least = fminf(least, tagged(part_of_bound(ZERO + y, sides.z, sides.w, step), 2 * pair + 1));
    }
};
template <> struct Compared<false> {
    Wanted wanted;
    int most, least;
    __device__ __forceinline__ void read(const Asked& asked, i64 query) { wanted = {asked.limits[query], asked.starts[query], asked.steps[query]}; }
    // When all that a thread reads is on its way.
    __device__ __forceinline__ void prepare() { wanted = wanted_of(wanted.inverse, wanted.start, wanted.limit); }
    // alike: whether rows of the tile share s, and the thread's queries t.
    __device__ __forceinline__ void begin(bool alike, float inverse) { most = 0, least = alike ? least_of(wanted, inverse) : ENOUGH; }
    // A product with a row whose own room is known, or its N / s and 1 / s.
    __device__ __forceinline__ void take(int product, int room) { most = __viaddmax_s32(room, product, most); }
    __device__ __forceinline__ void take(int product, float ratio, float inverse) { take(product, room_for_product(make_float2(ratio, inverse), wanted)); }
    __device__ __forceinline__ bool is_near() const { return most >= least; }
};

// 1 / 2 t of a thread's queries; infinite where they differ in t. What is far away, and has none, does not count.
template <int BLOCKS> __device__ __forceinline__ float shared_inverse(const Compared<false> (&asked)[BLOCKS][2])
{
    float found = 0;
    UNROLL for (int i = 0; i < BLOCKS; ++i) UNROLL for (int h = 0; h < 2; ++h) {
        const float own = asked[i][h].wanted.inverse;
        if (own > 0) found = found == 0 || found == own ? own : infinite();
    }
    return found;
}
template <int BLOCKS> __device__ __forceinline__ float shared_inverse(const Compared<true> (&)[BLOCKS][2]) { return 0; }

// A tile as a thread compares it: its own 32 rows, of which two and two are beside each other. ``alike``: as begin() has it, for all of a warp.
struct Near {
    const float4* ratios;
    float inverse;
    bool alike;
    int rooms[32];
    __device__ __forceinline__ Near(const float* sides, float of_queries) : ratios(reinterpret_cast<const float4*>(sides) + (threadIdx.x & 3))
    {
        const float2 about = *reinterpret_cast<const float2*>(sides + PAIRS);
        inverse = about.x, alike = __all_sync(ALL, about.y * of_queries <= FITS);
        UNROLL for (int x = 0; x < 8; ++x) {
            const float4 four = ratios[4 * x];
            UNROLL for (int c = 0; c < 4; ++c) rooms[4 * x + c] = own_room((&four.x)[c], of_queries);
        }
    }
    // Of sums of each STEP-th block of queries, from FIRST on.
    template <int FIRST, int STEP, int PARTS> __device__ __forceinline__ void begin(Compared<false> (&asked)[PARTS][2]) const
    {
        UNROLL for (int i = FIRST; i < PARTS; i += STEP) UNROLL for (int h = 0; h < 2; ++h) asked[i][h].begin(alike, inverse);
    }
    template <int FIRST, int STEP, int PARTS> __device__ __forceinline__ void compare(const int (&sums)[PARTS][64], Compared<false> (&asked)[PARTS][2]) const
    {
        if (alike) {
            UNROLL for (int x = 0; x < 32; ++x) UNROLL for (int i = FIRST; i < PARTS; i += STEP) UNROLL for (int h = 0; h < 2; ++h)
                asked[i][h].take(sums[i][4 * (x >> 1) + 2 * h + (x & 1)], rooms[x]);
            return;
        }
        UNROLL for (int x = 0; x < 8; ++x) {
            const float4 of_rows = ratios[4 * x], inverses = ratios[ROWS / 4 + 4 * x];
            UNROLL for (int c = 0; c < 4; ++c) UNROLL for (int i = FIRST; i < PARTS; i += STEP) UNROLL for (int h = 0; h < 2; ++h)
                asked[i][h].take(sums[i][4 * (2 * x + (c >> 1)) + 2 * h + (c & 1)], (&of_rows.x)[c], (&inverses.x)[c]);
        }
    }
};

// What a thread compares with: of blocks of 64 queries, two each, eight apart.
template <bool SAMPLE, int BLOCKS> __device__ __forceinline__ void read_asked(const Asked& asked, i64 first_query, Compared<SAMPLE> (&compared)[BLOCKS][2])
{
    UNROLL for (int i = 0; i < BLOCKS; ++i) UNROLL for (int h = 0; h < 2; ++h) compared[i][h].read(asked, first_query + i * 64 + h * 8);
    UNROLL for (int i = 0; i < BLOCKS; ++i) UNROLL for (int h = 0; h < 2; ++h) compared[i][h].prepare();
}

// The nearest row of a group: every fourth pair of a tile's rows.
__device__ __forceinline__ void keep_group(const Batch& p, i64 query, i64 tile, float least)
{
    const int t = threadIdx.x & 3, tag = __float_as_int(least) & 31;
    if (query >= p.queries) return;
    p.groups[query * p.groups_stride + (tile - p.first) * 4 + t] = make_float2(least, __int_as_float((int)tile * ROWS + (tag >> 1) * 8 + 2 * t + (tag & 1)));
}
