/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI tables: checksums, the way from the RSDP to each, the DSDT's bytes, the ports. With iasl
 * (Debian: acpica-tools) in the path the DSDT is disassembled as well.
 */
#include "hv/acpi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fakes/cmocka_inc.h"
#include "hv/errno.h"
#include "hw/acpi.h"

#define GPA 0xe0000U

static uint8_t area[ACPI_TABLES_ROOM];
static int used;

static const void *at(uint64_t gpa, size_t bytes)
{
    assert_true(gpa >= GPA && gpa + bytes <= GPA + (uint64_t)used);
    return area + (gpa - GPA);
}

static uint8_t sum(const void *p, size_t bytes)
{
    unsigned int s = 0;

    for (size_t i = 0; i < bytes; i++) {
        s += ((const uint8_t *)p)[i];
    }
    return (uint8_t)s;
}

/* A table at gpa, checked as every ACPI interpreter does. */
static const struct acpi_header *table(uint64_t gpa, const char *signature)
{
    const struct acpi_header *h = at(gpa, sizeof(*h));

    assert_memory_equal(h->signature, signature, 4);
    assert_int_equal(sum(at(gpa, h->length), h->length), 0);
    return h;
}

/* Entry i of the XSDT. */
static uint64_t xsdt_entry(unsigned int i)
{
    const struct acpi_rsdp *r = at(GPA, sizeof(*r));
    const struct acpi_header *x = table(r->xsdt, "XSDT");
    uint64_t entry;

    assert_true(sizeof(*x) + (i + 1) * 8 <= x->length);
    memcpy(&entry, (const uint8_t *)(x + 1) + (size_t)i * 8, 8);
    return entry;
}

static void build(unsigned int vcpus)
{
    memset(area, 0xcc, sizeof(area));
    used = acpi_build(area, sizeof(area), GPA, vcpus);
    assert_true(used > 0);
}

static void test_acpi_build__rsdp__found_and_summed(void **state)
{
    const struct acpi_rsdp *r = (const struct acpi_rsdp *)area;

    (void)state;
    build(1);
    assert_memory_equal(r->signature, "RSD PTR ", 8);
    assert_int_equal(sum(r, 20), 0);
    assert_int_equal(sum(r, 36), 0);
    assert_int_equal(r->revision, 2);
    assert_int_equal(r->length, 36);
    assert_int_equal(table(r->xsdt, "XSDT")->length, 36 + 2 * 8);
    for (size_t i = (size_t)used; i < sizeof(area); i++) {
        assert_int_equal(area[i], 0xcc);
    }
}

static void test_acpi_build__fadt__hardware_reduced(void **state)
{
    const struct acpi_fadt *f;

    (void)state;
    build(3);
    f = (const struct acpi_fadt *)table(xsdt_entry(0), "FACP");
    assert_int_equal(f->header.length, 276);
    assert_int_equal(f->header.revision, 6);
    assert_true(f->flags & 1U << 20);
    assert_true(f->flags & 1U << 10);
    assert_int_equal(f->reset_reg.space, 1);
    assert_int_equal(f->reset_reg.bits, 8);
    assert_int_equal(f->reset_reg.address, 0xcf9);
    assert_int_equal(f->reset_value, 6);
    assert_int_equal(f->sleep_control.space, 1);
    assert_int_equal(f->sleep_control.address, 0x600);
    assert_int_equal(f->sleep_status.address, 0x601);
    assert_int_equal(f->firmware_ctrl | f->x_firmware_ctrl, 0);
    assert_int_equal(f->dsdt, f->x_dsdt);
    assert_int_equal(f->iapc_boot_arch, 0x24); /* no VGA, no RTC; no 8042, no legacy devices */
    for (size_t i = 0; i < sizeof(f->fixed_hardware); i++) {
        assert_int_equal(f->fixed_hardware[i], 0);
    }
    (void)table(f->x_dsdt, "DSDT");
}

