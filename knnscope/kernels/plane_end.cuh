// The end of a search by the plane (exact_plane.cu): what a threshold leaves is computed as defined, blocks tell what they have found, one of them ranks.

constexpr int TEAM = 4, TEAMS = WARPS / TEAM;  // warps that compute a row together, and rows at once
constexpr int ROUNDS = 3;                                           // of teams, up to which they are faster than a warp a row

// What a block tells of a query: the smallest key that was looked at and not computed, at least, and the smallest bound left out; counts of what was
// looked at and computed, and errors; hits. Errors as in Told, and 8: there are more hits.
struct __align__(16) Word { u64 value; u32 more, none; };

// What all blocks have found of a query, as the one that ranks adds it up.
struct Found { u64 skipped; u32 least, candidates, computed, errors, hits; };

// What the warps of a block share.
struct Shared {
    Asked asked[TOGETHER];
    Lengths lengths[TOGETHER];
    Word words[TOGETHER][KINDS];
    Chain<TEAM> chains[TEAMS];
    Chain<MEETING> length;  // of cosine
    u32 minima[TOGETHER][SCANNING], rows[TOGETHER][SCANNING];
    int biases[2 * TOGETHER], waiting, near;
    u32 hits[TOGETHER], lost, number, early;
    int deviations[TEAM];
    Found found[TOGETHER];
    __device__ __forceinline__ u64& skipped(int query) { return words[query][0].value; }
    __device__ __forceinline__ u32& least(int query) { return words[query][0].more; }
    __device__ __forceinline__ u32& candidates(int query) { return reinterpret_cast<u32*>(&words[query][1].value)[0]; }
    __device__ __forceinline__ u32& computed(int query) { return reinterpret_cast<u32*>(&words[query][1].value)[1]; }
    __device__ __forceinline__ u32& errors(int query) { return words[query][1].more; }
};

// Rows that wait for their values.
struct Queue { u32 rows[QUEUE]; float bounds[QUEUE]; u16 near[QUEUE]; u8 query[QUEUE]; };

// Nothing is known yet.
__device__ __forceinline__ void begin_counts(Shared& own_block)
{
    if (threadIdx.x < TOGETHER * KINDS) {
        const int kind = threadIdx.x % KINDS;
        own_block.words[threadIdx.x / KINDS][kind] = {kind == 0 ? LAST : 0, kind == 1 ? 0 : ALL, 0};
    }
    if (threadIdx.x < TOGETHER) own_block.hits[threadIdx.x] = 0, own_block.found[threadIdx.x] = {LAST, ALL, 0, 0, 0, 0};
    if (threadIdx.x == 0) own_block.waiting = own_block.near = 0;
    if (threadIdx.x < TEAMS * TEAM) own_block.chains[threadIdx.x / TEAM].deviations[threadIdx.x % TEAM] = own_block.deviations[threadIdx.x % TEAM];
}

// A row whose value is known, by one thread: whether it is where its bound says.
__device__ __forceinline__ void check(Shared& own_block, int query, float bound, const uint2& side, double value)
{
    const Asked& asked = own_block.asked[query];
    const double as_bound = plane_limit(key_of(value), asked.alpha, asked.beta);
    if (!isnan(value) && (!(bound <= as_bound + 0x1p-100) || !is_near(asked, side, bound, (float)as_bound))) atomicOr(&own_block.errors(query), 2u);
}

// The same, by another: a hit, unless it is beyond the limit.
__device__ __forceinline__ void keep(const Plane& p, Shared& own_block, int query, u32 row, double value)
{
    const Asked& asked = own_block.asked[query];
    const double key = key_of(value);
    atomicAdd(&own_block.computed(query), 1u);
    if (isnan(value)) atomicOr(&own_block.errors(query), 1u);
    else if (is_beyond(key, asked)) atomicMin(&own_block.skipped(query), ordered(key));
    else {
        const u32 at = atomicAdd(&own_block.hits[query], 1u);
        if (at < SLOTS) own_block.words[query][2 + at] = {ordered(key), row, 0};
        else {
            const u32 place = atomicAdd(&p.state->hits[own_block.number & 1][query], 1u);
            if (place < HITS) p.hit_keys[query * HITS + place] = ordered(key), p.hit_rows[query * HITS + place] = row;
            atomicOr(&own_block.errors(query), 8u);
        }
    }
}

