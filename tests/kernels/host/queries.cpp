// Runs exact_queries.cu on threads of the host: queries dim wide seed. Ends with 0 where one kernel for few queries writes what three for many write,
// bit for bit, and leaves its counters as it found them; or, with ALIKE, where codes are right and some queries share steps.
#include "cuda.h"
#include "kernel.inc"

static Queries room_for(const Queries& given)
{
    Queries p = given;
    const i64 padded = p.padded;
    p.values = everywhere<double>(p.count * p.map.dim), p.norms = everywhere<double>(padded), p.own2 = everywhere<double>(padded);
    p.flat = everywhere<float>(padded * FULL), p.rotated = everywhere<float>(padded * FULL);
    p.codes = everywhere<u8>(128 * WIDTH), p.counts = everywhere<u32>(padded);
    for (double** one : {&p.asked.lengths2, &p.asked.errors, &p.asked.bases, &p.asked.gains, &p.asked.blurs, &p.asked.bars}) *one = everywhere<double>(padded);
    for (float** one : {&p.asked.steps, &p.asked.limits, &p.asked.coefficients, &p.asked.starts, &p.asked.tails}) *one = everywhere<float>(padded);
    p.asked.far = everywhere<u8>(padded);
    std::fill(p.counts, p.counts + padded, 7u);
    return p;
}

template <class T> static bool same(const T* a, const T* b, size_t count) { return !std::memcmp(a, b, count * sizeof *a); }

#if ALIKE
// Steps that four queries share, where these are alike, and codes that are as near as a step lets them be.
static int alike(const Queries& given, const float* directions)
{
    Queries p = given;
    p.padded = 256;
    p = room_for(p);
    p.codes = everywhere<u8>(256 * WIDTH);
    kernel = [&] { prepare_queries(p); };
    launch(p.padded / 8, 256);
    kernel = [&] { rotate_few(p.flat, directions, p.rotated); };
    launch(p.padded / EIGHT, 256, FULL / 8);
    kernel = [&] { encode_queries(p); };
    launch(p.padded / 8, 256);
    int same = 0, others = 0;
    for (i64 i = 0; i < p.padded; ++i) {
        if (p.asked.far[i]) {
            if (p.asked.steps[i] != 0 || p.asked.limits[i] != -infinite()) return 4;
            continue;
        }
        const float step = p.asked.steps[i] / 2, *z = p.rotated + i * FULL;
        double missed2 = 0;
        for (int j = 0; j < WIDTH; ++j) {
            const int code = (signed char)reinterpret_cast<const u8*>(place(p.codes, i, j / SLICE, j % SLICE / 4))[j % 4];
            const double left = (WIDTH < FULL && j == WIDTH - 1 ? p.asked.tails[i] : z[j]) - (double)step * code;
            if (!(std::fabs(left) <= step * 0.501)) return 5;
            missed2 += left * left;
        }
        if (!(p.asked.errors[i] >= std::sqrt(missed2) * (1 - 1e-5))) return 6;
        float least = infinite(), most = 0;
        for (const int other : {0, 8, 64, 72}) {
            const i64 at = (i & ~72) + other;
            if (!p.asked.far[at]) least = min(least, p.asked.steps[at]), most = max(most, p.asked.steps[at]);
        }
        if (least == most) ++same;
        else ++others;
    }
    return same && (others || METRIC) ? 0 : 7;  // as others have it, all are of one length
}
#endif

int main(int, char** given)
{
    const i64 count = atoi(given[1]), dim = atoi(given[2]), wide = atoi(given[3]), padded = (count + 15) / 16 * 16;
    std::mt19937 draw(atoi(given[4]));
    std::normal_distribution<double> normal;
    double *centre = everywhere<double>(dim), *queries = everywhere<double>(count * dim);
    float *narrow = (float*)queries, *directions = everywhere<float>(FULL * FULL);
    for (int j = 0; j < dim; ++j) centre[j] = normal(draw);
    for (int i = 0; i < count * dim; ++i) {
        const double x = i / dim == 2 ? 0 : normal(draw) * (i / dim == 1 ? 1e30 : i / dim % 16 == 3 ? 50 : 1);  // one query is too far, one has no length
        if (wide) queries[i] = x;
        else narrow[i] = (float)x;
    }
    for (int i = 0; i < FULL * FULL; ++i) directions[i] = (float)normal(draw) / 20;
    Queries p = {};
    p.given = queries, p.wide = wide, p.count = count, p.padded = padded, p.map = {centre, 0.25, 9, 0x1p-18, dim};
#if ALIKE
    return alike(p, directions);
#endif
    const Queries many = room_for(p), few = room_for(p);
    u32* done = everywhere<u32>(padded / EIGHT);
    in_turn = true;
    kernel = [&] { prepare_queries(many); };
    launch(padded / 8, 256);
    kernel = [&] { rotate_few(many.flat, directions, many.rotated); };
    launch(padded / EIGHT, 256, FULL / 8);
    kernel = [&] { encode_queries(many); };
    launch(padded / 8, 256);
    kernel = [&] { take_few(few, directions, done); };
    launch(padded / EIGHT, 32 * EIGHT, FULL / EIGHT);
    const Asked &a = many.asked, &b = few.asked;
    const bool right = same(many.values, few.values, count * dim) && same(many.norms, few.norms, padded) && same(many.own2, few.own2, padded) &&
                       same(many.rotated, few.rotated, padded * FULL) && same(many.codes, few.codes, 128 * WIDTH) &&
                       same(many.counts, few.counts, padded) && same(a.lengths2, b.lengths2, padded) && same(a.errors, b.errors, padded) &&
                       same(a.bases, b.bases, padded) && same(a.gains, b.gains, padded) && same(a.blurs, b.blurs, padded) &&
                       same(a.bars, b.bars, padded) && same(a.steps, b.steps, padded) && same(a.limits, b.limits, padded) &&
                       same(a.coefficients, b.coefficients, padded) && same(a.starts, b.starts, padded) && same(a.tails, b.tails, padded) &&
                       same(a.far, b.far, padded);
    if (!right || std::any_of(done, done + padded / EIGHT, [](u32 one) { return one != 0; })) return 1;
    bool told = false;
    for (int i = 0; i < 128 * WIDTH; ++i) told |= few.codes[i];
    // sums of 64 queries, however few are anybody's, in another order
    float *flat = everywhere<float>(64 * FULL), *turned = everywhere<float>(64 * FULL);
    std::copy(many.flat, many.flat + padded * FULL, flat);
    kernel = [&] { rotate_some(flat, directions, turned); };
    for (int i = 0; i < 2; ++i, late = true) {
        launch(1, 128, FULL / 32);
        for (i64 at = 0; at < 64 * FULL; ++at) {
            const float *x = flat + at / FULL * FULL, *direction = directions + at % FULL * FULL;
            double sum = 0, size = 0;
            for (int j = 0; j < FULL; ++j) sum += (double)x[j] * direction[j], size += std::fabs((double)x[j] * direction[j]);
            if (!(std::fabs(turned[at] - sum) <= size * FULL * 0x1p-24)) return 3;
            turned[at] = NAN;
        }
    }
    if (!told || few.asked.far[0] || !few.asked.far[count]) return 2;
}
