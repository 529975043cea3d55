/* SPDX-License-Identifier: Apache-2.0 */
/*
 * molt's own messages, and formatting.
 *
 * printk() never waits for the serial port: text goes to the console ring (hv/console.h), which is
 * drained while guests run. panic() drains it by polling.
 */
#ifndef HV_PRINTK_H
#define HV_PRINTK_H

#include <stdarg.h>

#include "hv/compiler.h"
#include "hv/types.h"

/* Prints one line: "molt: " + text + newline (the newline is added here). Any stage. */
PRINTF(1, 2) void printk(const char *fmt, ...);

/* Formats into buf (always terminated when size > 0); returns the length that the whole text has.
 * Knows %d %i %u %x %X %c %s %p %% with 0, -, width, .precision (strings), '*' for either, and
 * h hh l ll z. */
PRINTF(3, 4) size_t fmt_str(char *buf, size_t size, const char *fmt, ...);
size_t fmt_vstr(char *buf, size_t size, const char *fmt, va_list args);

/* Prints CPU, boot or update phase, RIP and backtrace, drains the console and stops the machine.
 * Needs no heap, locks or interrupts. */
NORETURN PRINTF(1, 2) void panic(const char *fmt, ...);

/* Our own invariants; stays on in every build. */
#define BUG_ON(cond)                                              \
    do {                                                          \
        if (__builtin_expect(!!(cond), 0)) {                      \
            panic("BUG: %s at %s:%d", #cond, __FILE__, __LINE__); \
        }                                                         \
    } while (0)

#endif
