// Many queries by a byte a component: a product of codes whose results are compared with each query's threshold and never written
// (certified/bound.py has the proof). Tiles of QUERIES queries by 128 rows, four warps.
//
//   QUERIES  32, 64 or 128

constexpr int STAGES = 3, THREADS = 128;
constexpr int ALONG = QUERIES == 128 ? 2 : 1;         // warps along the queries, others along the rows
constexpr int HIGH = QUERIES / ALONG / 16;            // products of 16 queries in a warp
constexpr int WIDE = ROWS / (4 / ALONG) / 8;          // products of 8 rows
constexpr int GROUPS = 4 * (4 / ALONG);               // groups of rows of a tile of which the nearest is told
constexpr int SIDES = (STAGES - 1 + SLICES - 1) / SLICES + 1;  // tiles whose sides are there: of the one that is looked at, and of those on their way

__device__ __forceinline__ void load_four(u32 from, u32 (&to)[4])
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(from));
}

// Part of dynamic shared memory.
struct Shared {
    u8 queries[SLICES][QUERIES][SLICE];
    u8 rows[STAGES][ROWS][SLICE];
    float sides[SIDES][SIDE];
    float steps[QUERIES], limits[QUERIES], starts[QUERIES], coefficients[QUERIES];
};

template <bool SAMPLE> __device__ __forceinline__ void scan(const Batch& p)
{
    extern __shared__ __align__(128) u8 tiles[];
    Shared& shared = *reinterpret_cast<Shared*>(tiles);
    let_next_begin();
    await_before();
    const int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5, g = lane >> 2, t = lane & 3;
    const int query0 = (warp % ALONG) * HIGH * 16, row0 = (warp / ALONG) * WIDE * 8;
    const i64 items = (p.last - p.first + p.each - 1) / p.each * p.query_tiles;
    for (i64 item = blockIdx.x; item < items; item += gridDim.x) {
        const i64 first_query = item % p.query_tiles * QUERIES;
        const i64 begin = p.first + item / p.query_tiles * p.each, end = begin + p.each < p.last ? begin + p.each : p.last;
        const i64 slices = (end - begin) * SLICES;
        __syncthreads();
        for (int i = thread; i < SLICES * QUERIES * 8; i += THREADS) {
            const int slice = i / (QUERIES * 8), within = i % (QUERIES * 8);
            const u8* from = p.query_codes + (((first_query >> 7) * SLICES + slice) * 128 + (first_query & 127)) * SLICE;
            copy_ahead(&shared.queries[slice][0][0] + within * 16, from + within * 16);
        }
        for (int i = thread; i < QUERIES; i += THREADS) {
            shared.steps[i] = p.asked.steps[first_query + i];
            if (SAMPLE) continue;
            shared.limits[i] = p.asked.limits[first_query + i], shared.starts[i] = p.asked.starts[first_query + i];
            shared.coefficients[i] = p.asked.coefficients[first_query + i];
        }
        const u8* codes = p.codes + begin * SLICES * (ROWS * SLICE);
        auto load = [&](i64 slice) {
            if (slice < slices) {
                const u8* from = codes + slice * (ROWS * SLICE);
                u8* to = &shared.rows[slice % STAGES][0][0];
                UNROLL for (int i = 0; i < ROWS * SLICE / 16 / THREADS; ++i) copy_ahead(to + (thread + i * THREADS) * 16, from + (thread + i * THREADS) * 16);
                if (slice % SLICES == 0) {
                    const i64 tile = slice / SLICES;
                    if (thread < SIDE / 4) copy_ahead(&shared.sides[tile % SIDES][4 * thread], p.sides + (begin + tile) * SIDE + 4 * thread);
                }
            }
            copies_end();
        };
        UNROLL for (int s = 0; s < STAGES - 1; ++s) load(s);
        int sums[HIGH][WIDE][4];
        UNROLL for (int i = 0; i < HIGH; ++i) UNROLL for (int j = 0; j < WIDE; ++j) UNROLL for (int x = 0; x < 4; ++x) sums[i][j][x] = ZERO;
        int slice_of = 0;
        for (i64 slice = 0; slice < slices; ++slice) {
            await_copies<STAGES - 2>();
            __syncthreads();
            load(slice + STAGES - 1);
            const u32 left = address(&shared.queries[slice_of][0][0]), right = address(&shared.rows[slice % STAGES][0][0]);
            UNROLL for (int k = 0; k < SLICE / 32; ++k) {
                u32 a[HIGH][4], b[WIDE / 2][4];
                UNROLL for (int i = 0; i < HIGH; ++i) {
                    const int line = query0 + i * 16 + (lane & 15);
                    load_four(left + line * SLICE + (((2 * k + (lane >> 4)) ^ (line & 7)) << 4), a[i]);
                }
                UNROLL for (int j = 0; j < WIDE / 2; ++j) {
                    const int line = row0 + j * 16 + ((lane >> 4) << 3) + (lane & 7);
                    load_four(right + line * SLICE + (((2 * k + ((lane >> 3) & 1)) ^ (line & 7)) << 4), b[j]);
                }
                UNROLL for (int i = 0; i < HIGH; ++i) UNROLL for (int j = 0; j < WIDE / 2; ++j) {
                    multiply(sums[i][2 * j], a[i][0], a[i][1], a[i][2], a[i][3], b[j][0], b[j][1]);
                    multiply(sums[i][2 * j + 1], a[i][0], a[i][1], a[i][2], a[i][3], b[j][2], b[j][3]);
                }
            }
            if (++slice_of < SLICES) continue;
            slice_of = 0;
            const i64 tile = slice / SLICES;
            const float4* sides = reinterpret_cast<const float4*>(shared.sides[tile % SIDES] + 2 * row0) + t;     // s and N of two rows
            const float2* errors_of = reinterpret_cast<const float2*>(shared.sides[tile % SIDES] + 2 * ROWS + row0) + t;
            float least[HIGH][2];
            int nearest[HIGH][2];
            UNROLL for (int i = 0; i < HIGH; ++i) {
                const int line = query0 + i * 16 + g;
                const float steps[2] = {shared.steps[line], shared.steps[line + 8]};
                const float starts[2] = {shared.starts[line], shared.starts[line + 8]};
                UNROLL for (int h = 0; h < 2; ++h) least[i][h] = infinite(), nearest[i][h] = 0;
                UNROLL for (int j = 0; j < WIDE; ++j) {
                    const float4 side = sides[4 * j];
                    UNROLL for (int h = 0; h < 2; ++h) {
                        const int x = sums[i][j][2 * h], y = sums[i][j][2 * h + 1];
                        if (SAMPLE) {
                            const float first = part_of_bound(x, side.x, side.y, steps[h]), second = part_of_bound(y, side.z, side.w, steps[h]);
                            if (first < least[i][h]) least[i][h] = first, nearest[i][h] = 8 * j;
                            if (second < least[i][h]) least[i][h] = second, nearest[i][h] = 8 * j + 1;
                        } else {
                            least[i][h] = fminf(least[i][h], loose_bound(x, side.x, side.y, steps[h], starts[h]));
                            least[i][h] = fminf(least[i][h], loose_bound(y, side.z, side.w, steps[h], starts[h]));
                        }
                    }
                }
            }
            UNROLL for (int i = 0; i < HIGH; ++i) UNROLL for (int h = 0; h < 2; ++h) {
                const int line = query0 + i * 16 + h * 8 + g;
                const i64 query = first_query + line;
                if (SAMPLE) {
                    if (query < p.queries)
                        p.groups[query * p.groups_stride + (begin + tile - p.first) * GROUPS + (warp / ALONG) * 4 + t] = make_float2(least[i][h], __int_as_float((int)(begin + tile) * ROWS + row0 + nearest[i][h] + 2 * t));
                    continue;
                }
                const float v = shared.limits[line];
                if (!(least[i][h] <= v)) continue;
                const float step = shared.steps[line], c = shared.coefficients[line];
                u32 which = 0;
                int products[2 * WIDE];
                UNROLL for (int j = 0; j < WIDE; ++j) UNROLL for (int two = 0; two < 2; ++two) {
                    const float4 side = sides[4 * j];
                    const float2 e = errors_of[4 * j];
                    const int sum = products[2 * j + two] = sums[i][j][2 * h + two];
                    const float bound = part_of_bound(sum, two ? side.z : side.x, two ? side.w : side.y, step);
                    if (fmaf(-c, two ? e.y : e.x, bound) <= v) which |= 1u << (2 * j + two);
                }
                keep_hits(p, query, (begin + tile) * ROWS + row0 + 2 * t, which, products);
            }
            UNROLL for (int i = 0; i < HIGH; ++i) UNROLL for (int j = 0; j < WIDE; ++j) UNROLL for (int x = 0; x < 4; ++x) sums[i][j][x] = ZERO;
        }
        await_copies<0>();
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) batch_sample(const Batch p) { scan<true>(p); }
extern "C" __global__ void __launch_bounds__(THREADS, 2) batch_scan(const Batch p) { scan<false>(p); }
