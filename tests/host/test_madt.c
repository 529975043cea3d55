/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way from the RSDP to CPUs and I/O APICs in the MADT; damaged tables of all kinds.
 */
#include "hv/madt.h"

#include <string.h>

#include "fakes/acpi_host.h"
#include "fakes/cmocka_inc.h"
#include "hv/errno.h"

#define SEEN_MAX 64U
#define LAPIC(id, flags) 0, 8, 77, id, flags, 0, 0, 0
#define X2APIC(id0, id1, flags) 9, 16, 0, 0, id0, id1, 0, 0, flags, 0, 0, 0, 5, 0, 0, 0
#define IOAPIC_AT(byte1, base0, base1) 1, 12, 4, 0, 0, byte1, 0xc0, 0xfe, base0, base1, 0, 0
#define IOAPIC IOAPIC_AT(0, 0, 0)
#define OVERRIDE(bus, irq, gsi0, gsi1, flags) 2, 10, bus, irq, gsi0, gsi1, 0, 0, flags, 0

/* Three enabled CPUs in both forms, others between them. */
static const uint8_t good[] = {
    LAPIC(0, 1),
    LAPIC(3, 1),
    LAPIC(4, 0),
    LAPIC(0xff, 1),
    IOAPIC_AT(0, 0x18, 0x01),
    X2APIC(0x34, 0x12, 1),
    X2APIC(9, 0, 0),
    OVERRIDE(0, 9, 0x34, 0x12, 0xd),
    OVERRIDE(1, 10, 0, 0, 0),
};

static struct {
    uint32_t id[SEEN_MAX];
    unsigned int nr;
    paddr_t ioapic; /* the last one */
    uint32_t gsi_base;
    unsigned int ioapics;
    uint8_t irq; /* the last override */
    uint32_t gsi;
    uint16_t flags;
    unsigned int overrides;
} seen;

static void see(uint32_t id, void *arg)
{
    assert_ptr_equal(arg, &seen);
    assert_true(seen.nr < SEEN_MAX);
    seen.id[seen.nr++] = id;
}

static void see_ioapic(paddr_t pa, uint32_t gsi_base, void *arg)
{
    assert_ptr_equal(arg, &seen);
    seen.ioapic = pa;
    seen.gsi_base = gsi_base;
    seen.ioapics++;
}

static void see_override(uint8_t irq, uint32_t gsi, uint16_t flags, void *arg)
{
    assert_ptr_equal(arg, &seen);
    seen.irq = irq;
    seen.gsi = gsi;
    seen.flags = flags;
    seen.overrides++;
}

static const struct madt_reader reader = {host_read, see, see_ioapic, see_override, &seen};

static int walk(size_t rsdp_bytes, const char **why)
{
    memset(&seen, 0, sizeof(seen));
    return madt_walk((const uint8_t *)&host_rsdp, rsdp_bytes, &reader, why);
}

static void assert_good(void)
{
    assert_int_equal(seen.nr, 3);
    assert_int_equal(seen.id[0], 0);
    assert_int_equal(seen.id[1], 3);
    assert_int_equal(seen.id[2], 0x1234);
    assert_int_equal(seen.ioapics, 1);
    assert_int_equal(seen.ioapic, 0xfec00000);
    assert_int_equal(seen.gsi_base, 0x118);
    assert_int_equal(seen.overrides, 1); /* the one of the ISA bus */
    assert_int_equal(seen.irq, 9);
    assert_int_equal(seen.gsi, 0x1234);
    assert_int_equal(seen.flags, 0xd);
}

static struct acpi_header *header(size_t offset)
{
    return (struct acpi_header *)(host_memory + offset);
}

