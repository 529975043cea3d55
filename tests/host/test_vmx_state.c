/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Check of vCPU states: good ones of every mode pass, each single flaw is found.
 */
#include "../../vmx/vmx_priv.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "hv/errno.h"
#include "hv/hvm.h"
#include "hw/vmx.h"
#include "hw/x86.h"

#define AR_CODE32 0xc09bU
#define AR_CODE64 0xa09bU
#define AR_DATA32 0xc093U
#define AR_REAL_CODE 0x9bU
#define AR_REAL_DATA 0x93U
#define AR_LDT 0x82U
#define AR_TSS 0x8bU
#define NON_CANONICAL 0x0000800000000000UL

uint64_t guest_cr4_allowed(void)
{
    return CR4_PAE | CR4_PSE | CR4_PGE | CR4_PCIDE | CR4_OSFXSR;
}

unsigned int guest_maxphyaddr(void)
{
    return 40;
}

uint64_t guest_efer_allowed(void)
{
    return EFER_SCE | EFER_LME | EFER_NXE;
}

/* After RESET. */
static struct vcpu_state real_mode(void)
{
    struct vcpu_state s;

    memset(&s, 0, sizeof(s));
    s.cr0 = CR0_CD | CR0_NW | CR0_ET;
    s.rip = 0xfff0;
    s.rflags = RFLAGS_FIXED;
    s.dr7 = DR7_INIT;
    s.pat = PAT_RESET;
    for (unsigned int i = 0; i < SEG_COUNT; i++) {
        s.seg[i] = (struct segment_reg){.limit = 0xffff, .access = AR_REAL_DATA};
    }
    s.seg[SEG_CS] = (struct segment_reg){
        .base = 0xffff0000, .selector = 0xf000, .limit = 0xffff, .access = AR_REAL_CODE};
    s.seg[SEG_LDTR].access = AR_LDT;
    s.seg[SEG_TR].access = AR_TSS;
    s.gdtr.limit = s.idtr.limit = 0xffff;
    return s;
}

/* As a multiboot payload starts. */
static struct vcpu_state flat32(void)
{
    struct vcpu_state s = real_mode();

    s.cr0 = CR0_PE | CR0_ET;
    s.rip = 0x100000;
    for (unsigned int i = SEG_ES; i <= SEG_GS; i++) {
        s.seg[i] = (struct segment_reg){.selector = 0x10, .limit = 0xffffffff, .access = AR_DATA32};
    }
    s.seg[SEG_CS] = (struct segment_reg){.selector = 8, .limit = 0xffffffff, .access = AR_CODE32};
    return s;
}

static struct vcpu_state pae32(void)
{
    struct vcpu_state s = flat32();

    s.cr0 |= CR0_PG;
    s.cr4 = CR4_PAE;
    s.pdpte[0] = 0x2000 | PTE_P;
    return s;
}

static struct vcpu_state long64(void)
{
    struct vcpu_state s = flat32();

    s.cr0 |= CR0_PG;
    s.cr4 = CR4_PAE | CR4_PCIDE;
    s.cr3 = 0x1000;
    s.efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
    s.rip = 0xffffffff80001000UL;
    s.seg[SEG_CS].access = AR_CODE64;
    for (unsigned int i = SEG_ES; i <= SEG_LDTR; i++) {
        if (i != SEG_CS) {
            s.seg[i] = (struct segment_reg){.access = SEG_UNUSABLE};
        }
    }
    s.seg[SEG_GS].base = 0xffff888000000000UL;
    s.seg[SEG_TR] = (struct segment_reg){
        .base = 0xfffffe0000003000UL, .selector = 0x40, .limit = 0x206f, .access = AR_TSS};
    s.gdtr.base = 0xfffffe0000001000UL;
    return s;
}

static void test_vmx_state_check__good_states__accepted(void **state)
{
    struct vcpu_state s = real_mode();

    (void)state;
    assert_int_equal(vmx_state_check(&s), 0);
    s = flat32();
    assert_int_equal(vmx_state_check(&s), 0);
    s = pae32();
    assert_int_equal(vmx_state_check(&s), 0);
    s = long64();
    assert_int_equal(vmx_state_check(&s), 0);
    s.interruptibility = INTR_BLOCK_STI | INTR_BLOCK_NMI;
    s.rflags |= RFLAGS_IF;
    s.event = EVENT_VALID | EVENT_TYPE_EXTINT << 8 | 0x20;
    s.pending_debug = PENDING_DEBUG_BS;
    assert_int_equal(vmx_state_check(&s), 0);
}

/* Offset and value of one member to spoil; the rest is a good 64-bit state. */
#define SPOIL(member, value)                                       \
    {                                                              \
#member " = " #value, offsetof(struct vcpu_state, member), \
            sizeof(((struct vcpu_state *)0)->member), value        \
    }
