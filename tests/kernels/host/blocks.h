// What blocks tell each other by words in memory, and barriers of some warps of a block. It comes after cuda.h.
#pragma once
#include <time.h>

#undef __shared__  // a section can be found; functions that are inlined and templates may name nothing in one
#define __shared__ static __attribute__((section("shared")))

// A word is there at once, or when chance says so, also after its block has ended.
struct Word64 { unsigned long long* to; unsigned long long word; };
struct Word128 { ulonglong2* to; ulonglong2 word; };
static bool late_words;
static std::vector<Word64> words_on_their_way;
static std::vector<Word128> long_words_on_their_way;
static void come(const Word64& one) { __atomic_store_n(one.to, one.word, __ATOMIC_RELEASE); }
static void come(const Word128& one)  // in one piece: the half with the number last, and whoever looks takes it first
{
    __atomic_store_n(&one.to->x, one.word.x, __ATOMIC_RELAXED);
    __atomic_store_n(&one.to->y, one.word.y, __ATOMIC_RELEASE);
}
template <class Word> static void goes(std::vector<Word>& all, const Word& one)
{
    if (late_words) all.push_back(one);
    else come(one);
}
template <class Word> static bool some_come(std::vector<Word>& all)
{
    if (all.empty()) return false;
    for (size_t left = 1 + chance() % all.size(); left; --left) {
        std::swap(all[chance() % all.size()], all.back());
        come(all.back()), all.pop_back();
    }
    return true;
}
static void tell(unsigned long long* to, unsigned value, unsigned number) { goes(words_on_their_way, {to, (unsigned long long)number << 32 | value}); }
static void tell(ulonglong2* to, unsigned long long value, unsigned more, unsigned number)
{
    goes(long_words_on_their_way, {to, {value, (unsigned long long)number << 32 | more}});
}

// Who looks may have to look again: first the others go on.
static bool looked;
static void before_a_look() { looked = paused = true, yield(); }
static unsigned long long look(const unsigned long long* from)
{
    before_a_look();
    return __atomic_load_n(from, __ATOMIC_ACQUIRE);
}
static ulonglong2 look(const ulonglong2* from)
{
    before_a_look();
    const unsigned long long y = __atomic_load_n(&from->y, __ATOMIC_ACQUIRE);
    return {__atomic_load_n(&from->x, __ATOMIC_RELAXED), y};
}
static bool words_come()
{
    static long before;
    static int in_vain;  // rounds in which nothing went on
    const bool some = some_come(words_on_their_way) | some_come(long_words_on_their_way), waits = looked;
    in_vain = some || steps != before ? 0 : min(in_vain + 1, 5);
    if (waits && in_vain) {  // for another block, who may need this core
        const timespec pause = {0, 20'000 << in_vain};
        nanosleep(&pause, nullptr);
    }
    before = steps, looked = false;
    return some || waits;
}

// Barriers by their numbers: who arrives does not wait. All who come to one say how many are to come.
struct Numbered { Meeting meeting; int size; };
static Numbered numbered[16];
static Meeting& at_barrier(int number, int size)
{
    Numbered& own = numbered[number];
    if (own.meeting.arrived && own.size != size) _exit(9);
    own.size = size;
    return own.meeting;
}
static void arrive(int number, int size)
{
    Meeting& own = at_barrier(number, size);
    ++steps;
    if (++own.arrived == size) own.arrived = 0, ++own.round;
}
template <int NUMBER, int COUNT> static void wait_at() { meet(at_barrier(NUMBER, COUNT), COUNT); }
template <int NUMBER, int COUNT> static void arrive_at() { arrive(NUMBER, COUNT); }
static void wait_at_pair(int number) { meet(at_barrier(number, 2 * WARP), 2 * WARP); }
static void arrive_at_pair(int number) { arrive(number, 2 * WARP); }

static void end_of_block()
{
    while (words_come()) {}
    for (const Numbered& one : numbered) if (one.meeting.arrived) _exit(11);  // somebody has not come
}
static void blocks_tell() { meanwhile = words_come, at_end = end_of_block; }
