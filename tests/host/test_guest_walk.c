/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest page tables, and string I/O that goes through them.
 */
#include "hv/guest_walk.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/seam.h"
#include "fakes/world.h"
#include "hv/errno.h"
#include "hv/domain.h"
#include "hv/mmio.h"
#include "hv/pio.h"
#include "hv/seam.h"
#include "hw/cpuid.h"
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

/* Page sizes of the host, besides what the world's host has. */
static void host_has(bool pages_1g, bool pse36)
{
    fake_cpuid_set(
        0x80000001, 0,
        (struct cpuid_values){.edx = CPUID_81_EDX_NX | (pages_1g ? CPUID_81_EDX_PDPE1GB : 0)});
    fake_cpuid_set(
        1, 0,
        (struct cpuid_values){.ecx = CPUID_1_ECX_XSAVE, .edx = pse36 ? CPUID_1_EDX_PSE36 : 0});
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
    assert_int_equal(guest_walk(vcpu, 0x500001234UL, GUEST_WRITE, false, &gpa, &error), 0);
    assert_int_equal(gpa, 0x1234);
}

static void test_guest_walk__four_levels__address_and_accessed_dirty(void **state)
{
    uint64_t pte = TABLE4 + (LINEAR >> 12 & 511) * 8, gpa;
    uint32_t error;

    (void)state;
    map_4level(ALL);
    assert_int_equal(guest_walk(vcpu, LINEAR, GUEST_READ, true, &gpa, &error), 0);
    assert_int_equal(gpa, PAGE_PA + (LINEAR & 0xfff));
    assert_int_equal(get(pte, 8), PAGE_PA | ALL | PTE_A);
    assert_int_equal(get(ROOT + (LINEAR >> 39 & 511) * 8, 8), TABLE2 | ALL | PTE_A);
    assert_int_equal(guest_walk(vcpu, LINEAR, GUEST_WRITE, true, &gpa, &error), 0);
    assert_int_equal(get(pte, 8), PAGE_PA | ALL | PTE_A | PTE_D);
}

static void test_guest_walk__large_pages__offset_kept(void **state)
{
    uint64_t gpa;
    uint32_t error;

    (void)state;
    host_has(true, true);
    map_4level(ALL);
    put(TABLE3 + (LINEAR >> 21 & 511) * 8, 0x200000U | PTE_PS | ALL, 8);
    assert_int_equal(guest_walk(vcpu, LINEAR, GUEST_READ, false, &gpa, &error), 0);
    assert_int_equal(gpa, 0x200000U + (LINEAR & 0x1fffff));
    put(TABLE2 + (LINEAR >> 30 & 511) * 8, 0x80000000U | PTE_PS | ALL, 8);
    assert_int_equal(guest_walk(vcpu, LINEAR, GUEST_READ, false, &gpa, &error), 0);
    assert_int_equal(gpa, 0x80000000U + (LINEAR & 0x3fffffff));
}

static void test_guest_walk__pae__rights_of_the_pdpte_do_not_count(void **state)
{
    uint64_t linear = 0xc0601abcU, gpa;
    uint32_t error;

    (void)state;
    fake_hvm_state(vcpu)->cr4 = CR4_PAE;
    fake_hvm_state(vcpu)->pdpte[3] = TABLE2 | PTE_P; /* what the CPU has loaded, not memory */
    put(TABLE2 + (linear >> 21 & 511) * 8, TABLE3 | ALL, 8);
    put(TABLE3 + (linear >> 12 & 511) * 8, PAGE_PA | ALL, 8);
    assert_int_equal(guest_walk(vcpu, linear, GUEST_WRITE, true, &gpa, &error), 0);
    assert_int_equal(gpa, PAGE_PA + 0xabc);
    assert_int_equal(fake_hvm_state(vcpu)->pdpte[3], TABLE2 | PTE_P); /* it has no accessed bit */
    fake_hvm_state(vcpu)->pdpte[3] = TABLE2;
    assert_int_equal(guest_walk(vcpu, linear, GUEST_WRITE, true, &gpa, &error), -EFAULT);
    assert_int_equal(error, 6);
}

