/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 16550 UART of a guest, polled.
 *
 * The transmitter is always empty as far as the console has room: what a guest writes is gathered
 * into lines and handed over whole. Host test: tests/host/test_vuart.c
 * Register rules: 16550D data sheet, "Registers".
 */
#include "hv/vuart.h"

#include "hv/console.h"
#include "hv/domain.h"
#include "hv/irq.h"
#include "hv/string.h"
#include "hw/ports.h"

#define IER_MASK 0x0fU
#define MCR_MASK 0x1fU
#define DIVISOR_9600 12U

void vuart_reset(struct vuart *u)
{
    memset(u, 0, sizeof(*u));
    u->divisor = DIVISOR_9600;
}

static bool dlab(const struct vuart *u)
{
    return u->lcr & UART_LCR_DLAB;
}

static uint8_t receive(struct vuart *u)
{
    uint8_t byte = u->rx_count != 0 ? u->rx[0] : 0;

    if (u->rx_count != 0) {
        u->rx_count--;
        memmove(u->rx, u->rx + 1, u->rx_count);
    }
    return byte;
}

/* Overrun: a full FIFO keeps what it has, the single register does not. */
static bool take(struct vuart *u, uint8_t byte)
{
    bool fifo = u->fcr & UART_FCR_ENABLE;

    if (u->rx_count >= (fifo ? VUART_FIFO : 1)) {
        u->lsr_errors |= UART_LSR_OE;
        u->rx[0] = fifo ? u->rx[0] : byte;
        return false;
    }
    u->rx[u->rx_count++] = byte;
    return true;
}

/* A byte into the line. False when the console has no room for one. */
static bool put_byte(struct domain *d, uint8_t byte)
{
    struct vuart *u = &d->uart;

    if (byte == '\n' || u->line_length == VUART_LINE) {
        if (!console_guest_line(d, u->line, u->line_length)) {
            return false;
        }
        u->line_length = 0;
        if (byte == '\n') {
            return true;
        }
    }
    u->line[u->line_length++] = (char)byte;
    return true;
}

/* Lines end with '\n', and the console adds its own '\r'. One elsewhere means something to a
 * terminal, so the control domain's waits for what follows. */
static bool put(struct domain *d, uint8_t byte)
{
    struct vuart *u = &d->uart;

    if (byte == '\r') {
        u->held_cr = d->control;
        return true;
    }
    if (u->held_cr && byte != '\n') {
        if (!put_byte(d, '\r')) {
            return false;
        }
        u->held_cr = false;
    }
    if (!put_byte(d, byte)) {
        return false;
    }
    u->held_cr = false;
    return true;
}

static bool transmit(struct domain *d, uint8_t byte)
{
    struct vuart *u = &d->uart;

    u->tx_event = true;
    if (u->mcr & UART_MCR_LOOP) {
        (void)take(u, byte);
        return true;
    }
    if (!put(d, byte)) {
        return false;
    }
    output_put(&d->output, byte);
    return true;
}

void vuart_flush(struct domain *d)
{
    if (d->uart.line_length != 0) {
        console_guest_last_line(d, d->uart.line, d->uart.line_length);
        d->uart.line_length = 0;
    }
}

/* What interrupts, by priority; naming the transmitter clears that event. */
static uint8_t interrupt_id(struct vuart *u)
{
    uint8_t fifo = (u->fcr & UART_FCR_ENABLE) ? UART_IIR_FIFO : 0;

    if ((u->ier & UART_IER_LINE) && u->lsr_errors != 0) {
        return fifo | UART_IIR_LINE;
    }
    if ((u->ier & UART_IER_RX) && u->rx_count != 0) {
        return fifo | UART_IIR_RX;
    }
    if ((u->ier & UART_IER_TX) && u->tx_event) {
        u->tx_event = false;
        return fifo | UART_IIR_TX;
    }
    return fifo | UART_IIR_NONE;
}

static uint8_t line_status(struct domain *d)
{
    struct vuart *u = &d->uart;
    uint8_t lsr = u->lsr_errors;

    u->lsr_errors = 0; /* error bits are cleared by the read */
    lsr |= u->rx_count != 0 ? UART_LSR_DR : 0;
    u->tx_blocked = !(u->mcr & UART_MCR_LOOP) && !console_has_room(d);
    lsr |= u->tx_blocked ? 0 : UART_LSR_THRE | UART_LSR_TEMT;
    return lsr;
}

