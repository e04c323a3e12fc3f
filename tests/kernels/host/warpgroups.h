// What warpgroups.cuh has, on the host: barriers in shared memory, copies that come when they come, products that are made when they must be, clusters.
#pragma once
#include "cuda.h"

#define __cluster_dims__(...)
typedef unsigned long long u64;
typedef unsigned u32;
typedef unsigned short u16;
typedef unsigned char u8;

// The smaller of two; what is no number is passed over, also where a host's signals.
static float smaller(float a, float b) { return a != a ? b : b != b ? a : a < b ? a : b; }
#define fminf smaller

alignas(1024) static u8 memory_of[MOST_BLOCKS][SHARED_BYTES];
static u8* dynamic_memory() { return memory_of[own_block]; }
static u32 address(const void* place)
{
    const size_t at = (const u8*)place - dynamic_memory();
    if (at >= SHARED_BYTES) _exit(8);  // of another block
    return (u32)at;
}
template <class T> static T& in_block(int block, T& place) { return *(T*)(memory_of[block] + address(&place)); }

// A barrier in its eight bytes.
struct Phased { u8 size, waiting, phase, unused; int bytes; };
static_assert(sizeof(Phased) == sizeof(u64));
static void change(u64& barrier, int arrivals, int bytes)
{
    Phased own = bits_of<Phased>(barrier);
    if (arrivals > own.waiting) _exit(9);  // more come than are expected
    own.waiting -= arrivals, own.bytes += bytes;
    if (!own.waiting && !own.bytes) own.waiting = own.size, own.phase ^= 1;
    barrier = bits_of<u64>(own);
    ++steps;
}
static void barrier_init(u64& barrier, int size) { barrier = bits_of<u64>(Phased{(u8)size, (u8)size, 0, 0, 0}); }
static void barriers_are_made() {}
static void expect(u64& barrier, int bytes) { change(barrier, 1, bytes); }
static void arrive(u64& barrier) { change(barrier, 1, 0); }
static void arrive_at(u64& barrier, u32 block) { change(in_block(block, barrier), 1, 0); }
static void await(u64& barrier, int phase)
{
    while (bits_of<Phased>(barrier).phase == phase) yield();
}

struct Bulk { u8* to; const u8* from; int bytes; u64* barrier; };
static std::vector<Bulk> on_their_way;
static void comes(const Bulk& one) { std::memcpy(one.to, one.from, one.bytes), change(*one.barrier, 0, -one.bytes); }
static void copy_to_all(void* to, const void* from, int bytes, u64& barrier, u16 blocks)
{
    if (((uintptr_t)from | address(to) | bytes) & 15) _exit(4);
    for (int block = 0; block < MOST_BLOCKS; ++block) {
        if (!(blocks >> block & 1)) continue;
        const Bulk one = {&in_block(block, *(u8*)to), (const u8*)from, bytes, &in_block(block, barrier)};
        std::memset(one.to, 0x7b, bytes);
        if (late) on_their_way.push_back(one);
        else comes(one);
    }
}
static void copy_bulk(void* to, const void* from, int bytes, u64& barrier) { copy_to_all(to, from, bytes, barrier, 1 << own_block); }
static bool some_come()
{
    if (on_their_way.empty()) return false;
    std::swap(on_their_way[chance() % on_their_way.size()], on_their_way.back());
    comes(on_their_way.back()), on_their_way.pop_back();
    return true;
}
static void clusters_of(int blocks) { blocks_of_cluster = blocks, meanwhile = some_come; }

static void meet_cluster()
{
    static Meeting own;
    const int round = own.round;
    ++steps, ++own.arrived;
    while (own.round == round) {
        const auto left = std::count_if(threads.begin(), threads.end(), [](const Thread& one) { return !one.ended; });
        if (own.arrived == left) own.arrived = 0, ++own.round;
        else yield();
    }
}

static Meeting turns[MOST_BLOCKS][2];
static void await_turn(int group) { meet(turns[own_block][group], 256); }
static void give_turn(int group)
{
    Meeting& own = turns[own_block][group];
    ++steps;
    if (++own.arrived == 256) own.arrived = 0, ++own.round;
}
static void take_registers() {}
static void leave_registers() {}

// m64n128k32 of bytes, as PTX says which thread holds which sums. Four warps make it together: at once, or as late as waiting for them allows. Who
// waits for products waits until all four have asked for them.
struct Product { int (*sums)[64]; u32 a, b; bool first; };
struct Products { std::vector<Product> begun; std::vector<std::vector<Product>> ended; int made; };
static std::vector<Products> products_of;  // of each thread
static u64 operand(u32 shared) { return shared >> 4; }
static void bytes_of(u32 base, int line, Bytes& found)
{
    for (int half = 0; half < 2; ++half) {
        const u32 at = base + line * 128 + half * 16;
        std::memcpy(found + half * 16, dynamic_memory() + (at ^ (at >> 7 & 7) << 4), 16);
    }
}
static void make(const Product& one, int thread)
{
    const int lane = thread % 32, row0 = thread % 128 / 32 * 16 + lane / 4;
    Bytes rows[2], column;
    for (int h = 0; h < 2; ++h) bytes_of(one.a, row0 + 8 * h, rows[h]);
    for (int j = 0; j < 32; ++j) {
        bytes_of(one.b, j / 2 * 8 + lane % 4 * 2 + j % 2, column);
        for (int h = 0; h < 2; ++h) {
            int& sum = (*one.sums)[j / 2 * 4 + 2 * h + j % 2];
            sum = inner(rows[h], column) + (one.first ? 0 : sum);
        }
    }
}
static Products& own_products()
{
    products_of.resize(threads.size());
    return products_of[own_thread()];
}
static void multiply_wide(int (&sums)[64], u64 a, u64 b, bool first)
{
    const Product one = {&sums, (u32)a << 4, (u32)b << 4, first};
    if (late) own_products().begun.push_back(one);
    else make(one, own_thread());
}
static void products_begin() {}
static void products_end()
{
    Products& own = own_products();
    own.ended.push_back(std::move(own.begun)), own.begun.clear(), ++steps;
}
template <int LEFT> static void await_products()
{
    const int wanted = (int)own_products().ended.size() - LEFT, first = own_thread() / 128 * 128;
    for (int i = first; i < first + 128;) {
        if ((int)products_of[i].ended.size() < wanted) yield();
        else ++i;
    }
    for (int i = first; i < first + 128; ++i)
        for (Products& its = products_of[i]; its.made < wanted; ++its.made)
            for (const Product& one : its.ended[its.made]) make(one, i);
}
static void hold(int (&)[64]) {}
static void hold(int (&)[32]) {}
static void put_pair(int2& to, int x, int y) { to = {x, y}; }
static u32 acquired(const u32& word)
{
    paused = true;
    return *(volatile const u32*)&word;
}
static void released(u32& word, u32 value) { *(volatile u32*)&word = value; }