static void test_guest_walk__32_bit__small_and_4m_pages(void **state)
{
    uint64_t linear = 0x00c05123U, gpa;
    uint32_t error;

    (void)state;
    fake_hvm_state(vcpu)->cr4 = 0;
    put(ROOT + (linear >> 22) * 4, TABLE2 | ALL, 4);
    put(TABLE2 + (linear >> 12 & 1023) * 4, PAGE_PA | ALL, 4);
    assert_int_equal(guest_walk(vcpu, linear, GUEST_READ, true, &gpa, &error), 0);
    assert_int_equal(gpa, PAGE_PA + 0x123);
    put(ROOT + (linear >> 22) * 4, 0x400000U | PTE_PS | ALL, 4);
    fake_hvm_state(vcpu)->cr4 = CR4_PSE;
    assert_int_equal(guest_walk(vcpu, linear, GUEST_READ, true, &gpa, &error), 0);
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
        if (guest_walk(vcpu, LINEAR, rows[i].write ? GUEST_WRITE : GUEST_READ, rows[i].user, &gpa,
                       &error) != rows[i].rc ||
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
    assert_int_equal(guest_walk(vcpu, LINEAR, GUEST_READ, false, &gpa, &error), -EFAULT);
    fake_hvm_state(vcpu)->cr3 = 0xffffffffff000UL;
    assert_int_equal(guest_walk(vcpu, LINEAR, GUEST_READ, false, &gpa, &error), -EFAULT);
}

/* ---- reserved bits, by the manual's tables of entry formats; MAXPHYADDR of the host is 46 ---- */

enum paging_mode { FOUR_LEVEL, PAE, BITS32 };

static void test_guest_walk__reserved_bits__each_bit_of_each_entry(void **state)
{
    static const struct {
        const char *name;
        enum paging_mode mode;
        int level; /* of the entry that is spoilt: 0 is the top */
        bool large;
        bool nxe;
        uint64_t reserved;
    } rows[] = {
        {"PML4E", FOUR_LEVEL, 0, false, true, BITS(51, 46) | PTE_PS},
        {"PML4E", FOUR_LEVEL, 0, false, false, BITS(51, 46) | PTE_PS | BIT(63)},
        {"PDPTE", FOUR_LEVEL, 1, false, true, BITS(51, 46)},
        {"PDPTE 1 GiB", FOUR_LEVEL, 1, true, true, BITS(51, 46) | BITS(29, 13)},
        {"PDE", FOUR_LEVEL, 2, false, true, BITS(51, 46)},
        {"PDE 2 MiB", FOUR_LEVEL, 2, true, true, BITS(51, 46) | BITS(20, 13)},
        {"PDE 2 MiB", FOUR_LEVEL, 2, true, false, BITS(51, 46) | BITS(20, 13) | BIT(63)},
        {"PTE", FOUR_LEVEL, 3, false, true, BITS(51, 46)},
        {"PTE", FOUR_LEVEL, 3, false, false, BITS(51, 46) | BIT(63)},
        {"PAE PDE", PAE, 1, false, true, BITS(62, 46)},
        {"PAE PDE 2 MiB", PAE, 1, true, true, BITS(62, 46) | BITS(20, 13)},
        {"PAE PTE", PAE, 2, false, false, BITS(63, 46)},
        {"PDE of 32 bits", BITS32, 0, false, false, 0},
        {"PDE 4 MiB", BITS32, 0, true, false, BIT(21)},
        {"PTE of 32 bits", BITS32, 1, false, false, 0},
    };
    static const uint64_t tables[] = {ROOT, TABLE2, TABLE3, TABLE4};

    host_has(true, true);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        unsigned int bytes = rows[i].mode == BITS32 ? 4 : 8;
        uint64_t linear = rows[i].mode == FOUR_LEVEL ? LINEAR : 0x00600000U;

        for (unsigned int bit = 0; bit < bytes * 8; bit++) {
            struct vcpu_state *s;
            uint64_t gpa, at;
            uint32_t error;

            setup(state);
            host_has(true, true);
            s = fake_hvm_state(vcpu);
            if (rows[i].mode == FOUR_LEVEL) {
                map_4level(ALL);
                at = tables[rows[i].level] + (linear >> (39 - 9 * rows[i].level) & 511) * 8;
                s->efer |= rows[i].nxe ? EFER_NXE : 0;
            } else if (rows[i].mode == PAE) {
                s->cr4 = CR4_PAE;
                s->efer = rows[i].nxe ? EFER_NXE : 0;
                s->pdpte[0] = TABLE2 | PTE_P;
                put(TABLE2 + (linear >> 21 & 511) * 8, TABLE3 | ALL, 8);
                put(TABLE3 + (linear >> 12 & 511) * 8, PAGE_PA | ALL, 8);
                at = tables[rows[i].level] + (linear >> (30 - 9 * rows[i].level) & 511) * 8;
            } else {
                s->cr4 = CR4_PSE;
                put(ROOT + (linear >> 22) * 4, TABLE2 | ALL, 4);
                put(TABLE2 + (linear >> 12 & 1023) * 4, PAGE_PA | ALL, 4);
                at = tables[rows[i].level] +
                     (rows[i].level == 0 ? (linear >> 22) * 4 : (linear >> 12 & 1023) * 4);
            }
            if (rows[i].large) {
                put(at, PTE_PS | ALL, bytes);
            }
            uint64_t entry = get(at, bytes);
            bool reserved = rows[i].reserved >> bit & 1;

            if (bit < 3 || (bit == 7 && !reserved) || (entry >> bit & 1)) {
                continue; /* P, W, U are rights; PS makes another entry of it */
            }
            put(at, entry | BIT(bit), bytes);
            int rc = guest_walk(vcpu, linear, GUEST_READ, true, &gpa, &error);
            if (reserved ? rc != -EFAULT || error != 0xd : rc == -EFAULT && (error & 8)) {
                fail_msg("%s bit %u: %d, error 0x%x", rows[i].name, bit, rc, error);
            }
        }
    }
}

