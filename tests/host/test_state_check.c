/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Check of vCPU states: good ones of every mode pass, each single flaw is found. And what passes
 * comes out of a VMCB as it went in.
 */
#include "../../svm/svm_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/hvm.h"
#include "hv/printk.h"
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
    assert_int_equal(guest_state_check(&s), 0);
    s = flat32();
    assert_int_equal(guest_state_check(&s), 0);
    s = pae32();
    assert_int_equal(guest_state_check(&s), 0);
    s = long64();
    assert_int_equal(guest_state_check(&s), 0);
    s.interruptibility = INTR_BLOCK_STI | INTR_BLOCK_NMI;
    s.rflags |= RFLAGS_IF;
    s.event = EVENT_VALID | EVENT_TYPE_EXTINT << 8 | 0x20;
    s.pending_debug = PENDING_DEBUG_BS;
    assert_int_equal(guest_state_check(&s), 0);
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
        if (guest_state_check(&s) != -EINVAL) {
            fail_msg("accepted: %s", flaws[i].name);
        }
    }
    struct vcpu_state s = pae32();
    s.pdpte[3] = PTE_P | PTE_W;
    assert_int_equal(guest_state_check(&s), -EINVAL);
    s.pdpte[3] = PTE_P | BIT(39);
    assert_int_equal(guest_state_check(&s), 0);
    s.pdpte[3] = PTE_P | BIT(40);
    assert_int_equal(guest_state_check(&s), -EINVAL);
    s = flat32();
    s.rip = BIT(32);
    assert_int_equal(guest_state_check(&s), -EINVAL);
    s = real_mode();
    s.rflags |= RFLAGS_VM;
    assert_int_equal(guest_state_check(&s), -EINVAL);
}

/* ---- into a VMCB and out of it ---- */

struct svm_caps svm_caps;
static struct svm_vcpu x;
static struct vcpu vcpu = {.hvm_data = &x};
static uint64_t pdptes[4];

void panic(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    abort();
}

int domain_read(struct domain *d, uint64_t gpa, void *to, size_t len)
{
    (void)d;
    assert_true(gpa % 32 + len <= sizeof(pdptes));
    memcpy(to, (const uint8_t *)pdptes + gpa % 32, len);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    x = (struct svm_vcpu){.vmcb = aligned_alloc(PAGE_SIZE, PAGE_SIZE)};
    memset(vmcb_open(&x), 0, PAGE_SIZE);
    vcpu.ctx = (struct vcpu_context){.dr6 = 0};
    memset(pdptes, 0, sizeof(pdptes));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(vmcb_open(&x));
    return 0;
}

static struct vcpu_state through_vmcb(const struct vcpu_state *s)
{
    struct vcpu_state out;

    memset(&out, 0, sizeof(out));
    assert_int_equal(svm_state_load(&vcpu, s), 0);
    svm_state_save(&vcpu, &out);
    return out;
}

static void assert_same(const struct vcpu_state *a, const struct vcpu_state *b)
{
    for (unsigned int i = 0; i < SEG_COUNT; i++) {
        assert_int_equal(a->seg[i].selector, b->seg[i].selector);
        assert_int_equal(a->seg[i].base, b->seg[i].base);
        assert_int_equal(a->seg[i].limit, b->seg[i].limit);
        assert_int_equal(a->seg[i].access, b->seg[i].access);
    }
    assert_memory_equal(a->gpr, b->gpr, sizeof(a->gpr));
    assert_memory_equal(a->pdpte, b->pdpte, sizeof(a->pdpte));
    assert_int_equal(a->cr0, b->cr0);
    assert_int_equal(a->efer, b->efer);
    assert_int_equal(a->interruptibility, b->interruptibility);
    assert_memory_equal(a, b, sizeof(*a));
}

static void randomize(struct vcpu_state *s)
{
    for (unsigned int i = 0; i < GPR_COUNT; i++) {
        s->gpr[i] = (uint64_t)rand() << 33 ^ (uint64_t)rand();
    }
    s->gdtr = (struct table_reg){(uint32_t)rand(), (uint16_t)rand()};
    s->idtr = (struct table_reg){(uint32_t)rand(), (uint16_t)rand()};
    s->sysenter_cs = (uint32_t)rand();
    s->sysenter_esp = (uint32_t)rand();
    s->sysenter_eip = (uint32_t)rand();
    s->tsc_offset = (uint64_t)rand() << 40;
    s->rflags |= rand() & 1 ? RFLAGS_IF : 0;
    s->interruptibility = (rand() & 1 ? INTR_BLOCK_NMI : 0) |
                          (rand() & 1                ? 0
                           : (s->rflags & RFLAGS_IF) ? INTR_BLOCK_STI
                                                     : INTR_BLOCK_MOV_SS);
    if (rand() & 1) {
        s->event = EVENT_VALID | EVENT_ERROR_CODE | EVENT_TYPE_HW_EXCEPTION << 8 | EXC_GP;
        s->event_error = (uint16_t)rand() & 0x7fff;
    }
}

