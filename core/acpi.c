/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI tables of a guest: RSDP, XSDT, FADT, MADT and a DSDT written as AML bytes.
 *
 * ACPI specification 6.0: "Root System Description Pointer (RSDP)", "Fixed ACPI Description Table
 * (FADT)", "Multiple APIC Description Table (MADT)", "Hardware-Reduced ACPI", "AML Byte Stream Byte
 * Values". Without PIC, PIT and RTC a guest finds its processors and interrupts only here.
 *
 * Pure. Host test: tests/host/test_acpi.c
 */
#include "hv/acpi.h"

#include "hv/errno.h"
#include "hv/string.h"
#include "hv/vioapic.h"
#include "hv/vlapic.h"
#include "hw/acpi.h"

#define TABLE_ALIGN 16U

#define NAME_OP 0x08
#define SCOPE_OP 0x10
#define BUFFER_OP 0x11
#define PACKAGE_OP 0x12
#define EXT_OP 0x5b
#define DEVICE_OP 0x82 /* behind EXT_OP */
#define ROOT_CHAR '\\'
#define BYTE_PREFIX 0x0a
#define DWORD_PREFIX 0x0c
#define ZERO_OP 0x00

/*
 * A length that a package begins with counts from itself on, here always one byte. "ISA" resource
 * descriptors: "I/O Port Descriptor", "IRQ Descriptor", "End Tag". The IRQ descriptor of two bytes
 * means edge, active high, not shared.
 */
static const uint8_t dsdt_aml[] = {
    /* Name (\_S5, Package () {5, 0, 0, 0}): SLP_TYP for the sleep control register */
    NAME_OP, ROOT_CHAR, '_', 'S', '5', '_', PACKAGE_OP, 7, 4, BYTE_PREFIX, ACPI_S5_TYPE, ZERO_OP,
    ZERO_OP, ZERO_OP,
    /* Scope (\_SB) */
    SCOPE_OP, 51, ROOT_CHAR, '_', 'S', 'B', '_',
    /* in it: Device (COM1) */
    EXT_OP, DEVICE_OP, 43, 'C', 'O', 'M', '1',
    /* in that: Name (_HID, EisaId ("PNP0501")): three letters of five bits, four hex digits */
    NAME_OP, '_', 'H', 'I', 'D', DWORD_PREFIX, 0x41, 0xd0, 0x05, 0x01,
    /* Name (_UID, 0) */
    NAME_OP, '_', 'U', 'I', 'D', ZERO_OP,
    /* Name (_CRS, ResourceTemplate ()), a buffer of 13 bytes */
    NAME_OP, '_', 'C', 'R', 'S', BUFFER_OP, 16, BYTE_PREFIX, 13,
    /* in it: IO (Decode16, 0x3f8, 0x3f8, 1, 8) */
    0x47, 0x01, 0xf8, 0x03, 0xf8, 0x03, 0x01, 0x08,
    /* IRQNoFlags () {4} */
    0x22, 0x10, 0x00,
    /* end, no checksum */
    0x79, 0x00};

struct builder {
    uint8_t *buf;
    size_t size;
    size_t used;
    uint64_t gpa; /* of buf */
};

static uint8_t checksum(const void *data, size_t len)
{
    const uint8_t *bytes = data;
    unsigned int sum = 0;

    for (size_t i = 0; i < len; i++) {
        sum += bytes[i];
    }
    return (uint8_t)(0 - sum);
}

/* A zeroed, aligned piece; NULL when it does not fit. */
static void *take(struct builder *b, size_t bytes)
{
    size_t at = align_up(b->used, TABLE_ALIGN);
    void *p = b->buf + at;

    if (at > b->size || bytes > b->size - at) {
        return NULL;
    }
    memset(p, 0, bytes);
    b->used = at + bytes;
    return p;
}

static uint64_t gpa_of(const struct builder *b, const void *p)
{
    return b->gpa + (uint64_t)((const uint8_t *)p - b->buf);
}

