/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vCPUs: creation, neutral state, register dump.
 */
#include "hv/vcpu.h"

#include "hv/context.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/hvm.h"
#include "hv/lu.h"
#include "hv/percpu.h"
#include "hv/printk.h"
#include "hv/sched.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hv/string.h"
#include "hw/x86.h"

#define ACCESS_CODE16 0x9bU
#define ACCESS_DATA16 0x93U
#define ACCESS_LDT 0x82U
#define ACCESS_TSS_BUSY 0x8bU
#define LOW32 0xffffffffUL

/* SDM volume 3, "Processor State After Reset". */
void vcpu_state_reset(struct vcpu_state *s)
{
    memset(s, 0, sizeof(*s));
    s->rip = 0xfff0;
    s->rflags = RFLAGS_FIXED;
    s->cr0 = CR0_CD | CR0_NW | CR0_ET;
    s->xcr0 = XCR0_X87;
    s->dr6 = DR6_INIT;
    s->dr7 = DR7_INIT;
    s->pat = PAT_RESET;
    for (unsigned int i = 0; i < SEG_COUNT; i++) {
        s->seg[i].limit = 0xffff;
        s->seg[i].access = ACCESS_DATA16;
    }
    s->seg[SEG_CS].access = ACCESS_CODE16;
    s->seg[SEG_CS].selector = 0xf000;
    s->seg[SEG_CS].base = 0xffff0000;
    s->seg[SEG_LDTR].access = ACCESS_LDT;
    s->seg[SEG_TR].access = ACCESS_TSS_BUSY;
    s->gdtr.limit = 0xffff;
    s->idtr.limit = 0xffff;
}

/* SDM volume 3, "Processor State After Reset", column INIT: what is not set here is unchanged. */
void vcpu_state_init(struct vcpu_state *s)
{
    const struct vcpu_state old = *s;

    vcpu_state_reset(s);
    s->cr0 = (old.cr0 & (CR0_CD | CR0_NW)) | CR0_ET;
    s->gpr[GPR_RDX] = host_cpuid(1, 0).eax; /* what the guest reads there, too */
    s->xcr0 = old.xcr0;
    s->pat = old.pat;
    memcpy(s->msr, old.msr, sizeof(s->msr));
    s->sysenter_cs = old.sysenter_cs;
    s->sysenter_esp = old.sysenter_esp;
    s->sysenter_eip = old.sysenter_eip;
    s->tsc_offset = old.tsc_offset;
}

/* SDM volume 3, "MP Initialization Protocol Algorithm for MP Systems": page `vector`, real mode. */
void vcpu_state_sipi(struct vcpu_state *s, uint8_t vector)
{
    s->seg[SEG_CS].selector = (uint16_t)(vector << 8);
    s->seg[SEG_CS].base = (uint64_t)vector << 12;
    s->rip = 0;
}

static bool canonical(uint64_t va)
{
    return (uint64_t)((int64_t)(va << 16) >> 16) == va;
}

/* What would fault when the CPU's own registers are loaded (arch/x86_64/context.c). */
static bool context_state_valid(const struct vcpu_state *s)
{
    return xcr0_valid(s->xcr0) && canonical(s->msr[GUEST_MSR_LSTAR]) &&
           canonical(s->msr[GUEST_MSR_CSTAR]) && canonical(s->msr[GUEST_MSR_KERNEL_GS_BASE]) &&
           s->msr[GUEST_MSR_SFMASK] <= LOW32 && s->msr[GUEST_MSR_TSC_AUX] <= LOW32 &&
           s->cr8 <= 15 && s->dr6 <= LOW32 && s->dr7 <= LOW32 && pat_valid(s->pat) &&
           !(s->efer & ~guest_efer_allowed()) && !(s->cr4 & ~guest_cr4_allowed()) &&
           !(s->cr0 & ~guest_cr0_allowed());
}

int vcpu_state_check(const struct vcpu_state *s)
{
    const struct hvm_ops *backend = hvm != NULL ? hvm : hvm_find();

    if (backend == NULL) {
        return 0;
    }
    return context_state_valid(s) ? backend->state_check(s) : -EINVAL;
}

int vcpu_set_state(struct vcpu *v, const struct vcpu_state *s)
{
    int rc;

    if (hvm == NULL) {
        *v->cold = *s;
        return 0;
    }
    if (!context_state_valid(s)) {
        return -EINVAL;
    }
    if (this_cpu()->loaded == v) {
        context_unload();
    }
    v->tsc_offset = s->tsc_offset;
    memcpy(v->gpr, s->gpr, sizeof(v->gpr));
    memcpy(v->ctx.dr, s->dr, sizeof(v->ctx.dr));
    memcpy(v->ctx.msr, s->msr, sizeof(v->ctx.msr));
    v->ctx.dr6 = s->dr6;
    v->ctx.cr2 = s->cr2;
    vlapic_set_cr8(&v->apic, s->cr8);
    v->ctx.xcr0 = s->xcr0;
    rc = hvm->state_load(v, s);
    return rc;
}

void vcpu_get_state(struct vcpu *v, struct vcpu_state *s)
{
    if (hvm == NULL) {
        *s = *v->cold;
        return;
    }
    context_unload();
    memset(s, 0, sizeof(*s));
    memcpy(s->gpr, v->gpr, sizeof(s->gpr));
    hvm->state_save(v, s);
    memcpy(s->dr, v->ctx.dr, sizeof(s->dr));
    memcpy(s->msr, v->ctx.msr, sizeof(s->msr));
    s->dr6 = v->ctx.dr6;
    s->cr2 = v->ctx.cr2;
    s->cr8 = vlapic_cr8(&v->apic);
    s->xcr0 = v->ctx.xcr0;
}