/* What the host has not: 1 GiB pages, PSE-36. */
static void test_guest_walk__page_sizes_that_are_missing__reserved(void **state)
{
    uint64_t gpa;
    uint32_t error;

    (void)state;
    host_has(false, false);
    map_4level(ALL);
    put(TABLE2 + (LINEAR >> 30 & 511) * 8, 0x80000000U | PTE_PS | ALL, 8);
    assert_int_equal(guest_walk(vcpu, LINEAR, GUEST_WRITE, false, &gpa, &error), -EFAULT);
    assert_int_equal(error, 0xb);
    setup(state);
    fake_hvm_state(vcpu)->cr4 = CR4_PSE;
    for (unsigned int bit = 13; bit <= 21; bit++) {
        put(ROOT + 4, 0x400000U | PTE_PS | ALL | BIT(bit), 4);
        host_has(false, false);
        assert_int_equal(guest_walk(vcpu, 0x500000, GUEST_READ, false, &gpa, &error), -EFAULT);
        assert_int_equal(error, 9);
        host_has(true, true);
        if (bit < 21) {
            assert_int_equal(guest_walk(vcpu, 0x5abcde, GUEST_READ, false, &gpa, &error), 0);
            assert_int_equal(gpa, 0x5abcde | BIT(bit + 19)); /* 13 to 20: address bits 32 to 39 */
        }
    }
}

