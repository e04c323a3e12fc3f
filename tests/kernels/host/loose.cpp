// Compares single pairs as batch.cuh does, on the host: seed pairs. A limit is what set_bar of exact_rank.cu makes of a row's own bound, or is further away.
// Ends with 0 where each row below its limit is near, by both comparisons, and all are passed over whose bound is well above it.
#include "cuda.h"
#include "kernel.inc"

#ifdef __SIZEOF_FLOAT128__
typedef __float128 Exact;
#else
typedef long double Exact;  // as wide, where there is no other
#endif
static std::mt19937_64 draw;
static double between(double low, double high) { return std::uniform_real_distribution<double>(low, high)(draw); }
static float power(double low, double high) { return (float)std::exp2(between(low, high)); }
static double size(double x) { return std::fabs(x); }

int main(int, char** given)
{
    draw.seed(atoi(given[1]));
    const float ordinary = 1 << 21;
    long alike = 0, above = 0, passed = 0, least_left = 1 << 30, least_left_alike = 1 << 30;
    for (long pairs = atol(given[2]); pairs; --pairs) {
        const bool plain = draw() % 2, edge = draw() % 4 == 0, is_bare = draw() % 3 == 0;  // bare: the limit is so small that it is hardly wider
        const float s = power(-60, 30), step = s * (plain ? power(-1, 2) : power(-20, 20)), c = s * (plain ? power(0, 4) : power(-30, 20));
        int x = edge ? (draw() % 2 ? 1 : -1) * (2047 * 2047 - (int)(draw() % 9)) : (int)between(-2047 * 2047, 2047 * 2047);
        const double ratio = between(0.5, 40);
        // N in steps of this pair: as far as FITS and beyond, and as ip has them
        const float n = (float)(between(-0.01, 1) * power(0, draw() % 4 ? 24.5 : 44) * step * s);
        if (!(n < infinite()) || !(size(n / s) < infinite()) || step < 0x1p-99f) continue;
        const double balanced = (double)n / s / step - c * ratio / step;
        if (is_bare && size(balanced) < 2047 * 2047) x = (int)std::lround(balanced);
        float e = (float)(ratio * s);
        if (e > ratio * s) e = nextafterf(e, 0);
        const Exact bound = (Exact)n - (Exact)s * step * x - (Exact)c * e;
        const double own = (double)up((double)bound) + 1.01 * step * s, error = ratio * s;
        const float far = draw() % 4 ? 0 : (float)(power(0, 60) * step * s);  // how much further away
        const float limit = up(own + far + 0x1p-21 * (size(own + far) + error * error)), start = (float)(c * ratio * (1 + 0x1p-10) - (double)step * OFF);
        if (!((Exact)limit >= bound)) return 2;
        auto rooms = [&](float limit) {
            const Wanted wanted = wanted_of(step, start, limit);
            const float2 ratios = ratios_of(s, n);
            const bool fits = size(ratios.x) * wanted.inverse <= FITS;
            const int one = __viaddmax_s32(room_for_product(ratios, wanted), x, 0), two = __viaddmax_s32(own_room(ratios.x, wanted.inverse), x, 0);
            return std::array<long, 3>{(long)one - ENOUGH, (long)two - least_of(wanted, ratios.y), fits};
        };
        const auto [one, two, fits] = rooms(limit);
        least_left = min(least_left, one);
        if (fits) ++alike, least_left_alike = min(least_left_alike, two);
        if (one < 0 || (fits && two < 0)) return std::printf("a row is lost: x %d, s %a, N %a, 2 t %a, C %a, e / s %a: %ld, %ld of %ld\n", x, s, n, step, c, ratio, one, two, fits), 1;
        // Of what is ordinary, a limit 40 steps below is enough.
        if (!plain || !fits || x < 0 || c * ratio > ordinary * step) continue;
        const auto [three, four, still] = rooms((float)(double)(bound - (Exact)40 * step * s - (Exact)0x1p-21 * size((double)bound)));
        ++above, passed += three < 0 && four < 0;
    }
    // A number just below 0 is the least of all as a whole number, from which nothing may be taken.
    for (const float limit : {0x1p-149f, 0x1p-147f, 1.f})
        if (own_room(0, 1) < least_of({limit, 2 * OFF, 1}, 1)) return std::printf("a limit of %a lets no row in\n", limit), 1;
    const Wanted nobody = wanted_of(0, 0, -infinite()), unknown = wanted_of(0.5f, 0, -infinite());
    for (const Wanted& query : {nobody, unknown})
        for (const float ratio : {0.f, 3e38f, -1e30f, 1e-30f})
            for (const float inverse : {0.f, 1.f, 0x1p99f})
                if (own_room(ratio, inverse) + 2047 * 2047 >= least_of(query, 0x1p100f) && ratio * inverse >= -FITS) return std::printf("who wants no row has one\n"), 1;
    std::printf("left %ld, %ld of %ld; %ld of %ld passed over\n", least_left, least_left_alike, alike, passed, above);
    return alike > 1000 && above > 1000 && passed > above * 0.99 ? 0 : 2;
}
