/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log grammar of the tests, and the way out.
 */
#include "lib/lib.h"
#include "lib/uart.h"
#include "lib/x86.h"

static unsigned int tests;
static unsigned int failures;

static void line(const char *kind, const char *area, const char *fmt, va_list ap)
{
    char text[400];

    str_vformat(text, sizeof(text), fmt, ap);
    print("%s: %s: %s\n", kind, area, text);
}

static void summary(void)
{
    print("SUMMARY: %u tests, %u failures\n", tests, failures);
}

void report_skip(const char *area, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    line("SKIP", area, fmt, ap);
    va_end(ap);
}

bool report(bool ok, const char *area, const char *fmt, ...)
{
    va_list ap;

    tests++;
    failures += !ok;
    va_start(ap, fmt);
    line(ok ? "PASS" : "FAIL", area, fmt, ap);
    va_end(ap);
    return ok;
}

unsigned int report_failures(void)
{
    return failures;
}

_Noreturn void report_end(void)
{
    summary();
    guest_exit(tests != 0 && failures == 0 ? 0 : 1);
}

_Noreturn void damage(const char *area, const char *fmt, ...)
{
    va_list ap;

    /* A clock that watches the output could notice more damage and come back here. */
    console_idle = NULL;
    tests++;
    failures++;
    va_start(ap, fmt);
    line("FAIL", area, fmt, ap);
    va_end(ap);
    summary();
    guest_exit(1);
}

void report_area(const struct area *area)
{
    if (area->checks == 0) {
        report_skip(area->name, "nothing to check here");
    } else {
        report(true, area->name, "%" P64 "u checks", area->checks);
    }
}

_Noreturn void guest_exit(uint32_t code)
{
    console_drain();
    outl(EXIT_PORT, code);
    for (const char *s = "Shutdown"; *s != '\0'; s++) {
        outb(BOCHS_SHUTDOWN_PORT, (uint8_t)*s);
    }
    for (;;) {
        __asm__ volatile("cli; hlt" ::: "memory");
    }
}
