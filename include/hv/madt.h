/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPUs and I/O APICs that the host's firmware names: RSDP -> XSDT or RSDT -> MADT. ACPI
 * specification, "Root System Description Pointer (RSDP)", "Multiple APIC Description Table
 * (MADT)".
 *
 * The tables are untrusted: checksums, every length and every address (through `read`) is checked.
 */
#ifndef HV_MADT_H
#define HV_MADT_H

#include "hv/compiler.h"
#include "hv/types.h"

struct madt_reader {
    /* Copies physical memory; false when there is none at that address. */
    bool (*read)(paddr_t pa, void *to, size_t bytes);
    /* An enabled CPU, by its local APIC's id, in the order of the table and as often as it stands
     * there; an I/O APIC by its address and the interrupt at its first pin; an interrupt of the ISA
     * bus that comes as another one (flags: ACPI_MADT_*). Each may be NULL. */
    void (*cpu)(uint32_t apic_id, void *arg);
    void (*ioapic)(paddr_t pa, uint32_t gsi_base, void *arg);
    void (*override)(uint8_t irq, uint32_t gsi, uint16_t flags, void *arg);
    void *arg;
};

/* Where an interrupt of the ISA bus comes in. */
struct madt_pin {
    paddr_t ioapic;
    uint32_t pin; /* of that I/O APIC, which may have fewer: its version register says */
    bool active_low;
    bool level;
};

/*
 * Walks the MADT that the RSDP (a copy of `bytes` bytes, NULL: none) leads to. 0; -ENOENT when
 * there is no RSDP or no MADT; -EINVAL when a table is damaged: *why says which (CPUs may have been
 * named before a damage inside the MADT).
 */
MUST_CHECK int madt_walk(const uint8_t *rsdp, size_t bytes, const struct madt_reader *reader,
                         const char **why);

/* Finds the pin of an ISA interrupt. 0; -ENOENT or -EINVAL with *why, `pin` untouched. */
MUST_CHECK int madt_isa_pin(const uint8_t *rsdp, size_t bytes,
                            bool (*read)(paddr_t pa, void *to, size_t bytes), uint8_t irq,
                            struct madt_pin *pin, const char **why);

#endif