static void test_acpi_build__madt__one_apic_per_vcpu(void **state)
{
    static const unsigned int counts[] = {1, 2, 7, 255};

    (void)state;
    for (size_t n = 0; n < ARRAY_SIZE(counts); n++) {
        const struct acpi_madt *m;
        const uint8_t *p, *end;
        unsigned int cpus = 0, ioapics = 0;

        build(counts[n]);
        m = (const struct acpi_madt *)table(xsdt_entry(1), "APIC");
        assert_int_equal(m->lapic_address, 0xfee00000);
        assert_int_equal(m->flags, 0);
        p = (const uint8_t *)(m + 1);
        end = (const uint8_t *)m + m->header.length;
        for (; p < end; p += p[1]) {
            assert_true(p[1] >= 2 && p[1] <= end - p);
            if (p[0] == ACPI_MADT_LAPIC) {
                const struct acpi_madt_lapic *a = (const struct acpi_madt_lapic *)p;

                assert_int_equal(a->apic_id, cpus);
                assert_int_equal(a->uid, cpus);
                assert_int_equal(a->flags, 1);
                cpus++;
            } else {
                const struct acpi_madt_ioapic *a = (const struct acpi_madt_ioapic *)p;

                assert_int_equal(a->type, ACPI_MADT_IOAPIC);
                assert_int_equal(a->length, 12);
                assert_int_equal(a->address, 0xfec00000);
                assert_int_equal(a->gsi_base, 0);
                ioapics++;
            }
        }
        assert_ptr_equal(p, end);
        assert_int_equal(cpus, counts[n]);
        assert_int_equal(ioapics, 1);
    }
}

/* Tables share no byte, and all of them start aligned. */
static void test_acpi_build__tables__apart_and_aligned(void **state)
{
    uint64_t start[5], end[5];

    (void)state;
    build(255);
    const struct acpi_rsdp *r = at(GPA, sizeof(*r));
    const struct acpi_fadt *f = (const struct acpi_fadt *)table(xsdt_entry(0), "FACP");
    start[0] = GPA;
    end[0] = GPA + 36;
    start[1] = r->xsdt;
    start[2] = xsdt_entry(0);
    start[3] = xsdt_entry(1);
    start[4] = f->x_dsdt;
    for (unsigned int i = 1; i < 5; i++) {
        end[i] = start[i] + ((const struct acpi_header *)at(start[i], 36))->length;
    }
    for (unsigned int i = 0; i < 5; i++) {
        assert_int_equal(start[i] % 16, 0);
        for (unsigned int j = 0; j < i; j++) {
            assert_false(ranges_overlap(start[i], end[i], start[j], end[j]));
        }
    }
}

static void test_acpi_build__arguments_and_room__checked(void **state)
{
    (void)state;
    assert_int_equal(acpi_build(area, sizeof(area), GPA, 0), -EINVAL);
    assert_int_equal(acpi_build(area, sizeof(area), GPA, 256), -EINVAL);
    assert_int_equal(acpi_build(area, sizeof(area), GPA + 8, 1), -EINVAL);
    assert_int_equal(acpi_build(area, sizeof(area), UINT64_C(1) << 32, 1), -EINVAL);
    build(4);
    for (size_t size = 0; size < (size_t)used; size++) {
        uint8_t *exact = malloc(size + 1);

        assert_non_null(exact);
        assert_int_equal(acpi_build(exact, size, GPA, 4), -ENOSPC);
        free(exact);
    }
}

/*
 * A checker of the AML that the DSDT uses. ACPI specification, "AML Grammar Definition". It prints
 * what it finds to a text, one word per thing.
 */
struct aml {
    const uint8_t *p, *end;
    char *text;
};

static void say(struct aml *a, const char *word, const uint8_t *name)
{
    if (name != NULL) {
        a->text += sprintf(a->text, "%s:%.4s ", word, (const char *)name);
    } else {
        a->text += sprintf(a->text, "%s ", word);
    }
}

static const uint8_t *take(struct aml *a, ptrdiff_t n)
{
    const uint8_t *p = a->p;

    assert_true(n <= a->end - a->p);
    a->p += n;
    return p;
}

/* PkgLength: the end of the package. */
static const uint8_t *package_end(struct aml *a)
{
    const uint8_t *start = a->p;
    ptrdiff_t length = *take(a, 1);

    assert_true(length < 0x40 && length >= 1); /* one byte */
    assert_true(length <= a->end - start);
    return start + length;
}