/* Without CR4.PSE bit 7 of a directory entry is nothing. */
static void test_guest_walk__32_bit_without_pse__no_large_pages(void **state)
{
    uint64_t gpa;
    uint32_t error;

    (void)state;
    fake_hvm_state(vcpu)->cr4 = 0;
    fake_hvm_state(vcpu)->cr3 = UINT64_C(0xff00000000) | ROOT; /* 32 bits count */
    put(ROOT + 4, TABLE2 | PTE_PS | ALL, 4);
    put(TABLE2 + 0x101 * 4, PAGE_PA | ALL, 4);
    assert_int_equal(guest_walk(vcpu, 0x501123, GUEST_READ, true, &gpa, &error), 0);
    assert_int_equal(gpa, PAGE_PA + 0x123);
}

/* Fetches: NX, SMEP; SMAP and the write bit do not concern them. Bit 4 of the error code. */
static void test_guest_walk__fetches__error_code_of_the_fault(void **state)
{
    static const struct {
        uint64_t leaf, cr4, efer;
        bool user;
        int rc;
        uint32_t error;
    } rows[] = {
        {PTE_P | PTE_U, CR4_SMAP, EFER_NXE, false, 0, 0},
        {PTE_P | PTE_U, CR4_SMEP, EFER_NXE, false, -EFAULT, 0x11},
        {PTE_P | PTE_U, CR4_SMEP, 0, false, -EFAULT, 0x11},
        {PTE_P | PTE_U, CR4_SMEP, 0, true, 0, 0},
        {PTE_P, CR4_SMEP, 0, false, 0, 0},
        {PTE_P, 0, EFER_NXE, true, -EFAULT, 0x15},
        {PTE_P, 0, 0, true, -EFAULT, 0x05},
        {PTE_P | PTE_U | PTE_NX, 0, EFER_NXE, true, -EFAULT, 0x15},
        {PTE_P | PTE_NX, 0, EFER_NXE, false, -EFAULT, 0x11},
        {0, 0, EFER_NXE, false, -EFAULT, 0x10},
        {0, 0, 0, false, -EFAULT, 0x00},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vcpu_state *s = fake_hvm_state(vcpu);
        uint64_t gpa;
        uint32_t error;

        map_4level(rows[i].leaf);
        s->cr4 = CR4_PAE | rows[i].cr4;
        s->efer = EFER_LME | EFER_LMA | rows[i].efer;
        if (guest_walk(vcpu, LINEAR, GUEST_FETCH, rows[i].user, &gpa, &error) != rows[i].rc ||
            (rows[i].rc != 0 && error != rows[i].error)) {
            fail_msg("row %zu: error 0x%x", i, error);
        }
    }
    /* data may be read where nothing may be executed */
    map_4level(ALL | PTE_NX);
    fake_hvm_state(vcpu)->efer |= EFER_NXE;
    uint64_t gpa;
    uint32_t error;
    assert_int_equal(guest_walk(vcpu, LINEAR, GUEST_WRITE, true, &gpa, &error), 0);
}

/* NX of any level counts. */
static void test_guest_walk__nx_of_a_table__holds_below(void **state)
{
    static const uint64_t tables[] = {ROOT, TABLE2, TABLE3, TABLE4};
    uint64_t gpa;
    uint32_t error;

    (void)state;
    for (int level = 0; level < 4; level++) {
        uint64_t at = tables[level] + (LINEAR >> (39 - 9 * level) & 511) * 8;

        map_4level(ALL);
        fake_hvm_state(vcpu)->efer |= EFER_NXE;
        put(at, get(at, 8) | PTE_NX, 8);
        assert_int_equal(guest_walk(vcpu, LINEAR, GUEST_FETCH, true, &gpa, &error), -EFAULT);
        assert_int_equal(error, 0x15);
        assert_int_equal(guest_walk(vcpu, LINEAR, GUEST_READ, true, &gpa, &error), 0);
    }
}

/* ---- tables that change under the walk ---- */

