// As much of CUDA C++ as some kernels need, on the host: a process a block, or a cluster of them, whose threads take turns where they meet. A warp runs as far as it may
// before the next one begins, and so does a thread among those of its warp, in one order and then in the other: who reads what was not waited for is
// found. Instructions of a warp are meetings of all of its lanes.
#include "standard.h"

using std::isinf;
using std::isnan;
using std::max;
using std::min;

#define __device__
#define __global__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __shared__ static  // of a process
#define __align__(bytes) __attribute__((aligned(bytes)))

constexpr int SHARED_BYTES = 256 << 10;  // that a block may have
constexpr int WARP = 32, MOST_WARPS = 64, MOST_BLOCKS = 4;  // of a cluster

struct Place { int x, y, z; };
struct uint4 { unsigned x, y, z, w; };
struct uint2 { unsigned x, y; };
struct int4 { int x, y, z, w; };
struct int2 { int x, y; };
struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
struct double2 { double x, y; };
struct ulonglong2 { unsigned long long x, y; };
static int2 make_int2(int x, int y) { return {x, y}; }
static uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static float2 make_float2(float x, float y) { return {x, y}; }
static float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static Place threadIdx, blockIdx, gridDim, blockDim;

struct Thread { ucontext_t begin; jmp_buf here; bool begun, ended; int turn; };
static std::vector<Thread> threads;  // of a block, or of all blocks of a cluster
static int blocks_of_cluster = 1, own_block;
static int own_thread() { return own_block * blockDim.x + threadIdx.x; }
static int own_warp() { return own_thread() / WARP; }
static jmp_buf scheduler;
struct Meeting { int arrived, round; };
static Meeting of_blocks[MOST_BLOCKS], of_warps[MOST_WARPS];
static long steps;  // that these threads have made: they came to a meeting, or to their end
static bool paused;  // a warp waits for what another one does
static int said[MOST_BLOCKS][2];

static void yield()
{
    if (!_setjmp(threads[own_thread()].here)) _longjmp(scheduler, 1);
}

static void meet(Meeting& own, int size)
{
    const int round = own.round;
    ++steps;
    if (++own.arrived == size) own.arrived = 0, ++own.round;
    while (own.round == round) yield();
}
static void __syncthreads() { meet(of_blocks[own_block], blockDim.x); }
static void __syncwarp() { meet(of_warps[own_warp()], WARP); }
static int __syncthreads_or(int own)
{
    int& turn = threads[own_thread()].turn;
    if (own) said[own_block][turn] = 1;
    __syncthreads();
    const int all = said[own_block][turn];
    __syncthreads();
    if (threadIdx.x == 0) said[own_block][turn] = 0;
    turn ^= 1;
    __syncthreads();
    return all;
}
static void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static void __threadfence_block() { __threadfence(); }
static void __nanosleep(unsigned) { paused = true, sched_yield(); }
template <class T, class U> static T atomicAdd(T* place, U value) { return __atomic_fetch_add(place, (T)value, __ATOMIC_SEQ_CST); }
template <class T, class U> static T atomicOr(T* place, U value) { return __atomic_fetch_or(place, (T)value, __ATOMIC_SEQ_CST); }
// Of one block's threads, which take turns.
template <class T> static T atomicMin(T* place, T value) { return std::exchange(*place, min(*place, value)); }
template <class T> static T atomicMax(T* place, T value) { return std::exchange(*place, max(*place, value)); }
template <class T, class U> static T atomicSub(T* place, U value) { return __atomic_fetch_sub(place, (T)value, __ATOMIC_SEQ_CST); }
template <class T, class U> static T atomicExch(T* place, U value) { return __atomic_exchange_n(place, (T)value, __ATOMIC_SEQ_CST); }
template <class T> static T __ldcg(const T* place) { return *(volatile const T*)place; }
template <class T> static T __ldg(const T* place) { return *place; }
static size_t __cvta_generic_to_shared(const void* place) { return (size_t)place; }

