/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vCPU state after RESET, INIT and SIPI against the manual's table, and what a backend takes.
 *
 * SDM volume 3, "Processor State After Reset": table "IA-32 and Intel 64 Processor States Following
 * Power-up, Reset, or INIT". The values below are the table's, written out.
 */
#include <stdlib.h>
#include <string.h>

#include "../../vmx/vmx_priv.h"
#include "fakes/cmocka_inc.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/seam.h"
#include "fakes/world.h"
#include "hv/vcpu.h"
#include "hw/x86.h"

#define SIGNATURE 0x000506e3U /* family 6, model 0x5e, stepping 3 */

enum when { RESET, INIT };

/* One row of the table. kept: INIT leaves it as it was; mask: bits that INIT leaves. */
struct row {
    const char *name;
    size_t at, bytes;
    uint64_t reset, init;
    uint64_t kept;
};

#define ALL UINT64_MAX
#define FIELD(m) #m, offsetof(struct vcpu_state, m), sizeof(((struct vcpu_state *)0)->m)
#define SAME(m, value)                \
    {                                 \
        FIELD(m), (value), (value), 0 \
    }
#define STAYS(m, value)           \
    {                             \
        FIELD(m), (value), 0, ALL \
    }
/* Present, read/write, accessed; limit 0xffff */
#define DATA_SEGMENT(i)                                                         \
    SAME(seg[i].selector, 0), SAME(seg[i].base, 0), SAME(seg[i].limit, 0xffff), \
        SAME(seg[i].access, 0x93)

static const struct row rows[] = {
    SAME(gpr[GPR_RAX], 0),
    SAME(gpr[GPR_RCX], 0),
    {FIELD(gpr[GPR_RDX]), 0, SIGNATURE, 0}, /* at RESET the loaders say what is in it */
    SAME(gpr[GPR_RBX], 0),
    SAME(gpr[GPR_RSP], 0),
    SAME(gpr[GPR_RBP], 0),
    SAME(gpr[GPR_RSI], 0),
    SAME(gpr[GPR_RDI], 0),
    SAME(gpr[8], 0),
    SAME(gpr[9], 0),
    SAME(gpr[10], 0),
    SAME(gpr[11], 0),
    SAME(gpr[12], 0),
    SAME(gpr[13], 0),
    SAME(gpr[14], 0),
    SAME(gpr[15], 0),
    SAME(rip, 0xfff0),
    SAME(rflags, 0x2),
    {FIELD(cr0), 0x60000010, 0x10, 0x60000000}, /* CD, NW unchanged, bit 4 set, others clear */
    SAME(cr2, 0),
    SAME(cr3, 0),
    SAME(cr4, 0),
    SAME(cr8, 0), /* the local APIC's TPR */
    SAME(efer, 0),
    STAYS(xcr0, 1),
    SAME(dr[0], 0),
    SAME(dr[1], 0),
    SAME(dr[2], 0),
    SAME(dr[3], 0),
    SAME(dr6, 0xffff0ff0),
    SAME(dr7, 0x400),
    SAME(pdpte[0], 0),
    SAME(pdpte[1], 0),
    SAME(pdpte[2], 0),
    SAME(pdpte[3], 0),
    SAME(seg[SEG_CS].selector, 0xf000),
    SAME(seg[SEG_CS].base, 0xffff0000),
    SAME(seg[SEG_CS].limit, 0xffff),
    SAME(seg[SEG_CS].access, 0x9b), /* code: VM entry wants that of CS */
    DATA_SEGMENT(SEG_ES),
    DATA_SEGMENT(SEG_SS),
    DATA_SEGMENT(SEG_DS),
    DATA_SEGMENT(SEG_FS),
    DATA_SEGMENT(SEG_GS),
    SAME(seg[SEG_LDTR].selector, 0),
    SAME(seg[SEG_LDTR].base, 0),
    SAME(seg[SEG_LDTR].limit, 0xffff),
    SAME(seg[SEG_LDTR].access, 0x82), /* present LDT */
    SAME(seg[SEG_TR].selector, 0),
    SAME(seg[SEG_TR].base, 0),
    SAME(seg[SEG_TR].limit, 0xffff),
    SAME(seg[SEG_TR].access, 0x8b), /* present, busy TSS */
    SAME(gdtr.base, 0),
    SAME(gdtr.limit, 0xffff),
    SAME(idtr.base, 0),
    SAME(idtr.limit, 0xffff),
    STAYS(msr[GUEST_MSR_STAR], 0),
    STAYS(msr[GUEST_MSR_LSTAR], 0),
    STAYS(msr[GUEST_MSR_CSTAR], 0),
    STAYS(msr[GUEST_MSR_SFMASK], 0),
    STAYS(msr[GUEST_MSR_KERNEL_GS_BASE], 0),
    STAYS(msr[GUEST_MSR_TSC_AUX], 0),
    STAYS(sysenter_cs, 0),
    STAYS(sysenter_esp, 0),
    STAYS(sysenter_eip, 0),
    STAYS(pat, 0x0007040600070406),
    SAME(pending_debug, 0),
    STAYS(tsc_offset, 0), /* TSC */
    SAME(interruptibility, 0),
    SAME(event, 0),
    SAME(event_error, 0),
    SAME(event_length, 0),
};

static uint64_t value_of(const struct vcpu_state *s, const struct row *r)
{
    uint64_t value = 0;

    memcpy(&value, (const uint8_t *)s + r->at, r->bytes);
    return value;
}

