/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the load programs of the Linux tests share: results, time, random numbers.
 */
#ifndef TESTS_LINUX_COMMON_H
#define TESTS_LINUX_COMMON_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)

/* When the load ends: CLOCK_MONOTONIC, which /proc/uptime shows as well. */
static int64_t until;

/* A check failed: that is the result of the whole program. */
static inline __attribute__((noreturn, format(printf, 2, 3))) void fail(const char *area,
                                                                        const char *format, ...)
{
    va_list args;

    printf("FAIL: %s: ", area);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    _exit(0); /* from any thread */
}

static inline int64_t clock_ns(void)
{
    struct timespec now;

    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) {
        fail("clock", "clock_gettime");
    }
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* How late anything may be: $LATE seconds, where another clock than the guest's work decides. */
static inline int64_t late_max(void)
{
    const char *seconds = getenv("LATE");

    return (seconds != NULL ? atoi(seconds) : 2) * NS_PER_S;
}

static inline struct timespec timespec_of(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
}

static inline bool over(void)
{
    return clock_ns() >= until;
}

static inline uint64_t rand64(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

#endif
