// Instructions of warpgroups, of bulk copies and of clusters: compute capability 9.0 alone (sm_90a). It comes after copies.cuh.

__device__ __forceinline__ u8* dynamic_memory()
{
    extern __shared__ __align__(1024) u8 everything[];
    return everything;
}

// Barriers in shared memory, on whose phases others wait: so many arrivals, and so many bytes of copies.
__device__ __forceinline__ void barrier_init(u64& barrier, int count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address(&barrier)), "r"(count) : "memory");
}
__device__ __forceinline__ void barriers_are_made()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ __forceinline__ void expect(u64& barrier, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address(&barrier)), "r"(bytes) : "memory");
}
__device__ __forceinline__ void arrive(u64& barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address(&barrier)) : "memory");
}
// At the same barrier of another block of the cluster, or of this one.
__device__ __forceinline__ void arrive_at(u64& barrier, u32 block)
{
    asm volatile("{ .reg .b32 there; mapa.shared::cluster.u32 there, %0, %1; mbarrier.arrive.shared::cluster.b64 _, [there]; }" ::"r"(address(&barrier)), "r"(block) : "memory");
}
__device__ __forceinline__ void await(u64& barrier, int phase)
{
    u32 done;
    do {
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                     : "=r"(done) : "r"(address(&barrier)), "r"(phase) : "memory");
    } while (!done);
}
__device__ __forceinline__ void copy_bulk(void* to, const void* from, int bytes, u64& barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(address(to)), "l"(from),
                 "r"(bytes), "r"(address(&barrier)) : "memory");
}
// To the same place of all these blocks of the cluster, and told at the same barrier of each.
__device__ __forceinline__ void copy_to_all(void* to, const void* from, int bytes, u64& barrier, u16 blocks)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1], %2, [%3], %4;" ::"r"(address(to)),
                 "l"(from), "r"(bytes), "r"(address(&barrier)), "h"(blocks) : "memory");
}
// All threads of a cluster that have not ended meet.
__device__ __forceinline__ void meet_cluster()
{
    asm volatile("barrier.cluster.arrive.release;" ::: "memory");
    asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
}

// A turn that two warpgroups give each other.
__device__ __forceinline__ void await_turn(int group) { asm volatile("bar.sync %0, 256;" ::"r"(1 + group) : "memory"); }
__device__ __forceinline__ void give_turn(int group) { asm volatile("bar.arrive %0, 256;" ::"r"(1 + group) : "memory"); }

__device__ __forceinline__ void take_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 224;"); }
__device__ __forceinline__ void leave_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 56;"); }

// Lines of 128 bytes whose 16-byte pieces are swizzled by their line, eight lines after each other. One more is 16 bytes further on.
__device__ __forceinline__ u64 operand(u32 shared) { return (u64)((shared & 0x3ffff) >> 4) | 1ull << 16 | 64ull << 32 | 1ull << 62; }
#define FOUR(c, x, as) as(c[x]), as(c[x + 1]), as(c[x + 2]), as(c[x + 3])
#define SIXTEEN(c, x, as) FOUR(c, x, as), FOUR(c, x + 4, as), FOUR(c, x + 8, as), FOUR(c, x + 12, as)
#define SUMS(c, as) SIXTEEN(c, 0, as), SIXTEEN(c, 16, as), SIXTEEN(c, 32, as), SIXTEEN(c, 48, as)
#define WGMMA                                                                                                        \
    "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 "                                                             \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                        \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "                               \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                               \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, %64, %65, "
// 64 x 32 times 32 x 128, of bytes; ``first``: sums begin with it, so nothing has to clear them while others wait for their turn.
__device__ __forceinline__ void multiply_wide(int (&c)[64], u64 a, u64 b, bool first)
{
    if (first) asm volatile(WGMMA "0;" : SUMS(c, "=r") : "l"(a), "l"(b));
    else asm volatile(WGMMA "1;" : SUMS(c, "+r") : "l"(a), "l"(b));
}
__device__ __forceinline__ void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void products_end() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits for all products but those of the last LEFT ends.
template <int LEFT> __device__ __forceinline__ void await_products() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory"); }
__device__ __forceinline__ void hold(int (&c)[64])
{
    UNROLL for (int x = 0; x < 64; ++x) asm volatile("" : "+r"(c[x])::"memory");
}
// It is known here: not later, when it is needed.
__device__ __forceinline__ void hold(int (&rooms)[32])
{
    UNROLL for (int x = 0; x < 32; ++x) asm volatile("" : "+r"(rooms[x]));
}

// Two sums, as they lie in registers: were it not volatile, the compiler would move them, to store four at once.
__device__ __forceinline__ void put_pair(int2& to, int x, int y)
{
    asm volatile("st.volatile.shared.v2.u32 [%0], {%1, %2};" ::"r"(address(&to)), "r"(x), "r"(y) : "memory");
}
// What another warp has announced, and what it did before that.
__device__ __forceinline__ u32 acquired(const u32& word)
{
    u32 value;
    asm volatile("ld.acquire.cta.shared::cta.u32 %0, [%1];" : "=r"(value) : "r"(address(&word)) : "memory");
    return value;
}
// By one thread: whoever sees the value sees what it did before, and what it knew of.
__device__ __forceinline__ void released(u32& word, u32 value)
{
    asm volatile("st.release.cta.shared::cta.u32 [%0], %1;" ::"r"(address(&word)), "r"(value) : "memory");
}
