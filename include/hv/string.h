/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few libc functions the compiler and we need. On the host the libc's own are used.
 */
#ifndef HV_STRING_H
#define HV_STRING_H

#include <stddef.h>

void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
size_t strnlen(const char *s, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);

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
#endif

#endif
