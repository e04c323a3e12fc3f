// How far a row is from a query within rounding: what few rows are chosen by, before their values are computed as defined.
//
//   WIDTH    components of a rotated row, padded

constexpr int LOADS = WIDTH % 384 == 0 ? 12 : 4;  // of a lane that are waited for together

// The key of a row within rounding, by one warp, at least and at most. ``p`` has rows, row_norms and dim.
template <typename Table, typename Asked>
__device__ __forceinline__ void about(const Table& p, i64 row, const Asked& query, double length, double& least, double& most)
{
    const int lane = threadIdx.x & 31;
    const Cell* x = p.rows + row * p.dim;
    double sum = 0, size = 0;
    for (int start = 0; start < WIDTH; start += 32 * LOADS) {
        Cell cells[LOADS];
        double asked[LOADS];
        UNROLL for (int i = 0; i < LOADS; ++i) {
            const int j = start + 32 * i + lane;
            cells[i] = j < p.dim ? x[j] : Cell(0), asked[i] = j < p.dim ? query[j] : 0;
        }
        UNROLL for (int i = 0; i < LOADS; ++i) {
            const double one = term(wide(cells[i]), asked[i]);
            sum += one, size += fabs(one);
        }
    }
    sum = warp_sum(sum), size = METRIC == 0 ? sum : warp_sum(size);
    double key = METRIC ? -sum : sum, slack = size * (p.dim + 8) * 0x1p-51 + p.dim * 0x1p-1021;
    if (METRIC == 2) {
        const double scale = p.row_norms[row] * length;
        key = scale != 0 ? key / scale : 0;
        slack = (2 * p.dim + 40) * 0x1p-51;
    }
    least = key - slack, most = key + slack;
}