static void test_svm_state_save__what_was_loaded__the_same_state(void **state)
{
    struct vcpu_state (*const modes[])(void) = {real_mode, flat32, pae32, long64};

    (void)state;
    srand(1);
    for (unsigned int i = 0; i < 400; i++) {
        struct vcpu_state s = modes[i % 4](), out;

        randomize(&s);
        memcpy(pdptes, s.pdpte, sizeof(pdptes));
        assert_int_equal(guest_state_check(&s), 0);
        out = through_vmcb(&s);
        assert_same(&s, &out);
    }
}

/* What a guest can bring into a VMCB, and a reader would refuse. */
static void test_svm_state_save__odd_vmcb__a_state_that_can_be_loaded(void **state)
{
    struct vcpu_state s = pae32();

    (void)state;
    (void)through_vmcb(&s);
    pdptes[0] = 0x2000 | PTE_P;
    pdptes[1] = 0x3000 | PTE_P | PTE_W; /* reserved: nobody has used it yet */
    pdptes[2] = BIT(45) | PTE_P;
    vmcb_open(&x)->cs.attributes &= 0xf7ff; /* G is not kept by each CPU */
    svm_state_save(&vcpu, &s);
    assert_int_equal(s.pdpte[0], 0x2000 | PTE_P);
    assert_int_equal(s.pdpte[1], 0);
    assert_int_equal(s.pdpte[2], 0);
    assert_int_equal(s.seg[SEG_CS].access, AR_CODE32);
    assert_int_equal(guest_state_check(&s), 0);
}

/* VMX holds the trap behind an instruction back, and tells it as such. */
static void test_svm_state_load__pending_debug__an_exception(void **state)
{
    struct vcpu_state s = flat32();

    (void)state;
    s.pending_debug = PENDING_DEBUG_BS | 2;
    s = through_vmcb(&s);
    assert_int_equal(s.event, EVENT_VALID | EVENT_TYPE_HW_EXCEPTION << 8 | EXC_DB);
    assert_int_equal(vcpu.ctx.dr6, DR6_BS | 2);
    assert_int_equal(s.pending_debug, 0);
}

static bool window_open(void)
{
    return (x.vmcb->intercept_misc1 & SVM_MISC1_VINTR) && (x.vmcb->int_ctl & SVM_V_IRQ);
}

/* An NMI that waits is told of as soon as it can be taken, and exits do not come before that. */
static void test_svm_nmi__blocked_until_iret__window_behind_it(void **state)
{
    struct vcpu_state s = flat32();

    (void)state;
    s.interruptibility = INTR_BLOCK_NMI;
    assert_int_equal(svm_state_load(&vcpu, &s), 0);
    assert_true(x.vmcb->intercept_misc1 & SVM_MISC1_IRET);
    assert_false(svm_nmi(&vcpu, true));
    assert_false(svm_interrupt(&vcpu, -1));
    assert_false(window_open());
    x.iret_rip = x.vmcb->rip; /* IRET exits */
    assert_false(svm_nmi(&vcpu, true));
    assert_false(svm_interrupt(&vcpu, -1));
    assert_true(window_open());
    vmcb_set(&x, rflags, RFLAGS_FIXED | RFLAGS_IF); /* it would open at once, before the IRET */
    assert_false(svm_nmi(&vcpu, true));
    assert_false(svm_interrupt(&vcpu, -1));
    assert_false(window_open());
    vmcb_set(&x, rip, x.vmcb->rip + 2); /* done */
    assert_true(svm_nmi(&vcpu, true));
    assert_int_equal(x.next.event.info, EVENT_VALID | EVENT_TYPE_NMI << 8 | EXC_NMI);
    assert_false(svm_nmi(&vcpu, false));
    assert_false(svm_interrupt(&vcpu, -1));
    assert_false(window_open());
}

/* Each change of what the CPU may keep is said. */
static void test_vmcb_set__clean_vmcb__the_fields_bit_alone(void **state)
{
    (void)state;
    vmcb_set(&x, clean, SVM_CLEAN_ALL);
    svm_reg_set(&vcpu, HVM_REG_RIP, 0x1000);
    assert_int_equal(x.vmcb->clean, SVM_CLEAN_ALL);
    svm_reg_set(&vcpu, HVM_REG_PAT, PAT_RESET);
    assert_int_equal(x.vmcb->clean, SVM_CLEAN_ALL & ~SVM_CLEAN_NP);
    svm_reg_set(&vcpu, HVM_REG_CR3, 0x1000);
    assert_int_equal(x.vmcb->clean, SVM_CLEAN_ALL & ~(SVM_CLEAN_NP | SVM_CLEAN_CR));
    assert_false(svm_interrupt(&vcpu, 0x30)); /* interrupts are off: a window */
    assert_int_equal(x.vmcb->clean, SVM_CLEAN_ALL & ~(SVM_CLEAN_NP | SVM_CLEAN_CR | SVM_CLEAN_TPR |
                                                      SVM_CLEAN_INTERCEPTS));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vmx_state_check__good_states__accepted),
        cmocka_unit_test(test_vmx_state_check__one_flaw__refused),
        T(test_svm_state_save__what_was_loaded__the_same_state),
        T(test_svm_state_save__odd_vmcb__a_state_that_can_be_loaded),
        T(test_svm_state_load__pending_debug__an_exception),
        T(test_svm_nmi__blocked_until_iret__window_behind_it),
        T(test_vmcb_set__clean_vmcb__the_fields_bit_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
