/* SPDX-License-Identifier: Apache-2.0 */
/*
 * COM1 as a 16550: registers, loopback, FIFO; nothing that is written gets lost.
 *
 * Nothing is printed while a register is in a state that would lose output; results are gathered
 * and checked afterwards.
 */
#include "probe/probe.h"

#include "lib/clock.h"
#include "lib/uart.h"

#define FIFO_BYTES 16U
#define WAIT_US 20000U

/* Every bit that LSR showed while waiting for these: a read clears the error bits. */
static uint8_t wait_lsr(uint8_t bits)
{
    uint64_t until = clock_us() + WAIT_US;
    uint8_t all = 0;
    uint8_t lsr;

    do {
        lsr = inb(UART_LSR);
        all |= lsr;
    } while ((lsr & bits) != bits && clock_us() < until);
    return all;
}

static void check_registers(void)
{
    uint8_t bad_scr = 0;
    uint8_t lsr;
    uint8_t ier_all;
    uint8_t ier_thre;
    uint8_t iir_none;
    uint8_t iir_thre;
    uint8_t lcr;
    uint8_t divisor[2];
    uint8_t ier_after;
    uint8_t mcr;

    console_drain();
    for (unsigned int v = 0; v < 256; v++) {
        outb(UART_SCR, (uint8_t)v);
        bad_scr |= (uint8_t)(inb(UART_SCR) ^ v);
    }
    lsr = inb(UART_LSR);
    outb(UART_IER, 0);
    (void)inb(UART_IIR);
    iir_none = inb(UART_IIR);
    outb(UART_IER, 0xff);
    ier_all = inb(UART_IER);
    outb(UART_IER, IER_THRE);
    ier_thre = inb(UART_IER);
    iir_thre = inb(UART_IIR);
    outb(UART_LCR, LCR_DLAB | LCR_8N1);
    lcr = inb(UART_LCR);
    outb(UART_DATA, 0x34);
    outb(UART_IER, 0x12);
    divisor[0] = inb(UART_DATA);
    divisor[1] = inb(UART_IER);
    outb(UART_DATA, 1);
    outb(UART_IER, 0);
    outb(UART_LCR, LCR_8N1);
    ier_after = inb(UART_IER);
    outb(UART_IER, 0);
    outb(UART_MCR, 0xef); /* all but loopback */
    mcr = inb(UART_MCR);
    outb(UART_MCR, MCR_DTR | MCR_RTS);

    group_begin("uart");
    check(bad_scr == 0, "scratch register: bits 0x%x do not stay", bad_scr);
    check((lsr & (LSR_THRE | LSR_TEMT)) == (LSR_THRE | LSR_TEMT), "idle LSR is 0x%x", lsr);
    check((iir_none & IIR_ID) == IIR_NONE, "IIR with IER 0 is 0x%x", iir_none);
    check((iir_none & IIR_FIFO) == IIR_FIFO, "IIR with FIFO on is 0x%x", iir_none);
    check(ier_all == 0x0f, "IER: wrote 0xff, read 0x%x", ier_all);
    check(ier_thre == IER_THRE, "IER: wrote 2, read 0x%x", ier_thre);
    check((iir_thre & IIR_ID) == IIR_THRE, "IIR with an empty transmitter is 0x%x", iir_thre);
    check(lcr == (LCR_DLAB | LCR_8N1), "LCR is 0x%x", lcr);
    check(divisor[0] == 0x34 && divisor[1] == 0x12, "divisor is 0x%x%02x", divisor[1], divisor[0]);
    check(ier_after == IER_THRE, "IER is 0x%x after the divisor was written", ier_after);
    check((mcr & 0x0f) == 0x0f && (mcr & 0xc0) == 0, "MCR is 0x%x", mcr);
    group_end("registers");
}

static void check_modem_loopback(void)
{
    uint8_t got[16];

    console_drain();
    for (unsigned int i = 0; i < 16; i++) {
        outb(UART_MCR, (uint8_t)(MCR_LOOP | i));
        got[i] = inb(UART_MSR) & 0xf0;
    }
    outb(UART_MCR, MCR_DTR | MCR_RTS);
    group_begin("uart");
    for (unsigned int i = 0; i < 16; i++) {
        /* DTR to DSR, RTS to CTS, OUT1 to RI, OUT2 to DCD */
        unsigned int want = ((i & MCR_RTS) != 0 ? 0x10U : 0) | ((i & MCR_DTR) != 0 ? 0x20U : 0) |
                            ((i & MCR_OUT1) != 0 ? 0x40U : 0) | ((i & MCR_OUT2) != 0 ? 0x80U : 0);

        check(got[i] == want, "loopback: MCR 0x%x gives MSR 0x%x, expected 0x%x", i, got[i], want);
    }
    group_end("modem lines in loopback");
}

static void check_data_loopback(void)
{
    unsigned int single_bad = 0;
    unsigned int lost = 0;
    uint8_t fifo[FIFO_BYTES];
    uint8_t lsr_full = 0;
    uint8_t lsr_over;
    uint8_t lsr_read;
    uint8_t lsr_end;

    console_drain();
    outb(UART_IIR, FCR_ENABLE | FCR_CLEAR);
    outb(UART_MCR, MCR_LOOP);
    for (unsigned int v = 0; v < 256; v++) {
        outb(UART_DATA, (uint8_t)v);
        lost += (wait_lsr(LSR_DR | LSR_TEMT) & LSR_DR) == 0;
        single_bad += inb(UART_DATA) != v;
    }
    for (unsigned int i = 0; i < FIFO_BYTES; i++) {
        outb(UART_DATA, (uint8_t)(0xa0 + i));
        lsr_full = wait_lsr(LSR_TEMT);
    }
    outb(UART_DATA, 0x5a); /* one too many */
    lsr_over = wait_lsr(LSR_TEMT);
    lsr_read = inb(UART_LSR);
    for (unsigned int i = 0; i < FIFO_BYTES; i++) {
        fifo[i] = inb(UART_DATA);
    }
    lsr_end = inb(UART_LSR);
    outb(UART_IIR, FCR_ENABLE | FCR_CLEAR);
    outb(UART_MCR, MCR_DTR | MCR_RTS);

    group_begin("uart");
    check(lost == 0, "loopback: %u bytes never arrived", lost);
    check(single_bad == 0, "loopback: %u of 256 bytes arrived wrong", single_bad);
    check((lsr_full & (LSR_DR | LSR_OE)) == LSR_DR, "LSR with a full FIFO is 0x%x", lsr_full);
    check((lsr_over & (LSR_DR | LSR_OE)) == (LSR_DR | LSR_OE), "LSR after an overrun is 0x%x",
          lsr_over);
    check((lsr_read & (LSR_DR | LSR_OE)) == LSR_DR, "LSR read again is 0x%x", lsr_read);
    for (unsigned int i = 0; i < FIFO_BYTES; i++) {
        check(fifo[i] == 0xa0 + i, "FIFO byte %u is 0x%x", i, fifo[i]);
    }
    check((lsr_end & LSR_DR) == 0, "LSR with an empty FIFO is 0x%x", lsr_end);
    group_end("data in loopback");
}

void probe_uart(void)
{
    check_registers();
    check_modem_loopback();
    check_data_loopback();
    /* For the test to see: 95 printable characters, complete and in order. */
    for (char c = ' '; c <= '~'; c++) {
        console_write(&c, 1);
    }
    console_write("\n", 1);
}