// What each lane of this warp has said, to all of them. Who says the next thing has not met anybody since: the last one is still there.
static unsigned long long exchanged[MOST_WARPS][2][WARP][3];
template <class T, class Use> static auto among_warp(const T& mine, Use use)
{
    static_assert(sizeof(T) <= sizeof exchanged[0][0][0]);
    const int warp = own_warp();
    auto& lanes = exchanged[warp][of_warps[warp].round & 1];
    std::memcpy(lanes[threadIdx.x % WARP], &mine, sizeof mine);
    __syncwarp();
    return use([&](int lane) {
        T its;
        std::memcpy(&its, lanes[lane], sizeof its);
        return its;
    });
}
template <class T> static T __shfl_xor_sync(unsigned, T value, int mask)
{
    return among_warp(value, [&](auto of) { return of(threadIdx.x % WARP ^ mask); });
}
template <class T> static T __shfl_sync(unsigned, T value, int lane)
{
    return among_warp(value, [&](auto of) { return of(lane % WARP); });
}
static unsigned __ballot_sync(unsigned, bool own)
{
    return among_warp(own, [&](auto of) {
        unsigned all = 0;
        for (int lane = 0; lane < WARP; ++lane) all |= (unsigned)of(lane) << lane;
        return all;
    });
}
static bool __any_sync(unsigned all, bool own) { return __ballot_sync(all, own); }
static bool __all_sync(unsigned all, bool own) { return !__ballot_sync(all, !own); }
template <class Choose> static unsigned among_all(unsigned own, Choose choose)
{
    return among_warp(own, [&](auto of) {
        unsigned found = of(0);
        for (int lane = 1; lane < WARP; ++lane) found = choose(found, of(lane));
        return found;
    });
}
static unsigned __reduce_min_sync(unsigned, unsigned own) { return among_all(own, [](unsigned a, unsigned b) { return min(a, b); }); }
static unsigned __reduce_max_sync(unsigned, unsigned own) { return among_all(own, [](unsigned a, unsigned b) { return max(a, b); }); }
static int __reduce_add_sync(unsigned, int own) { return (int)among_all((unsigned)own, [](unsigned a, unsigned b) { return a + b; }); }
static double __dadd_rn(double a, double b) { return a + b; }
static double __dsub_rn(double a, double b) { return a - b; }
static double __dmul_rn(double a, double b) { return a * b; }
static double __ddiv_rn(double a, double b) { return a / b; }
static double __dsqrt_rn(double a) { return std::sqrt(a); }
static float __double2float_rn(double a) { return (float)a; }
static unsigned __funnelshift_r(unsigned low, unsigned high, unsigned bits)
{
    return (unsigned)(((unsigned long long)high << 32 | low) >> (bits & 31));
}
typedef signed char Bytes[32];
template <class Left> __attribute__((optimize("O3"))) static int inner(const Left (&a)[32], const Bytes& b)
{
    int sum = 0;
    for (int k = 0; k < 32; ++k) sum += a[k] * b[k];
    return sum;
}
static int __viaddmax_s32(int a, int b, int c) { return max((int)((unsigned)a + (unsigned)b), c); }
static int __popc(unsigned x) { return __builtin_popcount(x); }
static int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static int __ffs(unsigned x) { return __builtin_ffs(x); }
template <class To, class From> static To bits_of(From from)
{
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
static float __int_as_float(int x) { return bits_of<float>(x); }
static float __uint_as_float(unsigned x) { return bits_of<float>(x); }
static int __float_as_int(float x) { return bits_of<int>(x); }
static unsigned __float_as_uint(float x) { return bits_of<unsigned>(x); }
static double __longlong_as_double(long long x) { return bits_of<double>(x); }
static long long __double_as_longlong(double x) { return bits_of<long long>(x); }

// Copies to shared memory, in place of copies.cuh: made at once, or as late as waiting for them allows. Then nobody may read their place before.
static bool late;
struct Copy { void* to; const void* from; int bytes; };
static std::vector<std::vector<std::vector<Copy>>> groups;  // of each thread
static void copy_ahead(void* to, const void* from, int bytes = 16)
{
    if (((uintptr_t)to | (uintptr_t)from) & 15 || bytes < 1 || bytes > 16) _exit(4);
    std::memset(to, 0x7b, 16);
    if (late) groups[own_thread()].back().push_back({to, from, bytes});
    else std::memcpy(to, from, bytes);
}
static void copies_end() { groups[own_thread()].emplace_back(); }
template <int LEFT> static void await_copies()
{
    auto& own = groups[own_thread()];
    for (; own.size() > LEFT + 1; own.erase(own.begin()))
        for (const Copy& one : own.front()) std::memcpy(one.to, one.from, one.bytes);
}

// Memory that all blocks see, zero. Whoever goes 16 bytes beyond its end is ended by a signal.
template <class T> static T* everywhere(size_t count)
{
    constexpr size_t PAGE = 4096;
    const size_t bytes = (count * sizeof(T) + 15) / 16 * 16, pages = (bytes + PAGE - 1) / PAGE * PAGE;
    char* const all = (char*)mmap(nullptr, pages + PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED || mprotect(all + pages, PAGE, PROT_NONE)) _exit(10);
    return (T*)(all + pages - bytes);
}

static bool at_random;  // warps go on in any order, stop where their own threads meet, and now and then one does not go on
static std::mt19937 chance;

// Shared memory begins as anything, also what kernels name where that is in a section of its own (blocks.h). Of what a launch has nobody goes beyond the end.
static size_t shared_bytes = SHARED_BYTES;
static char* shared_memory;
extern "C" char __start_shared[] __attribute__((weak)), __stop_shared[] __attribute__((weak));
static void shared_memory_is_there()
{
    const int bytes[] = {0, 0x7b, 0xff}, anything = bytes[chance() % 3];
    shared_memory = everywhere<char>(shared_bytes);
    std::memset(shared_memory, anything, shared_bytes);
    if (__start_shared) std::memset(__start_shared, anything, __stop_shared - __start_shared);
}

static std::function<void()> kernel;
static void thread_of_block()
{
    kernel();
    ++steps;
    threads[own_thread()].ended = true;
    _longjmp(scheduler, 1);
}
// Until this thread has to wait, or ends.
static int first_block;  // of the cluster, along x
static void resume(int number)
{
    own_block = number / blockDim.x;
    threadIdx = {number % blockDim.x, 0, 0}, blockIdx.x = first_block + own_block;
    Thread& own = threads[number];
    if (own.ended) return;
    if (_setjmp(scheduler)) return;
    if (own.begun) _longjmp(own.here, 1);
    own.begun = true;
    setcontext(&own.begin);
}
// Until all threads of this warp have to wait for others, or have ended.
static void run_warp(int warp, bool down)
{
    paused = false;
    for (long before = -1; steps != before && !paused;) {
        before = steps;
        for (int lane = 0; lane < WARP; ++lane) resume(warp * WARP + (down ? WARP - 1 - lane : lane));
        down = !down;
        if (at_random && chance() % 32 == 0) return;
    }
}
static bool nothing_happens() { return false; }
static bool (*meanwhile)() = nothing_happens;  // what happens beside threads; whether anything did
static void nothing() {}
static void (*at_end)() = nothing;  // of a block
static void run_block()
{
    constexpr size_t STACK = 1 << 17;
    const int count = blockDim.x * blocks_of_cluster, warps = count / WARP;
    char* const stacks = everywhere<char>(count * STACK);
    if (count % WARP) _exit(6);
    chance.seed(chance() + first_block);  // blocks are not alike
    shared_memory_is_there();
    threads.resize(count), groups.assign(count, std::vector<std::vector<Copy>>(1));
    for (int i = 0; i < count; ++i) {
        ucontext_t& begin = threads[i].begin;
        getcontext(&begin);
        begin.uc_stack.ss_sp = stacks + i * STACK, begin.uc_stack.ss_size = STACK, begin.uc_link = nullptr;
        makecontext(&begin, thread_of_block, 0);
    }
    auto ended = [](const Thread& one) { return one.ended; };
    std::vector<int> order(warps);
    std::iota(order.begin(), order.end(), 0);
    while (!std::all_of(threads.begin(), threads.end(), ended)) {
        const long before = steps;
        bool all = true;
        for (int warp : order) {
            if (at_random && chance() % 4 == 0) all = false;
            else run_warp(warp, order[0]);
        }
        if (at_random) std::shuffle(order.begin(), order.end(), chance);
        else std::reverse(order.begin(), order.end());
        if (!meanwhile() && steps == before && all) _exit(5);  // all wait for one that does not come
    }
}
// Who hangs ends with the test that gives up, and so do its blocks.
__attribute__((constructor)) static void end_with_the_test() { prctl(PR_SET_PDEATHSIG, SIGKILL); }
static bool in_turn;  // a block begins when the one before has ended, as on a GPU that has no room for two

static void must_be_well(int status)
{
    if (!status) return;
    std::fprintf(stderr, WIFSIGNALED(status) ? "a block was ended by signal %d\n" : "a block ended with %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    std::exit(3);
}

static void launch(int blocks, int threads, int lines = 1)
{
    int status;
    gridDim = {blocks, lines, 1}, blockDim = {threads, 1, 1};
    for (int block = 0; block < blocks * lines; block += blocks_of_cluster) {
        if (fork()) {
            if (in_turn && wait(&status) > 0) must_be_well(status);
            continue;
        }
        end_with_the_test();  // a fork does not have it
        blockIdx = {block % blocks, block / blocks, 0}, first_block = blockIdx.x;
        run_block();
        at_end();
        _exit(0);
    }
    while (wait(&status) > 0) must_be_well(status);
}
