/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console: COM1 as a 16550, 115200 baud, polled.
 */
#include "lib/lib.h"
#include "lib/uart.h"
#include "lib/x86.h"

void (*console_idle)(void);

void console_init(void)
{
    outb(UART_IER, 0);
    outb(UART_LCR, LCR_DLAB);
    outb(UART_DATA, 1); /* divisor 1: 115200 baud */
    outb(UART_IER, 0);
    outb(UART_LCR, LCR_8N1);
    outb(UART_IIR, FCR_ENABLE | FCR_CLEAR);
    outb(UART_MCR, MCR_DTR | MCR_RTS);
}

void console_write(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        while ((inb(UART_LSR) & LSR_THRE) == 0) {
            cpu_pause();
        }
        outb(UART_DATA, (uint8_t)text[i]);
        if (console_idle != NULL) {
            console_idle();
        }
    }
}

void console_drain(void)
{
    while ((inb(UART_LSR) & LSR_TEMT) == 0) {
        cpu_pause();
    }
}

void print(const char *fmt, ...)
{
    char line[512];
    va_list ap;
    size_t n;

    va_start(ap, fmt);
    n = str_vformat(line, sizeof(line), fmt, ap);
    va_end(ap);
    console_write(line, n);
}
