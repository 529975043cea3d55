/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host CPUs and I/O APICs from the firmware's ACPI tables.
 *
 * No state, no allocation: tables are read piece by piece and never as a whole.
 * Host test: tests/host/test_madt.c, tests/host/fuzz/fuzz_madt.c
 */
#include "hv/madt.h"

#include "hv/errno.h"
#include "hv/string.h"
#include "hw/acpi.h"
#include "hw/apic.h"

#define TABLE_MAX MIB(1) /* a longer one is not believed */
#define PIECE 256U

struct table {
    paddr_t pa;
    uint32_t length; /* header included, checked */
};

static int refuse(const char **why, const char *text)
{
    *why = text;
    return -EINVAL;
}

static uint8_t sum_of(const uint8_t *bytes, size_t n)
{
    unsigned int sum = 0;

    for (size_t i = 0; i < n; i++) {
        sum += bytes[i];
    }
    return (uint8_t)sum;
}

/* All bytes of a table add up to 0. */
static bool table_sums_up(const struct madt_reader *reader, const struct table *table)
{
    uint8_t piece[PIECE], sum = 0;

    for (uint32_t at = 0; at < table->length; at += PIECE) {
        uint32_t n = MIN(PIECE, table->length - at);

        if (!reader->read(table->pa + at, piece, n)) {
            return false;
        }
        sum = (uint8_t)(sum + sum_of(piece, n));
    }
    return sum == 0;
}

/* The header at pa: 0, -ENOENT when it has another signature, -EINVAL when it cannot be. */
static int open_table(const struct madt_reader *reader, paddr_t pa, const char *signature,
                      struct table *out)
{
    struct acpi_header header;

    if (pa == 0 || pa > UINT64_MAX - TABLE_MAX || !reader->read(pa, &header, sizeof(header))) {
        return -EINVAL;
    }
    if (memcmp(header.signature, signature, sizeof(header.signature)) != 0) {
        return -ENOENT;
    }
    if (header.length < sizeof(header) || header.length > TABLE_MAX) {
        return -EINVAL;
    }
    *out = (struct table){pa, header.length};
    return table_sums_up(reader, out) ? 0 : -EINVAL;
}

/* One structure, of which `n` bytes are there. */
static void name_one(const struct madt_reader *reader, const uint8_t *entry, size_t n)
{
    struct acpi_madt_lapic lapic;
    struct acpi_madt_x2apic x2apic;
    struct acpi_madt_ioapic ioapic;

    if (entry[0] == ACPI_MADT_LAPIC && n >= sizeof(lapic)) {
        memcpy(&lapic, entry, sizeof(lapic));
        if ((lapic.flags & ACPI_MADT_ENABLED) && lapic.apic_id != APIC_BROADCAST) {
            reader->cpu(lapic.apic_id, reader->arg);
        }
    } else if (entry[0] == ACPI_MADT_X2APIC && n >= sizeof(x2apic)) {
        memcpy(&x2apic, entry, sizeof(x2apic));
        if ((x2apic.flags & ACPI_MADT_ENABLED) && x2apic.apic_id != X2APIC_BROADCAST) {
            reader->cpu(x2apic.apic_id, reader->arg);
        }
    } else if (entry[0] == ACPI_MADT_IOAPIC && n >= sizeof(ioapic)) {
        memcpy(&ioapic, entry, sizeof(ioapic));
        reader->ioapic(ioapic.address, reader->arg);
    }
}

static int walk_madt(const struct madt_reader *reader, const struct table *madt, const char **why)
{
    uint8_t entry[sizeof(struct acpi_madt_x2apic)];
    uint32_t at = sizeof(struct acpi_madt);

    if (madt->length < at) {
        return refuse(why, "MADT shorter than its header");
    }
    while (madt->length - at >= 2) {
        uint32_t n = MIN((uint32_t)sizeof(entry), madt->length - at);

        if (!reader->read(madt->pa + at, entry, n)) {
            return refuse(why, "MADT outside memory");
        }
        if (entry[1] < 2 || entry[1] > madt->length - at) {
            return refuse(why, "MADT with a structure of impossible length");
        }
        name_one(reader, entry, MIN(n, entry[1]));
        at += entry[1];
    }
    return 0;
}

/* Looks through RSDT or XSDT, whose entries have 4 or 8 bytes. */
static int find_madt(const struct madt_reader *reader, const struct table *root, size_t width,
                     const char **why)
{
    for (size_t at = sizeof(struct acpi_header); root->length - at >= width; at += width) {
        struct table madt;
        uint64_t pa = 0; /* little-endian: the low half is enough to fill in */
        int rc;

        if (!reader->read(root->pa + at, &pa, width)) {
            return refuse(why, "RSDT or XSDT outside memory");
        }
        rc = open_table(reader, pa, "APIC", &madt);
        if (rc == 0) {
            return walk_madt(reader, &madt, why);
        }
        if (rc == -EINVAL) {
            *why = "no MADT, and a damaged table"; /* perhaps another one is the MADT */
        }
    }
    return *why != NULL ? -EINVAL : -ENOENT;
}

int madt_walk(const uint8_t *rsdp, size_t bytes, const struct madt_reader *reader, const char **why)
{
    struct acpi_rsdp root = {.revision = 0};
    struct table table;

    *why = NULL;
    if (rsdp == NULL) {
        return -ENOENT;
    }
    if (bytes < ACPI_RSDP_V1_BYTES || sum_of(rsdp, ACPI_RSDP_V1_BYTES) != 0) {
        return refuse(why, "RSDP damaged");
    }
    memcpy(&root, rsdp, MIN(bytes, sizeof(root)));
    if (memcmp(root.signature, ACPI_RSDP_SIGNATURE, sizeof(root.signature)) != 0) {
        return refuse(why, "RSDP damaged");
    }
    if (root.revision >= ACPI_RSDP_V2 && bytes >= sizeof(root) && root.xsdt != 0 &&
        sum_of(rsdp, sizeof(root)) == 0 && open_table(reader, root.xsdt, "XSDT", &table) == 0) {
        return find_madt(reader, &table, sizeof(root.xsdt), why);
    }
    if (open_table(reader, root.rsdt, "RSDT", &table) == 0) {
        return find_madt(reader, &table, sizeof(root.rsdt), why);
    }
    return refuse(why, "RSDT and XSDT damaged");
}