// Rows of some steps of bounds, by the warp that has written them, that a threshold leaves; the smallest bound of the others is kept.
__device__ __forceinline__ void gather(const Plane& p, Shared& own_block, const float* bounds, int query, int begin, int end, Queue& queue)
{
    const int lane = threadIdx.x & 31, own = threadIdx.x >> 5;
    const i64 warp = own * p.blocks + blockIdx.x, warps = p.blocks * SCANNING;
    const float limit = own_block.asked[query].limit;
    const float* from = bounds + query * p.place + own * p.steps * STEP;
    const bool short_of = warp + (p.steps - 1) * warps >= (p.count + STEP - 1) / STEP;  // a warp has as many steps as the others, or one less
    const int last = STEP * min(end, p.steps - short_of);
    float rest = infinite();
    auto add = [&](int at, float bound) {
        if (bound == infinite()) return;
        const int place = atomicAdd(&own_block.waiting, 1);
        if (place >= QUEUE) return;
        queue.rows[place] = (u32)((warp + at / STEP * warps) * STEP + at % STEP);
        queue.bounds[place] = bound, queue.query[place] = (u8)query;
    };
    auto pass = [&](auto batch) {  // so many are on their way
        constexpr int BATCH = decltype(batch)::VALUE;
#pragma unroll 1
        for (int first = STEP * begin + 4 * lane; first < last; first += 128 * BATCH) {
            u32 some_near = 0;
            float4 some[BATCH];
            UNROLL for (int b = 0; b < BATCH; ++b)
                some[b] = first + 128 * b < last ? *reinterpret_cast<const float4*>(from + first + 128 * b) : make_float4(infinite(), infinite(), infinite(), infinite());
            UNROLL for (int b = 0; b < BATCH; ++b) {
                const float nearest = fminf(fminf(some[b].x, some[b].y), fminf(some[b].z, some[b].w));
                if (!(nearest <= limit)) rest = fminf(rest, nearest);
                else some_near |= 1u << b;
            }
#pragma unroll 1
            for (; some_near; some_near &= some_near - 1) {
                const int four = first + 128 * (__ffs(some_near) - 1);
#pragma unroll 1
                for (int at = four; at < four + 4; ++at) {
                    const float bound = from[at];
                    if (!(bound <= limit)) rest = fminf(rest, bound);
                    else add(at, bound);
                }
            }
        }
    };
    if (p.bounds) pass(Number<4>());
    else pass(Number<1>());
    const u32 least = warp_least(rest < infinite() ? ordered(rest) : ALL);
    if (lane == 0 && least != ALL) atomicMin(&own_block.least(query), least);
}

// What a threshold leaves of the bounds of a block is computed, by all its warps.
__device__ __forceinline__ void finish(const Plane& p, Shared& own_block, const double* queries, const float* bounds, Queue& queue, double* terms)
{
    const int lane = threadIdx.x & 31, own = threadIdx.x >> 5;
    const int steps = p.steps;
    int span = steps;
    for (int begin = 0; begin < steps;) {
        const int end = min(begin + span, steps);
        for (int query = 0; query < asked_by(p) && own < SCANNING; ++query) gather(p, own_block, bounds, query, begin, end, queue);
        __syncthreads();
        const int count = own_block.waiting;
        const bool again = count > QUEUE;                                  // again: fewer at a time
        const bool at_once = count <= (MANY_DOUBLES ? TEAMS : WARPS);     // else a look at each leaves few of them
        if (!again && !at_once) {
            for (int i = own; i < count; i += WARPS) {
                const int query = queue.query[i];
                const u32 row = queue.rows[i];
                const Asked& asked = own_block.asked[query];
                const bool many = (own_block.errors(query) & 8u) && *reinterpret_cast<volatile u32*>(&p.state->hits[own_block.number & 1][query]) > HITS;
                if (__any_sync(ALL, many)) continue;  // all rows have to answer it; a lane may see the last hit before another does
                const uint2 side = side_of(p, row);
                double least, most;
                about(p, row, queries + query * p.dim, asked.defined, least, most);
                if (lane) continue;
                if (!is_near(asked, side, queue.bounds[i], (float)plane_limit(least, asked.alpha, asked.beta))) atomicOr(&own_block.errors(query), 2u);
                if (is_beyond(least, asked)) atomicMin(&own_block.skipped(query), ordered(least));  // where it is no number it is computed
                else queue.near[atomicAdd(&own_block.near, 1)] = (u16)i;
            }
            __syncthreads();
        }
        const int some = again ? 0 : at_once ? count : own_block.near;
        const bool by_teams = MANY_DOUBLES && some <= TEAMS * ROUNDS;
        const int team = own / TEAM, member = own % TEAM;
        for (int first = 0; first < some; first += by_teams ? TEAMS : WARPS) {
            const int n = first + (by_teams ? team : own);
            const bool there = n < some && (!by_teams || team < TEAMS);
            const int i = !there ? 0 : at_once ? n : queue.near[n], query = there ? queue.query[i] : 0;
            const i64 row = there ? queue.rows[i] : 0;
            uint2 side = side_early(p, row);
            const double* q = queries + query * p.dim;
            const double length = METRIC == 2 ? own_block.asked[query].defined : 0;
            double value = 0;
            if (by_teams) {
                const Cell* x = p.rows + row * p.dim;
                const double norm = METRIC == 2 ? p.row_norms[row] : 0;
                auto fetch = [&](int j) { return __ldg(x + j); };
                auto term_of = [&](Cell cell, int j) { return term(wide(cell), q[j]); };
                double* own_terms = terms + own / TEAM * TEAM * CHUNK;
                Chain<TEAM>& chain = own_block.chains[min(team, TEAMS - 1)];
                value = sum_in_order<TEAM>(p.dim, fetch, term_of, own_terms, chain, member, there, first > 0, [] { __syncthreads(); });
                value = value_of(value, norm, length);
            } else if (there) value = value_by_warp(p, row, q, length, terms + own * CHUNK);
            needed_from_here(side);
            if (!there || lane) continue;
            if (!by_teams || member == 0) keep(p, own_block, query, (u32)row, value);
            if (!by_teams || member == 1) check(own_block, query, queue.bounds[i], side, value);
        }
        if (!again) for (int i = threadIdx.x; i < count; i += THREADS) atomicAdd(&own_block.candidates(queue.query[i]), 1u);
        __syncthreads();
        begin = again ? begin : end, span = again ? 1 : span;
        if (begin == steps) break;
        if (threadIdx.x == 0) own_block.waiting = own_block.near = 0;
        __syncthreads();
    }
}

