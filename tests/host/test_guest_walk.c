/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest page tables, and string I/O that goes through them.
 */
#include "hv/guest_walk.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/world.h"
#include "hv/errno.h"
#include "hv/pio.h"
#include "hw/x86.h"

#define MEMORY MIB(4)
#define ROOT 0x1000U
#define TABLE2 0x2000U
#define TABLE3 0x3000U
#define TABLE4 0x4000U
#define PAGE_PA 0x123000U
#define ALL (PTE_P | PTE_W | PTE_U)
#define LINEAR 0x40123456789UL /* indices 8, 4, 282, 103 */

static struct domain *domain;
static struct vcpu *vcpu;

static int setup(void **state)
{
    struct vcpu_state s;

    (void)state;
    world_reset();
    world_boot(0, true);
    domain = domain_create("walker", 1, false);
    assert_non_null(domain);
    assert_int_equal(domain_add_memory(domain, MEMORY), 0);
    vcpu_state_reset(&s);
    s.cr0 = CR0_PE | CR0_PG | CR0_WP;
    s.cr3 = ROOT;
    assert_int_equal(vcpu_create(domain, 0, &s, &vcpu), 0);
    return 0;
}

static void put(uint64_t gpa, uint64_t value, unsigned int bytes)
{
    assert_int_equal(domain_write(domain, gpa, &value, bytes), 0);
}

static uint64_t get(uint64_t gpa, unsigned int bytes)
{
    uint64_t value = 0;

    assert_int_equal(domain_read(domain, gpa, &value, bytes), 0);
    return value;
}

/* Four levels down to one 4 KiB page for LINEAR, `leaf` its rights. */
static void map_4level(uint64_t leaf)
{
    struct vcpu_state *s = fake_hvm_state(vcpu);

    s->cr4 = CR4_PAE;
    s->efer = EFER_LME | EFER_LMA;
    put(ROOT + (LINEAR >> 39 & 511) * 8, TABLE2 | ALL, 8);
    put(TABLE2 + (LINEAR >> 30 & 511) * 8, TABLE3 | ALL, 8);
    put(TABLE3 + (LINEAR >> 21 & 511) * 8, TABLE4 | ALL, 8);
    put(TABLE4 + (LINEAR >> 12 & 511) * 8, PAGE_PA | leaf, 8);
}

static void test_guest_walk__no_paging__low_32_bits(void **state)
{
    uint64_t gpa;
    uint32_t error;

    (void)state;
    fake_hvm_state(vcpu)->cr0 = CR0_PE;
    assert_int_equal(guest_walk(vcpu, 0x500001234UL, true, false, &gpa, &error), 0);
    assert_int_equal(gpa, 0x1234);
}

static void test_guest_walk__four_levels__address_and_accessed_dirty(void **state)
{
    uint64_t pte = TABLE4 + (LINEAR >> 12 & 511) * 8, gpa;
    uint32_t error;

    (void)state;
    map_4level(ALL);
    assert_int_equal(guest_walk(vcpu, LINEAR, false, true, &gpa, &error), 0);
    assert_int_equal(gpa, PAGE_PA + (LINEAR & 0xfff));
    assert_int_equal(get(pte, 8), PAGE_PA | ALL | PTE_A);
    assert_int_equal(get(ROOT + (LINEAR >> 39 & 511) * 8, 8), TABLE2 | ALL | PTE_A);
    assert_int_equal(guest_walk(vcpu, LINEAR, true, true, &gpa, &error), 0);
    assert_int_equal(get(pte, 8), PAGE_PA | ALL | PTE_A | PTE_D);
}

static void test_guest_walk__large_pages__offset_kept(void **state)
{
    uint64_t gpa;
    uint32_t error;

    (void)state;
    map_4level(ALL);
    put(TABLE3 + (LINEAR >> 21 & 511) * 8, 0x200000U | PTE_PS | ALL, 8);
    assert_int_equal(guest_walk(vcpu, LINEAR, false, false, &gpa, &error), 0);
    assert_int_equal(gpa, 0x200000U + (LINEAR & 0x1fffff));
    put(TABLE2 + (LINEAR >> 30 & 511) * 8, 0x80000000U | PTE_PS | ALL, 8);
    assert_int_equal(guest_walk(vcpu, LINEAR, false, false, &gpa, &error), 0);
    assert_int_equal(gpa, 0x80000000U + (LINEAR & 0x3fffffff));
}

