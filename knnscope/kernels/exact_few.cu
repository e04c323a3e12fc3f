// Up to 32 queries by a byte a component, at the rate of memory: codes come from global memory right into the registers of a product. A warp has
// STEP rows at a time and waits for no other one. Bounds and what is kept are those of exact_batch.cu. It comes after batch.cuh.
//
//   QUERIES  16 or 32
//   EIGHTS   products of eight rows that a warp makes side by side
//   AHEAD    pieces of 16 bytes that a lane has on their way, a divisor of those of STEP rows
//
// Of a slice of a row, lane t of its four has the pieces t and t + 4. Two words of a piece are of one product, two of the next: a product takes
// the components of a slice in an order of its own, the same for rows and queries, so its sum is what it would be.

constexpr int THREADS = 256, WARPS = THREADS / 32, HIGH = QUERIES / 16;
constexpr int PARTS = 2 * SLICES, PIECES = PARTS * EIGHTS;  // halves of slices; of a lane, for STEP rows
constexpr int STEP = 8 * EIGHTS, STEPS = ROWS / STEP;       // of a tile
static_assert(PIECES % AHEAD == 0 && ROWS % STEP == 0, "a piece's register is known when this is compiled");

// Read once: kept in no cache of the multiprocessor, in the order in which it is asked for.
__device__ __forceinline__ uint4 stream(const u8* from)
{
    uint4 piece;
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(piece.x), "=r"(piece.y), "=r"(piece.z), "=r"(piece.w) : "l"(from));
    return piece;
}

// Where a lane's pieces of STEP rows are, in the first halves of slices and in the second ones, and the s and N of its rows.
struct From {
    const u8* halves[2];
    const float4* sides;
};
__device__ __forceinline__ From from_step(const Batch& p, int step)
{
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    const i64 tile = p.first + step / STEPS;
    const int row = step % STEPS * STEP;
    const u8* line = p.codes + (tile * SLICES * ROWS + row + g) * SLICE;
    return {{line + ((t ^ g) << 4), line + (((t + 4) ^ g) << 4)}, reinterpret_cast<const float4*>(p.sides + tile * SIDE + 2 * row) + t};
}
__device__ __forceinline__ uint4 piece_of(const From& from, int n)
{
    const int part = n / EIGHTS, eight = n % EIGHTS;
    return stream(from.halves[part & 1] + (part >> 1) * (ROWS * SLICE) + eight * (8 * SLICE));
}
// Rows of a thread that are below a query's limit become hits: bit i of ``which`` is of row0 + 8 (i / 2) + i % 2. They are rare: one loop for
// all of them, over numbers that lie in registers. The list's end is far away, and asked for once.
template <int PAIRS> __device__ __forceinline__ void keep_hits(const Batch& p, i64 query, i64 row0, u32 which, const int (&products)[PAIRS])
{
    UNROLL for (int x = 0; x < PAIRS; ++x) if (row0 + (x >> 1) * 8 + (x & 1) >= p.count) which &= ~(1u << x);
    if (!which) return;
    u32 at = atomicAdd(p.counts + query, (u32)__popc(which));
#pragma unroll 1
    for (; which && at < p.room; ++at) {
        const int bit = __ffs(which) - 1;
        which &= which - 1;
        int product = 0;
        UNROLL for (int x = 0; x < PAIRS; ++x) product = x == bit ? products[x] : product;
        p.hits[query * p.room + at] = make_int2((int)(row0 + (bit >> 1) * 8 + (bit & 1)), product - ZERO);
    }
}

