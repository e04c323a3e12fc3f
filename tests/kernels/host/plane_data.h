// Rows and queries that are drawn, and rows as exact_codes.cu writes them. It comes after kernel.inc, and codes.inc in a namespace of its own.
#pragma once

static std::mt19937 draw;
static double normal() { return std::normal_distribution<>()(draw); }
static int below(int end) { return draw() % end; }
constexpr int SAMPLED = 20;  // rows that the centre and the scale are taken from where some are far

// CLUSTERED: around some centres. TIES: few rows, many times. DOUBLES: as clustered, and hundreds that are almost one of them. FAR: as clustered, and
// some so far that float16 has no room for their lengths. SPARSE: one cluster of NEAR rows, a warp has one of them at most, and all others far from it.
enum Kind { CLUSTERED, TIES, DOUBLES, FAR, SPARSE };

static Cell cell_of(double x)
{
#if CELL == 2
    return (u16)(__float_as_uint((float)x) >> 16);
#elif CELL == 5
    return (u8)std::lround(min(max(128 + 25 * x, 0.0), 255.0));
#else
    return (Cell)x;
#endif
}

struct Rows {
    const int count, dim;
    const Kind kind;
    const int near;
    std::vector<double> matrix;  // orthonormal, (dim, dim)
    double* centre = everywhere<double>(dim);
    float* directions = everywhere<float>(FULL * FULL);
    Cell* cells = everywhere<Cell>((size_t)count * dim);
    double* norms = everywhere<double>(count);
    u8* tiles = everywhere<u8>((size_t)(count + 15) / 16 * TILE);
    writer::Most* most = everywhere<writer::Most>(1);
    double scaling, reach2, rho;

