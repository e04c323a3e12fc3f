// What exact_wide.cu and exact_slices.cu share: two warpgroups take turns, one multiplies while the other compares. Of the third, one warp copies codes
// ahead; the others look at what the comparing ones pass on: the 32 sums of a thread that hold a row below its query's limit, perhaps. So who multiplies
// never waits for a list in global memory. It comes after batch.cuh and warpgroups.cuh.

constexpr int WIDE_THREADS = 384;
constexpr int COMPARING = 8, LOOKING = 3;             // warps
constexpr int WAITING = 12;                           // of a comparing warp, lines of sums that wait to be looked at

// A thread's sums for one query; the query, and the tile of rows with the thread's place in it. Its barrier says whose the line is: whoever has done with it
// arrives, and then it is the other's. So no warp has to wait until all its threads have written, or until memory is known to all. The barrier makes
// lines begin at different banks, too.
struct __align__(16) Line {
    int2 sums[16];
    uint2 from;
    u64 whose;
};
constexpr int OF_COMPARING = 1, OF_LOOKING = 0;       // phases to wait for, the first one being over when it begins

struct Passed {
    Line lines[COMPARING][WAITING];
    u64 ended;                                        // of warps that compare
};
__device__ __forceinline__ void nothing_passed(Passed& shared)
{
    if (threadIdx.x < COMPARING * WAITING) barrier_init(shared.lines[threadIdx.x / WAITING][threadIdx.x % WAITING].whose, 1);
    if (threadIdx.x == 0) barrier_init(shared.ended, COMPARING);
}

// The line behind so many others of a ring, of which there are fewer.
__device__ __forceinline__ u32 further(u32 at, u32 lines) { return at + lines < WAITING ? at + lines : at + lines - WAITING; }

// The sums of threads of a warp become lines. PARTS: of sums, each for 64 queries and a tile of rows; SAME of them have the same queries. ``masks``: which threads, of each 8 queries; ``put``: the next line.
template <int SAME, int PARTS> __device__ __forceinline__ void pass_on(Passed& shared, int own, const int (&sums)[PARTS][64], const u32 (&masks)[PARTS][2], u32 first_query, u32 place, u32& put)
{
    const int lane = threadIdx.x & 31;
    UNROLL for (int i = 0; i < PARTS; ++i) UNROLL for (int h = 0; h < 2; ++h) {
#pragma unroll 1
        for (u32 mask = masks[i][h]; mask;) {
            const u32 rank = __popc(mask & ((1u << lane) - 1));
            const bool mine = (mask >> lane & 1) && rank < WAITING;
            Line& line = shared.lines[own][further(put, mine ? rank : 0)];
            while (!__all_sync(ALL, is_over(line.whose, OF_COMPARING))) {}
            if (mine) {
                UNROLL for (int j = 0; j < 16; ++j) put_pair(line.sums[j], sums[i][4 * j + 2 * h], sums[i][4 * j + 2 * h + 1]);
                line.from = make_uint2(first_query + i / SAME * 64 + h * 8, place + (i % SAME << 2));
                arrive(line.whose);
            }
            put = further(put, min(__popc(mask), WAITING));
            mask = __ballot_sync(ALL, (mask >> lane & 1) && rank >= WAITING);
        }
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

// What a warp of the third group does until all that compare have ended: every third of these is its own. A lane knows the next line of one of them.
__device__ __forceinline__ void look(const Batch& p, Passed& shared, int first)
{
    const int lane = threadIdx.x & 31;
    u32 next = 0;
    Found found = {};
    for (;;) {
        const bool ended = __all_sync(ALL, is_over(shared.ended, 0));
        u32 waiting = __ballot_sync(ALL, lane < COMPARING && lane % LOOKING == first && is_over(shared.lines[lane][next].whose, OF_LOOKING));
        if (!waiting) keep(p, found);
        if (!waiting && ended) return;
        if (!waiting) __nanosleep(128);
#pragma unroll 1
        for (; waiting; waiting &= waiting - 1) {
            const int own = __ffs(waiting) - 1;
            Line& line = shared.lines[own][further(__shfl_sync(ALL, next, own), lane >> 3)];
            // Eight lanes have a line; those in front of the first one that is not there yet are looked at.
            const u32 lack = ~__ballot_sync(ALL, is_over(line.whose, OF_LOOKING)) & 0x01010101;
            const u32 some = lack ? __ffs(lack) >> 3 : 4;
            __syncwarp();  // what the first of eight knows of, all do
            const int4 four = *reinterpret_cast<const int4*>(line.sums + 2 * (lane & 7));
            const uint2 from = line.from;
            __syncwarp();
            const bool there = lane >> 3 < some;
            if (there && (lane & 7) == 0) arrive(line.whose);
            if (there) look_at(p, four, from, lane & 7, found);
            if (lane == own) next = further(next, some);
        }
    }
}

// What a thread compares products of a query with, and what it has found in a tile: of a sample the smallest bound, else whether any row is near.
template <bool SAMPLE> struct Compared;
template <> struct Compared<true> {
    float step, least;
    __device__ __forceinline__ void read(const Asked& asked, i64 query) { step = asked.steps[query]; }
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
    int most;
    __device__ __forceinline__ void read(const Asked& asked, i64 query) { wanted = wanted_of(asked.steps[query], asked.starts[query], asked.limits[query]); }
    __device__ __forceinline__ void begin() { most = 0; }
    // The same, and N / s and 1 / s.
    __device__ __forceinline__ void take(int x, int y, float4 ratios, int)
    {
        most = __viaddmax_s32(room_for_product(make_float2(ratios.x, ratios.y), wanted), x, most);
        most = __viaddmax_s32(room_for_product(make_float2(ratios.z, ratios.w), wanted), y, most);
    }
    __device__ __forceinline__ bool is_near() const { return most >= ENOUGH; }
};

// The nearest row of a group: every fourth pair of a tile's rows.
__device__ __forceinline__ void keep_group(const Batch& p, i64 query, i64 tile, float least)
{
    const int t = threadIdx.x & 3, tag = __float_as_int(least) & 31;
    if (query >= p.queries) return;
    p.groups[query * p.groups_stride + (tile - p.first) * 4 + t] = make_float2(least, __int_as_float((int)tile * ROWS + (tag >> 1) * 8 + 2 * t + (tag & 1)));
}
