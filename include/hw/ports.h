/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O ports: 16550 UART, 8259 PIC, 8254 PIT, and the emulators' exit doors.
 */
#ifndef HW_PORTS_H
#define HW_PORTS_H

#define COM1_PORT 0x3f8

/* 16550 register offsets and bits */
#define UART_DATA 0
#define UART_IER 1
#define UART_IIR 2
#define UART_FCR 2
#define UART_LCR 3
#define UART_MCR 4
#define UART_LSR 5
#define UART_MSR 6
#define UART_SCR 7
#define UART_LCR_DLAB 0x80
#define UART_LCR_8N1 0x03
#define UART_FCR_ENABLE 0x01
#define UART_FCR_CLEAR_RX 0x02
#define UART_FCR_CLEAR_TX 0x04
#define UART_IER_RX 0x01
#define UART_IER_TX 0x02
#define UART_IER_LINE 0x04
#define UART_IIR_NONE 0x01
#define UART_IIR_TX 0x02
#define UART_IIR_RX 0x04
#define UART_IIR_LINE 0x06
#define UART_IIR_FIFO 0xc0
#define UART_MCR_DTR 0x01
#define UART_MCR_RTS 0x02
#define UART_MCR_OUT1 0x04
#define UART_MCR_OUT2 0x08
#define UART_MCR_LOOP 0x10
#define UART_LSR_DR 0x01
#define UART_LSR_OE 0x02
#define UART_LSR_THRE 0x20
#define UART_LSR_TEMT 0x40
#define UART_MSR_CTS 0x10
#define UART_MSR_DSR 0x20
#define UART_MSR_RI 0x40
#define UART_MSR_DCD 0x80

#define PIC1_DATA 0x21
#define PIC2_DATA 0xa1

#define PIT_CH0 0x40
#define PIT_CH2 0x42
#define PIT_MODE 0x43
#define PIT_MODE_CH0_LATCH 0x00   /* the count, for the next two reads */
#define PIT_MODE_CH0_RATE 0x34    /* channel 0, low and high byte, mode 2 */
#define PIT_MODE_CH0_STROBE 0x3a  /* the same, mode 5 */
#define PIT_MODE_CH2_ONESHOT 0xb0 /* channel 2, low and high byte, mode 0 */
#define PIT_GATE 0x61
#define PIT_GATE_ON 0x01
#define PIT_GATE_SPEAKER 0x02
#define PIT_GATE_OUT 0x20
#define PIT_HZ 1193182UL
#define PIT_IRQ 0U /* of channel 0, on the ISA bus */

#define RESET_PORT 0xcf9 /* reset control register of Intel chipsets */
#define RESET_HARD 0x02  /* what a reset will be */
#define RESET_NOW 0x04   /* its rise resets */
#define KEYBOARD_PORT 0x64
#define KEYBOARD_PULSE_RESET 0xfe /* command: the processor's reset line */

#define DEBUG_EXIT_PORT 0xf4       /* QEMU isa-debug-exit; also a guest's exit code */
#define BOCHS_SHUTDOWN_PORT 0x8900 /* Bochs: the bytes of "Shutdown" */

#endif
