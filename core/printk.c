/* SPDX-License-Identifier: Apache-2.0 */
/*
 * printk: molt's own lines, for the console and the flight recorder.
 */
#include "hv/printk.h"

#include "hv/console.h"
#include "hv/recorder.h"

#define LINE_MAX 512U

void printk(const char *fmt, ...)
{
    static const char prefix[] = "molt: ";
    char line[LINE_MAX];
    va_list args;
    size_t len = sizeof(prefix) - 1;

    for (size_t i = 0; i < len; i++) {
        line[i] = prefix[i];
    }
    va_start(args, fmt);
    len += fmt_vstr(line + len, sizeof(line) - len, fmt, args);
    va_end(args);
    len = MIN(len, sizeof(line) - 1);
    recorder_text(line + sizeof(prefix) - 1, len - (sizeof(prefix) - 1));
    console_line(line, len);
}
