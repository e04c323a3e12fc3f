// How far a row is from a query, by one warp: within rounding, which few rows are chosen by, and as defined.
//
//   FULL     components of a row, padded

constexpr int ALL_PIECES = (FULL + 32 * PIECE - 1) / (32 * PIECE);
constexpr int CHUNK = 128;                               // terms that a warp has room for
constexpr int PIECES = ALL_PIECES < 4 ? ALL_PIECES : 4;  // of 16 bytes, of a lane, that are waited for together

// Whether rows can be read 16 bytes at a time, and queries likewise.
template <typename Table> __device__ __forceinline__ bool in_pieces(const Table& p)
{
    return p.dim % PIECE == 0 && (reinterpret_cast<u64>(p.rows) & 15) == 0;
}

// The terms of a piece of a row, PIECE of them.
template <typename Step> __device__ __forceinline__ void each_term(const uint4& piece, const double* query, Step step)
{
    const Cell* cells = reinterpret_cast<const Cell*>(&piece);
    UNROLL for (int c = 0; c < PIECE; c += 2) {
        const double2 two = *reinterpret_cast<const double2*>(query + c);
        step(c, term(wide(cells[c]), two.x)), step(c + 1, term(wide(cells[c + 1]), two.y));
    }
}

// The keys of some rows within rounding, by one warp, at least and at most: what it asks for is on its way for all of them at once.
// ``p`` has rows, row_norms and dim; ``query`` lies at a multiple of 16.
template <int SOME, typename Table>
__device__ __forceinline__ void about_some(const Table& p, const i64 (&rows)[SOME], const double* query, double length, double (&least)[SOME], double (&most)[SOME])
{
    constexpr int AT_ONCE = SOME > 1 && PIECES > 3 ? 3 : PIECES;
    const int lane = threadIdx.x & 31;
    double sums[SOME] = {}, sizes[SOME] = {};
    if (in_pieces(p)) {
        const int pieces = (int)(p.dim / PIECE);
        for (int start = lane; start < pieces; start += 32 * AT_ONCE) {
            uint4 some[SOME][AT_ONCE];
            UNROLL for (int i = 0; i < AT_ONCE; ++i) UNROLL for (int r = 0; r < SOME; ++r)
                if (start + 32 * i < pieces) some[r][i] = __ldg(reinterpret_cast<const uint4*>(p.rows + rows[r] * p.dim) + start + 32 * i);
            UNROLL for (int i = 0; i < AT_ONCE; ++i) UNROLL for (int r = 0; r < SOME; ++r)
                if (start + 32 * i < pieces) each_term(some[r][i], query + (start + 32 * i) * PIECE, [&](int, double one) { sums[r] += one, sizes[r] += fabs(one); });
        }
    } else {
#pragma unroll 4
        for (i64 j = lane; j < p.dim; j += 32) UNROLL for (int r = 0; r < SOME; ++r) {
            const double one = term(wide(p.rows[rows[r] * p.dim + j]), query[j]);
            sums[r] += one, sizes[r] += fabs(one);
        }
    }
    UNROLL for (int r = 0; r < SOME; ++r) {
        const double sum = warp_sum(sums[r]), size = METRIC == 0 ? sum : warp_sum(sizes[r]);
        double key = METRIC ? -sum : sum, slack = size * (p.dim + 8) * 0x1p-51 + p.dim * 0x1p-1021;
        if (METRIC == 2) {
            const double scale = p.row_norms[rows[r]] * length;
            key = scale != 0 ? key / scale : 0;
            slack = (2 * p.dim + 40) * 0x1p-51;
        }
        least[r] = key - slack, most[r] = key + slack;
    }
}
template <typename Table>
__device__ __forceinline__ void about(const Table& p, i64 row, const double* query, double length, double& least, double& most)
{
    const i64 rows[1] = {row};
    double low[1], high[1];
    about_some(p, rows, query, length, low, high);
    least = low[0], most = high[0];
}

// More terms added to a sum in their order, by one thread; the next ones are asked for while some are added.
__device__ __forceinline__ double add_in_order(double sum, const double* terms, int count)
{
    constexpr int STEP = 6;  // which has the registers of a kernel with much else
    double now[STEP], next[STEP];
    int j = 0;
    if (STEP <= count) UNROLL for (int c = 0; c < STEP; ++c) now[c] = terms[c];
#pragma unroll 2
    for (; j + 2 * STEP <= count; j += STEP) {
        UNROLL for (int c = 0; c < STEP; ++c) next[c] = terms[j + STEP + c];
        UNROLL for (int c = 0; c < STEP; ++c) sum = __dadd_rn(sum, now[c]);
        UNROLL for (int c = 0; c < STEP; ++c) now[c] = next[c];
    }
    if (j + STEP <= count) {
        UNROLL for (int c = 0; c < STEP; ++c) sum = __dadd_rn(sum, now[c]);
        j += STEP;
    }
    for (; j < count; ++j) sum = __dadd_rn(sum, terms[j]);
    return sum;
}

// A row's value as defined, by one warp: terms side by side, added by its first lane. ``terms``: CHUNK numbers of this warp.
template <typename Table>
__device__ __forceinline__ double value_by_warp(const Table& p, i64 row, const double* query, double length, double* terms)
{
    const int lane = threadIdx.x & 31;
    const Cell* x = p.rows + row * p.dim;
    const bool pieces = in_pieces(p);
    double sum = 0;
    for (int start = 0; start < p.dim; start += CHUNK) {
        const int some = min((int)p.dim - start, CHUNK);
        if (pieces) {
            for (int at = PIECE * lane; at < some; at += 32 * PIECE) {
                const uint4 piece = __ldg(reinterpret_cast<const uint4*>(x + start + at));
                each_term(piece, query + start + at, [&](int c, double one) { terms[at + c] = one; });
            }
        } else for (int j = lane; j < some; j += 32) terms[j] = term(wide(x[start + j]), query[start + j]);
        __syncwarp();
        if (lane == 0) sum = add_in_order(sum, terms, some);
        __syncwarp();
    }
    return value_of(sum, METRIC == 2 ? p.row_norms[row] : 0, length);
}
