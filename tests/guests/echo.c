/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Says back what is typed: `heard N: LINE` for each line from COM1; the line `bye` ends it.
 */
#include "lib/bootinfo.h"
#include "lib/lib.h"
#include "lib/molt.h"
#include "lib/uart.h"
#include "lib/x86.h"

#define LINE_MAX 200U

static char line[LINE_MAX + 1];

/* One line, without its end. Overruns are told: nothing may get lost in silence. */
static void get_line(void)
{
    size_t n = 0;
    uint8_t status, byte;

    for (;;) {
        status = inb(UART_LSR);
        if ((status & LSR_OE) != 0) {
            print("FAIL: echo: the UART has overrun\n");
        }
        if ((status & LSR_DR) == 0) {
            (void)molt_call(HC_YIELD, 0, 0, 0, 0);
            continue;
        }
        byte = inb(UART_DATA);
        if (byte == '\r' || byte == '\n') {
            line[n] = '\0';
            return;
        }
        if (n < LINE_MAX) {
            line[n++] = (char)byte;
        }
    }
}

int guest_main(void)
{
    uint64_t n = 0;

    print("echo: ready\n");
    do {
        get_line();
        print("heard %" P64 "u: %s\n", ++n, line);
    } while (strcmp(line, "bye") != 0);
    return 0;
}
