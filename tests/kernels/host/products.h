// Instructions of a warp that multiply and load matrices of bytes. It comes after cuda.h.

// m16n8k32 of bytes, as PTX says which lane holds which numbers.
struct Operands { unsigned a[4], b[2]; };
static void multiply(int (&sums)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1)
{
    among_warp(Operands{{a0, a1, a2, a3}, {b0, b1}}, [&](auto of) {
        const int lane = threadIdx.x % WARP;
        Bytes rows[2], columns[2];
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

// Addresses of 32 bits, counted from somewhere in this process.
static const char of_addresses = 0;
static unsigned address(const void* place) { return (unsigned)((const char*)place - &of_addresses + (1ll << 31)); }
static const char* at_address(unsigned from) { return &of_addresses + ((long long)from - (1ll << 31)); }

// ldmatrix, x4: lane i says where line i % 8 of matrix i / 8 begins, and has four bytes of line lane / 4 of each.
static void load_four(unsigned from, unsigned (&to)[4])
{
    among_warp(from, [&](auto of) {
        const int lane = threadIdx.x % WARP;
        for (int i = 0; i < 4; ++i) std::memcpy(&to[i], at_address(of(8 * i + lane / 4)) + lane % 4 * 4, 4);
        return 0;
    });
}
