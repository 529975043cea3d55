/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Neutral exits: what is emulated, injected, put to sleep or stopped.
 */
#include "hv/exit.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/seam.h"
#include "fakes/world.h"
#include "hv/console.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/irq.h"
#include "hv/sched.h"
#include "hw/apic.h"
#include "hw/ports.h"
#include "hw/x86.h"
#include "public/hypercall.h"

#define RIP 0x1000U
#define HIGH UINT64_C(0xa5a5a5a500000000)

static struct domain *d;
static struct vcpu *v;
static struct vcpu_state *s; /* the backend's */

static int setup(void **state)
{
    struct vcpu_state reset;

    (void)state;
    world_reset();
    world_boot(0, true);
    d = domain_create("guest", 1, true);
    assert_int_equal(domain_add_memory(d, MIB(5)), 0);
    vcpu_state_reset(&reset);
    reset.rip = RIP;
    assert_int_equal(vcpu_create(d, 0, &reset, &v), 0);
    sched_add(v);
    s = fake_hvm_state(v);
    return 0;
}

/* One exit; the counters tell what came of it. */
static void handle(struct hvm_exit e)
{
    e.insn_length = e.insn_length == 0 ? 2 : e.insn_length;
    fake_hvm.skips = 0;
    fake_hvm.injects = 0;
    s->event = 0;
    exit_handle(v, &e);
    assert_true(fake_hvm.skips + fake_hvm.injects <= 1);
}

static void assert_skipped(void)
{
    assert_int_equal(fake_hvm.skips, 1);
    assert_int_equal(fake_hvm.injects, 0);
}

static void assert_fault(unsigned int vector, bool has_code)
{
    assert_int_equal(fake_hvm.skips, 0);
    assert_int_equal(fake_hvm.injects, 1);
    assert_int_equal(fake_hvm.event, EVENT_VALID | (has_code ? EVENT_ERROR_CODE : 0) |
                                         EVENT_TYPE_HW_EXCEPTION << 8 | vector);
    assert_int_equal(fake_hvm.event_error, 0);
}

/* ---- CPUID, MSRs ---- */

static void test_cpuid__registers__four_results_and_upper_halves_clear(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < 4; i++) {
        v->gpr[i] = HIGH | i;
    }
    v->gpr[GPR_RAX] = HIGH | 0x40000000;
    handle((struct hvm_exit){.reason = HVM_EXIT_CPUID});
    assert_skipped();
    assert_int_equal(v->gpr[GPR_RAX], 0x40000010);
    assert_int_equal(v->gpr[GPR_RBX], HC_CPUID_SIG_EBX);
    assert_int_equal(v->gpr[GPR_RCX], HC_CPUID_SIG_ECX);
    assert_int_equal(v->gpr[GPR_RDX], HC_CPUID_SIG_EDX);
}

static void test_msr_read__table__value_or_gp(void **state)
{
    static const struct {
        uint32_t index;
        bool known;
        uint64_t value;
    } rows[] = {
        {MSR_APIC_BASE, true, 0xfee00900},
        {MSR_BIOS_SIGN_ID, true, 0},
        {MSR_DEBUGCTL, true, 0},
        {MSR_MISC_ENABLE, true, 0},
        {MSR_PAT, true, UINT64_C(0x0102030405060700)},
        {MSR_EFER, true, 0xd01},
        {MSR_FEATURE_CONTROL, false, 0},
        {MSR_TSC_ADJUST, false, 0},
        {MSR_MTRRCAP, false, 0},
        {0x480, false, 0}, /* VMX capabilities */
        {0xc0010114, false, 0}, /* VM_CR */
        {0x40000000, false, 0},
        {0, false, 0},
        {UINT32_MAX, false, 0},
    };

    (void)state;
    s->pat = UINT64_C(0x0102030405060700);
    s->efer = 0xd01;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        v->gpr[GPR_RAX] = v->gpr[GPR_RDX] = UINT64_MAX;
        handle((struct hvm_exit){.reason = HVM_EXIT_MSR_READ, .msr.index = rows[i].index});
        if (rows[i].known) {
            assert_skipped();
            assert_int_equal(v->gpr[GPR_RAX], rows[i].value & UINT32_MAX);
            assert_int_equal(v->gpr[GPR_RDX], rows[i].value >> 32);
        } else {
            assert_fault(EXC_GP, true);
            assert_int_equal(v->gpr[GPR_RAX], UINT64_MAX);
        }
    }
}

