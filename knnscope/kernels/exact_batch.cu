// Many queries by a byte a component: a product of codes whose results are compared with each query's threshold and never written
// (certified/bound.py has the proof). Tiles of QUERIES queries by 128 rows, four warps.
//
//   QUERIES  32, 64 or 128
//   STAGES   slices of rows that there is room for: 2 or 3

constexpr int THREADS = 128;
constexpr int ALONG = QUERIES == 128 ? 2 : 1;         // warps along the queries, others along the rows
constexpr int HIGH = QUERIES / ALONG / 16;            // products of 16 queries in a warp
constexpr int WIDE = ROWS / (4 / ALONG) / 8;          // products of 8 rows
constexpr int GROUPS = 4 * (4 / ALONG);               // groups of rows of a tile of which the nearest is told
constexpr int SIDES = (STAGES - 1 + SLICES - 1) / SLICES + 1;  // tiles whose sides are there: of the one that is looked at, and of those on their way
constexpr int WAITING = 16, SOON = 9;                 // lines of a warp that wait to be looked at, at most; so many that they are, after a tile
constexpr int AT_ONCE = 32 / WIDE;                    // lines that a warp looks at side by side

__device__ __forceinline__ void load_four(u32 from, u32 (&to)[4])
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(from));
}

// A thread's sums for one query, of which one is below its limit, perhaps: of rows beside each other, eight apart. Padded so that lines begin at different banks.
struct __align__(16) Line {
    int2 sums[WIDE];
    uint2 from;                                       // the query and the first row
    u32 unused[2];
};

// Part of dynamic shared memory.
struct Shared {
    u8 queries[SLICES][QUERIES][SLICE];
    u8 rows[STAGES][ROWS][SLICE];
    float sides[SIDES][PAIRS];
    float steps[QUERIES], limits[QUERIES], starts[QUERIES];
    Line lines[THREADS / 32][WAITING];
};