/* A table of `bytes` with its header, all but the checksum. */
static void *table(struct builder *b, const char *signature, uint8_t revision, size_t bytes)
{
    struct acpi_header *h = take(b, bytes);

    if (h == NULL) {
        return NULL;
    }
    memcpy(h->signature, signature, sizeof(h->signature));
    h->length = (uint32_t)bytes;
    h->revision = revision;
    memcpy(h->oem_id, "MOLT  ", sizeof(h->oem_id));
    memcpy(h->oem_table_id, "MOLTVM  ", sizeof(h->oem_table_id));
    h->oem_revision = 1;
    memcpy(h->creator_id, "MOLT", sizeof(h->creator_id));
    h->creator_revision = 1;
    return h;
}

static void seal(struct acpi_header *h)
{
    h->checksum = 0;
    h->checksum = checksum(h, h->length);
}

static struct acpi_gas io_byte(uint16_t port)
{
    return (struct acpi_gas){
        .space = ACPI_SPACE_IO, .bits = 8, .access = ACPI_ACCESS_BYTE, .address = port};
}

static struct acpi_header *build_dsdt(struct builder *b)
{
    struct acpi_header *h = table(b, "DSDT", ACPI_DSDT_REVISION,
                                  sizeof(struct acpi_header) + sizeof(dsdt_aml));

    if (h != NULL) {
        memcpy(h + 1, dsdt_aml, sizeof(dsdt_aml));
        seal(h);
    }
    return h;
}

static struct acpi_header *build_fadt(struct builder *b, const struct acpi_header *dsdt)
{
    struct acpi_fadt *f = table(b, "FACP", ACPI_FADT_REVISION, sizeof(*f));

    if (f == NULL) {
        return NULL;
    }
    f->dsdt = (uint32_t)gpa_of(b, dsdt);
    f->x_dsdt = gpa_of(b, dsdt);
    f->profile = ACPI_PROFILE_ENTERPRISE_SERVER;
    f->iapc_boot_arch = ACPI_IAPC_NO_VGA | ACPI_IAPC_NO_CMOS_RTC;
    f->flags = ACPI_FADT_WBINVD | ACPI_FADT_NO_POWER_BUTTON | ACPI_FADT_NO_SLEEP_BUTTON |
               ACPI_FADT_RESET_REG | ACPI_FADT_HW_REDUCED;
    f->reset_reg = io_byte(ACPI_PORT_RESET);
    f->reset_value = ACPI_RESET_VALUE;
    f->sleep_control = io_byte(ACPI_PORT_SLEEP_CONTROL);
    f->sleep_status = io_byte(ACPI_PORT_SLEEP_STATUS);
    memcpy(f->hypervisor, "molt\0\0\0", sizeof(f->hypervisor));
    seal(&f->header);
    return &f->header;
}

static struct acpi_header *build_madt(struct builder *b, unsigned int vcpus)
{
    struct acpi_madt_lapic *lapic;
    struct acpi_madt_ioapic *ioapic;
    struct acpi_madt *m = table(b, "APIC", ACPI_MADT_REVISION,
                                sizeof(*m) + vcpus * sizeof(*lapic) + sizeof(*ioapic));

    if (m == NULL) {
        return NULL;
    }
    m->lapic_address = VLAPIC_MMIO_BASE;
    lapic = (struct acpi_madt_lapic *)(m + 1);
    for (unsigned int i = 0; i < vcpus; i++) {
        lapic[i] = (struct acpi_madt_lapic){.type = ACPI_MADT_LAPIC,
                                            .length = sizeof(*lapic),
                                            .uid = (uint8_t)i,
                                            .apic_id = (uint8_t)i,
                                            .flags = ACPI_MADT_ENABLED};
    }
    ioapic = (struct acpi_madt_ioapic *)(lapic + vcpus);
    /* The id is what its register reads after RESET. No overrides: ISA interrupts are the pins of
     * the same number, edge and active high. */
    *ioapic = (struct acpi_madt_ioapic){.type = ACPI_MADT_IOAPIC,
                                        .length = sizeof(*ioapic),
                                        .id = 0,
                                        .address = VIOAPIC_MMIO_BASE,
                                        .gsi_base = 0};
    seal(&m->header);
    return &m->header;
}