// What was learned of sums, for the next search: by whichever block comes last.
__device__ __forceinline__ void keep_deviations(const Plane& p, const Shared& own_block)
{
    const int who = threadIdx.x;
    if (who && who < TEAM && own_block.chains[0].deviations[who] != own_block.deviations[who])
        *static_cast<volatile int*>(&p.state->deviations[who - 1]) = own_block.chains[0].deviations[who];
}

// What a block has found of a query, by one warp.
__device__ __forceinline__ void report(const Plane& p, const Shared& own_block, int query)
{
    const int kind = threadIdx.x & 31;
    if (kind >= KINDS) return;
    const Word word = own_block.words[query][kind];
    const u32 lost = kind == 1 && own_block.lost ? 4u : 0u;
    tell(p.reports + (query * KINDS + kind) * p.blocks + blockIdx.x, word.value, word.more | lost, own_block.number);
}

// The smallest of a warp.
__device__ __forceinline__ u64 warp_least(u64 x)
{
    const u32 upper = warp_least((u32)(x >> 32)), lower = warp_least((u32)(x >> 32) == upper ? (u32)x : ALL);
    return (u64)upper << 32 | lower;
}

// Reports of all blocks, by one of them: what they come to, and hits. A warp has one kind of words at a time, of half the blocks.
__device__ __forceinline__ void collect(const Plane& p, Shared& own_block, u64* keys, i64* names)
{
    constexpr int GROUPS = 8, EACH = GROUPS / 2;  // GROUPS: of 32 blocks
    const int lane = threadIdx.x & 31, own = threadIdx.x >> 5;
    for (int task = own; task < asked_by(p) * KINDS * 2; task += WARPS) {
        const int query = ALONE ? 0 : task / (2 * KINDS), kind = task / 2 % KINDS;
        Found& found = own_block.found[query];
        ulonglong2 words[EACH];
        auto block_of = [&](int i) { return (task % 2 + 2 * i) * 32 + lane; };
        await_words<64>(words, p.reports + (query * KINDS + kind) * p.blocks + block_of(0), [&](int i) { return block_of(i) < p.blocks; }, own_block.number, own_block.lost);
        if (kind == 0) {
            u32 least = ALL;
            u64 skipped = LAST;
            UNROLL for (int i = 0; i < EACH; ++i)
                if (block_of(i) < p.blocks) least = min(least, (u32)words[i].y), skipped = min(skipped, words[i].x);
            least = warp_least(least), skipped = warp_least(skipped);
            if (lane == 0) atomicMin(&found.least, least), atomicMin(&found.skipped, skipped);
        } else if (kind == 1) {
            int candidates = 0, computed = 0;
            u32 errors = 0;
            UNROLL for (int i = 0; i < EACH; ++i)
                if (block_of(i) < p.blocks) candidates += (int)words[i].x, computed += (int)(words[i].x >> 32), errors |= (u32)words[i].y;
            candidates = warp_sum(candidates), computed = warp_sum(computed);
            if (lane == 0) atomicAdd(&found.candidates, (u32)candidates), atomicAdd(&found.computed, (u32)computed);
            if (errors) atomicOr(&found.errors, errors);
        } else {
            u32 told = 0;
            UNROLL for (int i = 0; i < EACH; ++i) told |= (block_of(i) < p.blocks && (u32)words[i].y != ALL) << i;
            if (!__any_sync(ALL, told)) continue;
            UNROLL for (int i = 0; i < EACH; ++i) {
                if (!(told >> i & 1)) continue;
                const u32 at = atomicAdd(&found.hits, 1u);
                if (at < FEW_HITS) keys[query * FEW_HITS + at] = words[i].x, names[query * FEW_HITS + at] = name_of(p, (u32)words[i].y);
            }
        }
    }
}

