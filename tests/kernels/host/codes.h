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

// Rows and queries that are drawn, what a scan of them is given, and what it must find.
struct Drawn {
    const int count, queries, tiles, padded;
    const Written rows, asked;
    std::vector<int> products;
    Batch p = {};
    // padded: queries with those that are nobody's. groups: of rows, of which the nearest is told.
    Drawn(int count, int queries, int padded, int groups)
        : count(count), queries(queries), tiles((count + ROWS - 1) / ROWS), padded(padded), rows(count, tiles * ROWS),
          asked(queries, max(padded, 128)), products((size_t)queries * count)
    {
        float* sides = everywhere<float>((size_t)tiles * SIDE);
        const float ratio = 3;
        float shared = 0;
        int kind = 0;
        About about = {};
        for (int row = 0; row < tiles * ROWS; ++row) {
            float* tile = sides + row / ROWS * SIDE;
            const int line = row % ROWS;
            const bool there = row < count;
            // Of five tiles two have rows that share s, two such that N / (2 t s) is too large for one number, above 0 or below, and one others.
            if (line == 0) kind = draw() % 5, shared = kind == 1 || kind == 4 ? 1e-5f : between(0.001f, 0.002f), about = {1 / shared, kind ? 0 : infinite()};
            tile[2 * line] = !there ? 0 : kind ? shared : between(0.001f, 0.002f), tile[2 * line + 1] = there ? kind == 4 ? between(-3, 0) : between(0, 3) : infinite();
            tile[2 * ROWS + line] = there ? between(0, ratio) * tile[2 * line] : 0;
            const float2 ratios = ratios_of(tile[2 * line], tile[2 * line + 1]);
            tile[RATIOS + ratio_at(line)] = ratios.x, tile[RATIOS + ROWS + ratio_at(line)] = ratios.y;
            if (there) about.largest = max(about.largest, fabsf(ratios.x));
            std::memcpy(tile + 5 * ROWS, &about, sizeof about);
        }
        p.codes = rows.codes, p.sides = sides, p.query_codes = asked.codes, p.count = count, p.queries = queries, p.room = count, p.groups_stride = groups;
        p.asked.steps = everywhere<float>(padded), p.asked.limits = everywhere<float>(padded);
        p.asked.starts = everywhere<float>(padded), p.asked.coefficients = everywhere<float>(padded);
        p.counts = everywhere<u32>(padded), p.hits = everywhere<int2>((size_t)padded * count), p.groups = everywhere<float2>((size_t)queries * groups);
        for (int query = 0; query < padded; ++query) {
            // Of four queries of a thread one has another t, now and then; of most warps, none.
            const int first = query & ~72;
            p.asked.steps[query] = query == first || ((first >> 4) % 3 == 1 && first % 3 == 0) ? between(0.02f, 0.04f) : p.asked.steps[first], p.asked.coefficients[query] = between(1, 2);
            p.asked.starts[query] = p.asked.coefficients[query] * ratio - p.asked.steps[query] * OFF;
            p.asked.limits[query] = query < queries ? between(-1, query % 8 ? 0 : 1) : -infinite();
        }
        for (int query = 0; query < queries; ++query)
            for (int row = 0; row < count; ++row)
                for (int k = 0; k < WIDTH; k += 32) products[(size_t)query * count + row] += inner(*(const Bytes*)(rows[row] + k), *(const Bytes*)(asked[query] + k));
        // Of every second query one row of some tile is near, and hardly another one: a thread passes on all of its rows where one is.
        for (int query = 1; query < queries; query += 2) {
            const int first = (int)(draw() % tiles) * ROWS, last = min(first + ROWS, count);
            float least = infinite();
            for (int row = first; row < last; ++row) least = min(least, bound(query, row));
            p.asked.limits[query] = least + 0.002f;
        }
    }
    int product(int query, int row) const { return products[(size_t)query * count + row]; }
    float part(int query, int row) const
    {
        const float4 side = side_of(p.sides, row);
        return part_of_bound(product(query, row) + ZERO, side.x, side.y, p.asked.steps[query]);
    }
    float bound(int query, int row) const { return fmaf(-p.asked.coefficients[query], side_of(p.sides, row).z, part(query, row)); }
    // Two passes, each over a part of the rows: as ``hits_failed``.
    template <class Launch> int scans_failed(Launch scan)
    {
        const int cut = tiles / 2;
        p.first = 0, p.last = cut, scan();
        p.first = cut, p.last = tiles, scan();
        return hits_failed();
    }
    // After a pass over all rows: 0 where every hit is right, and every row that is near is a hit.
    int hits_failed() const
    {
        long kept = 0;
        for (int query = 0; query < padded; ++query) {
            if (query >= queries && p.counts[query]) return failed("a hit of nobody", query, 0);
            if (query >= queries) continue;
            std::vector<char> hit(count);
            for (u32 i = 0; i < p.counts[query]; ++i) {
                const int2 one = p.hits[(size_t)query * count + i];
                if (one.x < 0 || one.x >= count || hit[one.x]) return failed("a hit is no row, or twice there", query, one.x);
                if (one.y != product(query, one.x)) return failed("a product is wrong", query, one.x);
                hit[one.x] = 1;
            }
            for (int row = 0; row < count; ++row) {
                const float4 side = side_of(p.sides, row);
                const float bound = this->bound(query, row), limit = p.asked.limits[query];
                if (hit[row] && !(bound <= limit)) return failed("a hit is not below the limit", query, row);
                if (!hit[row] && bound <= limit - 1.01f * p.asked.steps[query] * side.x - 0x1p-20f * (fabsf(limit) + 1)) return failed("a row is lost", query, row);  // set_bar
                kept += hit[row];
            }
        }
        return !kept || kept == (long)queries * count ? failed("limits that tell nothing", 0, (int)kept) : 0;
    }
};