static struct acpi_header *build_xsdt(struct builder *b, const struct acpi_header *fadt,
                                      const struct acpi_header *madt)
{
    uint64_t entries[2] = {gpa_of(b, fadt), gpa_of(b, madt)};
    struct acpi_header *h = table(b, "XSDT", ACPI_XSDT_REVISION, sizeof(*h) + sizeof(entries));

    if (h != NULL) {
        memcpy(h + 1, entries, sizeof(entries)); /* 4 bytes off their alignment */
        seal(h);
    }
    return h;
}

int acpi_build(uint8_t *buf, size_t size, uint64_t gpa, unsigned int vcpus)
{
    struct builder b = {.buf = buf, .size = size, .gpa = gpa};
    struct acpi_header *dsdt, *fadt, *madt, *xsdt;
    struct acpi_rsdp *rsdp;

    if (vcpus == 0 || vcpus > ACPI_VCPUS_MAX || !is_aligned(gpa, TABLE_ALIGN) ||
        gpa > UINT32_MAX - ACPI_TABLES_ROOM) {
        return -EINVAL;
    }
    rsdp = take(&b, sizeof(*rsdp)); /* first, where it is searched for */
    dsdt = build_dsdt(&b);
    fadt = dsdt != NULL ? build_fadt(&b, dsdt) : NULL;
    madt = fadt != NULL ? build_madt(&b, vcpus) : NULL;
    xsdt = madt != NULL ? build_xsdt(&b, fadt, madt) : NULL;
    if (rsdp == NULL || xsdt == NULL) {
        return -ENOSPC;
    }
    memcpy(rsdp->signature, ACPI_RSDP_SIGNATURE, sizeof(rsdp->signature));
    memcpy(rsdp->oem_id, "MOLT  ", sizeof(rsdp->oem_id));
    rsdp->revision = ACPI_RSDP_REVISION;
    rsdp->length = sizeof(*rsdp);
    rsdp->xsdt = gpa_of(&b, xsdt);
    rsdp->checksum = checksum(rsdp, ACPI_RSDP_V1_BYTES);
    rsdp->extended_checksum = checksum(rsdp, sizeof(*rsdp));
    return (int)b.used;
}

enum acpi_request acpi_port_write(uint16_t port, unsigned int size, uint32_t value)
{
    if (size != 1) {
        return ACPI_NOT_OURS; /* 32 bits at 0xcf8 are PCI's configuration address */
    }
    switch (port) {
    case ACPI_PORT_RESET:
        return (value & ACPI_RESET_CPU) ? ACPI_RESET : ACPI_NOTHING;
    case ACPI_PORT_SLEEP_CONTROL:
        return (value & ACPI_SLEEP_ENABLE) &&
                       (value >> ACPI_SLEEP_TYPE_SHIFT & ACPI_SLEEP_TYPE_MASK) == ACPI_S5_TYPE
                   ? ACPI_POWER_OFF
                   : ACPI_NOTHING;
    case ACPI_PORT_SLEEP_STATUS: /* clears WAK_STS, which is never set */
        return ACPI_NOTHING;
    default:
        return ACPI_NOT_OURS;
    }
}

bool acpi_port_read(uint16_t port, unsigned int size, uint32_t *value)
{
    if (size != 1 || (port != ACPI_PORT_RESET && port != ACPI_PORT_SLEEP_CONTROL &&
                      port != ACPI_PORT_SLEEP_STATUS)) {
        return false;
    }
    *value = 0;
    return true;
}
