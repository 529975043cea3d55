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

static void name_cpu(const struct madt_reader *reader, uint32_t apic_id)
{
    if (reader->cpu != NULL) {
        reader->cpu(apic_id, reader->arg);
    }
}

/* One structure, of which `n` bytes are there. */
static void name_one(const struct madt_reader *reader, const uint8_t *entry, size_t n)
{
    struct acpi_madt_lapic lapic;
    struct acpi_madt_x2apic x2apic;
    struct acpi_madt_ioapic ioapic;
    struct acpi_madt_override override;

    if (entry[0] == ACPI_MADT_LAPIC && n >= sizeof(lapic)) {
        memcpy(&lapic, entry, sizeof(lapic));
        if ((lapic.flags & ACPI_MADT_ENABLED) && lapic.apic_id != APIC_BROADCAST) {
            name_cpu(reader, lapic.apic_id);
        }
    } else if (entry[0] == ACPI_MADT_X2APIC && n >= sizeof(x2apic)) {
        memcpy(&x2apic, entry, sizeof(x2apic));
        if ((x2apic.flags & ACPI_MADT_ENABLED) && x2apic.apic_id != X2APIC_BROADCAST) {
            name_cpu(reader, x2apic.apic_id);
        }
    } else if (entry[0] == ACPI_MADT_IOAPIC && n >= sizeof(ioapic) && reader->ioapic != NULL) {
        memcpy(&ioapic, entry, sizeof(ioapic));
        reader->ioapic(ioapic.address, ioapic.gsi_base, reader->arg);
    } else if (entry[0] == ACPI_MADT_OVERRIDE && n >= sizeof(override) &&
               reader->override != NULL) {
        memcpy(&override, entry, sizeof(override));
        if (override.bus == ACPI_MADT_BUS_ISA) {
            reader->override(override.irq, override.gsi, override.flags, reader->arg);
        }
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

/* ---- an interrupt of the ISA bus ---- */

struct wanted_pin {
    uint8_t irq;
    uint32_t gsi;
    uint16_t flags;
    bool found; /* an I/O APIC whose pins begin at gsi or below */
    paddr_t ioapic;
    uint32_t gsi_base;
};

static void note_override(uint8_t irq, uint32_t gsi, uint16_t flags, void *arg)
{
    struct wanted_pin *w = arg;

    if (irq == w->irq) {
        w->gsi = gsi;
        w->flags = flags;
    }
}

static void note_ioapic(paddr_t pa, uint32_t gsi_base, void *arg)
{
    struct wanted_pin *w = arg;

    if (gsi_base <= w->gsi && (!w->found || gsi_base > w->gsi_base)) {
        w->found = true;
        w->ioapic = pa;
        w->gsi_base = gsi_base;
    }
}

int madt_isa_pin(const uint8_t *rsdp, size_t bytes,
                 bool (*read)(paddr_t pa, void *to, size_t bytes), uint8_t irq,
                 struct madt_pin *pin, const char **why)
{
    struct wanted_pin w = {.irq = irq, .gsi = irq};
    /* Two walks: an override may stand behind the I/O APIC that it leads to. */
    struct madt_reader overrides = {.read = read, .override = note_override, .arg = &w};
    struct madt_reader ioapics = {.read = read, .ioapic = note_ioapic, .arg = &w};
    int rc = madt_walk(rsdp, bytes, &overrides, why);

    if (rc == 0) {
        rc = madt_walk(rsdp, bytes, &ioapics, why);
    }
    if (rc == -ENOENT) {
        *why = "no ACPI MADT";
    }
    if (rc != 0) {
        return rc;
    }
    if (!w.found) {
        *why = "no I/O APIC has the interrupt";
        return -ENOENT;
    }
    *pin = (struct madt_pin){
        .ioapic = w.ioapic,
        .pin = w.gsi - w.gsi_base,
        .active_low = (w.flags & ACPI_MADT_POLARITY) == ACPI_MADT_ACTIVE_LOW,
        .level = (w.flags & ACPI_MADT_TRIGGER) == ACPI_MADT_LEVEL,
    };
    return 0;
}
