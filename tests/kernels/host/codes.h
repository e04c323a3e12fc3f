// Codes that are drawn, and written where exact_codes.cu writes them (place). It comes after kernel.inc.
static std::mt19937 draw;
static float between(float low, float high) { return std::uniform_real_distribution<float>(low, high)(draw); }

// Codes of some vectors: as they are, and as they lie.
struct Written {
    std::vector<signed char> plain;
    u8* codes;
    Written(int count, int room) : plain((size_t)room * WIDTH), codes(everywhere<u8>((size_t)room * WIDTH))
    {
        for (int i = 0; i < count * WIDTH; ++i) plain[i] = (int)(draw() % 101) - 50;
        for (int i = 0; i < room; ++i)
            for (int slice = 0; slice < SLICES; ++slice)
                for (int lane = 0; lane < 32; ++lane) std::memcpy(place(codes, i, slice, lane), &plain[(size_t)i * WIDTH + slice * SLICE + 4 * lane], 4);
    }
    const signed char* operator[](int i) const { return &plain[(size_t)i * WIDTH]; }
};

static int failed(const char* what, int query, int row)
{
    std::printf("%s: query %d, row %d\n", what, query, row);
    return 1;
}
