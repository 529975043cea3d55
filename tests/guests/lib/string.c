/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory, strings, CRC-32 and small arithmetic for the guest payloads.
 */
#include "lib/lib.h"

#define CRC32_POLY 0xedb88320U

void *memcpy(void *dst, const void *src, size_t n)
{
    void *d = dst;

    __asm__ volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(n)::"memory");
    return dst;
}

void *memmove(void *dst, const void *src, size_t n)
{
    uint8_t *d = dst;
    const uint8_t *s = src;

    if ((uintptr_t)d - (uintptr_t)s >= n) {
        return memcpy(dst, src, n);
    }
    while (n != 0) {
        n--;
        d[n] = s[n];
    }
    return dst;
}

void *memset(void *dst, int c, size_t n)
{
    void *d = dst;

    __asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"((uint8_t)c) : "memory");
    return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a;
    const uint8_t *y = b;

    for (size_t i = 0; i < n; i++) {
        if (x[i] != y[i]) {
            return x[i] < y[i] ? -1 : 1;
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

int strncmp(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (a[i] != b[i]) {
            return (uint8_t)a[i] < (uint8_t)b[i] ? -1 : 1;
        }
        if (a[i] == '\0') {
            break;
        }
    }
    return 0;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, SIZE_MAX);
}

void str_copy(char *dst, const char *src, size_t size)
{
    size_t i;

    for (i = 0; i + 1 < size && src[i] != '\0'; i++) {
        dst[i] = src[i];
    }
    dst[i] = '\0';
}

uint32_t crc32(const void *data, size_t n)
{
    static uint32_t table[256];
    const uint8_t *p = data;
    uint32_t crc = UINT32_MAX;

    if (table[1] == 0) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t v = i;

            for (int bit = 0; bit < 8; bit++) {
                v = (v & 1U) != 0 ? v >> 1 ^ CRC32_POLY : v >> 1;
            }
            table[i] = v;
        }
    }
    for (size_t i = 0; i < n; i++) {
        crc = crc >> 8 ^ table[(crc ^ p[i]) & 0xffU];
    }
    return ~crc;
}

uint64_t div64(uint64_t value, uint32_t divisor, uint32_t *remainder)
{
    uint64_t quotient;
    uint32_t rest;

#ifdef __x86_64__
    quotient = value / divisor;
    rest = (uint32_t)(value % divisor);
#else
    uint32_t hi = (uint32_t)(value >> 32);
    uint32_t lo = (uint32_t)value;

    rest = hi % divisor;
    hi /= divisor;
    /* rest < divisor, so the quotient fits 32 bits and DIV cannot fault. */
    __asm__("divl %2" : "+a"(lo), "+d"(rest) : "rm"(divisor));
    quotient = (uint64_t)hi << 32 | lo;
#endif
    if (remainder != NULL) {
        *remainder = rest;
    }
    return quotient;
}

uint64_t mix64(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9U;
    x = (x ^ x >> 27) * 0x94d049bb133111ebU;
    return x ^ x >> 31;
}

uint64_t rand64(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15U;
    return mix64(*state);
}