    // near: rows of the cluster of SPARSE. apart: rows from one of them to the next.
    Rows(int count, int dim, Kind kind, int near, int apart) : count(count), dim(dim), kind(kind), near(near), matrix((size_t)dim * dim)
    {
        make_matrix();
        make_cells(apart);
        make_map();
        write();
    }
    double cell(int row, int j) const { return wide(cells[(size_t)row * dim + j]); }
    // A vector whose leading components are the longest.
    std::vector<double> turned(const std::vector<double>& z) const
    {
        std::vector<double> x(dim, 0.3);
        for (int i = 0; i < dim; ++i) for (int j = 0; j < dim; ++j) x[j] += matrix[(size_t)i * dim + j] * z[i];
        return x;
    }
    std::vector<double> drawn(double size = 1) const
    {
        std::vector<double> z(dim);
        for (int i = 0; i < dim; ++i) z[i] = size * normal() * (i < LEADING ? std::pow(i + 1, -0.4) : 0.02);
        return z;
    }

private:
    void make_matrix()
    {
        for (double& x : matrix) x = normal();
        for (int i = 0; i < dim; ++i) {
            double* own = &matrix[(size_t)i * dim];
            for (int twice = 0; twice < 2; ++twice)
                for (int o = 0; o < i; ++o) {
                    const double* other = &matrix[(size_t)o * dim];
                    const double along = std::inner_product(own, own + dim, other, 0.0);
                    for (int j = 0; j < dim; ++j) own[j] -= along * other[j];
                }
            const double length = std::sqrt(std::inner_product(own, own + dim, own, 0.0));
            for (int j = 0; j < dim; ++j) directions[i * FULL + j] = (float)(own[j] /= length);
        }
    }
    void make_cells(int apart)
    {
        const std::vector<double> middle = drawn(3);
        std::vector<std::vector<double>> centres;
        for (int i = 0; i < 30; ++i) centres.push_back(drawn());
        std::vector<std::vector<double>> kept;
        for (int row = 0; row < count; ++row) {
            std::vector<double> z = drawn(0.3);
            const auto& to = centres[below(30)];
            const bool is_near = kind == SPARSE && row % apart == 0 && row / apart < near;
            for (int i = 0; i < dim; ++i) z[i] = is_near ? middle[i] + 0.1 * z[i] : z[i] + to[i];
            const bool far = kind == FAR && row >= SAMPLED && below(40) == 0;
            if (far) for (double& x : z) x *= 300;
            else if (kind == FAR && METRIC == 2) for (int i = 0; i < dim; ++i) z[i] = middle[i] + 0.01 * (z[i] - to[i]);  // of one length, so alike
            std::vector<double> x = turned(z);
            const int like = kind == TIES && kept.size() > 6 ? below(7) : kind == DOUBLES && !kept.empty() && below(3) ? 0 : -1;
            if (like >= 0) x = kept[like];
            if (like >= 0 && kind == DOUBLES) for (double& one : x) one += 1e-4 * normal();
            kept.push_back(x);
            for (int j = 0; j < dim; ++j) cells[(size_t)row * dim + j] = cell_of(x[j]);
        }
    }
    // As certified/cuda/codes.py does, for cosine of rows of length 1.
    void make_map()
    {
        double largest = 0, longest2 = 0;
        std::vector<double> length(count);
        for (int row = 0; row < count; ++row) {
            double sum = 0;
            for (int j = 0; j < dim; ++j) sum += cell(row, j) * cell(row, j);
            norms[row] = length[row] = std::sqrt(sum), longest2 = max(longest2, sum);
            if (METRIC != 2) length[row] = 1;
        }
        const int sampled = kind == FAR ? SAMPLED : count;
        for (int j = 0; j < dim; ++j) {
            for (int row = 0; row < sampled; ++row) centre[j] += cell(row, j) / length[row];
            centre[j] /= sampled;
        }
        std::vector<double> far;
        for (int row = 0; row < sampled; ++row) {
            double sum = 0;
            for (int j = 0; j < dim; ++j) sum += std::pow(cell(row, j) / length[row] - centre[j], 2);
            far.push_back(std::sqrt(sum));
        }
        std::sort(far.begin(), far.end()), largest = far.back();
        int exponent;
        std::frexp(largest, &exponent);
        scaling = std::ldexp(1.0, -exponent);
        reach2 = METRIC == 0 ? 0 : (METRIC == 1 ? longest2 : 1) * (1 + dim * 0x1p-50) * scaling * scaling;
        double defect2 = 0;
        for (int i = 0; i < dim; ++i)
            for (int o = 0; o < dim; ++o) {
                double sum = i == o ? -1 : 0;
                for (int j = 0; j < dim; ++j) sum += (double)directions[i * FULL + j] * directions[o * FULL + j];
                defect2 += sum * sum;
            }
        const double defect = std::sqrt(defect2) * 1.001;
        rho = ((dim + 2) * U * std::sqrt(dim) * (1 + defect) + 2 * U + defect) * WIDEN;  // plane_bound.strayed
    }
    void write()
    {
        float *flat = everywhere<float>((size_t)count * FULL), *rotated = everywhere<float>((size_t)count * FULL);
        double *lengths2 = everywhere<double>(count), *extras = everywhere<double>(count);
        u8* codes = everywhere<u8>((size_t)(count + 127) / 128 * 128 * WIDTH);
        float* sides = everywhere<float>((size_t)(count + 127) / 128 * writer::SIDE);
        const writer::Map map = {centre, scaling, reach2, rho, dim};
        kernel = [&] { writer::prepare_rows(cells, 0, count, map, flat, lengths2, extras, most); };
        launch(1, 256);
        for (int row = 0; row < count; ++row)
            for (int i = 0; i < dim; ++i) {
                const float *x = flat + (size_t)row * FULL, *direction = directions + i * FULL;
                rotated[(size_t)row * FULL + i] = std::inner_product(x, x + dim, direction, 0.f);
            }
        kernel = [&] { writer::encode_rows(rotated, count, map, lengths2, extras, codes, sides, tiles, most); };
        launch(1, 256);
        for (int row = 0; row < count; ++row) {  // what a row's s and N are told as, once more
            const float *tile = sides + (size_t)(row / 128) * writer::SIDE, s = tile[2 * (row % 128)], n = tile[2 * (row % 128) + 1];
            const float* ratios = tile + writer::RATIOS + writer::ratio_at(row % 128);
            if (ratios[0] != n / s || ratios[128] != 1 / s) std::printf("row %d has other ratios\n", row), exit(2);
            const writer::About about = *(const writer::About*)(tile + 640);
            if (about.largest < writer::infinite() && (about.inverse != 1 / s || fabsf(n / s) > about.largest)) std::printf("row %d is not as its tile\n", row), exit(2);
        }
        for (int first = 0; first < count; first += 128) {
            const float* tile = sides + (size_t)(first / 128) * writer::SIDE;
            const bool is_shared = ((const writer::About*)(tile + 640))->largest < writer::infinite();
            double sum = 0, most = 0;
            const int some = min(128, count - first);
            for (int line = 0; line < some; ++line) sum += tile[2 * line], most = max(most, (double)tile[2 * line]);
            if (is_shared != (most * some < 2 * sum * (1 - 1e-6))) std::printf("tile %d: rows share a step, or not\n", first / 128), exit(2);
        }
        if (most->bad || (kind == FAR) != (most->longer > 0)) std::printf("%llu rows are bad, %llu too long\n", most->bad, most->longer), exit(2);
    }
};

// What the largest of all rows is: codes.Most.
static double largest(u64 bits) { return __longlong_as_double(bits) * (1 + 0x1p-10); }