static void test_madt_walk__both_roots__name_enabled_cpus(void **state)
{
    const char *why;

    (void)state;
    host_tables(good, sizeof(good));
    memset(header(HOST_RSDT), 0, 36); /* the XSDT is the one that counts */
    assert_int_equal(walk(sizeof(host_rsdp), &why), 0);
    assert_good();

    host_tables(good, sizeof(good));
    memset(header(HOST_XSDT), 0, 36);
    assert_int_equal(walk(sizeof(host_rsdp), &why), 0);
    assert_good();

    host_tables(good, sizeof(good)); /* of the old kind: no XSDT in it, whatever the bytes say */
    host_rsdp.revision = 0;
    host_seal_rsdp();
    memset(header(HOST_XSDT), 0, 36);
    assert_int_equal(walk(ACPI_RSDP_V1_BYTES, &why), 0);
    assert_good();
}

static void test_madt_walk__no_rsdp_or_madt__not_there(void **state)
{
    const char *why;

    (void)state;
    host_tables(good, sizeof(good));
    assert_int_equal(madt_walk(NULL, 0, &reader, &why), -ENOENT);
    memcpy(header(HOST_MADT)->signature, "XPIC", 4);
    assert_int_equal(walk(sizeof(host_rsdp), &why), -ENOENT);
    assert_int_equal(seen.nr, 0);
}

static void test_madt_walk__rsdp_cut__is_refused(void **state)
{
    const char *why;

    (void)state;
    host_tables(good, sizeof(good));
    for (size_t n = 0; n < ACPI_RSDP_V1_BYTES; n++) {
        why = NULL;
        assert_int_equal(walk(n, &why), -EINVAL);
        assert_non_null(why);
    }
    for (size_t n = ACPI_RSDP_V1_BYTES; n < sizeof(host_rsdp); n++) {
        assert_int_equal(walk(n, &why), 0); /* the RSDT's address is there */
        assert_good();
    }
}

/* One changed byte breaks a checksum: the table it is in is not used. */
static void test_madt_walk__each_byte_changed__names_no_wrong_cpu(void **state)
{
    const char *why;

    (void)state;
    for (size_t i = 0; i < sizeof(struct acpi_madt) + sizeof(good); i++) {
        host_tables(good, sizeof(good));
        host_memory[HOST_MADT + i] ^= 0x41;
        assert_int_not_equal(walk(sizeof(host_rsdp), &why), 0);
        assert_int_equal(seen.nr, 0);
    }
    for (size_t i = 0; i < ACPI_RSDP_V1_BYTES; i++) {
        host_tables(good, sizeof(good));
        ((uint8_t *)&host_rsdp)[i] ^= 0x41;
        assert_int_equal(walk(sizeof(host_rsdp), &why), -EINVAL);
        assert_int_equal(seen.nr, 0);
    }
}

static void test_madt_walk__every_length__stays_inside(void **state)
{
    const size_t madt_bytes = sizeof(struct acpi_madt) + sizeof(good);
    const char *why;

    (void)state;
    for (uint32_t length = 0; length <= madt_bytes; length++) {
        host_tables(good, sizeof(good));
        header(HOST_MADT)->length = length;
        host_seal(HOST_MADT);
        int rc = walk(sizeof(host_rsdp), &why);
        if (length < sizeof(struct acpi_madt)) {
            assert_int_equal(rc, -EINVAL);
        }
        assert_true(seen.nr <= 3);
        if (length == madt_bytes) {
            assert_int_equal(rc, 0);
            assert_good();
        }
    }
    /* Longer than memory, and longer than any table is. */
    static const uint32_t lengths[] = {HOST_BYTES, MIB(1), MIB(1) + 1, 0x80000000U, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        host_tables(good, sizeof(good));
        header(HOST_MADT)->length = lengths[i];
        host_seal(HOST_MADT);
        assert_int_equal(walk(sizeof(host_rsdp), &why), -EINVAL);
        assert_int_equal(seen.nr, 0);
        host_tables(good, sizeof(good));
        header(HOST_XSDT)->length = lengths[i];
        host_seal(HOST_XSDT);
        assert_int_equal(walk(sizeof(host_rsdp), &why), 0); /* by the RSDT */
        assert_good();
    }
}

