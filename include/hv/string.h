/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few libc functions the compiler and we need. On the host the libc's own are used.
 */
#ifndef HV_STRING_H
#define HV_STRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
size_t strnlen(const char *s, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);

/* In a freestanding build the compiler makes a call of each copy, also of 8 bytes. */
#if !__STDC_HOSTED__
#define memcpy(dst, src, n) __builtin_memcpy(dst, src, n)
#define memset(dst, c, n) __builtin_memset(dst, c, n)
#endif

#ifndef HV_STR_COPY_DEFINED
#define HV_STR_COPY_DEFINED
/* Copies src into dst[size], cut where it must be, always terminated, the rest zeroed (records and
 * hypercall structures must not carry stale bytes). */
static inline void str_copy(char *dst, size_t size, const char *src)
{
    size_t i = 0;

    for (; i + 1 < size && src[i] != '\0'; i++) {
        dst[i] = src[i];
    }
    for (; i < size; i++) {
        dst[i] = '\0';
    }
}

/* All n bytes are 0. 32 at a time: what is empty is often most of a page. */
static inline bool mem_is_zero(const void *p, size_t n)
{
    const unsigned char *s = (const unsigned char *)p;
    uint64_t a, b, c, d;

    for (; n >= 32; n -= 32, s += 32) {
        __builtin_memcpy(&a, s, sizeof(a));
        __builtin_memcpy(&b, s + 8, sizeof(b));
        __builtin_memcpy(&c, s + 16, sizeof(c));
        __builtin_memcpy(&d, s + 24, sizeof(d));
        if ((a | b | c | d) != 0) {
            return false;
        }
    }
    for (; n > 0; n--) {
        if (*s++ != 0) {
            return false;
        }
    }
    return true;
}
#endif

#endif