// What the host is told of a query.
__device__ __forceinline__ void tell_host(const Plane& p, const Shared& own_block, int query)
{
    const Asked& asked = own_block.asked[query];
    const Found& found = own_block.found[query];
    p.told[query] = {asked.alpha, asked.beta, found.skipped, found.least, found.candidates, found.computed, (found.errors & 7u) | (asked.far || own_block.lost ? 4u : 0u)};
}

// The hits of every query in order, and what the host is told; by one block. ``keys``, ``names``: HITS each.
__device__ __forceinline__ void rank(const Plane& p, Shared& own_block, u64* keys, i64* names)
{
    const int lane = threadIdx.x & 31, own = threadIdx.x >> 5;
    State& state = *p.state;
    collect(p, own_block, keys, names);
    __syncthreads();
    auto write = [&](int query, int place, u64 key, i64 name) {
        const double found = key == LAST ? endless() : key_from(key);
        p.values[query * p.k + place] = METRIC ? 0.0 - found : found;
        p.ids[query * p.k + place] = name;
    };
    auto is_few = [&](int query) { return own_block.found[query].hits <= FEW_HITS && !(own_block.found[query].errors & 8u); };
    if (threadIdx.x == THREADS - 1) state.number = own_block.number;
    // Of the next search: nobody adds to them now, and a block that nobody has waited for adds to those of this one.
    if (threadIdx.x < TOGETHER) state.hits[(own_block.number + 1) & 1][threadIdx.x] = 0;
    for (int query = 0; query < asked_by(p); ++query) {
        if (!is_few(query)) continue;
        if (threadIdx.x == THREADS - 1) tell_host(p, own_block, query);
        const int few = (int)own_block.found[query].hits, first = query * FEW_HITS;
#pragma unroll 1
        for (int i = own; i < few; i += WARPS) {  // a warp counts who is before a hit
            const u64 key = keys[first + i];
            const i64 name = names[first + i];
            int before = 0;
#pragma unroll 1
            for (int o = lane; o - lane < few; o += 32)
                before += __popc(__ballot_sync(ALL, o < few && (keys[first + o] < key || (keys[first + o] == key && names[first + o] < name))));
            if (lane == 0 && before < p.k) write(query, before, key, name);
        }
        for (int i = few + threadIdx.x; i < p.k; i += THREADS) write(query, i, LAST, -1);
    }
    for (int query = 0; query < asked_by(p); ++query) {
        if (is_few(query)) continue;
        __threadfence();
        const int told = (int)own_block.found[query].hits, more = own_block.found[query].errors & 8u ? (int)__ldcg(&state.hits[own_block.number & 1][query]) : 0;
        const int many = min(told + more, HITS), size = power_from(many);
        __syncthreads();
        if (threadIdx.x == 0) own_block.waiting = 0;
        __syncthreads();
        auto add = [&](u64 key, i64 row) {
            const int at = atomicAdd(&own_block.waiting, 1);
            if (at < HITS) keys[at] = key, names[at] = name_of(p, row);
        };
        for (int i = threadIdx.x; i < SLOTS * p.blocks; i += THREADS) {
            const ulonglong2 word = look(p.reports + (query * KINDS + 2) * p.blocks + i);
            if ((u32)word.y != ALL) add(word.x, (u32)word.y);
        }
        for (int i = threadIdx.x; i < min(more, HITS); i += THREADS) add(__ldcg(p.hit_keys + query * HITS + i), __ldcg(p.hit_rows + query * HITS + i));
        for (int i = many + threadIdx.x; i < size; i += THREADS) keys[i] = LAST, names[i] = -1;
        sort_pairs(keys, names, size);
        for (int i = threadIdx.x; i < p.k; i += THREADS) write(query, i, i < many ? keys[i] : LAST, i < many ? names[i] : -1);
        if (threadIdx.x == 0) {
            if (told + more > HITS) own_block.found[query].errors |= 4u;
            tell_host(p, own_block, query);
        }
    }
}