static void test_madt_walk__structures_of_wrong_length__end_the_walk(void **state)
{
    static const uint8_t none[] = {LAPIC(0, 1), 0, 0, 5, 1, 1, 0, 0, 0, LAPIC(7, 1)};
    static const uint8_t one[] = {LAPIC(0, 1), 0, 1, 5, 1, 1, 0, 0, 0, LAPIC(7, 1)};
    static const uint8_t beyond[] = {LAPIC(0, 1), 0, 9, 5, 1, 1, 0, 0, 0};
    static const uint8_t small[] = {LAPIC(0, 1), 0, 7, 5, 1, 1, 0, 0, LAPIC(7, 1)};
    static const struct {
        const uint8_t *bytes;
        size_t n;
        int rc;
        unsigned int cpus;
    } cases[] = {
        {none, sizeof(none), -EINVAL, 1},
        {one, sizeof(one), -EINVAL, 1},
        {beyond, sizeof(beyond), -EINVAL, 1},
        {small, sizeof(small), 0, 2}, /* stepped over: no whole CPU in it */
    };
    const char *why;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        host_tables(cases[i].bytes, cases[i].n);
        assert_int_equal(walk(sizeof(host_rsdp), &why), cases[i].rc);
        assert_int_equal(seen.nr, cases[i].cpus);
    }
}

static void test_madt_walk__addresses_outside__are_refused(void **state)
{
    static const uint64_t addresses[] = {
        0, 1, HOST_BASE - 36, HOST_BASE + HOST_BYTES - 1, UINT64_MAX, UINT64_MAX - 35, 1UL << 63};
    const char *why;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
        host_tables(good, sizeof(good));
        memcpy(host_memory + HOST_XSDT + 36 + 8, &addresses[i], 8);
        host_seal(HOST_XSDT);
        why = NULL;
        assert_int_equal(walk(sizeof(host_rsdp), &why), -EINVAL);
        assert_non_null(why);

        host_tables(good, sizeof(good));
        host_rsdp.xsdt = addresses[i];
        host_rsdp.rsdt = (uint32_t)addresses[i];
        host_seal_rsdp();
        assert_int_equal(walk(sizeof(host_rsdp), &why), -EINVAL);
        assert_int_equal(seen.nr, 0);
    }
}

static void test_madt_walk__damaged_table_beside__does_not_matter(void **state)
{
    const char *why;

    (void)state;
    host_tables(good, sizeof(good));
    uint64_t nowhere = 8;
    memcpy(host_memory + HOST_XSDT + 36, &nowhere, 8);
    host_seal(HOST_XSDT);
    assert_int_equal(walk(sizeof(host_rsdp), &why), 0);
    assert_good();
}

static void test_madt_walk__nobody_wants_it__is_passed_over(void **state)
{
    static const struct madt_reader nothing = {.read = host_read};
    const char *why;

    (void)state;
    host_tables(good, sizeof(good));
    assert_int_equal(madt_walk((const uint8_t *)&host_rsdp, sizeof(host_rsdp), &nothing, &why), 0);
}

static int find_pin(const void *structures, size_t n, struct madt_pin *pin, const char **why)
{
    host_tables(structures, n);
    *why = NULL;
    return madt_isa_pin((const uint8_t *)&host_rsdp, sizeof(host_rsdp), host_read, 0, pin, why);
}

