"""CUDA sources of the measurement; NVRTC compiles them, so they include nothing."""

THREADS = 128
LOADS = 4
TILE = 16 * THREADS * LOADS
"""Bytes that a block of threads reads at a time; whole tiles only are read."""

SOURCE = (
    f"""
#define THREADS {THREADS}
#define LOADS {LOADS}
"""
    + r"""
// Adds the 64-bit words of whole tiles, modulo 2^64; every thread has LOADS loads of 16 bytes in flight. While only the time
// matters nothing is kept, but whether the sum is one value that none has decides it: the compiler can drop no load.
extern "C" __global__ void __launch_bounds__(THREADS)
sum_tiles(const ulonglong2* __restrict__ data, unsigned long long tiles, int keep, unsigned long long* total)
{
    unsigned long long sum = 0;
    for (unsigned long long tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const ulonglong2* at = data + tile * (THREADS * LOADS) + threadIdx.x;
        ulonglong2 words[LOADS];
        #pragma unroll
        for (int i = 0; i < LOADS; ++i) words[i] = at[i * THREADS];
        #pragma unroll
        for (int i = 0; i < LOADS; ++i) sum += words[i].x + words[i].y;
    }
    if (keep || sum == 0x9e3779b97f4a7c15ull) atomicAdd(total, sum);
}

// Keeps the GPU busy while the host queues what is timed, so that no gap between two calls is timed with it.
extern "C" __global__ void wait_cycles(long long cycles)
{
    const long long start = clock64();
    while (clock64() - start < cycles) {}
}
"""
)