template <bool SAMPLE> __device__ __forceinline__ void scan(const Batch& p)
{
    __shared__ uint4 queries[PARTS][HIGH][2][32];
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    const int steps = (int)(p.last - p.first) * STEPS, warps = gridDim.x * WARPS, warp = blockIdx.x * WARPS + (threadIdx.x >> 5);
    let_next_begin();
    uint4 ahead[AHEAD];
    float4 sides_ahead[EIGHTS];
    From from = from_step(p, warp < steps ? warp : 0);
    if (warp < steps) {  // rows are there before queries are
        UNROLL for (int n = 0; n < AHEAD; ++n) ahead[n] = piece_of(from, n);
        UNROLL for (int j = 0; j < EIGHTS; ++j) sides_ahead[j] = __ldg(from.sides + 4 * j);
    }
    await_before();
    for (int i = threadIdx.x; i < PARTS * HIGH * 2 * 32; i += THREADS) {
        const int part = i / (HIGH * 64), line = i / 32 % (2 * HIGH) * 8 + (i % 32 >> 2), piece = (i & 3) + 4 * (part & 1);
        (&queries[0][0][0][0])[i] = *reinterpret_cast<const uint4*>(p.query_codes + ((part >> 1) * 128 + line) * SLICE + ((piece ^ (line & 7)) << 4));
    }
    float step_sizes[HIGH][2], starts[HIGH][2], limits[HIGH][2], least[HIGH][2];
    int nearest[HIGH][2];
    UNROLL for (int i = 0; i < HIGH; ++i) UNROLL for (int h = 0; h < 2; ++h) {
        const int query = i * 16 + h * 8 + g;
        step_sizes[i][h] = p.asked.steps[query], least[i][h] = infinite(), nearest[i][h] = 0;
        if (!SAMPLE) starts[i][h] = p.asked.starts[query], limits[i][h] = p.asked.limits[query];
    }
    __syncthreads();
    for (int step = warp; step < steps; step += warps) {
        const bool more = step + warps < steps;
        const From next = from_step(p, more ? step + warps : step);
        float4 sides[EIGHTS];
        UNROLL for (int j = 0; j < EIGHTS; ++j) {
            sides[j] = sides_ahead[j];
            if (more) sides_ahead[j] = __ldg(next.sides + 4 * j);
        }
        int sums[HIGH][EIGHTS][4];
        UNROLL for (int i = 0; i < HIGH; ++i) UNROLL for (int j = 0; j < EIGHTS; ++j) UNROLL for (int x = 0; x < 4; ++x) sums[i][j][x] = ZERO;
        UNROLL for (int part = 0; part < PARTS; ++part) {
            uint4 a[HIGH][2];
            UNROLL for (int i = 0; i < HIGH; ++i) UNROLL for (int h = 0; h < 2; ++h) a[i][h] = queries[part][i][h][lane];
            UNROLL for (int j = 0; j < EIGHTS; ++j) {
                const int n = part * EIGHTS + j;
                const uint4 b = ahead[n % AHEAD];
                UNROLL for (int i = 0; i < HIGH; ++i) {
                    multiply(sums[i][j], a[i][0].x, a[i][1].x, a[i][0].y, a[i][1].y, b.x, b.y);
                    multiply(sums[i][j], a[i][0].z, a[i][1].z, a[i][0].w, a[i][1].w, b.z, b.w);
                }
                if (n + AHEAD < PIECES) ahead[n % AHEAD] = piece_of(from, n + AHEAD);
                else if (more) ahead[n % AHEAD] = piece_of(next, n + AHEAD - PIECES);
            }
        }
        from = next;
        const i64 tile = p.first + step / STEPS;
        const int row0 = step % STEPS * STEP + 2 * t;
        UNROLL for (int i = 0; i < HIGH; ++i) UNROLL for (int h = 0; h < 2; ++h) {
            const float size = step_sizes[i][h];
            if (SAMPLE) {
                UNROLL for (int j = 0; j < EIGHTS; ++j) UNROLL for (int two = 0; two < 2; ++two) {
                    const float bound = part_of_bound(sums[i][j][2 * h + two], two ? sides[j].z : sides[j].x, two ? sides[j].w : sides[j].y, size);
                    if (bound < least[i][h]) least[i][h] = bound, nearest[i][h] = (int)tile * ROWS + row0 + 8 * j + two;
                }
                continue;
            }
            float first = infinite();
            UNROLL for (int j = 0; j < EIGHTS; ++j) {
                first = fminf(first, loose_bound(sums[i][j][2 * h], sides[j].x, sides[j].y, size, starts[i][h]));
                first = fminf(first, loose_bound(sums[i][j][2 * h + 1], sides[j].z, sides[j].w, size, starts[i][h]));
            }
            if (!(first <= limits[i][h])) continue;
            const int query = i * 16 + h * 8 + g;
            const float c = p.asked.coefficients[query];
            const float2* errors = reinterpret_cast<const float2*>(p.sides + tile * SIDE + 2 * ROWS + row0);
            u32 which = 0;
            int products[2 * EIGHTS];
            UNROLL for (int j = 0; j < EIGHTS; ++j) UNROLL for (int two = 0; two < 2; ++two) {
                const float2 e = errors[4 * j];
                const int sum = products[2 * j + two] = sums[i][j][2 * h + two];
                const float bound = part_of_bound(sum, two ? sides[j].z : sides[j].x, two ? sides[j].w : sides[j].y, size);
                if (fmaf(-c, two ? e.y : e.x, bound) <= limits[i][h]) which |= 1u << (2 * j + two);
            }
            keep_hits(p, query, tile * ROWS + row0, which, products);
        }
    }
    if (SAMPLE) UNROLL for (int i = 0; i < HIGH; ++i) UNROLL for (int h = 0; h < 2; ++h) {  // all rows of a warp are a group
        UNROLL for (int o = 1; o < 4; o *= 2) {
            const float other = __shfl_xor_sync(ALL, least[i][h], o);
            const int its = __shfl_xor_sync(ALL, nearest[i][h], o);
            if (other < least[i][h]) least[i][h] = other, nearest[i][h] = its;
        }
        const int query = i * 16 + h * 8 + g;
        if (t == 0 && query < p.queries) p.groups[query * p.groups_stride + warp] = make_float2(least[i][h], __int_as_float(nearest[i][h]));
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) few_sample(const Batch p) { scan<true>(p); }
extern "C" __global__ void __launch_bounds__(THREADS, 2) few_scan(const Batch p) { scan<false>(p); }