static void test_guest_walk__pae__rights_of_the_pdpte_do_not_count(void **state)
{
    uint64_t linear = 0xc0601abcU, gpa;
    uint32_t error;

    (void)state;
    fake_hvm_state(vcpu)->cr4 = CR4_PAE;
    fake_hvm_state(vcpu)->cr3 = ROOT + 0x20; /* 32-byte aligned */
    put(ROOT + 0x20 + 3 * 8, TABLE2 | PTE_P, 8);
    put(TABLE2 + (linear >> 21 & 511) * 8, TABLE3 | ALL, 8);
    put(TABLE3 + (linear >> 12 & 511) * 8, PAGE_PA | ALL, 8);
    assert_int_equal(guest_walk(vcpu, linear, true, true, &gpa, &error), 0);
    assert_int_equal(gpa, PAGE_PA + 0xabc);
    assert_int_equal(get(ROOT + 0x20 + 3 * 8, 8), TABLE2 | PTE_P); /* it has no accessed bit */
}

static void test_guest_walk__32_bit__small_and_4m_pages(void **state)
{
    uint64_t linear = 0x00c05123U, gpa;
    uint32_t error;

    (void)state;
    fake_hvm_state(vcpu)->cr4 = 0;
    put(ROOT + (linear >> 22) * 4, TABLE2 | ALL, 4);
    put(TABLE2 + (linear >> 12 & 1023) * 4, PAGE_PA | ALL, 4);
    assert_int_equal(guest_walk(vcpu, linear, false, true, &gpa, &error), 0);
    assert_int_equal(gpa, PAGE_PA + 0x123);
    put(ROOT + (linear >> 22) * 4, 0x400000U | PTE_PS | ALL, 4);
    fake_hvm_state(vcpu)->cr4 = CR4_PSE;
    assert_int_equal(guest_walk(vcpu, linear, false, true, &gpa, &error), 0);
    assert_int_equal(gpa, 0x400000U + (linear & 0x3fffff));
}

