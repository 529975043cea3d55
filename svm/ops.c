/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SVM backend's entries, and running a vCPU.
 */
#include "svm_priv.h"

#include "asm/cpu.h"
#include "asm/machine.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "public/lu_abi.h"

static int svm_domain_init(struct domain *d)
{
    /* PAT entry 0: write-back */
    return nested_domain_init(d, guest_has_1g_pages() ? ORDER_1G : ORDER_2M, 0);
}

static paddr_t page_pa(const void *page)
{
    return mfn_to_pa(va_to_mfn(page));
}

/* What VMRUN loads and stores besides what the VMCB keeps anyway. */
static void registers_in(struct vcpu *v, struct svm_vcpu *x)
{
    uint64_t dr6 = read_dr6();
    uint64_t cr2 = read_cr2();

    vmcb_set(x, rax, v->gpr[GPR_RAX]);
    if (x->vmcb->dr6 != dr6) {
        vmcb_set(x, dr6, dr6);
    }
    if (x->vmcb->cr2 != cr2) {
        vmcb_set(x, cr2, cr2);
    }
}

static void registers_out(struct vcpu *v, const struct vmcb *c)
{
    v->gpr[GPR_RAX] = c->rax;
    /* QEMU has no intercept for XSETBV: the guest may have set it itself. */
    if (host_has_xsave) {
        v->ctx.xcr0 = xgetbv0() & host_xcr0;
    }
    write_dr6(c->dr6);
    write_cr2(c->cr2);
}

/* An ASID whose translations are right, and what to flush for it. */
static void tlb_in(struct svm_vcpu *x, struct svm_cpu *mine, bool nested_changed)
{
    static const uint8_t control[] = {
        [ASID_KEEP] = SVM_TLB_KEEP,
        [ASID_FLUSH_ONE] = SVM_TLB_FLUSH_ASID,
        [ASID_FLUSH_ALL] = SVM_TLB_FLUSH_ALL,
    };
    enum asid_flush stale = nested_changed ? ASID_FLUSH_ALL : x->flush ? ASID_FLUSH_ONE : ASID_KEEP;

    vmcb_set(x, tlb_control, control[asid_enter(&mine->asids, &x->asid, stale)]);
    if (x->vmcb->asid != x->asid.asid) {
        vmcb_set(x, asid, x->asid.asid);
    }
    x->flush = false;
}

/* The CPU may keep what it has loaded of a VMCB, and after an exit all that is in memory. Returns
 * the VMCB for the entry to write. */
static struct vmcb *clean_in(struct svm_vcpu *x, const struct svm_cpu *mine)
{
    if (x->ran_on != mine) {
        x->ran_on = mine;
        return vmcb_open(x);
    }
    return (struct vmcb *)x->vmcb;
}

static void clean_out(struct svm_vcpu *x)
{
    vmcb_set(x, clean, (svm_caps.edx & CPUID_SVM_EDX_CLEAN) ? SVM_CLEAN_ALL : 0);
}

static void svm_run(struct vcpu *v, uint64_t slice, struct hvm_exit *exit)
{
    struct svm_vcpu *x = svm_of(v);
    struct svm_cpu *mine = svm_this_cpu();
    struct percpu *cpu = this_cpu();
    const struct vmcb *c = x->vmcb;
    bool timed;

    *exit = (struct hvm_exit){.reason = HVM_EXIT_UNKNOWN};
    if (x->next.shutdown) {
        exit->reason = HVM_EXIT_TRIPLE_FAULT;
        exit->code = SVM_EXIT_SHUTDOWN;
        exit->rip = c->rip;
        return;
    }
    svm_event_enter(x);
    registers_in(v, x);
    timed = apic_timer_arm(rdtsc() + slice);
    if (timed) {
        tlb_in(x, mine, nested_enter(cpu));
        svm_enter(v, page_pa(c), page_pa(mine->host), clean_in(x, mine), mine->host);
        cpu->last_exit_tsc = rdtsc();
        nested_leave(cpu);
        clean_out(x);
        apic_timer_disarm();
    } else { /* the slice is over before it began, or the timer is not known yet */
        cpu->last_exit_tsc = rdtsc();
        vmcb_set(x, exit_code, SVM_EXIT_NMI);
        vmcb_set(x, exit_int_info, c->event_inject);
    }
    registers_out(v, c);
    vmcb_set(x, event_inject, 0);
    svm_event_exit(x);
    svm_exit_decode(v, exit);
}

static void svm_skip(struct vcpu *v, unsigned int insn_length)
{
    struct svm_vcpu *x = svm_of(v);
    const struct vmcb *c = x->vmcb;
    bool code64 = (c->cs.attributes & 0x200U) && (c->efer & EFER_LMA);

    vmcb_set(x, rip, code64 ? c->rip + insn_length : (uint32_t)(c->rip + insn_length));
    vmcb_set(x, interrupt_shadow, 0);
    /* APM volume 2, "Single Stepping": after the instruction. */
    if (c->rflags & RFLAGS_TF) {
        write_dr6(read_dr6() | DR6_BS);
        svm_inject(v, EVENT_VALID | EVENT_TYPE_HW_EXCEPTION << 8 | EXC_DB, 0);
    }
}

/* A CPU writes back all of a VMCB at an exit, and what it keeps of it, or in its TLB, is not used
 * any more when the vCPU has run elsewhere. */
static void svm_unload(struct vcpu *v)
{
    (void)v;
}

const struct hvm_ops svm_ops = {
    .name = "SVM",
    .feature = LU_FEATURE_SVM,
    .probe = svm_probe,
    .cpu_on = svm_cpu_on,
    .cpu_off = svm_cpu_off,
    .domain_init = svm_domain_init,
    .domain_fini = nested_domain_fini,
    .map = nested_domain_map,
    .walk = nested_domain_walk,
    .vcpu_init = svm_vcpu_init,
    .vcpu_fini = svm_vcpu_fini,
    .run = svm_run,
    .reg_get = svm_reg_get,
    .reg_set = svm_reg_set,
    .inject = svm_inject,
    .interrupt = svm_interrupt,
    .nmi = svm_nmi,
    .unload = svm_unload,
    .skip = svm_skip,
    .state_save = svm_state_save,
    .state_load = svm_state_load,
    .state_check = guest_state_check,
};
