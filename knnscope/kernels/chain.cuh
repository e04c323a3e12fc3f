// A sum in the definition's order by several warps at once. It comes after about.cuh.
//
// Additions one after another take ten cycles each. So each warp of a team adds a part of the terms, and each of its lanes starts from another
// one of 32 float64 numbers side by side: about what the parts before come to. Is the true sum of those among them, to the last bit, then the true end
// is among theirs; else the part is added once more. Nothing is assumed of the terms.
//
// Where sums end up beside what they come to in another order is much alike from row to row, and not around zero: the square of an odd number leaves 1
// when it is divided by 8, so what is rounded away of squares is mostly rounded down. So it is learned.

#if __CUDA_ARCH__ == 800 || __CUDA_ARCH__ == 900 || __CUDA_ARCH__ == 1000
constexpr bool MANY_DOUBLES = true;   // a multiprocessor adds as many float64 numbers at once as half its float32 ones
#else
constexpr bool MANY_DOUBLES = false;
#endif

// deviations: of each part's start from its guess, in units of its last bit; what was learned before, or 0.
template <int TEAM> struct Chain { double parts[TEAM], ends[TEAM][32]; i64 starts[TEAM]; int deviations[TEAM]; };
constexpr int LEARNED = 4, MOST_DEVIATION = 64;  // a fourth of what a start was missed by is learned at once, where it is no more than that

// All warps that ``sync`` waits for take part. fetch: of a component what its term is made of; term_of: of that, and the component; terms:
// (TEAM, CHUNK); there: whether this team has a sum to make; again: whether terms of the sum before may still be read.
template <int TEAM, typename Fetch, typename Term, typename Sync>
__device__ __forceinline__ double sum_in_order(int dim, Fetch fetch, Term term_of, double* terms, Chain<TEAM>& chain, int member, bool there, bool again, Sync sync)
{
    const int lane = threadIdx.x & 31;
    double total = 0;
    for (int first = 0; first < dim; first += TEAM * CHUNK) {
        const int width = min(dim - first, TEAM * CHUNK), share = (width + TEAM - 1) / TEAM;
        auto size_of = [&](int who) { return max(0, min(width - who * share, share)); };
        if (again || first) sync();
        if (there) {
            const int from = first + member * share;
            auto at = [&](int c) { return min(from + 32 * c + lane, dim - 1); };
            decltype(fetch(0)) fetched[CHUNK / 32];
            UNROLL for (int c = 0; c < CHUNK / 32; ++c) fetched[c] = fetch(at(c));
            __syncwarp();  // all are asked for before one is waited for
            double part = 0;
            UNROLL for (int c = 0; c < CHUNK / 32; ++c) {
                const double one = term_of(fetched[c], at(c));
                if (32 * c + lane < size_of(member)) terms[member * CHUNK + 32 * c + lane] = one, part += one;
            }
            part = warp_sum(part);
            if (lane == 0) chain.parts[member] = part;
        }
        sync();
        if (there) {
            double guess = total;
            for (int who = 0; who < member; ++who) guess += chain.parts[who];
            const i64 start = __double_as_longlong(guess) + (member ? chain.deviations[member] - 16 : 0);
            chain.ends[member][lane] = add_in_order(__longlong_as_double(start + (member ? lane : 0)), terms + member * CHUNK, size_of(member));
            if (lane == 0) chain.starts[member] = start;
        }
        sync();
        if (there) {
            i64 starts[TEAM], beside = MOST_DEVIATION + 1;  // of the lane's part
            UNROLL for (int who = 1; who < TEAM; ++who) starts[who] = chain.starts[who];
            bool known = true;
            total = chain.ends[0][0];
            UNROLL for (int who = 1; who < TEAM; ++who) {
                const u64 at = __double_as_longlong(total) - starts[who];
                known &= at < 32;
                if (lane == who) beside = (i64)at - 16;
                total = chain.ends[who][at & 31];
            }
            if (!known) {
                total = chain.ends[0][0];
#pragma unroll 1
                for (int who = 1; who < TEAM; ++who) {
                    const u64 at = __double_as_longlong(total) - chain.starts[who];
                    if (lane == who) beside = (i64)at - 16;
                    total = at < 32 ? chain.ends[who][at] : add_in_order(total, terms + who * CHUNK, size_of(who));
                }
            }
            if (member == TEAM - 1 && beside >= -MOST_DEVIATION && beside <= MOST_DEVIATION) chain.deviations[lane] += (int)beside / LEARNED;
        }
    }
    return total;
}
