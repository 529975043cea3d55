/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every guest payload needs: strings, numbers, the console, the log grammar, the way out.
 *
 * Nothing here touches FPU or vector registers (built with -mgeneral-regs-only), so a payload may
 * keep them live across any call.
 */
#ifndef GUEST_LIB_H
#define GUEST_LIB_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SIZE 4096U
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#ifdef __x86_64__
#define P64 "l" /* printf length of uint64_t: "%" P64 "u" */
#else
#define P64 "ll"
#endif

/* ---- string.c ---- */
void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
/* Copies at most size - 1 characters and always ends with NUL. */
void str_copy(char *dst, const char *src, size_t size);
/* CRC-32 as zlib computes it. */
uint32_t crc32(const void *data, size_t n);
/* Value / divisor for 32-bit divisors; no library call on i386. */
uint64_t div64(uint64_t value, uint32_t divisor, uint32_t *remainder);
/* A good 64-bit mix: different inputs give unrelated outputs. */
uint64_t mix64(uint64_t x);
/* Next number of a sequence; *state must not be 0. */
uint64_t rand64(uint64_t *state);

/* ---- printf.c ---- */
/* %c %s %d %u %x %p %%, lengths l and ll, flags 0 and -, width. Always ends with NUL; returns the
 * length kept. */
size_t str_format(char *buf, size_t size, const char *fmt, ...) PRINTF_LIKE(3, 4);
size_t str_vformat(char *buf, size_t size, const char *fmt, va_list ap) PRINTF_LIKE(3, 0);

/* ---- console.c: COM1, polled ---- */
void console_init(void);
void console_write(const char *text, size_t n);
/* Waits until the last bit has left. */
void console_drain(void);
/* Called for every character written, when set: lets a clock be watched during output. */
extern void (*console_idle)(void);
/* One call prints at most 511 characters. */
void print(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* ---- report.c: `PASS|FAIL|SKIP: area: text`, `SUMMARY: n tests, m failures` ---- */
void report_skip(const char *area, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* PASS or FAIL by ok; returns ok. */
bool report(bool ok, const char *area, const char *fmt, ...) PRINTF_LIKE(3, 4);
unsigned int report_failures(void);
/* Prints the summary and ends with 0 iff there were tests and none failed. */
_Noreturn void report_end(void);
/* The guest noticed damage: FAIL, summary, exit 1, at once. */
_Noreturn void damage(const char *area, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* An area of continuous checks: counted in silence, reported once at the end. */
struct area {
    const char *name;
    uint64_t checks;
};
/* PASS with the number of checks, SKIP when there were none. */
void report_area(const struct area *area);

/* ---- exit.c ---- */
/* Drains the console, writes code to port 0xf4, then asks Bochs to stop, then halts. */
_Noreturn void guest_exit(uint32_t code);

/* ---- the payload ---- */
/* Its result is the exit code. */
int guest_main(void);
/* Called by start.asm: prepares the library, calls guest_main(). */
_Noreturn void guest_entry(uint32_t magic, uint32_t info);

/* linker script */
extern char __image_start[], __image_end[], __const_start[], __const_end[];

#endif
