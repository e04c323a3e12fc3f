// Runs exact_fallback.cu on threads of the host: rows k queries blocks seed levels dim in_turn. Ends with 0 where every answer is the definition's.
#include "cuda.h"
#include "fallback.inc"

int main(int, char** given)
{
    const int count = atoi(given[1]), k = atoi(given[2]), queries = atoi(given[3]), blocks = atoi(given[4]), levels = atoi(given[6]), dim = atoi(given[7]);
    in_turn = atoi(given[8]);
    std::mt19937 random(atoi(given[5]));
    float *rows = everywhere<float>(count * dim), *asked = everywhere<float>(queries * dim);
    for (int i = 0; i < count * dim; ++i) rows[i] = (int)(random() % levels);
    for (int i = 0; i < queries * dim; ++i) asked[i] = (int)(random() % levels);
    i64* names = everywhere<i64>(count);
    std::iota(names, names + count, 0), std::shuffle(names, names + count, random);
    u32 *errors = everywhere<u32>(queries), *done = everywhere<u32>(queries), *taken = everywhere<u32>(queries), *full = everywhere<u32>(blocks);
    for (int q = 0; q < queries; ++q) errors[q] = random() % max(2, queries / 8) ? 0 : 4;  // some of many, half of few
    const std::vector<u32> before(errors, errors + queries);
    double* values = everywhere<double>((size_t)queries * k);
    i64* ids = everywhere<i64>((size_t)queries * k);
    const Fallback p = {rows, nullptr, names, count, dim, asked, nullptr, 0, errors, 4, everywhere<u64>((size_t)blocks * k),
                    everywhere<i64>((size_t)blocks * k), full, taken, done, values, ids, 0, queries, k};
    kernel = [&] { fallback(p); };
    launch(blocks, THREADS);
    if (std::any_of(full, full + blocks, [](u32 one) { return one != 0; })) return 1;
    for (int q = 0; q < queries; ++q) {
        if (!before[q]) {
            if (errors[q]) return 1;
            continue;
        }
        std::vector<std::pair<double, i64>> all(count);
        for (int i = 0; i < count; ++i) {
            double sum = 0;
            for (int j = 0; j < dim; ++j) sum += ((double)rows[i * dim + j] - asked[q * dim + j]) * ((double)rows[i * dim + j] - asked[q * dim + j]);
            all[i] = {sum, names[i]};
        }
        std::sort(all.begin(), all.end());
        if (errors[q] != 8 || done[q] || taken[q]) return 1;
        for (int i = 0; i < k; ++i) {
            if (values[q * k + i] == all[i].first && ids[q * k + i] == all[i].second) continue;
            std::printf("query %d, neighbor %d: row %lld at %g, not %lld at %g\n", q, i, ids[q * k + i], values[q * k + i], all[i].second, all[i].first);
            return 1;
        }
    }
}
