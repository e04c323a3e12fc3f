// As much of CUDA C++ as some kernels need, on threads of the host: a process a block, a thread a thread. Instructions of a warp are those that all
// of its lanes come to.
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <vector>

using std::isinf;
using std::isnan;
using std::max;
using std::min;

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static  // of a process
#define __align__(bytes) __attribute__((aligned(bytes)))

struct Place { int x, y, z; };
struct uint4 { unsigned x, y, z, w; };
struct uint2 { unsigned x, y; };
struct int2 { int x, y; };
struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
static int2 make_int2(int x, int y) { return {x, y}; }
static float2 make_float2(float x, float y) { return {x, y}; }
static float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static thread_local Place threadIdx;
static Place blockIdx, gridDim, blockDim;
static pthread_barrier_t meeting;
static int said[2];

static void __syncthreads() { pthread_barrier_wait(&meeting); }
static int __syncthreads_or(int own)
{
    static thread_local int turn = 0;
    if (own) __atomic_store_n(&said[turn], 1, __ATOMIC_SEQ_CST);
    __syncthreads();
    const int all = __atomic_load_n(&said[turn], __ATOMIC_SEQ_CST);
    __syncthreads();
    if (threadIdx.x == 0) said[turn] = 0;
    turn ^= 1;
    __syncthreads();
    return all;
}
static void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static void __nanosleep(unsigned) { sched_yield(); }
template <class T, class U> static T atomicAdd(T* place, U value) { return __atomic_fetch_add(place, (T)value, __ATOMIC_SEQ_CST); }
template <class T, class U> static T atomicOr(T* place, U value) { return __atomic_fetch_or(place, (T)value, __ATOMIC_SEQ_CST); }
template <class T, class U> static T atomicSub(T* place, U value) { return __atomic_fetch_sub(place, (T)value, __ATOMIC_SEQ_CST); }
template <class T, class U> static T atomicExch(T* place, U value) { return __atomic_exchange_n(place, (T)value, __ATOMIC_SEQ_CST); }
template <class T> static T __ldcg(const T* place) { return *(volatile const T*)place; }
template <class T> static T __ldg(const T* place) { return *place; }
static size_t __cvta_generic_to_shared(const void* place) { return (size_t)place; }

constexpr int WARP = 32, MOST_WARPS = 32;
static pthread_barrier_t meetings[MOST_WARPS];
static unsigned long long exchanged[MOST_WARPS][WARP][3];
// What each lane of this warp has said, to all of them.
template <class T, class Use> static auto among_warp(const T& mine, Use use)
{
    static_assert(sizeof(T) <= sizeof exchanged[0][0]);
    const int warp = threadIdx.x / WARP;
    std::memcpy(exchanged[warp][threadIdx.x % WARP], &mine, sizeof mine);
    pthread_barrier_wait(&meetings[warp]);
    const auto found = use([&](int lane) {
        T its;
        std::memcpy(&its, exchanged[warp][lane], sizeof its);
        return its;
    });
    pthread_barrier_wait(&meetings[warp]);
    return found;
}
template <class T> static T __shfl_xor_sync(unsigned, T value, int mask)
{
    return among_warp(value, [&](auto of) { return of(threadIdx.x % WARP ^ mask); });
}
static double __dadd_rn(double a, double b) { return a + b; }
static double __dsub_rn(double a, double b) { return a - b; }
static double __dmul_rn(double a, double b) { return a * b; }
static double __ddiv_rn(double a, double b) { return a / b; }
static double __dsqrt_rn(double a) { return std::sqrt(a); }
static float __double2float_rn(double a) { return (float)a; }
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

// Memory that all blocks see, zero.
template <class T> static T* everywhere(size_t count)
{
    return (T*)mmap(nullptr, count * sizeof(T) + 64, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static std::function<void()> kernel;
static void* thread_of_block(void* number)
{
    threadIdx = {(int)(long)number, 0, 0};
    kernel();
    return nullptr;
}
static bool in_turn;  // a block begins when the one before has ended, as on a GPU that has no room for two

static void launch(int blocks, int threads, int lines = 1)
{
    int status;
    gridDim = {blocks, lines, 1}, blockDim = {threads, 1, 1};
    for (int block = 0; block < blocks * lines; ++block) {
        if (fork()) {
            if (in_turn && wait(&status) > 0 && status) std::exit(3);
            continue;
        }
        blockIdx = {block % blocks, block / blocks, 0};
        for (auto& one : meetings) pthread_barrier_init(&one, nullptr, WARP);
        pthread_barrier_init(&meeting, nullptr, threads);
        pthread_attr_t small;
        pthread_attr_init(&small);
        pthread_attr_setstacksize(&small, 1 << 17);
        std::vector<pthread_t> all(threads);
        for (long i = 0; i < threads; ++i)
            if (pthread_create(&all[i], &small, thread_of_block, (void*)i)) abort();
        for (auto& one : all) pthread_join(one, nullptr);
        _exit(0);
    }
    while (wait(&status) > 0)
        if (status) std::exit(3);
}