static void test_madt_isa_pin__overrides_and_ioapics__lead_to_the_pin(void **state)
{
    static const uint8_t plain[] = {IOAPIC_AT(0x10, 0, 0)};
    static const uint8_t usual[] = {IOAPIC, OVERRIDE(0, 0, 2, 0, 0), OVERRIDE(0, 9, 9, 0, 0xd)};
    static const uint8_t other_bus[] = {OVERRIDE(1, 0, 2, 0, 0), IOAPIC};
    /* Its pins begin at 24: the one between the others, in any order. */
    static const uint8_t three[] = {IOAPIC_AT(0x30, 48, 0), IOAPIC_AT(0x20, 24, 0), IOAPIC,
                                    OVERRIDE(0, 0, 47, 0, 0)};
    static const uint8_t three_again[] = {OVERRIDE(0, 0, 47, 0, 0), IOAPIC, IOAPIC_AT(0x20, 24, 0),
                                          IOAPIC_AT(0x30, 48, 0)};
    static const uint8_t far[] = {IOAPIC, OVERRIDE(0, 0, 0x34, 0x12, 0)};
    static const uint8_t low[] = {IOAPIC, OVERRIDE(0, 0, 2, 0, 0x3)};
    static const uint8_t high[] = {IOAPIC, OVERRIDE(0, 0, 2, 0, 0x5)};
    static const uint8_t level[] = {IOAPIC, OVERRIDE(0, 0, 2, 0, 0xf)};
    static const struct {
        const uint8_t *bytes;
        size_t n;
        struct madt_pin pin;
    } cases[] = {
        {plain, sizeof(plain), {0xfec01000, 0, false, false}},
        {usual, sizeof(usual), {0xfec00000, 2, false, false}},
        {other_bus, sizeof(other_bus), {0xfec00000, 0, false, false}},
        {three, sizeof(three), {0xfec02000, 23, false, false}},
        {three_again, sizeof(three_again), {0xfec02000, 23, false, false}},
        {far, sizeof(far), {0xfec00000, 0x1234, false, false}},
        {low, sizeof(low), {0xfec00000, 2, true, false}},
        {high, sizeof(high), {0xfec00000, 2, false, false}},
        {level, sizeof(level), {0xfec00000, 2, true, true}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct madt_pin pin;
        const char *why;

        assert_int_equal(find_pin(cases[i].bytes, cases[i].n, &pin, &why), 0);
        assert_int_equal(pin.ioapic, cases[i].pin.ioapic);
        assert_int_equal(pin.pin, cases[i].pin.pin);
        assert_int_equal(pin.active_low, cases[i].pin.active_low);
        assert_int_equal(pin.level, cases[i].pin.level);
    }
}

static void test_madt_isa_pin__none_or_damaged__says_why(void **state)
{
    static const uint8_t no_ioapic[] = {LAPIC(0, 1), OVERRIDE(0, 0, 2, 0, 0)};
    static const uint8_t above[] = {IOAPIC_AT(0x10, 24, 0), OVERRIDE(0, 0, 2, 0, 0)};
    static const uint8_t broken[] = {IOAPIC, 2, 0, 0, 0};
    struct madt_pin pin = {.pin = 77};
    const char *why;

    (void)state;
    assert_int_equal(find_pin(no_ioapic, sizeof(no_ioapic), &pin, &why), -ENOENT);
    assert_non_null(why);
    assert_int_equal(find_pin(above, sizeof(above), &pin, &why), -ENOENT);
    assert_non_null(why);
    assert_int_equal(find_pin(broken, sizeof(broken), &pin, &why), -EINVAL);
    assert_non_null(why);
    why = NULL;
    assert_int_equal(madt_isa_pin(NULL, 0, host_read, 0, &pin, &why), -ENOENT);
    assert_non_null(why);
    assert_int_equal(pin.pin, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_madt_walk__both_roots__name_enabled_cpus),
        cmocka_unit_test(test_madt_walk__no_rsdp_or_madt__not_there),
        cmocka_unit_test(test_madt_walk__rsdp_cut__is_refused),
        cmocka_unit_test(test_madt_walk__each_byte_changed__names_no_wrong_cpu),
        cmocka_unit_test(test_madt_walk__every_length__stays_inside),
        cmocka_unit_test(test_madt_walk__structures_of_wrong_length__end_the_walk),
        cmocka_unit_test(test_madt_walk__addresses_outside__are_refused),
        cmocka_unit_test(test_madt_walk__damaged_table_beside__does_not_matter),
        cmocka_unit_test(test_madt_walk__nobody_wants_it__is_passed_over),
        cmocka_unit_test(test_madt_isa_pin__overrides_and_ioapics__lead_to_the_pin),
        cmocka_unit_test(test_madt_isa_pin__none_or_damaged__says_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