static void test_guest_walk__rights__error_code_of_the_fault(void **state)
{
    static const struct {
        uint64_t leaf, cr0, cr4, rflags;
        bool write, user;
        int rc;
        uint32_t error;
    } rows[] = {
        {0, CR0_WP, 0, 0, false, false, -EFAULT, 0},
        {0, CR0_WP, 0, 0, true, true, -EFAULT, 6},
        {PTE_P | PTE_U, CR0_WP, 0, 0, true, false, -EFAULT, 3},
        {PTE_P | PTE_U, 0, 0, 0, true, false, 0, 0},
        {PTE_P | PTE_U, 0, 0, 0, true, true, -EFAULT, 7},
        {PTE_P | PTE_W, CR0_WP, 0, 0, false, true, -EFAULT, 5},
        {PTE_P | PTE_W, CR0_WP, 0, 0, true, false, 0, 0},
        {ALL, CR0_WP, CR4_SMAP, 0, false, false, -EFAULT, 1},
        {ALL, CR0_WP, CR4_SMAP, RFLAGS_AC, false, false, 0, 0},
        {ALL, CR0_WP, CR4_SMAP, 0, false, true, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vcpu_state *s = fake_hvm_state(vcpu);
        uint64_t gpa;
        uint32_t error;

        map_4level(rows[i].leaf);
        s->cr0 = CR0_PE | CR0_PG | rows[i].cr0;
        s->cr4 = CR4_PAE | rows[i].cr4;
        s->rflags = RFLAGS_FIXED | rows[i].rflags;
        if (guest_walk(vcpu, LINEAR, rows[i].write, rows[i].user, &gpa, &error) != rows[i].rc ||
            (rows[i].rc != 0 && error != rows[i].error)) {
            fail_msg("row %zu: error 0x%x", i, error);
        }
    }
}

static void test_guest_walk__tables_outside_memory__fault(void **state)
{
    uint64_t gpa;
    uint32_t error;

    (void)state;
    map_4level(ALL);
    put(TABLE2 + (LINEAR >> 30 & 511) * 8, 0xfffff000U | ALL, 8);
    assert_int_equal(guest_walk(vcpu, LINEAR, false, false, &gpa, &error), -EFAULT);
    fake_hvm_state(vcpu)->cr3 = 0xffffffffff000UL;
    assert_int_equal(guest_walk(vcpu, LINEAR, false, false, &gpa, &error), -EFAULT);
}

static void test_guest_linear__across_pages__joined_or_nothing(void **state)
{
    uint32_t value = 0x44332211, back = 0;
    uint64_t end = (LINEAR & ~0xfffUL) + 0xffe;

    (void)state;
    map_4level(ALL);
    /* The second page is not there: #PF at its first byte, nothing written. */
    assert_int_equal(guest_linear_write(vcpu, end, true, &value, 4), -EFAULT);
    assert_int_equal(fake_hvm.event & 0xff, EXC_PF);
    assert_int_equal(fake_hvm.event_error, 6);
    assert_int_equal(vcpu->ctx.cr2, end + 2);
    assert_int_equal(get(PAGE_PA + 0xffe, 2), 0);
    put(TABLE4 + ((LINEAR >> 12 & 511) + 1) * 8, (PAGE_PA + 0x5000U) | ALL, 8);
    assert_int_equal(guest_linear_write(vcpu, end, true, &value, 4), 0);
    assert_int_equal(get(PAGE_PA + 0xffe, 2), 0x2211);
    assert_int_equal(get(PAGE_PA + 0x5000, 2), 0x4433);
    assert_int_equal(guest_linear_read(vcpu, end, true, &back, 4), 0);
    assert_int_equal(back, value);
}

static void test_guest_linear__not_canonical__general_protection(void **state)
{
    uint8_t byte;

    (void)state;
    map_4level(ALL);
    assert_int_equal(guest_linear_read(vcpu, 0x800000000000UL, false, &byte, 1), -EFAULT);
    assert_int_equal(fake_hvm.event & 0xff, EXC_GP);
}

/* REP OUTSB and REP INSB by exits as a backend reports them. */
static struct hvm_exit string_exit(bool in, uint16_t port, uint64_t linear)
{
    return (struct hvm_exit){
        .reason = HVM_EXIT_IO,
        .insn_length = 2,
        .code64 = true,
        .io = {.port = port,
               .size = 1,
               .in = in,
               .string = true,
               .rep = true,
               .address_size = 8,
               .linear = linear},
    };
}

static void test_pio_handle__rep_outsb__line_printed(void **state)
{
    static const char text[] = "over the bus\n";
    struct hvm_exit exit = string_exit(false, 0x3f8, LINEAR);

    (void)state;
    map_4level(ALL);
    assert_int_equal(domain_write(domain, PAGE_PA + (LINEAR & 0xfff), text, sizeof(text) - 1), 0);
    vcpu->gpr[GPR_RSI] = LINEAR;
    vcpu->gpr[GPR_RCX] = sizeof(text) - 2; /* without the end of the line */
    pio_handle(vcpu, &exit);
    assert_int_equal(vcpu->gpr[GPR_RCX], 0);
    assert_int_equal(vcpu->gpr[GPR_RSI], LINEAR + sizeof(text) - 2);
    assert_int_equal(fake_hvm.skips, 1);
    assert_int_equal(domain->uart.line_length, sizeof(text) - 2);
    assert_memory_equal(domain->uart.line, text, sizeof(text) - 2);
}

static void test_pio_handle__rep_insb_into_a_missing_page__byte_stays_in_the_fifo(void **state)
{
    struct hvm_exit exit = string_exit(true, 0x3f8, LINEAR);

    (void)state;
    map_4level(0);
    domain->uart.rx[0] = 'k';
    domain->uart.rx_count = 1;
    vcpu->gpr[GPR_RDI] = LINEAR;
    vcpu->gpr[GPR_RCX] = 1;
    pio_handle(vcpu, &exit);
    assert_int_equal(fake_hvm.event & 0xff, EXC_PF);
    assert_int_equal(fake_hvm.skips, 0);
    assert_int_equal(domain->uart.rx_count, 1);
    assert_int_equal(vcpu->gpr[GPR_RCX], 1);
}

static void test_pio_handle__rep_outsb_to_the_exit_port__ends_once(void **state)
{
    struct hvm_exit exit = string_exit(false, 0xf4, LINEAR);

    (void)state;
    map_4level(ALL);
    put(PAGE_PA + (LINEAR & 0xfff), 0x0703, 2);
    vcpu->gpr[GPR_RSI] = LINEAR;
    vcpu->gpr[GPR_RCX] = 2;
    pio_handle(vcpu, &exit);
    assert_int_equal(domain->state, DOMAIN_EXITED);
    assert_int_equal(domain->exit_code, 3); /* and not the 7 behind it */
    assert_int_equal(vcpu->gpr[GPR_RCX], 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
    const struct CMUnitTest tests[] = {
        T(test_guest_walk__no_paging__low_32_bits),
        T(test_guest_walk__four_levels__address_and_accessed_dirty),
        T(test_guest_walk__large_pages__offset_kept),
        T(test_guest_walk__pae__rights_of_the_pdpte_do_not_count),
        T(test_guest_walk__32_bit__small_and_4m_pages),
        T(test_guest_walk__rights__error_code_of_the_fault),
        T(test_guest_walk__tables_outside_memory__fault),
        T(test_guest_linear__across_pages__joined_or_nothing),
        T(test_guest_linear__not_canonical__general_protection),
        T(test_pio_handle__rep_outsb__line_printed),
        T(test_pio_handle__rep_insb_into_a_missing_page__byte_stays_in_the_fifo),
        T(test_pio_handle__rep_outsb_to_the_exit_port__ends_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