/* An entry that has changed since it was read is never overwritten with what it was. */
static void test_swap_entry__changed_meanwhile__kept(void **state)
{
    uint64_t value;

    (void)state;
    put(TABLE4, 0x1234567890abcdefU, 8);
    assert_int_equal(domain_read_entry(domain, TABLE4, 8, &value), 0);
    assert_int_equal(value, 0x1234567890abcdefU);
    put(TABLE4, 5, 8);
    assert_int_equal(domain_swap_entry(domain, TABLE4, 8, value, value | PTE_A), -EBUSY);
    assert_int_equal(get(TABLE4, 8), 5);
    assert_int_equal(domain_swap_entry(domain, TABLE4, 8, 5, 7), 0);
    assert_int_equal(get(TABLE4, 8), 7);
    /* the smaller kind leaves its neighbour alone */
    put(TABLE4, 0xaaaaaaaa00000005U, 8);
    assert_int_equal(domain_read_entry(domain, TABLE4, 4, &value), 0);
    assert_int_equal(value, 5);
    assert_int_equal(domain_swap_entry(domain, TABLE4, 4, 6, 7), -EBUSY);
    assert_int_equal(domain_swap_entry(domain, TABLE4, 4, 5, 7), 0);
    assert_int_equal(get(TABLE4, 8), 0xaaaaaaaa00000007U);
    assert_int_equal(domain_read_entry(domain, MEMORY, 8, &value), -EFAULT);
    assert_int_equal(domain_swap_entry(domain, UINT64_MAX - 7, 8, 0, 0), -EFAULT);
}

/* A vCPU that unmaps and remaps the page all the time, as another one's kernel may. */
static void *other_vcpu(void *stop)
{
    uint64_t pte = TABLE4 + (LINEAR >> 12 & 511) * 8;

    while (!__atomic_load_n((bool *)stop, __ATOMIC_RELAXED)) {
        uint64_t run_old = 0;

        /* takes the page away, whatever A and D are */
        do {
            (void)!domain_read_entry(domain, pte, 8, &run_old);
        } while (domain_swap_entry(domain, pte, 8, run_old, 0) != 0);
        /* nobody may have put something there since */
        if (domain_swap_entry(domain, pte, 8, 0, PAGE_PA | ALL) != 0) {
            return &domain;
        }
    }
    return NULL;
}

