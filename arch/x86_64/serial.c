/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host console: polled 16550 on COM1, 115200 8N1.
 */
#include "asm/machine.h"

#include "asm/cpu.h"
#include "hv/seam.h"
#include "hw/ports.h"

#define DIVISOR_115200 1
#define TX_FIFO 16U
#define SCRATCH_PATTERN 0x5a

static bool present;

void serial_init(void)
{
    outb(COM1_PORT + UART_SCR, SCRATCH_PATTERN);
    present = inb(COM1_PORT + UART_SCR) == SCRATCH_PATTERN;
    if (!present) {
        return;
    }
    outb(COM1_PORT + UART_IER, 0);
    outb(COM1_PORT + UART_LCR, UART_LCR_DLAB | UART_LCR_8N1);
    outb(COM1_PORT + UART_DATA, DIVISOR_115200);
    outb(COM1_PORT + UART_IER, 0);
    outb(COM1_PORT + UART_LCR, UART_LCR_8N1);
    /* No FIFO reset: bytes typed during an update wait in it. */
    outb(COM1_PORT + UART_FCR, UART_FCR_ENABLE);
    outb(COM1_PORT + UART_MCR, UART_MCR_DTR | UART_MCR_RTS);
}

unsigned int serial_room(void)
{
    if (!present) {
        return TX_FIFO; /* swallow the output */
    }
    return (inb(COM1_PORT + UART_LSR) & UART_LSR_THRE) ? TX_FIFO : 0;
}

void serial_put(uint8_t byte)
{
    if (present) {
        outb(COM1_PORT + UART_DATA, byte);
    }
}

int serial_get(void)
{
    if (!present || !(inb(COM1_PORT + UART_LSR) & UART_LSR_DR)) {
        return -1;
    }
    return inb(COM1_PORT + UART_DATA);
}

bool serial_idle(void)
{
    return !present || (inb(COM1_PORT + UART_LSR) & UART_LSR_TEMT);
}
