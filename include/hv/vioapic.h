/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O APIC of a domain (dev/vioapic.c): 24 pins, 82093AA register model, version 0x20 with EOI
 * register.
 */
#ifndef HV_VIOAPIC_H
#define HV_VIOAPIC_H

#include "hv/vlapic.h"

#define VIOAPIC_MMIO_BASE 0xfec00000UL
#define VIOAPIC_PINS 24U

struct vioapic {
    LAYOUT(uint32_t select; uint32_t id; uint64_t redirection[VIOAPIC_PINS];,
           uint32_t lines; /* level of each pin */)
};

void vioapic_reset(struct vioapic *io);
uint32_t vioapic_read(struct vioapic *io, uint32_t offset);
void vioapic_write(struct vioapic *io, const struct vlapic_bus *bus, void *domain, uint32_t offset,
                   uint32_t value);

/* A pin's line goes up or down; delivers by the redirection entry (edges once, levels while up). */
void vioapic_set_line(struct vioapic *io, const struct vlapic_bus *bus, void *domain,
                      unsigned int pin, bool up);

/* Would a rise of the line be an NMI or INIT? They reach vCPUs with interrupts off. */
bool vioapic_signals(const struct vioapic *io, unsigned int pin);

/* A CPU has completed a level-triggered vector: Remote IRR goes, a line that is still up fires. */
void vioapic_eoi(struct vioapic *io, const struct vlapic_bus *bus, void *domain, uint8_t vector);

#endif
