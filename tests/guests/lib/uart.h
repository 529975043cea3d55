/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 16550 UART registers and the exit port.
 */
#ifndef GUEST_UART_H
#define GUEST_UART_H

#define COM1 0x3f8U
#define UART_DATA (COM1 + 0U) /* RBR, THR; DLL while LCR.DLAB */
#define UART_IER (COM1 + 1U)  /* DLM while LCR.DLAB */
#define UART_IIR (COM1 + 2U)  /* FCR when written */
#define UART_LCR (COM1 + 3U)
#define UART_MCR (COM1 + 4U)
#define UART_LSR (COM1 + 5U)
#define UART_MSR (COM1 + 6U)
#define UART_SCR (COM1 + 7U)

#define IER_THRE 0x02U
#define IIR_NONE 0x01U
#define IIR_THRE 0x02U
#define IIR_ID 0x0fU
#define IIR_FIFO 0xc0U
#define FCR_ENABLE 0x01U
#define FCR_CLEAR 0x06U
#define LCR_8N1 0x03U
#define LCR_DLAB 0x80U
#define MCR_DTR 0x01U
#define MCR_RTS 0x02U
#define MCR_OUT1 0x04U
#define MCR_OUT2 0x08U
#define MCR_LOOP 0x10U
#define LSR_DR 0x01U
#define LSR_OE 0x02U
#define LSR_THRE 0x20U
#define LSR_TEMT 0x40U

#define EXIT_PORT 0xf4U
#define BOCHS_SHUTDOWN_PORT 0x8900U

#endif
