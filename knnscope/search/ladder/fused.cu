// The body of an elementwise kernel: `i` is the row. In one pass, as one would write it first.
float sum = 0;
for (int j = 0; j < dim; ++j) {
    const float difference = rows[(size_t)i * dim + j] - query[j];
    sum += difference * difference;
}
distance = sqrtf(sum);
