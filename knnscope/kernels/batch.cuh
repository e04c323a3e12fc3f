// What all that reads or writes codes shares: how they lie, and what a pass over them is given. It comes after common.cuh.
//
//   WIDTH    components of a row that are written, a multiple of 128; FULL: all of them

constexpr int SLICE = 128, SLICES = WIDTH / SLICE;    // bytes of a row in a slice
constexpr int ROWS = 128;                             // of a tile

// Queries as bound.py has them.
struct Asked {
    double *lengths2, *errors, *bases, *gains, *blurs, *bars; // |p|^2, e_q; a value v has the squared distance base + gain v; T
    float *steps, *limits, *coefficients, *starts, *tails;     // 2 t, V, C, K of loose_bound, the length of what is left out
    u8* far;
};

struct Batch {
    const u8* codes; const float* sides;    // of rows, see SIDE; padding has N = infinity
    const u8* query_codes;
    Asked asked;
    u32* counts; int2* hits;                // (queries,), (queries, room): row and product
    float2* groups;                         // (queries, groups): the smallest N - 2 s t (c.v) of a group of rows, within TAGGED, and that row, as bits
    i64 room, groups_stride;
    i64 first, last, count;                 // tiles of rows; rows
    int each, query_tiles, queries;         // tiles of rows of an item
};

// The place of four codes: tiles of 128 rows, slices of 128 bytes, pieces of 16 bytes at places that eight rows do not share.
__device__ __forceinline__ u32* place(u8* codes, i64 row, int slice, int lane)
{
    const i64 tile = row >> 7;
    const int line = row & 127;
    return reinterpret_cast<u32*>(codes + ((tile * SLICES + slice) * 128 + line) * SLICE + (((lane >> 2) ^ (line & 7)) << 4)) + (lane & 3);
}

// Of a tile's rows: s and N side by side, then e, then N / s and then 1 / s in the order in which threads of a warpgroup have rows (``ratio_at``), then About.
[[maybe_unused]] constexpr int PAIRS = 2 * ROWS, RATIOS = 3 * ROWS;  // numbers of s and N, and those before N / s
// Of a tile: 1 / s of all its rows, and the largest |N / s|, which is infinite where they differ in s.
struct __align__(16) About { float inverse, largest, unused[2]; };
constexpr int SIDE = 5 * ROWS + sizeof(About) / 4;    // numbers of a tile
[[maybe_unused]] constexpr int TAKEN = PAIRS + sizeof(About) / 4;  // of these, those that a pass takes: the first ones, or those from RATIOS on
__device__ __forceinline__ int ratio_at(int line) { return (line >> 4) * 16 + (line >> 1 & 3) * 4 + (line >> 3 & 1) * 2 + (line & 1); }

// A row's s, N and e.
__device__ __forceinline__ float4 side_of(const float* sides, i64 row)
{
    const float* tile = sides + (row >> 7) * SIDE;
    const float2 two = *reinterpret_cast<const float2*>(tile + 2 * (row & 127));
    return make_float4(two.x, two.y, tile[2 * ROWS + (row & 127)], 0);
}

// Sums of products begin with the bits of 1.5 * 2^23: read as float32 they are that and the sum, which is below 2^22. Taking it off again
// together with the product by s errs by less than 0.76 s, for which limits have room (set_bar), and saves a conversion.
[[maybe_unused]] constexpr int ZERO = 0x4B400000;
constexpr float OFF = 12582912;

// What the last five bits of a number may change it by, at most, relative to it: exact_wide.cu tells by them which row it is of.
[[maybe_unused]] constexpr double TAGGED = 0x1p-18 * (1 + 0x1p-10);

// The bound of a row for a query, less what its e takes off: N - 2 s t (c.v).
__device__ __forceinline__ float part_of_bound(int sum, float s, float n, float step)
{
    return fmaf(step, fmaf(-s, __int_as_float(sum), s * OFF), n);
}

// All of it, with a step's share of what its e may be (``Most.ratio``) in the place of e: ``start`` is C e / s - 2 t OFF. It is not above the
// bound by more than that may be above itself: K errs by 0.76 steps, as the other product by OFF does.
__device__ __forceinline__ float loose_bound(int sum, float s, float n, float step, float start)
{
    return fmaf(-s, fmaf(step, __int_as_float(sum), start), n);
}

// The same comparison the other way round: a row is below the limit V where its product is at least x = (N - V) / (2 t s) - C e / (2 t s). With OFF - x in
// float32, whose bits are in the order of such numbers, an integer operation adds a product and keeps the largest. Errors are of some roundings: of
// terms that are at most OFF, 4.5 in all, for 1.01 of which limits have room; of N / (2 t s) and V / (2 t s), at most 3 * 2^-24 of each, and a row below the
// limit has a large N only where V is, or e^2: limits are wider by as much (set_bar). What is too much for float32 is infinite on the right side.
struct Wanted { float limit, start, inverse; };  // V / 2 t, OFF + C e / (2 t s), 1 / 2 t
[[maybe_unused]] constexpr int ENOUGH = ZERO - 4;             // what these bits and the product of a row below the limit are together, at least
__device__ __forceinline__ Wanted wanted_of(float step, float start, float limit)
{
    const bool is_near = step > 0;  // of what is far away, no row is
    const float by = is_near ? step : 1;
    return {is_near ? limit / by : -infinite(), is_near ? start / by + 2 * OFF : 0, is_near ? 1 / by : 0};
}
// N / s and 1 / s of a row, and of padding.
__device__ __forceinline__ float2 ratios_of(float s, float n) { return n < infinite() ? make_float2(n / s, 1 / s) : make_float2(3e38f, 1); }
__device__ __forceinline__ int room_for_product(float2 ratios, const Wanted& query)
{
    return __float_as_int(fmaf(-ratios.x, query.inverse, fmaf(ratios.y, query.limit, query.start)));
}

// The same where rows share s and queries share t: a product less the row's own N / (2 t s), which these queries share, is at least V / (2 t s) + C e / (2 t s) less than
// nothing, which these rows share. So a pair is one operation. As far as |N / (2 t s)| is at most FITS, bits of OFF less that are whole numbers a step apart; bits
// of OFF less the other number are no more than if they were, wherever it lies. Roundings are half of 1 more than above, for the other number has its own.
[[maybe_unused]] constexpr float FITS = 0x1p22f;
[[maybe_unused]] constexpr int SPARE = 6;
__device__ __forceinline__ int own_room(float ratio, float inverse) { return __float_as_int(fmaf(-ratio, inverse, OFF)); }
// What the largest of these bits and products is at least, if any row is near. ``inverse``: 1 / s.
__device__ __forceinline__ int least_of(const Wanted& query, float inverse)
{
    const int bits = __float_as_int(fmaf(-inverse, query.limit, 2 * OFF - query.start));
    return max(bits, -0x7fffffff - 1 + SPARE) - SPARE;  // whatever is below 0 lets every row in
}