static void test_msr_tsc__read_and_written__guest_time(void **state)
{
    (void)state;
    fake_tsc_step = 0;
    fake_tsc = UINT64_C(0x500000000);
    s->tsc_offset = UINT64_C(0x1234) - 0x500000000;
    handle((struct hvm_exit){.reason = HVM_EXIT_MSR_READ, .msr.index = MSR_TSC});
    assert_int_equal(v->gpr[GPR_RAX], 0x1234);
    assert_int_equal(v->gpr[GPR_RDX], 0);
    v->gpr[GPR_RAX] = HIGH | 7; /* only the lower halves count */
    v->gpr[GPR_RDX] = HIGH | 1;
    handle((struct hvm_exit){.reason = HVM_EXIT_MSR_WRITE, .msr.index = MSR_TSC});
    assert_skipped();
    fake_tsc += 3;
    handle((struct hvm_exit){.reason = HVM_EXIT_MSR_READ, .msr.index = MSR_TSC});
    assert_int_equal(v->gpr[GPR_RAX], 10);
    assert_int_equal(v->gpr[GPR_RDX], 1);
}

static void test_msr_write__table__taken_or_gp(void **state)
{
    static const struct {
        uint32_t index;
        uint64_t value;
        bool taken;
    } rows[] = {
        {MSR_BIOS_SIGN_ID, 0, true},
        {MSR_DEBUGCTL, 0, true},
        {MSR_DEBUGCTL, 1, false},
        {MSR_MISC_ENABLE, 0, false},
        {MSR_APIC_BASE, 0xfee00900, true},
        {MSR_APIC_BASE, BIT(45) | 0xfee00900, true},
        {MSR_APIC_BASE, 0xfee00900, true},
        {MSR_APIC_BASE, BIT(46) | 0xfee00900, false}, /* MAXPHYADDR is 46 */
        {MSR_APIC_BASE, BIT(51) | 0xfee00900, false},
        {MSR_PAT, PAT_RESET, true},
        {MSR_PAT, UINT64_C(0x0705040100060706), true},
        {MSR_PAT, 2, false},
        {MSR_PAT, 3, false},
        {MSR_PAT, 8, false},
        {MSR_PAT, UINT64_C(0xff00000000000000), false},
        {MSR_PAT, UINT64_C(0x0000000003000000), false},
        {MSR_FEATURE_CONTROL, 0, false},
        {MSR_TSC_ADJUST, 0, false},
        {0x830, 0, false},
        {0xc0010117, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        v->gpr[GPR_RAX] = HIGH | (rows[i].value & UINT32_MAX);
        v->gpr[GPR_RDX] = HIGH | rows[i].value >> 32;
        s->pat = 0x55;
        handle((struct hvm_exit){.reason = HVM_EXIT_MSR_WRITE, .msr.index = rows[i].index});
        if (rows[i].taken) {
            assert_skipped();
            assert_true(rows[i].index != MSR_PAT || s->pat == rows[i].value);
        } else {
            assert_fault(EXC_GP, true);
            assert_int_equal(s->pat, 0x55);
        }
    }
}

/* SDM volume 3, "Extended Feature Enable Register": LME only outside paging, LMA is read-only. */
static void test_msr_efer__table__rules(void **state)
{
    static const struct {
        uint64_t old, cr0, written, now; /* now == ~0: #GP */
    } rows[] = {
        {0, 0, EFER_LME, EFER_LME},
        {0, 0, EFER_SCE | EFER_NXE, EFER_SCE | EFER_NXE},
        {0, 0, EFER_LMA, 0},
        {EFER_LME | EFER_LMA, CR0_PG | CR0_PE, EFER_LME, EFER_LME | EFER_LMA},
        {EFER_LME | EFER_LMA, CR0_PG | CR0_PE, EFER_LME | EFER_LMA | EFER_SCE,
         EFER_LME | EFER_LMA | EFER_SCE},
        {EFER_LME | EFER_LMA, CR0_PG | CR0_PE, 0, ~UINT64_C(0)},
        {0, CR0_PG | CR0_PE, EFER_LME, ~UINT64_C(0)},
        {0, 0, BIT(12), ~UINT64_C(0)}, /* SVME */
        {0, 0, BIT(14), ~UINT64_C(0)},
        {0, 0, BIT(1), ~UINT64_C(0)},
        {0, 0, BIT(32), ~UINT64_C(0)},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        s->efer = rows[i].old;
        s->cr0 = rows[i].cr0;
        v->gpr[GPR_RAX] = rows[i].written & UINT32_MAX;
        v->gpr[GPR_RDX] = rows[i].written >> 32;
        handle((struct hvm_exit){.reason = HVM_EXIT_MSR_WRITE, .msr.index = MSR_EFER});
        if (rows[i].now != ~UINT64_C(0)) {
            assert_skipped();
            assert_int_equal(s->efer, rows[i].now);
        } else {
            assert_fault(EXC_GP, true);
            assert_int_equal(s->efer, rows[i].old);
        }
    }
}

/* ---- XSETBV, control registers ---- */

static void test_xsetbv__table__xcr0_rules(void **state)
{
    static const struct {
        uint64_t host, value;
        uint8_t cpl;
        uint64_t rcx;
        bool taken;
    } rows[] = {
        {7, 1, 0, 0, true},      {7, 3, 0, 0, true},      {7, 7, 0, 0, true},
        {7, 5, 0, 0, false},     {7, 2, 0, 0, false},     {7, 0, 0, 0, false},
        {7, 0xe7, 0, 0, false},  {0xe7, 0xe7, 0, 0, true}, {0xe7, 0x67, 0, 0, false},
        {0xe7, 0xe3, 0, 0, false}, {7, 0x207, 0, 0, false}, {7, BIT(63) | 1, 0, 0, false},
        {7, 7, 3, 0, false},     {7, 7, 1, 0, false},     {7, 7, 0, 1, false},
        {7, 7, 0, HIGH, true},   {3, 7, 0, 0, false},
    };

    (void)state;
    s->cr4 = CR4_OSXSAVE;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        fake_xcr0 = rows[i].host;
        v->ctx.xcr0 = 1;
        v->gpr[GPR_RAX] = HIGH | (rows[i].value & UINT32_MAX);
        v->gpr[GPR_RDX] = HIGH | rows[i].value >> 32;
        v->gpr[GPR_RCX] = rows[i].rcx;
        handle((struct hvm_exit){.reason = HVM_EXIT_XSETBV, .cpl = rows[i].cpl});
        if (rows[i].taken) {
            assert_skipped();
            assert_int_equal(v->ctx.xcr0, rows[i].value);
        } else {
            assert_fault(EXC_GP, true);
            assert_int_equal(v->ctx.xcr0, 1);
        }
    }
    s->cr4 = 0;
    v->gpr[GPR_RAX] = 1;
    v->gpr[GPR_RDX] = v->gpr[GPR_RCX] = 0;
    handle((struct hvm_exit){.reason = HVM_EXIT_XSETBV});
    assert_fault(EXC_UD, false);
}

