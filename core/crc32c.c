/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C: reflected polynomial 0x82f63b78, start and end inverted.
 *
 * No state.  Host test: tests/host/test_crc32c.c
 */
#include "hv/crc32c.h"

#include "hv/seam.h"

/*
 * remainders[n] is the remainder of byte n. It is linear in the bits of n, so that eight numbers
 * give all: those of the single bits, 0x80 first.
 */
#define PART(n, mask, c) (((n) & (mask)) != 0 ? (c) : 0U)
#define ENTRY(n)                                                                         \
    (PART(n, 0x80, 0x82f63b78) ^ PART(n, 0x40, 0x417b1dbc) ^ PART(n, 0x20, 0x20bd8ede) ^ \
     PART(n, 0x10, 0x105ec76f) ^ PART(n, 0x08, 0x8ad958cf) ^ PART(n, 0x04, 0xc79a971f) ^ \
     PART(n, 0x02, 0xe13b70f7) ^ PART(n, 0x01, 0xf26b8303))
#define ENTRY4(n) ENTRY(n), ENTRY((n) + 1), ENTRY((n) + 2), ENTRY((n) + 3)
#define ENTRY16(n) ENTRY4(n), ENTRY4((n) + 4), ENTRY4((n) + 8), ENTRY4((n) + 12)
#define ENTRY64(n) ENTRY16(n), ENTRY16((n) + 16), ENTRY16((n) + 32), ENTRY16((n) + 48)

static const uint32_t remainders[256] = {ENTRY64(0), ENTRY64(64), ENTRY64(128), ENTRY64(192)};

static uint64_t load64(const uint8_t *p)
{
    uint64_t v;

    /* The builtin becomes one load; a plain memcpy() is a call in a freestanding build. */
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
}

uint32_t crc32c_table(uint32_t crc, const void *data, size_t n)
{
    const uint8_t *p = data;

    crc = ~crc;
    for (; n > 0; n--) {
        crc = remainders[(crc ^ *p++) & 0xff] ^ (crc >> 8);
    }
    return ~crc;
}

/* The attribute lets this one function use SSE4.2's instruction; it touches no vector register. */
__attribute__((target("crc32"))) static uint32_t crc32c_instruction(uint32_t crc, const uint8_t *p,
                                                                    size_t n)
{
    uint64_t c = ~crc;

    for (; n >= 32; n -= 32, p += 32) { /* whole guests are summed up: half the time */
        c = __builtin_ia32_crc32di(c, load64(p));
        c = __builtin_ia32_crc32di(c, load64(p + 8));
        c = __builtin_ia32_crc32di(c, load64(p + 16));
        c = __builtin_ia32_crc32di(c, load64(p + 24));
    }
    for (; n >= 8; n -= 8, p += 8) {
        c = __builtin_ia32_crc32di(c, load64(p));
    }
    for (; n > 0; n--) {
        c = __builtin_ia32_crc32qi((uint32_t)c, *p++);
    }
    return ~(uint32_t)c;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t n)
{
    return cpu_has_crc32() ? crc32c_instruction(crc, data, n) : crc32c_table(crc, data, n);
}
