// A query's numbers as plane.cuh makes them, held against plane_bound.py in long double: none is below what the proof needs. It comes after plane_data.h.
#pragma once

struct Numbers { Asked asked; float t; signed char high[LEADING], low[LEADING]; int biases[2]; };

// query: as float64. own: its number, for what is known of it.
static Numbers* numbers_of(const Plane& p, const double* query, int own, const float* flat, const float* rotated)
{
    Numbers* made = everywhere<Numbers>(1);
    kernel = [&] {
        u64 words[LEADING / 32];
        for (int i = 0; i < LEADING / 32; ++i) words[i] = __float_as_uint(rotated[32 * i + threadIdx.x]);
        const Lengths lengths = lengths_of(p, query);
        write_errors(METRIC ? reach_of(p, lengths.own2) : reach_of(p, flat), words, made->asked);
        const float t = step_of(words);
        write_digits(words, t, made->asked.step, made->high, made->low, made->biases);
        if (threadIdx.x) return;
        made->t = t;
        complete(p, t, lengths, made->asked);
        made->asked.limit = limit_of(p, made->asked, own, ALL);
    };
    launch(1, WARP);
    return made;
}

// 0 where all are large enough. key: the k-th that is known, or endless.
static int judge_numbers(const Plane& p, const double* query, int own, double key)
{
    typedef long double Long;
    const int dim = p.dim;
    Long length2 = 0, cross = 0, own2 = 0, leading2 = 0, missed2 = 0;
    for (int j = 0; j < dim; ++j) length2 += (Long)query[j] * query[j], cross += (Long)p.centre[j] * query[j];
    float *flat = everywhere<float>(FULL), *rotated = everywhere<float>(LEADING);
    const Long length = std::sqrt(length2);
    for (int j = 0; j < dim; ++j) {
        const Long x = METRIC ? query[j] / length : ((Long)query[j] - p.centre[j]) * p.scaling;
        own2 += x * x, flat[j] = (float)x;
        for (int i = 0; i < LEADING; ++i) rotated[i] += flat[j] * p.directions[i * FULL + j];
    }
    const Numbers& made = *numbers_of(p, query, own, flat, rotated);
    const Asked& asked = made.asked;
    int sums[2] = {0, 0};
    for (int i = 0; i < LEADING; ++i) {
        const Long missed = rotated[i] - (Long)made.t * (254 * made.high[i] + made.low[i]);
        if (std::fabs(missed) > 0.51L * made.t) return std::printf("component %d is %Lg steps off\n", i, missed / made.t), 1;
        leading2 += (Long)rotated[i] * rotated[i], missed2 += missed * missed, sums[0] += made.high[i], sums[1] += made.low[i];
    }
    const Long astray = p.rho * std::sqrt(own2), leading = std::sqrt(leading2), surely = max(0.0L, leading - astray), h = std::sqrt(missed2) + astray;
    const Long known = leading + astray, rest = std::sqrt(max(0.0L, own2 - surely * surely));
    const Long largest = p.most_length2 + 2 * p.most_written * (known + h) + 2 * p.most_error * known + 2 * p.most_tail * rest;
    const Long shift = METRIC == 0 ? -own2 : asked.alpha * (METRIC == 2 ? cross / length : cross);
    const Long wanted[] = {known, rest, 2 * known, 2 * rest, shift + 2 * p.most_written * h + 8 * U * largest,
                           METRIC == 0 ? (Long)p.scaling * p.scaling : 0, key < endless() ? (Long)asked.alpha * key + asked.beta : -endless()};
    const double found[] = {asked.known, asked.rest, asked.error, asked.tail, asked.beta, asked.alpha, asked.limit};
    for (int i = 0; i < 7; ++i)
        if (!(found[i] >= wanted[i])) return std::printf("number %d of query %d is %a, not %La\n", i, own, found[i], wanted[i]), 1;
    for (int i = 0; i < 2; ++i) if (made.biases[i] != -120 * sums[i]) return std::printf("bias %d of query %d\n", i, own), 1;
    return 0;
}
