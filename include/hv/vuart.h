/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 16550 UART on COM1 of a guest (dev/vuart.c): polled; output is gathered into lines.
 */
#ifndef HV_VUART_H
#define HV_VUART_H

#include "hv/compiler.h"
#include "hv/types.h"

#define VUART_PORT 0x3f8U
#define VUART_PORTS 8U
#define VUART_FIFO 16U
#define VUART_LINE 240U /* longer lines are printed in pieces */

struct domain;

struct vuart {
    LAYOUT(uint8_t ier; uint8_t lcr; uint8_t mcr; uint8_t scr; uint8_t fcr; uint8_t lsr_errors;
           uint16_t divisor; uint8_t rx_count; uint8_t rx[VUART_FIFO];
           bool tx_event; /* the transmitter ran empty and nobody has read IIR since */
           bool tx_blocked; /* it was told that the transmitter is full */
           bool held_cr;    /* '\r' of the control domain that may be part of an end of line */
           , char line[VUART_LINE]; uint32_t line_length;
           /* kept by core/console.c: bytes of the line that stand in the output already; and the
            * position in the output behind the last whole line */
           uint32_t line_shown; uint64_t printed_to;)
};

void vuart_reset(struct vuart *u);
/* Register read and write, offset 0 to 7. Output goes to console_guest_line() by whole lines; write
 * returns false when the console has no room: nothing was done, the guest tries again. */
uint8_t vuart_read(struct domain *d, unsigned int offset);
MUST_CHECK bool vuart_write(struct domain *d, unsigned int offset, uint8_t value);
/* A byte from the keyboard; false when the FIFO is full. */
bool vuart_input(struct domain *d, uint8_t byte);
/* Bytes that vuart_input() takes now. */
unsigned int vuart_room(const struct domain *d);
/* The console has room for it again: the transmitter is empty, and tells so. */
void vuart_unblock(struct domain *d);
/* Prints the line that has no end yet (the domain ended). */
void vuart_flush(struct domain *d);

#endif