static const uint8_t *name(struct aml *a)
{
    if (*a->p == '\\') {
        (void)take(a, 1);
    }
    const uint8_t *seg = take(a, 4);
    for (int i = 0; i < 4; i++) {
        assert_true(seg[i] == '_' || (seg[i] >= 'A' && seg[i] <= 'Z') ||
                    (i > 0 && seg[i] >= '0' && seg[i] <= '9'));
    }
    return seg;
}

static void number(struct aml *a, uint64_t value)
{
    a->text += sprintf(a->text, "%llx ", (unsigned long long)value);
}

/* ISA resource descriptors. */
static void resources(struct aml *a)
{
    while (a->p < a->end) {
        const uint8_t *d = take(a, 1);
        unsigned int length = *d & 7U;
        const uint8_t *b = take(a, (ptrdiff_t)length);

        assert_true(*d < 0x80); /* small ones */
        switch (*d >> 3) {
        case 4:
            assert_true(length == 2); /* without flags: edge, high, not shared */
            a->text += sprintf(a->text, "irqs=%x ", (unsigned int)(b[0] | b[1] << 8));
            break;
        case 8:
            assert_int_equal(length, 7);
            a->text += sprintf(a->text, "io=%x-%x+%x ", (unsigned int)(b[1] | b[2] << 8),
                               (unsigned int)(b[3] | b[4] << 8), (unsigned int)b[6]);
            break;
        default:
            assert_int_equal(*d >> 3, 15);
            say(a, "end", NULL);
            assert_ptr_equal(a->p, a->end);
        }
    }
}

static void data(struct aml *a)
{
    const uint8_t *end, *b;
    uint8_t op = *take(a, 1);

    switch (op) {
    case 0x00:
    case 0x01:
        number(a, op);
        break;
    case 0x0a:
        number(a, *take(a, 1));
        break;
    case 0x0c:
        b = take(a, 4);
        number(a, b[0] | (uint64_t)b[1] << 8 | (uint64_t)b[2] << 16 | (uint64_t)b[3] << 24);
        break;
    case 0x11: {
        struct aml inner = {.text = a->text};

        end = package_end(a);
        assert_int_equal(*take(a, 1), 0x0a);
        uint8_t bytes = *take(a, 1);
        assert_int_equal(bytes, end - a->p);
        inner.p = a->p;
        inner.end = a->p = end;
        resources(&inner);
        a->text = inner.text;
        break;
    }
    case 0x12: {
        end = package_end(a);
        unsigned int n = *take(a, 1);
        say(a, "package", NULL);
        for (; n > 0; n--) {
            data(a);
        }
        assert_ptr_equal(a->p, end);
        break;
    }
    default:
        fail_msg("AML: data object %02x", op);
    }
}

static void terms(struct aml *a, const uint8_t *end)
{
    while (a->p < end) {
        const uint8_t *inner;
        uint8_t op = *take(a, 1);

        switch (op) {
        case 0x08:
            say(a, "name", name(a));
            data(a);
            break;
        case 0x10:
            inner = package_end(a);
            say(a, "scope", name(a));
            terms(a, inner);
            break;
        case 0x5b:
            assert_int_equal(*take(a, 1), 0x82);
            inner = package_end(a);
            say(a, "device", name(a));
            terms(a, inner);
            break;
        default:
            fail_msg("AML: term %02x", op);
        }
    }
    assert_ptr_equal(a->p, end);
    say(a, ";", NULL);
}

static const struct acpi_header *dsdt(void)
{
    const struct acpi_fadt *f = (const struct acpi_fadt *)table(xsdt_entry(0), "FACP");

    return table(f->x_dsdt, "DSDT");
}

