// Sums in the definition's order by a team of warps (chain.cuh), against one addition after another: program SEED CASES.
#include "cuda.h"

#include "kernel.inc"

#include <cstdlib>
#include <random>

constexpr int TEAM = 4;

static int ulps_apart(double a, double b)
{
    const long long apart = std::llabs(__double_as_longlong(a) - __double_as_longlong(b));
    return (int)std::min(apart, 1000ll);
}

int main(int count, char** given)
{
    std::mt19937_64 draw(std::atoi(given[1]));
    const int cases = std::atoi(given[2]), dims[] = {1, 3, 31, 33, 100, 128, 383, 384, 511, 512, 513, 1030, 1536};
    double *terms = everywhere<double>(2048), *found = everywhere<double>(TEAM * 32);
    int near = 0, far = 0;
    for (int number = 0; number < cases; ++number) {
        const int dim = dims[draw() % 13], kind = number % 6;
        for (int j = 0; j < dim; ++j) {
            const double x = std::normal_distribution<>()(draw), y = std::normal_distribution<>()(draw);
            terms[j] = kind == 0 ? x * x                                  // squares
                : kind == 1 ? x * y                                       // both signs
                : kind == 2 ? 1e8 * x                                     // and what takes it away again, below
                : kind == 3 ? (double)(int)(4 * x) * 0.5                  // few values: ties, zeros of both signs
                : kind == 4 ? std::ldexp(x * x, (int)(draw() % 200) - 100)  // all lengths
                : draw() % dim ? x : x > 0 ? endless() : x > -1 ? -endless() : 1.0 / 3;
        }
        double expected = 0, exact = 0;
        const int share = (std::min(dim, TEAM * CHUNK) + TEAM - 1) / TEAM;
        if (kind == 2) {  // what is left of a part is its roundings
            for (int first = 0; first + share <= dim; first += share) {
                for (int j = first; j + 1 < first + share; j += 2) terms[j + 1] = -terms[j];
                std::shuffle(terms + first, terms + first + share, draw);
            }
        }
        for (int j = 0; j < dim; ++j) {
            if (j && j < TEAM * share && j % share == 0 && !isnan(expected)) (ulps_apart(expected, exact) < 16 ? near : far) += 1;
            expected += terms[j];
            double part = 0;  // as a team guesses: sums of parts, each by itself and in another order
            if (j % share == share - 1) {
                for (int i = j; i > j - share; --i) part += terms[i];
                exact += part;
            }
        }
        kernel = [&] {
            __shared__ double room[TEAM * CHUNK];
            __shared__ Chain<TEAM> chain;
            if (threadIdx.x < TEAM) chain.deviations[threadIdx.x] = number % 7 - 3;  // whatever was learned
            __syncthreads();
            auto sum = [&](double sign, bool again) {
                return sum_in_order<TEAM>(dim, [&](int j) { return terms[j]; }, [&](double x, int) { return sign * x; }, room, chain, threadIdx.x / 32, true, again, [] { __syncthreads(); });
            };
            sum(-1, false);
            found[threadIdx.x] = sum(1, true);
        };
        launch(1, TEAM * 32);
        for (int i = 0; i < TEAM * 32; ++i) {
            if (isnan(expected) && isnan(found[i])) continue;
            if (__double_as_longlong(expected) != __double_as_longlong(found[i])) {
                std::printf("case %d, %d terms of kind %d, thread %d: %.17g instead of %.17g\n", number, dim, kind, i, found[i], expected);
                return 1;
            }
        }
    }
    // Squares of differences of float32 numbers: sums in order are mostly rounded down. After some rows it is known by how much.
    Chain<TEAM>& kept = *everywhere<Chain<TEAM>>(1);
    std::fill_n(kept.deviations, TEAM, 0);
    int missed = 0, first_missed = 0, parts = 0;
    for (int number = 0; number < 100; ++number) {
        const int dim = 384, share = dim / TEAM;
        double starts[TEAM] = {}, sum = 0;
        for (int j = 0; j < dim; ++j) {
            if (j % share == 0) starts[j / share] = sum;
            const double spread = std::pow(j + 1, -0.4);  // as components of texts have it
            auto component = [&] { return (double)(float)(0.3 + spread * std::normal_distribution<>(0, 0.8)(draw)); };
            const double apart = component() - component();
            terms[j] = apart * apart;
            sum += terms[j];
        }
        kernel = [&] {
            __shared__ double room[TEAM * CHUNK];
            found[threadIdx.x] = sum_in_order<TEAM>(dim, [&](int j) { return terms[j]; }, [](double x, int) { return x; }, room, kept, threadIdx.x / 32, true, false, [] { __syncthreads(); });
        };
        launch(1, TEAM * 32);
        if (found[0] != sum) return std::printf("row %d: %.17g instead of %.17g\n", number, found[0], sum), 3;
        for (int who = 1; who < TEAM; ++who) {
            const int miss = (u64)(__double_as_longlong(starts[who]) - kept.starts[who]) >= 32;
            (number < 10 ? first_missed : missed) += miss, parts += number >= 10;
        }
    }
    if (missed * 20 > parts || !first_missed) {
        std::printf("of %d starts %d are missed, of the first thirty %d\n", parts, missed, first_missed);
        return 4;
    }
    if (near < cases / 4 || far < cases / 10) {
        std::printf("%d starts are near what is guessed, %d are not\n", near, far);
        return 2;
    }
    return 0;
}