static void check(const struct vcpu_state *s, const struct vcpu_state *before, enum when when)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct row *r = &rows[i];
        uint64_t expected = r->reset;

        if (when == INIT) {
            expected = (value_of(before, r) & r->kept) | r->init;
        }
        if (value_of(s, r) != expected) {
            fail_msg("%s after %s: %llx, expected %llx", r->name, when == INIT ? "INIT" : "RESET",
                     (unsigned long long)value_of(s, r), (unsigned long long)expected);
        }
    }
}

static int setup(void **state)
{
    (void)state;
    world_reset();
    fake_seam_reset();
    fake_cpuid_set(1, 0, (struct cpuid_values){.eax = SIGNATURE});
    return 0;
}

/* A field that the table above leaves out would never be looked at. */
static void test_rows__together__are_the_whole_state(void **state)
{
    uint8_t covered[sizeof(struct vcpu_state)] = {0};
    struct vcpu_state marked;
    size_t named = 0, bytes = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        for (size_t k = 0; k < rows[i].bytes; k++) {
            assert_int_equal(covered[rows[i].at + k], 0);
            covered[rows[i].at + k] = 1;
            named++;
        }
    }
    /* what is padding: the bytes that no member has */
    bytes += sizeof(marked.gpr) + sizeof(marked.dr) + sizeof(marked.pdpte) + sizeof(marked.msr);
    bytes += 8 * (8 + 2 + 4 + 4) + 2 * (8 + 4);
    bytes += 8 * 9; /* rip to xcr0 */
    bytes += 8 * 2; /* dr6, dr7 */
    bytes += 8 * 6; /* sysenter, pat, pending_debug, offset */
    bytes += 4 * 4; /* interruptibility, event */
    assert_int_equal(named, bytes);
}

static void test_vcpu_state_reset__garbage__as_table(void **state)
{
    struct vcpu_state s;

    (void)state;
    memset(&s, 0xa5, sizeof(s));
    vcpu_state_reset(&s);
    check(&s, NULL, RESET);
}

static void test_vcpu_state_init__any_state__as_table(void **state)
{
    static const uint8_t fill[] = {0x00, 0xff, 0xa5, 0x5a};

    (void)state;
    for (size_t i = 0; i < sizeof(fill); i++) {
        struct vcpu_state before, s;

        memset(&before, fill[i], sizeof(before));
        s = before;
        vcpu_state_init(&s);
        check(&s, &before, INIT);
    }
}

static void test_vcpu_state_init__cache_bits__kept_one_by_one(void **state)
{
    static const uint64_t bits[] = {0, CR0_CD, CR0_NW, CR0_CD | CR0_NW};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bits); i++) {
        struct vcpu_state s;

        vcpu_state_reset(&s);
        s.cr0 = bits[i] | CR0_PE | CR0_PG | CR0_WP | CR0_NE | CR0_TS;
        vcpu_state_init(&s);
        assert_int_equal(s.cr0, bits[i] | 0x10);
    }
}

static void test_vcpu_state_sipi__each_vector__real_mode_page(void **state)
{
    (void)state;
    for (unsigned int vector = 0; vector < 256; vector++) {
        struct vcpu_state s, init;

        memset(&s, 0x5a, sizeof(s));
        vcpu_state_init(&s);
        init = s;
        vcpu_state_sipi(&s, (uint8_t)vector);
        assert_int_equal(s.seg[SEG_CS].base, vector * 0x1000);
        assert_int_equal(s.seg[SEG_CS].selector, vector * 0x100);
        assert_int_equal(s.rip, 0);
        s.seg[SEG_CS].base = init.seg[SEG_CS].base;
        s.seg[SEG_CS].selector = init.seg[SEG_CS].selector;
        s.rip = init.rip;
        assert_memory_equal(&s, &init, sizeof(s)); /* nothing else */
    }
}

/* From a state of long mode with a guest's own MSRs: VM entry takes what INIT and SIPI leave. */
static void test_vmx_state_check__after_init_and_sipi__good(void **state)
{
    struct vcpu_state s;

    (void)state;
    vcpu_state_reset(&s);
    s.cr0 = CR0_PG | CR0_PE | CR0_ET | CR0_NE | CR0_WP;
    s.cr4 = CR4_PAE;
    s.efer = EFER_LME | EFER_LMA | EFER_SCE;
    s.event = EVENT_VALID | EVENT_TYPE_HW_EXCEPTION << 8 | EXC_UD;
    s.msr[GUEST_MSR_LSTAR] = 0xffffffff81000000;
    assert_int_equal(guest_state_check(&s), 0);
    vcpu_state_init(&s);
    assert_int_equal(guest_state_check(&s), 0);
    vcpu_state_sipi(&s, 0xff);
    assert_int_equal(guest_state_check(&s), 0);
    assert_int_equal(s.msr[GUEST_MSR_LSTAR], 0xffffffff81000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_rows__together__are_the_whole_state, setup),
        cmocka_unit_test_setup(test_vcpu_state_reset__garbage__as_table, setup),
        cmocka_unit_test_setup(test_vcpu_state_init__any_state__as_table, setup),
        cmocka_unit_test_setup(test_vcpu_state_init__cache_bits__kept_one_by_one, setup),
        cmocka_unit_test_setup(test_vcpu_state_sipi__each_vector__real_mode_page, setup),
        cmocka_unit_test_setup(test_vmx_state_check__after_init_and_sipi__good, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