static void test_acpi_build__dsdt__power_off_and_com1(void **state)
{
    char text[1024] = "";
    struct aml a = {.text = text};

    (void)state;
    build(1);
    const struct acpi_header *h = dsdt();
    a.p = (const uint8_t *)(h + 1);
    a.end = (const uint8_t *)h + h->length;
    terms(&a, a.end);
    assert_string_equal(text, "name:_S5_ package 5 0 0 0 "
                              "scope:_SB_ device:COM1 "
                              "name:_HID 105d041 name:_UID 0 "
                              "name:_CRS io=3f8-3f8+8 irqs=10 end ; ; ; ");
}

static bool contains(const char *path, const char *text)
{
    static char content[8192];
    FILE *f = fopen(path, "r");
    size_t n = f != NULL ? fread(content, 1, sizeof(content) - 1, f) : 0;

    content[n] = '\0';
    if (f != NULL) {
        fclose(f);
    }
    return strstr(content, text) != NULL;
}

static void test_acpi_build__dsdt__as_iasl_reads_it(void **state)
{
    char dir[] = "/tmp/test_acpi.XXXXXX", path[64], command[256];
    FILE *f;

    (void)state;
    if (system("command -v iasl >/dev/null 2>&1") != 0) {
        fail_msg("iasl is missing: tools/deps installs it (acpica-tools)");
    }
    build(2);
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/dsdt.aml", dir);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(dsdt(), dsdt()->length, 1, f), 1);
    assert_int_equal(fclose(f), 0);
    (void)snprintf(command, sizeof(command), "cd %s && iasl -d dsdt.aml >log 2>&1", dir);
    assert_int_equal(system(command), 0);
    (void)snprintf(path, sizeof(path), "%s/dsdt.dsl", dir);
    assert_true(contains(path, "Name (\\_S5, Package (0x04)"));
    assert_true(contains(path, "Device (COM1)"));
    assert_true(contains(path, "Name (_HID, EisaId (\"PNP0501\")"));
    assert_true(contains(path, "IRQNoFlags ()"));
    assert_true(contains(path, "0x03F8,             // Range Minimum"));
    (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

static void test_acpi_port_write__ports__reset_and_power_off(void **state)
{
    static const struct {
        uint16_t port;
        unsigned int size;
        uint32_t value;
        enum acpi_request want;
    } rows[] = {
        {0xcf9, 1, 0x06, ACPI_RESET},      {0xcf9, 1, 0x0e, ACPI_RESET},
        {0xcf9, 1, 0x02, ACPI_NOTHING},    {0xcf9, 1, 0x00, ACPI_NOTHING},
        {0xcf8, 4, 0x80000600, ACPI_NOT_OURS}, {0xcf9, 2, 0x0606, ACPI_NOT_OURS},
        {0x600, 1, 0x34, ACPI_POWER_OFF},  {0x600, 1, 0x14, ACPI_NOTHING},
        {0x600, 1, 0x20, ACPI_NOTHING},    {0x600, 1, 0x3c, ACPI_NOTHING},
        {0x600, 2, 0x34, ACPI_NOT_OURS},   {0x601, 1, 0x80, ACPI_NOTHING},
        {0x601, 1, 0x34, ACPI_NOTHING},    {0x602, 1, 0x34, ACPI_NOT_OURS},
        {0x3f8, 1, 0x06, ACPI_NOT_OURS},
    };
    uint32_t value = 7;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(acpi_port_write(rows[i].port, rows[i].size, rows[i].value), rows[i].want);
    }
    assert_false(acpi_port_read(0x3f8, 1, &value));
    assert_false(acpi_port_read(0xcf8, 4, &value));
    assert_int_equal(value, 7);
    assert_true(acpi_port_read(0x601, 1, &value));
    assert_int_equal(value, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_acpi_build__rsdp__found_and_summed),
        cmocka_unit_test(test_acpi_build__fadt__hardware_reduced),
        cmocka_unit_test(test_acpi_build__madt__one_apic_per_vcpu),
        cmocka_unit_test(test_acpi_build__tables__apart_and_aligned),
        cmocka_unit_test(test_acpi_build__arguments_and_room__checked),
        cmocka_unit_test(test_acpi_build__dsdt__power_off_and_com1),
        cmocka_unit_test(test_acpi_build__dsdt__as_iasl_reads_it),
        cmocka_unit_test(test_acpi_port_write__ports__reset_and_power_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
