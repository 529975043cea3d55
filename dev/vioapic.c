/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O APIC of a domain.
 *
 * A line is up when its device asks for service: the polarity bit is kept and means nothing more.
 * 82093AA data sheet, "Register Description" and "Functional Description"; Intel ICH data sheets,
 * "EOI Register". Host test: tests/host/test_vioapic.c
 * Lock: the caller's, the one of the domain's local APICs.
 * Invariant: only level-triggered entries of fixed or lowest-priority mode have Remote IRR.
 */
#include "hv/vioapic.h"

#include "hv/string.h"
#include "hw/apic.h"

#define VERSION (IOAPIC_VERSION_EOI | (VIOAPIC_PINS - 1) << IOAPIC_VERSION_MAX_PIN_SHIFT)
#define RTE_WRITABLE                                                                    \
    (IOAPIC_RTE_VECTOR | IOAPIC_RTE_MODE | IOAPIC_RTE_LOGICAL | IOAPIC_RTE_ACTIVE_LOW | \
     IOAPIC_RTE_LEVEL | IOAPIC_RTE_MASKED | IOAPIC_RTE_DEST)
#define RTE_LOW_HALF 0xffffffffUL

void vioapic_reset(struct vioapic *io)
{
    memset(io, 0, sizeof(*io));
    for (unsigned int pin = 0; pin < VIOAPIC_PINS; pin++) {
        io->redirection[pin] = IOAPIC_RTE_MASKED;
    }
}

static uint8_t mode_of(uint64_t entry)
{
    return (uint8_t)((entry & IOAPIC_RTE_MODE) >> IOAPIC_RTE_MODE_SHIFT);
}

/* NMI, SMI, INIT and ExtINT are edges whatever the entry says. */
static bool is_level(uint64_t entry)
{
    return (entry & IOAPIC_RTE_LEVEL) && mode_of(entry) <= APIC_MODE_LOWEST;
}

static bool line_is_up(const struct vioapic *io, unsigned int pin)
{
    return io->lines >> pin & 1;
}

static bool deliver(const struct vioapic *io, const struct vlapic_bus *bus, void *domain,
                    unsigned int pin)
{
    uint64_t entry = io->redirection[pin];

    return vlapic_deliver(bus, domain, (uint8_t)(entry >> IOAPIC_RTE_DEST_SHIFT),
                          entry & IOAPIC_RTE_LOGICAL, mode_of(entry), (uint8_t)entry,
                          is_level(entry));
}

/* A level that is up, not masked and not in service fires. One that no APIC accepts stays without
 * Remote IRR: nobody would complete it. It is tried again with the next event of its pin. */
static void service_level(struct vioapic *io, const struct vlapic_bus *bus, void *domain,
                          unsigned int pin)
{
    uint64_t entry = io->redirection[pin];

    if (is_level(entry) && line_is_up(io, pin) &&
        !(entry & (IOAPIC_RTE_MASKED | IOAPIC_RTE_REMOTE_IRR)) && deliver(io, bus, domain, pin)) {
        io->redirection[pin] |= IOAPIC_RTE_REMOTE_IRR;
    }
}

void vioapic_set_line(struct vioapic *io, const struct vlapic_bus *bus, void *domain,
                      unsigned int pin, bool up)
{
    bool was_up;
    uint64_t entry;

    if (pin >= VIOAPIC_PINS) {
        return;
    }
    was_up = line_is_up(io, pin);
    io->lines = up ? io->lines | 1U << pin : io->lines & ~(1U << pin);
    entry = io->redirection[pin];
    if (is_level(entry)) {
        service_level(io, bus, domain, pin);
    } else if (up && !was_up && !(entry & IOAPIC_RTE_MASKED)) {
        (void)deliver(io, bus, domain, pin); /* a masked edge is lost */
    }
}

bool vioapic_signals(const struct vioapic *io, unsigned int pin)
{
    uint64_t entry = pin < VIOAPIC_PINS ? io->redirection[pin] : IOAPIC_RTE_MASKED;

    return !(entry & IOAPIC_RTE_MASKED) &&
           (mode_of(entry) == APIC_MODE_NMI || mode_of(entry) == APIC_MODE_INIT);
}

void vioapic_eoi(struct vioapic *io, const struct vlapic_bus *bus, void *domain, uint8_t vector)
{
    for (unsigned int pin = 0; pin < VIOAPIC_PINS; pin++) {
        uint64_t entry = io->redirection[pin];

        if ((entry & IOAPIC_RTE_REMOTE_IRR) && (uint8_t)entry == vector) {
            io->redirection[pin] &= ~IOAPIC_RTE_REMOTE_IRR;
            service_level(io, bus, domain, pin);
        }
    }
}

/* ---- Registers ------------------------------------------------------------------------------- */

static uint32_t read_window(const struct vioapic *io)
{
    uint32_t select = io->select & IOAPIC_SELECT_MASK;
    uint32_t half = select - IOAPIC_REDIRECTION;

    switch (select) {
    case IOAPIC_ID:
    case IOAPIC_ARBITRATION: /* takes the ID whenever that is written */
        return io->id;
    case IOAPIC_VERSION:
        return VERSION;
    default:
        return half < 2 * VIOAPIC_PINS ? (uint32_t)(io->redirection[half / 2] >> half % 2 * 32) : 0;
    }
}

/* Changing to edge clears Remote IRR: the way to end a level interrupt without its EOI. */
static void write_half(struct vioapic *io, const struct vlapic_bus *bus, void *domain,
                       uint32_t half, uint32_t value)
{
    uint64_t *entry = &io->redirection[half / 2];
    uint64_t mask = (RTE_LOW_HALF << half % 2 * 32) & RTE_WRITABLE;

    *entry = (*entry & ~mask) | ((uint64_t)value << half % 2 * 32 & mask);
    if (!is_level(*entry)) {
        *entry &= ~IOAPIC_RTE_REMOTE_IRR;
    }
    service_level(io, bus, domain, half / 2);
}

uint32_t vioapic_read(struct vioapic *io, uint32_t offset)
{
    switch (offset) {
    case IOAPIC_SELECT:
        return io->select;
    case IOAPIC_WINDOW:
        return read_window(io);
    default:
        return 0;
    }
}

void vioapic_write(struct vioapic *io, const struct vlapic_bus *bus, void *domain, uint32_t offset,
                   uint32_t value)
{
    uint32_t select = io->select & IOAPIC_SELECT_MASK;

    switch (offset) {
    case IOAPIC_SELECT:
        io->select = value & IOAPIC_SELECT_MASK;
        break;
    case IOAPIC_WINDOW:
        if (select == IOAPIC_ID) {
            io->id = value & IOAPIC_ID_MASK;
        } else if (select - IOAPIC_REDIRECTION < 2 * VIOAPIC_PINS) {
            write_half(io, bus, domain, select - IOAPIC_REDIRECTION, value);
        }
        break;
    case IOAPIC_EOI:
        vioapic_eoi(io, bus, domain, (uint8_t)value);
        break;
    default:
        break;
    }
}