static void test_guest_walk__tables_change_all_the_time__no_entry_comes_back(void **state)
{
    pthread_t thread;
    bool stop = false;
    void *came_back;

    (void)state;
    map_4level(ALL);
    assert_int_equal(pthread_create(&thread, NULL, other_vcpu, &stop), 0);
    for (int i = 0; i < 200000; i++) {
        uint64_t gpa = 0;
        uint32_t error;

        if (guest_walk(vcpu, LINEAR, GUEST_WRITE, true, &gpa, &error) == 0) {
            assert_int_equal(gpa, PAGE_PA + (LINEAR & 0xfff));
        } else {
            assert_int_equal(error, 6); /* not present, write, user */
        }
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    assert_int_equal(pthread_join(thread, &came_back), 0);
    assert_null(came_back);
}

/* ---- operands ---- */

static int span_write(uint64_t linear, const void *from, size_t len)
{
    struct guest_span span;
    int rc = guest_span_find(vcpu, linear, GUEST_WRITE, true, len, &span);

    return rc == 0 ? guest_span_write(vcpu, &span, from) : rc;
}

static void test_guest_span__across_pages__joined_or_nothing(void **state)
{
    uint32_t value = 0x44332211, back = 0;
    uint64_t end = (LINEAR & ~0xfffUL) + 0xffe;
    struct guest_span span;

    (void)state;
    map_4level(ALL);
    /* The second page is not there: #PF at its first byte, nothing written. */
    assert_int_equal(span_write(end, &value, 4), -EFAULT);
    assert_int_equal(fake_hvm.event & 0xff, EXC_PF);
    assert_int_equal(fake_hvm.event_error, 6);
    assert_int_equal(vcpu->ctx.cr2, end + 2);
    assert_int_equal(get(PAGE_PA + 0xffe, 2), 0);
    put(TABLE4 + ((LINEAR >> 12 & 511) + 1) * 8, (PAGE_PA + 0x5000U) | ALL, 8);
    assert_int_equal(span_write(end, &value, 4), 0);
    assert_int_equal(get(PAGE_PA + 0xffe, 2), 0x2211);
    assert_int_equal(get(PAGE_PA + 0x5000, 2), 0x4433);
    assert_int_equal(guest_span_find(vcpu, end, GUEST_READ, true, 4, &span), 0);
    /* What was found stays found: the tables may go. */
    put(ROOT + (LINEAR >> 39 & 511) * 8, 0, 8);
    assert_int_equal(guest_span_read(vcpu, &span, &back), 0);
    assert_int_equal(back, value);
}

static void test_guest_span__all_lengths_and_places__whole(void **state)
{
    (void)state;
    map_4level(ALL);
    put(TABLE4 + ((LINEAR >> 12 & 511) + 1) * 8, (PAGE_PA + 0x5000U) | ALL, 8);
    for (size_t len = 1; len <= 8; len++) {
        for (uint64_t at = 0xff0; at < 0x1008; at++) {
            uint64_t linear = (LINEAR & ~0xfffUL) + at, value = 0x8877665544332211U, back = 0;
            struct guest_span span;

            assert_int_equal(span_write(linear, &value, len), 0);
            assert_int_equal(guest_span_find(vcpu, linear, GUEST_READ, true, len, &span), 0);
            assert_int_equal(span.bytes[0] + span.bytes[1], len);
            assert_int_equal(guest_span_read(vcpu, &span, &back), 0);
            assert_memory_equal(&back, &value, len);
        }
    }
}

static void test_guest_span__not_canonical__general_protection(void **state)
{
    static const uint64_t addresses[] = {0x800000000000UL, 0xffff7fffffffffffUL};
    struct guest_span span;

    (void)state;
    map_4level(ALL);
    for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
        assert_int_equal(guest_span_find(vcpu, addresses[i], GUEST_READ, false, 1, &span), -EFAULT);
        assert_int_equal(fake_hvm.event & 0xff, EXC_GP);
    }
}

static void test_guest_span__outside_memory__domain_stops(void **state)
{
    struct guest_span span;
    uint8_t byte;

    (void)state;
    map_4level(ALL);
    put(TABLE4 + (LINEAR >> 12 & 511) * 8, 0xfee00000U | ALL, 8);
    assert_int_equal(guest_span_find(vcpu, LINEAR, GUEST_READ, true, 1, &span), 0);
    assert_int_equal(guest_span_read(vcpu, &span, &byte), -EFAULT);
    assert_int_equal(domain->state, DOMAIN_STOPPED);
}

/* ---- instructions on device registers ---- */

/* The exit that mov eax, [rbx] makes at the local APIC's version register; the backend tells the
 * first bytes of it. */
static void mmio_told(uint64_t rip, const uint8_t *bytes, uint8_t nr_bytes)
{
    struct hvm_exit exit = {.reason = HVM_EXIT_STAGE2,
                            .rip = rip,
                            .code64 = true,
                            .code_bytes = 8,
                            .nr_bytes = nr_bytes,
                            .stage2 = {.gpa = 0xfee00030, .access = STAGE2_READ}};

    if (nr_bytes != 0) {
        memcpy(exit.bytes, bytes, nr_bytes);
    }
    vcpu->gpr[GPR_RAX] = 0;
    fake_hvm.event = 0;
    fake_hvm.skips = 0;
    assert_true(mmio_handle(vcpu, &exit));
}

static void mmio(uint64_t rip)
{
    mmio_told(rip, NULL, 0);
}