/* SDM volume 2, "MOV - Move to/from Control Registers". */
static void test_cr_write__table__taken_or_gp(void **state)
{
    static const struct {
        unsigned int number;
        uint64_t cr0, cr4, efer, cr3, value;
        bool code64, taken;
        uint64_t now;
    } rows[] = {
        {0, CR0_PE, 0, 0, 0, CR0_PE | CR0_NE, false, true, CR0_PE | CR0_NE | CR0_ET},
        {0, CR0_PE, 0, 0, 0, CR0_PE | BIT(10), false, true, CR0_PE | CR0_ET},
        {0, CR0_PE, 0, 0, 0, CR0_PE | BIT(32), true, false, 0},
        {0, CR0_PE, 0, 0, 0, CR0_PG, false, false, 0},
        {0, CR0_PE, 0, 0, 0, CR0_PE | CR0_NW, false, false, 0},
        {0, CR0_PE, 0, 0, 0, CR0_PE | CR0_NW | CR0_CD, false, true,
         CR0_PE | CR0_NW | CR0_CD | CR0_ET},
        {0, CR0_PE, 0, EFER_LME, 0, CR0_PE | CR0_PG, false, false, 0},
        {0, CR0_PE, CR4_PAE, EFER_LME, 0, CR0_PE | CR0_PG, false, true, CR0_PE | CR0_PG | CR0_ET},
        {0, CR0_PE | CR0_PG, CR4_PAE, EFER_LME | EFER_LMA, 0, CR0_PE, true, false, 0},
        {0, CR0_PE | CR0_PG, CR4_PAE, EFER_LME | EFER_LMA, 0, CR0_PE, false, true,
         CR0_PE | CR0_ET},
        {0, CR0_PE | CR0_PG, CR4_PAE | CR4_PCIDE, EFER_LME | EFER_LMA, 0, CR0_PE, false, false, 0},
        {4, CR0_PE, 0, 0, 0, CR4_PAE | CR4_PGE | CR4_OSFXSR, false, true,
         CR4_PAE | CR4_PGE | CR4_OSFXSR},
        {4, CR0_PE, 0, 0, 0, CR4_VMXE, false, false, 0},
        {4, CR0_PE, 0, 0, 0, CR4_LA57, false, false, 0},
        {4, CR0_PE, 0, 0, 0, CR4_SMAP, false, false, 0}, /* not in this host */
        {4, CR0_PE, 0, 0, 0, CR4_SMEP, false, true, CR4_SMEP},
        {4, CR0_PE, 0, 0, 0, BIT(63), true, false, 0},
        {4, CR0_PE | CR0_PG, CR4_PAE, EFER_LME | EFER_LMA, 0, CR4_PGE, true, false, 0},
        {4, CR0_PE, 0, 0, 0, CR4_PCIDE, false, false, 0},
        {4, CR0_PE | CR0_PG, CR4_PAE, EFER_LME | EFER_LMA, 0x1001, CR4_PAE | CR4_PCIDE, true,
         false, 0},
        {4, CR0_PE | CR0_PG, CR4_PAE, EFER_LME | EFER_LMA, 0x1000, CR4_PAE | CR4_PCIDE, true, true,
         CR4_PAE | CR4_PCIDE},
        {8, 0, 0, 0, 0, 0, true, true, 0},
        {8, 0, 0, 0, 0, 15, true, true, 15},
        {8, 0, 0, 0, 0, 16, true, false, 0},
        {8, 0, 0, 0, 0, UINT64_MAX, true, false, 0},
        {3, 0, 0, 0, 0, 0, true, false, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct hvm_exit e = {.reason = HVM_EXIT_CR_WRITE, .code64 = rows[i].code64};

        s->cr0 = rows[i].cr0;
        s->cr4 = rows[i].cr4;
        s->efer = rows[i].efer;
        s->cr3 = rows[i].cr3;
        vlapic_set_cr8(&v->apic, 5);
        e.cr.number = rows[i].number;
        e.cr.value = rows[i].value;
        handle(e);
        if (rows[i].taken) {
            uint64_t now = rows[i].number == 0   ? s->cr0
                           : rows[i].number == 4 ? s->cr4
                                                 : vlapic_cr8(&v->apic);

            if (fake_hvm.skips != 1 || now != rows[i].now) {
                fail_msg("row %zu: 0x%llx", i, (unsigned long long)now);
            }
        } else {
            if (fake_hvm.injects != 1) {
                fail_msg("row %zu is let through", i);
            }
            assert_fault(EXC_GP, true);
            assert_int_equal(s->cr0, rows[i].cr0);
            assert_int_equal(s->cr4, rows[i].cr4);
            assert_int_equal(vlapic_cr8(&v->apic), 5);
        }
    }
}

/* ---- memory ---- */

static void test_stage2__inside__largest_leaf_mapped_and_not_skipped(void **state)
{
    static const struct {
        uint64_t gpa, gfn;
        unsigned int order;
    } rows[] = {
        {0, 0, 9}, {0x1ff123, 0, 9}, {MIB(2), 0x200, 9}, {MIB(4) + 1, 0x400, 0},
        {MIB(5) - 1, 0x4ff, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct hvm_exit e = {.reason = HVM_EXIT_STAGE2};
        const struct extent *x = extent_map_find(&d->extents, gfn_from(rows[i].gfn));

        e.stage2.gpa = rows[i].gpa;
        e.stage2.access = STAGE2_WRITE;
        fake_hvm.maps = 0;
        handle(e);
        assert_int_equal(fake_hvm.maps, 1);
        assert_int_equal(fake_hvm.map[0].gfn, rows[i].gfn);
        assert_int_equal(fake_hvm.map[0].order, rows[i].order);
        assert_int_equal(fake_hvm.map[0].mfn, x->mfn.v + (rows[i].gfn - x->gfn.v));
        assert_int_equal(fake_hvm.skips + fake_hvm.injects, 0);
        assert_int_equal(s->rip, RIP);
    }
    assert_int_equal(d->state, DOMAIN_RUNNING);
}

static void test_stage2__outside__domain_stops(void **state)
{
    static const uint64_t gpas[] = {MIB(5), GIB(3), GIB(4), 0xfed00000, BIT(47), UINT64_MAX};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(gpas); i++) {
        struct hvm_exit e = {.reason = HVM_EXIT_STAGE2};

        (void)setup(NULL);
        e.stage2.gpa = gpas[i];
        e.stage2.access = STAGE2_READ | STAGE2_EXEC;
        handle(e);
        assert_int_equal(d->state, DOMAIN_STOPPED);
        assert_int_equal(v->run_state, VCPU_DOWN);
        assert_int_equal(fake_hvm.maps, 0);
        assert_true(fake_printed("access (rx) to guest-physical 0x"));
    }
}

static void test_stage2__no_memory_for_tables__domain_stops(void **state)
{
    struct hvm_exit e = {.reason = HVM_EXIT_STAGE2};

    (void)state;
    fake_hvm.fail_map = -ENOMEM;
    handle(e);
    assert_int_equal(d->state, DOMAIN_STOPPED);
    assert_true(fake_printed("out of memory for nested page tables"));
}

/* ---- HLT and the ends ---- */

static void test_hlt__interrupts_on_or_off__halted_or_stopped(void **state)
{
    (void)state;
    s->rflags = RFLAGS_FIXED | RFLAGS_IF;
    handle((struct hvm_exit){.reason = HVM_EXIT_HLT, .insn_length = 1});
    assert_skipped();
    assert_int_equal(s->rip, RIP + 1);
    assert_int_equal(v->run_state, VCPU_HALTED);
    assert_int_equal(d->state, DOMAIN_RUNNING);
    v->run_state = VCPU_RUNNABLE;
    s->rflags = RFLAGS_FIXED;
    handle((struct hvm_exit){.reason = HVM_EXIT_HLT, .insn_length = 1});
    assert_int_equal(v->run_state, VCPU_DOWN);
    assert_int_equal(d->state, DOMAIN_STOPPED);
}

static void test_hlt__two_vcpus_interrupts_off__stopped_when_nobody_can_wake_them(void **state)
{
    struct vcpu_state reset;
    struct vcpu *other;

    (void)state;
    vcpu_state_reset(&reset);
    assert_int_equal(vcpu_create(d, 1, &reset, &other), 0);
    s->rflags = RFLAGS_FIXED;
    handle((struct hvm_exit){.reason = HVM_EXIT_HLT, .insn_length = 1});
    assert_skipped();
    assert_int_equal(d->state, DOMAIN_RUNNING);
    assert_int_equal(v->run_state, VCPU_HALTED);
    v->apic.svr |= APIC_SVR_ENABLE;
    v->apic.irr[1] = 1; /* vector 32 */
    assert_int_equal(vlapic_pending(&v->apic), 32);
    assert_false(irq_wakes(v, 0));
    /* Halted and to be woken, and in its turn halted for good. */
    other->run_state = VCPU_HALTED;
    handle((struct hvm_exit){.reason = HVM_EXIT_HLT, .insn_length = 1});
    assert_int_equal(d->state, DOMAIN_RUNNING);
    other->deaf = true;
    handle((struct hvm_exit){.reason = HVM_EXIT_HLT, .insn_length = 1});
    assert_int_equal(d->state, DOMAIN_STOPPED);
}

/* What reaches a vCPU with interrupts off keeps the domain going. */
static void test_hlt__interrupts_off_and_a_source_of_nmis__goes_on(void **state)
{
    static const struct {
        uint32_t signals;
        uint64_t com1; /* its redirection entry */
        bool stops;
    } rows[] = {
        {0, 0x10000, true},                 /* masked */
        {0, 0x10400, true},                 /* NMI, masked */
        {0, 0x00031, true},                 /* fixed: not heard */
        {0, 0x00400, false},                /* NMI */
        {0, 0x00500, false},                /* INIT */
        {0, 0x00700, true},                 /* ExtINT: there is none */
        {VCPU_SIGNAL_NMI, 0x10000, false},  /* on its way */
        {VCPU_SIGNAL_INIT, 0x10000, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        (void)setup(NULL);
        s->rflags = RFLAGS_FIXED;
        v->signals = rows[i].signals;
        d->ioapic.redirection[4] = rows[i].com1;
        handle((struct hvm_exit){.reason = HVM_EXIT_HLT, .insn_length = 1});
        assert_int_equal(d->state, rows[i].stops ? DOMAIN_STOPPED : DOMAIN_RUNNING);
        assert_int_equal(domain_is_deaf(d), rows[i].stops);
    }
}

/* Interrupts on: heard, even by a vCPU that was deaf once. */
static void test_hlt__interrupts_on_again__woken(void **state)
{
    (void)state;
    v->deaf = true;
    v->apic.svr |= APIC_SVR_ENABLE;
    v->apic.irr[1] = 1;
    s->rflags = RFLAGS_FIXED | RFLAGS_IF;
    handle((struct hvm_exit){.reason = HVM_EXIT_HLT, .insn_length = 1});
    assert_true(irq_wakes(v, 0));
}

static void test_exits__plain_reasons__what_they_are(void **state)
{
    static const enum hvm_exit_reason nothing[] = {HVM_EXIT_TIMER, HVM_EXIT_HOST,
                                                   HVM_EXIT_IRQ_WINDOW, HVM_EXIT_REINJECT};
    static const struct {
        enum hvm_exit_reason reason;
        const char *text;
    } stops[] = {
        {HVM_EXIT_TRIPLE_FAULT, "triple fault"},
        {HVM_EXIT_BAD_STATE, "FAKE refuses the vCPU's state: code 0x77 qualification 0x99"},
        {HVM_EXIT_UNKNOWN, "unexpected exit: code 0x77 qualification 0x99"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(nothing); i++) {
        handle((struct hvm_exit){.reason = nothing[i]});
        assert_int_equal(fake_hvm.skips + fake_hvm.injects, 0);
        assert_int_equal(v->run_state, VCPU_RUNNABLE);
    }
    handle((struct hvm_exit){.reason = HVM_EXIT_UNDEFINED});
    assert_fault(EXC_UD, false);
    handle((struct hvm_exit){.reason = HVM_EXIT_NOP, .insn_length = 3});
    assert_skipped();
    assert_int_equal(fake_hvm.skipped, 3);
    for (size_t i = 0; i < ARRAY_SIZE(stops); i++) {
        (void)setup(NULL);
        handle((struct hvm_exit){.reason = stops[i].reason, .code = 0x77, .qualification = 0x99});
        assert_int_equal(d->state, DOMAIN_STOPPED);
        assert_true(fake_printed(stops[i].text));
        assert_int_equal(fake_ended_domains, 1);
    }
}

/* ---- hypercalls ---- */

static void test_hypercall__privilege_and_width__result_in_rax_alone(void **state)
{
    static const struct {
        uint8_t cpl;
        bool code64;
        uint64_t rax, result;
    } rows[] = {
        {0, true, 99, (uint64_t)-ENOSYS},       {0, false, 99, (uint32_t)-ENOSYS},
        {3, true, HC_YIELD, (uint64_t)-EPERM},  {3, false, HC_YIELD, (uint32_t)-EPERM},
        {1, true, HC_YIELD, (uint64_t)-EPERM},  {0, true, HC_YIELD, 0},
        {0, false, HIGH | HC_YIELD, 0},         {0, true, HIGH | HC_YIELD, (uint64_t)-ENOSYS},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        for (unsigned int r = 0; r < GPR_COUNT; r++) {
            v->gpr[r] = 0x100 + r;
        }
        v->gpr[GPR_RAX] = rows[i].rax;
        handle((struct hvm_exit){.reason = HVM_EXIT_HYPERCALL,
                                 .cpl = rows[i].cpl,
                                 .code64 = rows[i].code64,
                                 .insn_length = 3});
        assert_skipped();
        assert_int_equal(v->gpr[GPR_RAX], rows[i].result);
        for (unsigned int r = 1; r < GPR_COUNT; r++) {
            assert_int_equal(v->gpr[r], 0x100 + r);
        }
    }
}

/* A 32-bit guest's addresses and sizes are 32 bits wide. */
static void test_hypercall__32_bit__upper_halves_do_not_count(void **state)
{
    struct hc_info info = {.tsc_khz = 0};

    (void)state;
    v->gpr[GPR_RAX] = HIGH | HC_INFO;
    v->gpr[GPR_RBX] = HIGH | 0x2000;
    v->gpr[GPR_RCX] = HIGH | sizeof(info);
    handle((struct hvm_exit){.reason = HVM_EXIT_HYPERCALL});
    assert_int_equal(v->gpr[GPR_RAX], 0);
    assert_int_equal(domain_read(d, 0x2000, &info, sizeof(info)), 0);
    assert_int_equal(info.domain_id, 1);
    v->gpr[GPR_RAX] = HC_INFO;
    v->gpr[GPR_RBX] = HIGH | 0x2000;
    v->gpr[GPR_RCX] = sizeof(info);
    handle((struct hvm_exit){.reason = HVM_EXIT_HYPERCALL, .code64 = true});
    assert_int_equal((int64_t)v->gpr[GPR_RAX], -EFAULT);
}

/* ---- port I/O ---- */

static void io(uint16_t port, uint8_t size, bool in)
{
    struct hvm_exit e = {.reason = HVM_EXIT_IO};

    e.io.port = port;
    e.io.size = size;
    e.io.in = in;
    handle(e);
}

static void test_io_read__sizes__merged_into_rax(void **state)
{
    static const struct {
        uint16_t port;
        uint8_t size;
        uint64_t rax;
    } rows[] = {
        /* SCR of the UART is 0x42; elsewhere nothing answers */
        {0x3ff, 1, UINT64_C(0x1122334455667742)},
        {0x3ff, 2, UINT64_C(0x112233445566ff42)},
        {0x3ff, 4, 0xffffff42},
        {0x80, 1, UINT64_C(0x11223344556677ff)},
        {0x80, 2, UINT64_C(0x112233445566ffff)},
        {0x80, 4, 0xffffffff},
        {0xf4, 1, UINT64_C(0x11223344556677ff)},
        {0x400, 1, UINT64_C(0x11223344556677ff)},
        {0x3f7, 1, UINT64_C(0x11223344556677ff)},
        {0xffff, 4, 0xffffffff},
    };

    (void)state;
    d->uart.scr = 0x42;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        v->gpr[GPR_RAX] = UINT64_C(0x1122334455667788);
        io(rows[i].port, rows[i].size, true);
        assert_skipped();
        assert_int_equal(v->gpr[GPR_RAX], rows[i].rax);
    }
    assert_int_equal(d->state, DOMAIN_RUNNING);
}

static void test_io_write__uart_and_nothing__skipped(void **state)
{
    (void)state;
    v->gpr[GPR_RAX] = 0xdeadbe00 | 'x';
    io(0x3f8, 1, false);
    assert_skipped();
    assert_int_equal(d->uart.line_length, 1);
    assert_int_equal(d->uart.line[0], 'x');
    io(0x3ff, 4, false);
    assert_int_equal(d->uart.scr, 'x');
    io(0x80, 1, false);
    assert_skipped();
    assert_int_equal(v->gpr[GPR_RAX], 0xdeadbe00 | 'x');
}

/* The console has no room: the guest stays at its OUT. */
static void test_io_write__console_full__instruction_again(void **state)
{
    (void)state;
    fake_serial_left = 0;
    while (console_guest_line(d, "some text to fill the ring with", 31)) {
    }
    v->gpr[GPR_RAX] = '\n';
    io(0x3f8, 1, false);
    assert_int_equal(fake_hvm.skips + fake_hvm.injects, 0);
    assert_int_equal(s->rip, RIP);
    console_pause_end();
    fake_serial_left = -1;
    console_drain();
    io(0x3f8, 1, false);
    assert_skipped();
}

/* ACPI: the domain ends with code 0 in either way, and a line tells them apart. */
static void test_io_write__acpi__reboot_and_power_off_told_apart(void **state)
{
    static const struct {
        uint16_t port;
        uint8_t value;
        const char *line;
    } rows[] = {{0xcf9, 0x06, "domain guest rebooted: it does not start again"},
                {0x600, 0x34, "domain guest powered off"}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        (void)setup(NULL);
        v->gpr[GPR_RAX] = rows[i].value;
        io(rows[i].port, 1, false);
        assert_skipped();
        assert_int_equal(d->state, DOMAIN_EXITED);
        assert_int_equal(d->exit_code, 0);
        assert_true(fake_printed("domain guest exit=0"));
        assert_true(fake_printed(rows[i].line));
        assert_false(fake_printed(rows[1 - i].line));
    }
}

/* The last exits of other vCPUs change nothing any more. */
static void test_end__twice__the_first_counts(void **state)
{
    (void)state;
    domain_exit(d, 7);
    domain_exit(d, 8);
    domain_stop(d, "too late");
    v->gpr[GPR_RAX] = 0x06;
    io(0xcf9, 1, false);
    assert_int_equal(d->state, DOMAIN_EXITED);
    assert_int_equal(d->exit_code, 7);
    assert_int_equal(fake_ended_domains, 1);
    assert_false(fake_printed("domain guest rebooted: it does not start again"));
    (void)setup(NULL);
    domain_stop(d, "first");
    domain_stop(d, "second");
    domain_exit(d, 0);
    assert_int_equal(d->state, DOMAIN_STOPPED);
    assert_int_equal(fake_ended_domains, 1);
}

static void test_io_write__0xf4__exit_code_by_size(void **state)
{
    static const struct {
        uint8_t size;
        uint32_t code;
    } rows[] = {{1, 0x88}, {2, 0x7788}, {4, 0x55667788}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        (void)setup(NULL);
        v->gpr[GPR_RAX] = UINT64_C(0x1122334455667788);
        io(DEBUG_EXIT_PORT, rows[i].size, false);
        assert_skipped();
        assert_int_equal(d->state, DOMAIN_EXITED);
        assert_int_equal(d->exit_code, rows[i].code);
        assert_int_equal(v->run_state, VCPU_DOWN);
        assert_null(sched_ring);
    }
}

/* ---- string I/O, no paging: linear is physical ---- */

static struct hvm_exit string_exit(bool in, bool rep, uint8_t size, uint8_t address_size)
{
    struct hvm_exit e = {.reason = HVM_EXIT_IO};

    e.io.port = 0x3f8;
    e.io.size = size;
    e.io.in = in;
    e.io.string = true;
    e.io.rep = rep;
    e.io.address_size = address_size;
    e.io.linear = 0x3000;
    return e;
}

static void test_string_io__outs__bytes_in_order_and_registers_moved(void **state)
{
    (void)state;
    assert_int_equal(domain_write(d, 0x3000, "hello", 5), 0);
    v->gpr[GPR_RSI] = HIGH | 0x3000;
    v->gpr[GPR_RCX] = 5;
    handle(string_exit(false, true, 1, 8));
    assert_skipped();
    assert_int_equal(d->uart.line_length, 5);
    assert_memory_equal(d->uart.line, "hello", 5);
    assert_int_equal(v->gpr[GPR_RSI], HIGH | 0x3005);
    assert_int_equal(v->gpr[GPR_RCX], 0);
    handle(string_exit(false, true, 1, 8)); /* nothing left to do */
    assert_skipped();
    assert_int_equal(d->uart.line_length, 5);
    s->rflags |= RFLAGS_DF;
    v->gpr[GPR_RSI] = 0x3000;
    handle(string_exit(false, false, 1, 2));
    assert_int_equal(v->gpr[GPR_RSI], 0x2fff);
    assert_int_equal(d->uart.line[5], 'h');
}

static void test_string_io__ins__from_the_fifo_to_memory(void **state)
{
    uint8_t got[4];

    (void)state;
    d->uart.fcr = UART_FCR_ENABLE;
    for (int i = 0; i < 3; i++) {
        assert_true(vuart_input(d, (uint8_t)('a' + i)));
    }
    v->gpr[GPR_RDI] = HIGH | 0x3000;
    v->gpr[GPR_RCX] = HIGH | 3;
    handle(string_exit(true, true, 1, 4));
    assert_skipped();
    assert_int_equal(v->gpr[GPR_RDI], 0x3003);
    assert_int_equal(v->gpr[GPR_RCX], 0);
    assert_int_equal(domain_read(d, 0x3000, got, 4), 0);
    assert_memory_equal(got, "abc", 4);
}

static void test_string_io__long__in_batches_without_loss(void **state)
{
    static uint8_t text[200];

    (void)state;
    memset(text, 'z', sizeof(text));
    assert_int_equal(domain_write(d, 0x3000, text, sizeof(text)), 0);
    v->gpr[GPR_RSI] = 0x3000;
    v->gpr[GPR_RCX] = 200;
    for (unsigned int n = 0; v->gpr[GPR_RCX] != 0; n++) {
        uint64_t before = v->gpr[GPR_RCX];

        struct hvm_exit e = string_exit(false, true, 1, 8);
        e.io.linear = v->gpr[GPR_RSI];
        handle(e);
        assert_true(v->gpr[GPR_RCX] < before);
        assert_int_equal(fake_hvm.skips, v->gpr[GPR_RCX] == 0);
        assert_true(n < 50);
    }
    assert_int_equal(d->uart.line_length, 200);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cpuid__registers__four_results_and_upper_halves_clear),
        TEST(test_msr_read__table__value_or_gp),
        TEST(test_msr_tsc__read_and_written__guest_time),
        TEST(test_msr_write__table__taken_or_gp),
        TEST(test_msr_efer__table__rules),
        TEST(test_xsetbv__table__xcr0_rules),
        TEST(test_cr_write__table__taken_or_gp),
        TEST(test_stage2__inside__largest_leaf_mapped_and_not_skipped),
        TEST(test_stage2__outside__domain_stops),
        TEST(test_stage2__no_memory_for_tables__domain_stops),
        TEST(test_hlt__interrupts_on_or_off__halted_or_stopped),
        TEST(test_hlt__two_vcpus_interrupts_off__stopped_when_nobody_can_wake_them),
        TEST(test_hlt__interrupts_on_again__woken),
        TEST(test_hlt__interrupts_off_and_a_source_of_nmis__goes_on),
        TEST(test_exits__plain_reasons__what_they_are),
        TEST(test_hypercall__privilege_and_width__result_in_rax_alone),
        TEST(test_hypercall__32_bit__upper_halves_do_not_count),
        TEST(test_io_read__sizes__merged_into_rax),
        TEST(test_io_write__uart_and_nothing__skipped),
        TEST(test_io_write__console_full__instruction_again),
        TEST(test_io_write__0xf4__exit_code_by_size),
        TEST(test_io_write__acpi__reboot_and_power_off_told_apart),
        TEST(test_end__twice__the_first_counts),
        TEST(test_string_io__outs__bytes_in_order_and_registers_moved),
        TEST(test_string_io__ins__from_the_fifo_to_memory),
        TEST(test_string_io__long__in_batches_without_loss),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
