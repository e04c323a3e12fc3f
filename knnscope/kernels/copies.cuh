// Copies from global to shared memory, on their way while a thread does something else. Before 8.0 they are loads and stores.

__device__ __forceinline__ u32 address(const void* shared) { return (u32)__cvta_generic_to_shared(shared); }

// 16 bytes, both places at multiples of 16.
__device__ __forceinline__ void copy_ahead(void* to, const void* from)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address(to)), "l"(from) : "memory");
#else
    *reinterpret_cast<uint4*>(to) = __ldg(reinterpret_cast<const uint4*>(from));
#endif
}
// The first ``bytes`` of 16, 1 to 16: those behind are not read; what is in their place is of no use.
__device__ __forceinline__ void copy_ahead(void* to, const void* from, int bytes)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address(to)), "l"(from), "r"(bytes) : "memory");
#else
    if (bytes == 16) copy_ahead(to, from);
    else for (int i = 0; i < bytes; ++i) static_cast<u8*>(to)[i] = static_cast<const u8*>(from)[i];
#endif
}

// What this thread has asked for since the last of these is one group.
__device__ __forceinline__ void copies_end()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until all groups of this thread but the last LEFT are there.
template <int LEFT> __device__ __forceinline__ void await_copies()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#endif
}