// Rows of so many lines of a warp that are below their query's limit go to its list. A list's end is far away: all are asked for before one is waited for.
template <int ROUNDS> __device__ __forceinline__ void look(const Batch& p, const Line* lines, int count)
{
    const int lane = threadIdx.x & 31, pair = lane % WIDE;
    __syncwarp();
    uint2 from[ROUNDS];
    int2 sums[ROUNDS];
    float4 sides[ROUNDS];
    float2 errors[ROUNDS];
    float steps[ROUNDS], coefficients[ROUNDS], limits[ROUNDS];
    UNROLL for (int r = 0; r < ROUNDS; ++r) {
        const Line& line = lines[min(r * AT_ONCE + lane / WIDE, count - 1)];
        from[r] = line.from, sums[r] = line.sums[pair];
        from[r].y += 8 * pair;
        steps[r] = p.asked.steps[from[r].x], coefficients[r] = p.asked.coefficients[from[r].x], limits[r] = p.asked.limits[from[r].x];
        const float* tile = p.sides + (i64)(from[r].y / ROWS) * SIDE;
        sides[r] = __ldg(reinterpret_cast<const float4*>(tile + 2 * (from[r].y % ROWS)));
        errors[r] = __ldg(reinterpret_cast<const float2*>(tile + 2 * ROWS + from[r].y % ROWS));
    }
    u32 places[ROUNDS][2];
    UNROLL for (int r = 0; r < ROUNDS; ++r) {
        UNROLL for (int x = 0; x < 2; ++x) {
            const float bound = part_of_bound(x ? sums[r].y : sums[r].x, x ? sides[r].z : sides[r].x, x ? sides[r].w : sides[r].y, steps[r]);
            const bool is_hit = r * AT_ONCE + lane / WIDE < count && from[r].y + x < p.count && fmaf(-coefficients[r], x ? errors[r].y : errors[r].x, bound) <= limits[r];
            places[r][x] = ~0u;
            if (is_hit) places[r][x] = atomicAdd(p.counts + from[r].x, 1u);
        }
    }
    UNROLL for (int r = 0; r < ROUNDS; ++r) UNROLL for (int x = 0; x < 2; ++x)
        if (places[r][x] < p.room) p.hits[from[r].x * p.room + places[r][x]] = make_int2((int)from[r].y + x, (x ? sums[r].y : sums[r].x) - ZERO);
    __syncwarp();
}

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
        const int slices = (int)(end - begin) * SLICES;
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
        }
        const u8* codes = p.codes + begin * SLICES * (ROWS * SLICE) + thread * 16;
        const float* sides_from = p.sides + begin * SIDE + 4 * thread;
        int ahead = 0, ahead_at = 0, ahead_of = 0, sides_at = 0;  // the slice that is loaded next, its place, which one of its tile it is, and the place of its sides
        auto load = [&] {
            if (ahead < slices) {
                u8* to = &shared.rows[ahead_at][0][0] + thread * 16;
                UNROLL for (int i = 0; i < ROWS * SLICE / 16 / THREADS; ++i) copy_ahead(to + i * THREADS * 16, codes + i * THREADS * 16);
                if (ahead_of == 0) {
                    if (thread < PAIRS / 4) copy_ahead(&shared.sides[sides_at][4 * thread], sides_from);
                    sides_from += SIDE, sides_at = sides_at + 1 == SIDES ? 0 : sides_at + 1;
                }
                codes += ROWS * SLICE, ++ahead, ahead_at = ahead_at + 1 == STAGES ? 0 : ahead_at + 1, ahead_of = ahead_of + 1 == SLICES ? 0 : ahead_of + 1;
            }
            copies_end();
        };
        UNROLL for (int s = 0; s < STAGES - 1; ++s) load();
        int sums[HIGH][WIDE][4];
        UNROLL for (int i = 0; i < HIGH; ++i) UNROLL for (int j = 0; j < WIDE; ++j) UNROLL for (int x = 0; x < 4; ++x) sums[i][j][x] = ZERO;
        int slice_of = 0, at = 0, side_at = 0;
        u32 waiting = 0;  // lines
        i64 tile = begin;
        for (int slice = 0; slice < slices; ++slice) {
            await_copies<STAGES - 2>();
            __syncthreads();
            load();
            const u32 left = address(&shared.queries[slice_of][0][0]), right = address(&shared.rows[at][0][0]);
            at = at + 1 == STAGES ? 0 : at + 1;
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
            const float4* sides = reinterpret_cast<const float4*>(shared.sides[side_at] + 2 * row0) + t;     // s and N of two rows
            side_at = side_at + 1 == SIDES ? 0 : side_at + 1;
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
            const u32 first_row = (u32)tile * ROWS + row0 + 2 * t;
            u32 masks[HIGH][2], any = 0;
            UNROLL for (int i = 0; i < HIGH; ++i) UNROLL for (int h = 0; h < 2; ++h) {
                const int line = query0 + i * 16 + h * 8 + g;
                if (!SAMPLE) any |= masks[i][h] = __ballot_sync(ALL, least[i][h] <= shared.limits[line]);
                else if (first_query + line < p.queries)
                    p.groups[(first_query + line) * p.groups_stride + (tile - p.first) * GROUPS + (warp / ALONG) * 4 + t] = make_float2(least[i][h], __int_as_float(first_row + nearest[i][h]));
            }
            while (any) {  // again where lines are full
                u32 count = waiting;
                UNROLL for (int i = 0; i < HIGH; ++i) UNROLL for (int h = 0; h < 2; ++h) {
                    if (!masks[i][h]) continue;
                    const u32 rank = count + __popc(masks[i][h] & ((1u << lane) - 1));
                    if ((masks[i][h] >> lane & 1) && rank < WAITING) {
                        Line& line = shared.lines[warp][rank];
                        UNROLL for (int j = 0; j < WIDE; ++j) line.sums[j] = make_int2(sums[i][j][2 * h], sums[i][j][2 * h + 1]);
                        line.from = make_uint2((u32)first_query + query0 + i * 16 + h * 8 + g, first_row);
                    }
                    count += __popc(masks[i][h]);
                }
                u32 gone = WAITING - waiting;
                waiting = min(count, (u32)WAITING);
                if (count <= WAITING) break;
#pragma unroll 1
                for (int done = 0; done < WAITING; done += AT_ONCE) look<1>(p, shared.lines[warp] + done, AT_ONCE);
                waiting = 0;
                UNROLL for (int i = 0; i < HIGH; ++i) UNROLL for (int h = 0; h < 2; ++h)
                    for (; gone && masks[i][h]; --gone) masks[i][h] &= masks[i][h] - 1;
            }
            if (waiting >= SOON) look<WAITING / AT_ONCE>(p, shared.lines[warp], waiting), waiting = 0;
            ++tile;
            UNROLL for (int i = 0; i < HIGH; ++i) UNROLL for (int j = 0; j < WIDE; ++j) UNROLL for (int x = 0; x < 4; ++x) sums[i][j][x] = ZERO;
        }
        if (waiting) look<WAITING / AT_ONCE>(p, shared.lines[warp], waiting);
        await_copies<0>();
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) batch_sample(const Batch p) { scan<true>(p); }
extern "C" __global__ void __launch_bounds__(THREADS, 2) batch_scan(const Batch p) { scan<false>(p); }