static const struct {
    const char *name;
    size_t offset, size;
    uint64_t value;
} flaws[] = {
    SPOIL(cr0, CR0_PG),
    SPOIL(cr0, BIT(32) | CR0_PG | CR0_PE),
    SPOIL(cr0, CR0_PG | CR0_PE | CR0_NW),
    SPOIL(cr0, CR0_PE), /* LMA without paging */
    SPOIL(cr3, BIT(52)),
    SPOIL(cr3, BIT(40)), /* above the physical addresses */
    SPOIL(cr4, 0),       /* long mode without PAE */
    SPOIL(cr4, CR4_PAE | CR4_VMXE),
    SPOIL(cr4, CR4_PAE | BIT(40)),
    SPOIL(efer, EFER_LME),
    SPOIL(efer, 0), /* PCIDE outside of long mode */
    SPOIL(efer, EFER_LME | EFER_LMA | 2),
    SPOIL(rflags, RFLAGS_FIXED | BIT(22)),
    SPOIL(rflags, RFLAGS_FIXED | BIT(15)),
    SPOIL(rflags, RFLAGS_FIXED | RFLAGS_VM),
    SPOIL(dr7, BIT(32)),
    SPOIL(pat, 2),
    SPOIL(pat, UINT64_C(8) << 56),
    SPOIL(sysenter_cs, BIT(32)),
    SPOIL(sysenter_esp, NON_CANONICAL),
    SPOIL(sysenter_eip, NON_CANONICAL),
    SPOIL(gdtr.base, NON_CANONICAL),
    SPOIL(idtr.base, NON_CANONICAL),
    SPOIL(gdtr.limit, 0x10000),
    SPOIL(idtr.limit, 0x10000),
    SPOIL(seg[SEG_CS].access, SEG_UNUSABLE),
    SPOIL(seg[SEG_CS].access, 0xa01b), /* not present */
    SPOIL(seg[SEG_CS].access, 0xa08b), /* a system segment */
    SPOIL(seg[SEG_CS].access, 0xa19b), /* reserved bits */
    SPOIL(seg[SEG_CS].access, 0x209b), /* limit without G */
    SPOIL(seg[SEG_CS].limit, 0xfffffffe),
    SPOIL(seg[SEG_CS].base, BIT(32)),
    SPOIL(seg[SEG_GS].base, NON_CANONICAL),
    SPOIL(seg[SEG_FS].base, NON_CANONICAL),
    SPOIL(seg[SEG_TR].base, NON_CANONICAL),
    SPOIL(seg[SEG_TR].access, SEG_UNUSABLE),
    SPOIL(seg[SEG_TR].access, 0x89), /* available, not busy */
    SPOIL(seg[SEG_TR].access, 0x9b),
    SPOIL(seg[SEG_LDTR].access, 0x83),
    SPOIL(seg[SEG_DS].access, 0x92), /* not accessed */
    SPOIL(seg[SEG_SS].access, BIT(17)),
    SPOIL(interruptibility, 4),
    SPOIL(interruptibility, INTR_BLOCK_STI), /* IF is clear */
    SPOIL(interruptibility, INTR_BLOCK_STI | INTR_BLOCK_MOV_SS),
    SPOIL(pending_debug, BIT(4)),
    SPOIL(pending_debug, BIT(63)),
    SPOIL(event, EVENT_VALID | 1U << 8),
    SPOIL(event, EVENT_VALID | EVENT_TYPE_EXTINT << 8 | 0x20), /* IF is clear */
    SPOIL(event, EVENT_VALID | EVENT_TYPE_SW_INT << 8 | 0x80), /* no length */
};

static void test_vmx_state_check__one_flaw__refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(flaws); i++) {
        struct vcpu_state s = long64();

        memcpy((uint8_t *)&s + flaws[i].offset, &flaws[i].value, flaws[i].size);
        if (vmx_state_check(&s) != -EINVAL) {
            fail_msg("accepted: %s", flaws[i].name);
        }
    }
    struct vcpu_state s = pae32();
    s.pdpte[3] = PTE_P | PTE_W;
    assert_int_equal(vmx_state_check(&s), -EINVAL);
    s.pdpte[3] = PTE_P | BIT(39);
    assert_int_equal(vmx_state_check(&s), 0);
    s.pdpte[3] = PTE_P | BIT(40);
    assert_int_equal(vmx_state_check(&s), -EINVAL);
    s = flat32();
    s.rip = BIT(32);
    assert_int_equal(vmx_state_check(&s), -EINVAL);
    s = real_mode();
    s.rflags |= RFLAGS_VM;
    assert_int_equal(vmx_state_check(&s), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vmx_state_check__good_states__accepted),
        cmocka_unit_test(test_vmx_state_check__one_flaw__refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
