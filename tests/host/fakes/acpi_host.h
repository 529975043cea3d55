/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host's physical memory with ACPI tables in it, for tests of boot/madt.c; wrong ones too.
 */
#ifndef FAKES_ACPI_HOST_H
#define FAKES_ACPI_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "hv/madt.h"
#include "hw/acpi.h"

#define HOST_BASE 0x7f0000UL /* what is below and behind cannot be read */
#define HOST_BYTES 0x4000UL
#define HOST_XSDT 0x100UL /* offsets of the tables that host_tables() makes */
#define HOST_RSDT 0x200UL
#define HOST_OTHER 0x300UL
#define HOST_MADT 0x400UL

static uint8_t host_memory[HOST_BYTES];
static struct acpi_rsdp host_rsdp;

static inline bool host_read(paddr_t pa, void *to, size_t bytes)
{
    if (pa < HOST_BASE || bytes > HOST_BYTES || pa - HOST_BASE > HOST_BYTES - bytes) {
        return false;
    }
    memcpy(to, host_memory + (pa - HOST_BASE), bytes);
    return true;
}

static inline uint8_t host_sum(const void *p, size_t bytes)
{
    unsigned int s = 0;

    for (size_t i = 0; i < bytes; i++) {
        s += ((const uint8_t *)p)[i];
    }
    return (uint8_t)s;
}

/* Makes checksums right again. */
static inline void host_seal(size_t offset)
{
    struct acpi_header *h = (struct acpi_header *)(host_memory + offset);
    size_t length = h->length < HOST_BYTES - offset ? h->length : HOST_BYTES - offset;

    h->checksum = 0;
    h->checksum = (uint8_t)(0U - host_sum(h, length));
}

static inline void host_seal_rsdp(void)
{
    host_rsdp.checksum = 0;
    host_rsdp.checksum = (uint8_t)(0U - host_sum(&host_rsdp, ACPI_RSDP_V1_BYTES));
    host_rsdp.extended_checksum = 0;
    host_rsdp.extended_checksum = (uint8_t)(0U - host_sum(&host_rsdp, sizeof(host_rsdp)));
}

static inline void host_table(size_t offset, const char *signature, const void *body, size_t bytes)
{
    struct acpi_header h = {.length = (uint32_t)(sizeof(h) + bytes), .revision = 1};

    memcpy(h.signature, signature, 4);
    memcpy(host_memory + offset, &h, sizeof(h));
    memcpy(host_memory + offset + sizeof(h), body, bytes);
    host_seal(offset);
}

/* RSDP -> XSDT (and RSDT) -> another table, MADT with these structures. */
static inline void host_tables(const void *structures, size_t bytes)
{
    uint64_t xsdt[2] = {HOST_BASE + HOST_OTHER, HOST_BASE + HOST_MADT};
    uint32_t rsdt[2] = {HOST_BASE + HOST_OTHER, HOST_BASE + HOST_MADT};
    uint8_t madt[0x800] = {0}; /* lapic_address, flags, then the structures */

    memset(host_memory, 0, sizeof(host_memory));
    memcpy(madt + 8, structures, bytes);
    host_table(HOST_XSDT, "XSDT", xsdt, sizeof(xsdt));
    host_table(HOST_RSDT, "RSDT", rsdt, sizeof(rsdt));
    host_table(HOST_OTHER, "FACP", madt, 200);
    host_table(HOST_MADT, "APIC", madt, 8 + bytes);
    host_rsdp = (struct acpi_rsdp){
        .signature = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '},
        .revision = 2,
        .length = sizeof(host_rsdp),
        .rsdt = HOST_BASE + HOST_RSDT,
        .xsdt = HOST_BASE + HOST_XSDT,
    };
    host_seal_rsdp();
}

#endif