/* What the CPU has fetched counts, and no table is looked at. */
static void test_mmio__bytes_told__not_fetched(void **state)
{
    static const uint8_t code[] = {0x8b, 0x03, 0x90, 0x90};

    (void)state;
    map_4level(ALL);
    fake_hvm_state(vcpu)->seg[SEG_CS].base = 0;
    assert_int_equal(domain_write(domain, PAGE_PA + (LINEAR & 0xfff), "\x0f\x0b", 2), 0);
    mmio_told(LINEAR, code, sizeof(code));
    assert_int_equal(vcpu->gpr[GPR_RAX], 0x50014);
    assert_int_equal(fake_hvm.skipped, 2);
    put(TABLE4 + (LINEAR >> 12 & 511) * 8, 0, 8);
    mmio_told(LINEAR, code, 2);
    assert_int_equal(vcpu->gpr[GPR_RAX], 0x50014);
    assert_int_equal(fake_hvm.event, 0);
}

static void test_mmio__fetch__through_the_tables(void **state)
{
    static const uint8_t code[] = {0x8b, 0x03};
    struct vcpu_state *s = fake_hvm_state(vcpu);
    uint64_t end = (LINEAR & ~0xfffUL) + 0xfff;

    (void)state;
    /* a kernel that runs code in a user page: SMAP is about data alone */
    map_4level(ALL);
    s->seg[SEG_CS].base = 0;
    s->cr4 |= CR4_SMAP;
    assert_int_equal(domain_write(domain, PAGE_PA + (LINEAR & 0xfff), code, 2), 0);
    mmio(LINEAR);
    assert_int_equal(vcpu->gpr[GPR_RAX], 0x50014);
    assert_int_equal(fake_hvm.skips, 1);
    assert_int_equal(fake_hvm.skipped, 2);

    /* across pages, the second of which another vCPU takes away: the fetch faults there */
    put(TABLE4 + ((LINEAR >> 12 & 511) + 1) * 8, (PAGE_PA + 0x5000U) | ALL, 8);
    assert_int_equal(domain_write(domain, PAGE_PA + 0xfff, code, 1), 0);
    assert_int_equal(domain_write(domain, PAGE_PA + 0x5000, code + 1, 1), 0);
    mmio(end);
    assert_int_equal(vcpu->gpr[GPR_RAX], 0x50014);
    put(TABLE4 + ((LINEAR >> 12 & 511) + 1) * 8, 0, 8);
    mmio(end);
    assert_int_equal(vcpu->gpr[GPR_RAX], 0);
    assert_int_equal(fake_hvm.event & 0xff, EXC_PF);
    assert_int_equal(fake_hvm.skips, 0);
    assert_int_equal(vcpu->ctx.cr2, end + 1);
    assert_int_equal(domain->state, DOMAIN_RUNNING);

    /* what is whole needs no second page */
    assert_int_equal(domain_write(domain, PAGE_PA + 0xffe, code, 2), 0);
    mmio(end - 1);
    assert_int_equal(vcpu->gpr[GPR_RAX], 0x50014);

    /* another instruction now: not one that is emulated */
    assert_int_equal(domain_write(domain, PAGE_PA + 0xffe, "\x0f\x0b", 2), 0);
    mmio(end - 1);
    assert_int_equal(domain->state, DOMAIN_STOPPED);
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
        T(test_guest_walk__reserved_bits__each_bit_of_each_entry),
        T(test_guest_walk__page_sizes_that_are_missing__reserved),
        T(test_guest_walk__32_bit_without_pse__no_large_pages),
        T(test_guest_walk__fetches__error_code_of_the_fault),
        T(test_guest_walk__nx_of_a_table__holds_below),
        T(test_swap_entry__changed_meanwhile__kept),
        T(test_guest_walk__tables_change_all_the_time__no_entry_comes_back),
        T(test_guest_span__across_pages__joined_or_nothing),
        T(test_guest_span__all_lengths_and_places__whole),
        T(test_guest_span__not_canonical__general_protection),
        T(test_guest_span__outside_memory__domain_stops),
        T(test_mmio__fetch__through_the_tables),
        T(test_mmio__bytes_told__not_fetched),
        T(test_pio_handle__rep_outsb__line_printed),
        T(test_pio_handle__rep_insb_into_a_missing_page__byte_stays_in_the_fifo),
        T(test_pio_handle__rep_outsb_to_the_exit_port__ends_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
