/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts of a device: COM1's transmitter, through the I/O APIC, to each CPU.
 *
 * Enabling the transmitter's interrupt raises the line, reading IIR lowers it. Edge: one interrupt
 * per rise. Level: one more after each EOI as long as the line is up. Nothing is printed meanwhile.
 */
#include "irqexact/irq.h"

#include "lib/molt.h"
#include "lib/uart.h"

struct area area_line = {"I/O APIC", 0};

static volatile uint32_t lower_after; /* interrupts until the handler reads IIR */
static volatile bool lowered;         /* it has */

static void on_line(struct irq_cpu *cpu)
{
    (void)cpu;
    if (--lower_after == 0) {
        (void)inb(UART_IIR);
        lowered = true;
    }
}

static void raise_line(unsigned int to, uint64_t entry, uint32_t times)
{
    struct irq_cpu *cpu = &irq_cpus[to];

    lower_after = times;
    lowered = false;
    cpu->every_vector = VECTOR_LINE;
    cpu->every = on_line;
    cpu->expected[VECTOR_LINE] += times;
    ioapic_route(IOAPIC_PIN_COM1, entry | (uint64_t)to << IOAPIC_DEST_SHIFT | VECTOR_LINE);
    irq_on();
    outb(UART_IER, IER_THRE);
    irq_wait(cpu, VECTOR_LINE);
    while (!lowered) {
        smp_relax(); /* the handler counts first; its CPU may have to wait for its turn */
    }
    irq_off();
    outb(UART_IER, 0);
    while ((entry & IOAPIC_LEVEL) != 0 &&
           (ioapic_entry(IOAPIC_PIN_COM1) & IOAPIC_REMOTE_IRR) != 0) {
        smp_relax(); /* so does the EOI */
    }
    cpu->every = NULL;
    irq_count(&area_line);
}

void line_round(void)
{
    struct irq_cpu *self = &irq_cpus[0];
    unsigned int to = irq_rand(self, smp_count);

    irq_off();
    irq_serve_all();
    outb(UART_MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
    raise_line(to, 0, 1);
    raise_line(to, IOAPIC_LEVEL, 1);
    if (molt_present() || !cpu_is_exact()) { /* Bochs itself looks at a level that stays up once */
        raise_line(irq_rand(self, smp_count), IOAPIC_LEVEL, 2 + irq_rand(self, 3));
    }
    ioapic_route(IOAPIC_PIN_COM1, IOAPIC_MASKED);
    outb(UART_MCR, MCR_DTR | MCR_RTS);
    irq_serve_end_all();
}
