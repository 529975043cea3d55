/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory and string functions for the freestanding image.
 *
 * Eight bytes at a time, unaligned: x86 does not mind, and the copies that matter are of whole
 * pages. Not linked on the host except into its own test.  Host test: tests/host/test_string.c
 */
#include "hv/string.h"

#include "hv/types.h"

/* Without this the compiler turns the loops below back into calls of the functions they define. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-loop-distribute-patterns")
#endif

/* Any object may be read and written through it, at any alignment. */
typedef uint64_t word_t __attribute__((may_alias, aligned(1)));

#define WORD sizeof(word_t)
#define BLOCK (4 * WORD)

static void copy_up(unsigned char *d, const unsigned char *s, size_t n)
{
    for (; n >= BLOCK; n -= BLOCK, d += BLOCK, s += BLOCK) {
        uint64_t w0 = *(const word_t *)s;
        uint64_t w1 = *(const word_t *)(s + WORD);
        uint64_t w2 = *(const word_t *)(s + 2 * WORD);
        uint64_t w3 = *(const word_t *)(s + 3 * WORD);

        *(word_t *)d = w0;
        *(word_t *)(d + WORD) = w1;
        *(word_t *)(d + 2 * WORD) = w2;
        *(word_t *)(d + 3 * WORD) = w3;
    }
    for (; n >= WORD; n -= WORD, d += WORD, s += WORD) {
        *(word_t *)d = *(const word_t *)s;
    }
    for (; n > 0; n--) {
        *d++ = *s++;
    }
}

static void copy_down(unsigned char *d, const unsigned char *s, size_t n)
{
    for (; n >= WORD; n -= WORD) {
        *(word_t *)(d + n - WORD) = *(const word_t *)(s + n - WORD);
    }
    for (; n > 0; n--) {
        d[n - 1] = s[n - 1];
    }
}

void *(memcpy)(void *restrict dst, const void *restrict src, size_t n)
{
    copy_up(dst, src, n);
    return dst;
}

void *memmove(void *dst, const void *src, size_t n)
{
    /* Upwards is right unless dst lies inside the source; the difference wraps when it is below. */
    if ((uintptr_t)dst - (uintptr_t)src >= n) {
        copy_up(dst, src, n);
    } else {
        copy_down(dst, src, n);
    }
    return dst;
}

void *(memset)(void *dst, int c, size_t n)
{
    unsigned char *d = dst;
    uint64_t w = (unsigned char)c * UINT64_C(0x0101010101010101);

    for (; n >= BLOCK; n -= BLOCK, d += BLOCK) {
        *(word_t *)d = w;
        *(word_t *)(d + WORD) = w;
        *(word_t *)(d + 2 * WORD) = w;
        *(word_t *)(d + 3 * WORD) = w;
    }
    for (; n >= WORD; n -= WORD, d += WORD) {
        *(word_t *)d = w;
    }
    for (; n > 0; n--) {
        *d++ = (unsigned char)c;
    }
    return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const unsigned char *p = a;
    const unsigned char *q = b;

    while (n >= WORD && *(const word_t *)p == *(const word_t *)q) {
        n -= WORD;
        p += WORD;
        q += WORD;
    }
    for (; n > 0; n--, p++, q++) {
        if (*p != *q) {
            return *p < *q ? -1 : 1;
        }
    }
    return 0;
}

size_t strlen(const char *s)
{
    size_t n = 0;

    while (s[n] != '\0') {
        n++;
    }
    return n;
}

size_t strnlen(const char *s, size_t max)
{
    size_t n = 0;

    while (n < max && s[n] != '\0') {
        n++;
    }
    return n;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, SIZE_MAX);
}

int strncmp(const char *a, const char *b, size_t n)
{
    for (; n > 0; n--, a++, b++) {
        unsigned char x = (unsigned char)*a;
        unsigned char y = (unsigned char)*b;

        if (x != y) {
            return x < y ? -1 : 1;
        }
        if (x == '\0') {
            break;
        }
    }
    return 0;
}