/* Modem lines: all there, or in loopback the outputs of MCR (RTS, DTR, OUT1, OUT2 become CTS, DSR,
 * RI, DCD). */
static uint8_t modem_status(const struct vuart *u)
{
    if (!(u->mcr & UART_MCR_LOOP)) {
        return UART_MSR_CTS | UART_MSR_DSR | UART_MSR_DCD;
    }
    return (uint8_t)(((u->mcr & UART_MCR_RTS) ? UART_MSR_CTS : 0) |
                     ((u->mcr & UART_MCR_DTR) ? UART_MSR_DSR : 0) |
                     ((u->mcr & UART_MCR_OUT1) ? UART_MSR_RI : 0) |
                     ((u->mcr & UART_MCR_OUT2) ? UART_MSR_DCD : 0));
}

/* The interrupt line: something to tell, and OUT2 connects it, as on a PC. */
static void update_line(struct domain *d)
{
    struct vuart *u = &d->uart;
    bool due = ((u->ier & UART_IER_LINE) && u->lsr_errors != 0) ||
               ((u->ier & UART_IER_RX) && u->rx_count != 0) ||
               ((u->ier & UART_IER_TX) && u->tx_event);

    irq_set_line(d, IRQ_COM1, due && (u->mcr & UART_MCR_OUT2));
}

bool vuart_input(struct domain *d, uint8_t byte)
{
    /* In loopback the line outside is cut. */
    bool taken = !(d->uart.mcr & UART_MCR_LOOP) && take(&d->uart, byte);

    update_line(d);
    return taken;
}

unsigned int vuart_room(const struct domain *d)
{
    const struct vuart *u = &d->uart;
    unsigned int capacity = (u->fcr & UART_FCR_ENABLE) ? VUART_FIFO : 1;

    return (u->mcr & UART_MCR_LOOP) ? 0 : capacity - MIN(capacity, u->rx_count);
}

void vuart_unblock(struct domain *d)
{
    d->uart.tx_blocked = false;
    d->uart.tx_event = true;
    update_line(d);
}

static uint8_t read_register(struct domain *d, unsigned int offset)
{
    struct vuart *u = &d->uart;

    switch (offset) {
    case UART_DATA:
        return dlab(u) ? (uint8_t)u->divisor : receive(u);
    case UART_IER:
        return dlab(u) ? (uint8_t)(u->divisor >> 8) : u->ier;
    case UART_IIR:
        return interrupt_id(u);
    case UART_LCR:
        return u->lcr;
    case UART_MCR:
        return u->mcr;
    case UART_LSR:
        return line_status(d);
    case UART_MSR:
        return modem_status(u);
    default:
        return u->scr;
    }
}

uint8_t vuart_read(struct domain *d, unsigned int offset)
{
    uint8_t value = read_register(d, offset);

    update_line(d);
    return value;
}

static bool write_register(struct domain *d, unsigned int offset, uint8_t value)
{
    struct vuart *u = &d->uart;

    switch (offset) {
    case UART_DATA:
        if (!dlab(u)) {
            return transmit(d, value);
        }
        u->divisor = (uint16_t)((u->divisor & 0xff00) | value);
        break;
    case UART_IER:
        if (dlab(u)) {
            u->divisor = (uint16_t)((u->divisor & 0xff) | value << 8);
        } else {
            u->tx_event |= (value & ~u->ier & UART_IER_TX) != 0; /* enabling reports an empty one */
            u->ier = value & IER_MASK;
        }
        break;
    case UART_FCR:
        if (((value ^ u->fcr) & UART_FCR_ENABLE) ||
            ((value & UART_FCR_ENABLE) && (value & UART_FCR_CLEAR_RX))) {
            u->rx_count = 0;
        }
        /* Without bit 0 no other bit counts. */
        u->fcr = (value & UART_FCR_ENABLE)
                     ? value & (uint8_t) ~(UART_FCR_CLEAR_RX | UART_FCR_CLEAR_TX)
                     : 0;
        break;
    case UART_LCR:
        u->lcr = value;
        break;
    case UART_MCR:
        u->mcr = value & MCR_MASK;
        break;
    case UART_SCR:
        u->scr = value;
        break;
    default: /* LSR and MSR are read-only */
        break;
    }
    return true;
}

bool vuart_write(struct domain *d, unsigned int offset, uint8_t value)
{
    bool taken = write_register(d, offset, value);

    update_line(d);
    return taken;
}
