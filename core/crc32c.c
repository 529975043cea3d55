/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C: reflected polynomial 0x82f63b78, start and end inverted.
 *
 * No state.  Host test: tests/host/test_crc32c.c
 */
#include "hv/crc32c.h"

#include "hv/seam.h"

/*
 * slices[k][n] is the remainder of byte n followed by k zero bytes. A remainder is linear in the
 * bits of n, so each row needs eight numbers only: those of the single bits, 0x80 first. The 64
 * numbers are one sequence, each the one before it shifted by one more bit.
 */
#define PART(n, mask, c) (((n) & (mask)) != 0 ? (c) : 0U)
#define ENTRY(n, a, b, c, d, e, f, g, h)                                         \
    (PART(n, 0x80, a) ^ PART(n, 0x40, b) ^ PART(n, 0x20, c) ^ PART(n, 0x10, d) ^ \
     PART(n, 0x08, e) ^ PART(n, 0x04, f) ^ PART(n, 0x02, g) ^ PART(n, 0x01, h))
#define ENTRY4(n, ...)                                                               \
    ENTRY(n, __VA_ARGS__), ENTRY((n) + 1, __VA_ARGS__), ENTRY((n) + 2, __VA_ARGS__), \
        ENTRY((n) + 3, __VA_ARGS__)
#define ENTRY16(n, ...)                                                                 \
    ENTRY4(n, __VA_ARGS__), ENTRY4((n) + 4, __VA_ARGS__), ENTRY4((n) + 8, __VA_ARGS__), \
        ENTRY4((n) + 12, __VA_ARGS__)
#define ENTRY64(n, ...)                                                                      \
    ENTRY16(n, __VA_ARGS__), ENTRY16((n) + 16, __VA_ARGS__), ENTRY16((n) + 32, __VA_ARGS__), \
        ENTRY16((n) + 48, __VA_ARGS__)
#define SLICE(...)                                                                    \
    {                                                                                 \
        ENTRY64(0, __VA_ARGS__), ENTRY64(64, __VA_ARGS__), ENTRY64(128, __VA_ARGS__), \
            ENTRY64(192, __VA_ARGS__)                                                 \
    }

static const uint32_t slices[8][256] = {
    SLICE(0x82f63b78, 0x417b1dbc, 0x20bd8ede, 0x105ec76f, 0x8ad958cf, 0xc79a971f, 0xe13b70f7,
          0xf26b8303),
    SLICE(0xfbc3faf9, 0xff17c604, 0x7f8be302, 0x3fc5f181, 0x9d14c3b8, 0x4e8a61dc, 0x274530ee,
          0x13a29877),
    SLICE(0x8b277743, 0xc76580d9, 0xe144fb14, 0x70a27d8a, 0x38513ec5, 0x9edea41a, 0x4f6f520d,
          0xa541927e),
    SLICE(0x52a0c93f, 0xaba65fe7, 0xd725148b, 0xe964b13d, 0xf64463e6, 0x7b2231f3, 0xbf672381,
          0xdd45aab8),
    SLICE(0x6ea2d55c, 0x37516aae, 0x1ba8b557, 0x8f2261d3, 0xc5670b91, 0xe045beb0, 0x7022df58,
          0x38116fac),
    SLICE(0x1c08b7d6, 0x0e045beb, 0x85f4168d, 0xc00c303e, 0x6006181f, 0xb2f53777, 0xdb8ca0c3,
          0xef306b19),
    SLICE(0xf56e0ef4, 0x7ab7077a, 0x3d5b83bd, 0x9c5bfaa6, 0x4e2dfd53, 0xa5e0c5d1, 0xd0065990,
          0x68032cc8),
    SLICE(0x34019664, 0x1a00cb32, 0x0d006599, 0x847609b4, 0x423b04da, 0x211d826d, 0x9278fa4e,
          0x493c7d27),
};

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
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t v = load64(p) ^ crc;

        crc = slices[7][v & 0xff] ^ slices[6][(v >> 8) & 0xff] ^ slices[5][(v >> 16) & 0xff] ^
              slices[4][(v >> 24) & 0xff] ^ slices[3][(v >> 32) & 0xff] ^
              slices[2][(v >> 40) & 0xff] ^ slices[1][(v >> 48) & 0xff] ^ slices[0][v >> 56];
    }
    for (; n > 0; n--) {
        crc = slices[0][(crc ^ *p++) & 0xff] ^ (crc >> 8);
    }
    return ~crc;
}

/* The attribute lets this one function use SSE4.2's instruction; it touches no vector register. */
__attribute__((target("crc32"))) static uint32_t crc32c_instruction(uint32_t crc, const uint8_t *p,
                                                                    size_t n)
{
    uint64_t c = ~crc;

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
