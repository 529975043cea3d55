/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: any bytes as RSDP and as the memory that its tables lie in. Checksums are mended, or
 * nothing would ever get past them.
 */
#include <stdlib.h>
#include <string.h>

#include "fakes/acpi_host.h"
#include "hv/errno.h"
#include "seed.h"

static unsigned int named;

size_t seed_make(uint8_t *data, size_t max, unsigned int choice)
{
    uint8_t structures[64] = {0, 8, 0, 0, 1, 0, 0, 0, 0, 8, 0, 1, 1, 0, 0, 0, 9, 16};
    size_t bytes = HOST_MADT + 256;

    structures[24] = 1;
    structures[8 + choice % 8] ^= (uint8_t)(choice >> 8);
    host_tables(structures, 32);
    if (sizeof(host_rsdp) + bytes > max) {
        return 0;
    }
    memcpy(data, &host_rsdp, sizeof(host_rsdp));
    memcpy(data + sizeof(host_rsdp), host_memory, bytes);
    return sizeof(host_rsdp) + bytes;
}

static void count(uint32_t id, void *arg)
{
    (void)id;
    (void)arg;
    /* No more than fit into a table of the largest size, of which only this much is there. */
    if (++named > HOST_BYTES / 8) {
        abort();
    }
}

static void count_ioapic(paddr_t pa, uint32_t gsi_base, void *arg)
{
    (void)pa;
    count(gsi_base, arg);
}

static void count_override(uint8_t irq, uint32_t gsi, uint16_t flags, void *arg)
{
    (void)irq;
    (void)flags;
    count(gsi, arg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct madt_reader reader = {host_read, count, count_ioapic, count_override, NULL};
    static const size_t tables[] = {HOST_XSDT, HOST_RSDT, HOST_OTHER, HOST_MADT};
    struct madt_pin pin;
    const char *why;

    memset(host_memory, 0, sizeof(host_memory));
    memset(&host_rsdp, 0, sizeof(host_rsdp));
    memcpy(&host_rsdp, data, size < sizeof(host_rsdp) ? size : sizeof(host_rsdp));
    if (size > sizeof(host_rsdp)) {
        size_t rest = size - sizeof(host_rsdp);

        memcpy(host_memory, data + sizeof(host_rsdp), rest < HOST_BYTES ? rest : HOST_BYTES);
    }
    host_seal_rsdp();
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        host_seal(tables[i]);
    }
    named = 0;
    if (madt_walk((const uint8_t *)&host_rsdp, sizeof(host_rsdp), &reader, &why) == -EINVAL &&
        why == NULL) {
        abort();
    }
    if (madt_isa_pin((const uint8_t *)&host_rsdp, sizeof(host_rsdp), host_read, 0, &pin, &why) !=
            0 &&
        why == NULL) {
        abort();
    }
    /* The copy may be short. */
    (void)madt_walk(data, size, &reader, &why);
    return 0;
}