static int allocate(struct vcpu *v)
{
    int rc;

    if (hvm == NULL) {
        v->cold = kzalloc(sizeof(*v->cold));
        return v->cold != NULL ? 0 : -ENOMEM;
    }
    rc = context_init(&v->ctx);
    if (rc == 0) {
        rc = hvm->vcpu_init(v);
        if (rc != 0) {
            context_fini(&v->ctx);
        }
    }
    return rc;
}

int vcpu_create(struct domain *d, unsigned int id, const struct vcpu_state *state,
                struct vcpu **out)
{
    struct vcpu *v = kzalloc(sizeof(*v));
    struct vcpu **link = &d->vcpus;
    int rc;

    if (v == NULL) {
        return -ENOMEM;
    }
    v->domain = d;
    v->id = id;
    vlapic_reset(&v->apic, id, id == 0);
    v->apic.tsc_per_tick = 1;
    rc = allocate(v);
    if (rc != 0) {
        kfree(v);
        return rc;
    }
    while (*link != NULL) {
        link = &(*link)->next_in_domain;
    }
    *link = v;
    d->nr_vcpus++;
    domain_generation++;
    rc = vcpu_set_state(v, state);
    if (rc != 0) {
        *link = NULL;
        d->nr_vcpus--;
        vcpu_destroy(v);
        return rc;
    }
    vcpu_unload(v);
    *out = v;
    return 0;
}

int domain_add_vcpus(struct domain *d, unsigned int n, const struct vcpu_state *first)
{
    struct vcpu_state *reset = kzalloc(sizeof(*reset));
    struct vcpu *v;
    int rc;

    if (reset == NULL) {
        return -ENOMEM;
    }
    vcpu_state_reset(reset);
    rc = vcpu_create(d, 0, first, &v);
    for (unsigned int id = 1; rc == 0 && id < n; id++) {
        rc = vcpu_create(d, id, reset, &v);
        if (rc == 0) {
            v->run_state = VCPU_WAIT_SIPI;
        }
    }
    kfree(reset);
    return rc;
}

void vcpu_unload(struct vcpu *v)
{
    if (hvm == NULL || cpus_expected == 1) {
        return;
    }
    if (this_cpu()->loaded == v) {
        context_unload();
    }
    hvm->unload(v);
}

void vcpu_destroy(struct vcpu *v)
{
    lu_forget_caller(v);
    sched_remove(v);
    if (hvm != NULL) {
        context_unload();
        hvm->vcpu_fini(v);
        context_fini(&v->ctx);
    }
    BUG_ON(v->running);
    kfree(v->cold);
    kfree(v);
}

void vcpu_dump(struct vcpu *v)
{
    static const char *const seg_names[SEG_COUNT] = {"es", "cs", "ss",   "ds",
                                                     "fs", "gs", "ldtr", "tr"};
    struct vcpu_state *s = kzalloc(sizeof(*s));

    if (s == NULL || (v->running && v->cpu != this_cpu())) {
        kfree(s);
        return;
    }
    vcpu_get_state(v, s);
    vcpu_unload(v);
#define ULL(x) ((unsigned long long)(x))
    printk("%s vcpu%u: rip=%016llx rflags=%08llx rsp=%016llx rbp=%016llx", v->domain->name, v->id,
           ULL(s->rip), ULL(s->rflags), ULL(s->gpr[GPR_RSP]), ULL(s->gpr[GPR_RBP]));
    printk("%s vcpu%u: rax=%016llx rbx=%016llx rcx=%016llx rdx=%016llx", v->domain->name, v->id,
           ULL(s->gpr[GPR_RAX]), ULL(s->gpr[GPR_RBX]), ULL(s->gpr[GPR_RCX]), ULL(s->gpr[GPR_RDX]));
    printk("%s vcpu%u: rsi=%016llx rdi=%016llx r8=%016llx r9=%016llx", v->domain->name, v->id,
           ULL(s->gpr[GPR_RSI]), ULL(s->gpr[GPR_RDI]), ULL(s->gpr[GPR_R8]), ULL(s->gpr[GPR_R9]));
    printk("%s vcpu%u: cr0=%llx cr2=%llx cr3=%llx cr4=%llx efer=%llx", v->domain->name, v->id,
           ULL(s->cr0), ULL(s->cr2), ULL(s->cr3), ULL(s->cr4), ULL(s->efer));
    for (unsigned int i = 0; i < SEG_COUNT; i++) {
        if (i == SEG_CS || i == SEG_SS || i == SEG_TR) {
            printk("%s vcpu%u: %s=%04x base=%llx limit=%x access=%x", v->domain->name, v->id,
                   seg_names[i], s->seg[i].selector, ULL(s->seg[i].base), s->seg[i].limit,
                   s->seg[i].access);
        }
    }
    printk("%s vcpu%u: gdtr=%llx+%x idtr=%llx+%x event=%x interruptibility=%x", v->domain->name,
           v->id, ULL(s->gdtr.base), s->gdtr.limit, ULL(s->idtr.base), s->idtr.limit, s->event,
           s->interruptibility);
#undef ULL
    kfree(s);
}
