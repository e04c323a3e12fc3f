/* AMX's tiles, as Intel's manual defines them: each thread has eight, of 16 lines of 64 bytes at most. What it refuses ends the process with a word. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static __thread struct { int configured, bytes[8], lines[8]; uint8_t of[8][16][64]; } own;

static void must(int right, const char* what)
{
    if (right) return;
    fprintf(stderr, "AMX: %s\n", what);
    abort();
}
static void used(uint8_t tile) { must(own.configured && tile < 8 && own.lines[tile] && own.bytes[tile], "a tile that is not configured"); }

void emulated_ldtilecfg(const uint8_t* from)
{
    int reserved = 0;
    for (int i = 2; i < 16; ++i) reserved |= from[i];
    for (int i = 32; i < 48; ++i) reserved |= from[i];
    for (int i = 56; i < 64; ++i) reserved |= from[i];
    must(from[0] == 1 && !from[1] && !reserved, "a configuration of another kind");
    memset(&own, 0, sizeof own);
    own.configured = 1;
    for (int tile = 0; tile < 8; ++tile) {
        uint16_t bytes;
        memcpy(&bytes, from + 16 + 2 * tile, 2);
        own.bytes[tile] = bytes, own.lines[tile] = from[48 + tile];
        must(own.bytes[tile] <= 64 && own.lines[tile] <= 16, "a tile that is too large");
    }
}
void emulated_tilerelease(void) { memset(&own, 0, sizeof own); }
void emulated_tilezero(uint8_t tile)
{
    used(tile);
    memset(own.of[tile], 0, sizeof own.of[tile]);
}
void emulated_tileloadd64(uint8_t tile, const uint8_t* from, int64_t stride)
{
    used(tile);
    memset(own.of[tile], 0, sizeof own.of[tile]);
    for (int line = 0; line < own.lines[tile]; ++line) memcpy(own.of[tile][line], from + line * stride, own.bytes[tile]);
}
void emulated_tilestored64(uint8_t tile, uint8_t* to, int64_t stride)
{
    used(tile);
    for (int line = 0; line < own.lines[tile]; ++line) memcpy(to + line * stride, own.of[tile][line], own.bytes[tile]);
}
void emulated_tdpbssd(uint8_t to, uint8_t a, uint8_t b)
{
    used(to), used(a), used(b);
    must(to != a && to != b && a != b, "a product of a tile with itself");
    must(own.lines[to] == own.lines[a] && own.bytes[to] == own.bytes[b] && own.bytes[a] == 4 * own.lines[b] && own.bytes[b] % 4 == 0, "tiles that do not fit");
    for (int m = 0; m < own.lines[a]; ++m)
        for (int n = 0; n < own.bytes[b] / 4; ++n) {
            uint32_t sum;
            memcpy(&sum, own.of[to][m] + 4 * n, 4);
            for (int k = 0; k < own.lines[b]; ++k)
                for (int i = 0; i < 4; ++i) sum += (uint32_t)((int8_t)own.of[a][m][4 * k + i] * (int8_t)own.of[b][k][4 * n + i]);
            memcpy(own.of[to][m] + 4 * n, &sum, 4);
        }
}
