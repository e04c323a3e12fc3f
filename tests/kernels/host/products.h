// Instructions of a warp that multiply and load matrices of bytes. It comes after cuda.h.

// m16n8k32 of bytes, as PTX says which lane holds which numbers.
struct Operands { unsigned a[4], b[2]; };
template <class Left> static void multiply_bytes(int (&sums)[4], const Operands& own)
{
    among_warp(own, [&](auto of) {
        const int lane = threadIdx.x % WARP;
        Left rows[2][32];
        Bytes columns[2];
        for (int i = 0; i < 2; ++i)
            for (int word = 0; word < 8; ++word) {
                const Operands left = of(lane / 4 * 4 + word % 4), right = of((lane % 4 * 2 + i) * 4 + word % 4);
                std::memcpy(rows[i] + 4 * word, &left.a[i + 2 * (word / 4)], 4);
                std::memcpy(columns[i] + 4 * word, &right.b[word / 4], 4);
            }
        for (int c = 0; c < 4; ++c) sums[c] += inner(rows[c / 2], columns[c % 2]);
        return 0;
    });
}
static void multiply(int (&sums)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1)
{
    multiply_bytes<signed char>(sums, {{a0, a1, a2, a3}, {b0, b1}});
}
static void multiply_unsigned(int (&sums)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1)
{
    multiply_bytes<unsigned char>(sums, {{a0, a1, a2, a3}, {b0, b1}});
}

// Addresses of 32 bits, in the shared memory that a launch has.
static unsigned address(const void* place)
{
    const size_t at = (const char*)place - shared_memory;
    if (at >= shared_bytes) _exit(8);
    return (unsigned)at;
}
static const char* at_address(unsigned from) { return shared_memory + from; }

// ldmatrix, x4: lane i says where line i % 8 of matrix i / 8 begins, and has four bytes of line lane / 4 of each.
static void load_four(unsigned from, unsigned (&to)[4])
{
    among_warp(from, [&](auto of) {
        const int lane = threadIdx.x % WARP;
        for (int i = 0; i < 4; ++i) std::memcpy(&to[i], at_address(of(8 * i + lane / 4)) + lane % 4 * 4, 4);
        return 0;
    });
}
