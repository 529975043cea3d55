/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts: between the APIC models and the vCPUs.
 */
#include "hv/irq.h"

#include "hv/domain.h"
#include "hv/exit.h"
#include "hv/hvm.h"
#include "hv/sched.h"
#include "hv/seam.h"
#include "hv/slab.h"

static struct vcpu *vcpu_of(void *domain, unsigned int i)
{
    struct domain *d = domain;
    struct vcpu *v = d->vcpus;

    while (v != NULL && i-- > 0) {
        v = v->next_in_domain;
    }
    return v;
}

static struct vlapic *bus_apic(void *domain, unsigned int i)
{
    struct vcpu *v = vcpu_of(domain, i);

    return v != NULL ? &v->apic : NULL;
}

static void bus_kick(void *domain, unsigned int i)
{
    struct vcpu *v = vcpu_of(domain, i);

    if (v != NULL) {
        sched_kick(v);
    }
}

static void signal(void *domain, unsigned int i, uint32_t which)
{
    struct vcpu *v = vcpu_of(domain, i);

    if (v != NULL && v->run_state != VCPU_DOWN) {
        v->signals |= which;
    }
}

static void bus_nmi(void *domain, unsigned int i)
{
    signal(domain, i, VCPU_SIGNAL_NMI);
}

static void bus_init(void *domain, unsigned int i)
{
    struct vcpu *v = vcpu_of(domain, i);

    signal(domain, i, VCPU_SIGNAL_INIT);
    if (v != NULL) {
        v->signals &= ~VCPU_SIGNAL_SIPI; /* one that came before is forgotten */
    }
}

/* Counts only while INIT is waited out; SDM volume 3, "MP Initialization Protocol". */
static void bus_sipi(void *domain, unsigned int i, uint8_t vector)
{
    struct vcpu *v = vcpu_of(domain, i);

    if (v != NULL && !(v->signals & VCPU_SIGNAL_SIPI) &&
        (v->run_state == VCPU_WAIT_SIPI || (v->signals & VCPU_SIGNAL_INIT))) {
        v->sipi_vector = vector;
        signal(domain, i, VCPU_SIGNAL_SIPI);
    }
}

static void bus_eoi(void *domain, uint8_t vector)
{
    struct domain *d = domain;

    vioapic_eoi(&d->ioapic, &irq_bus, d, vector);
}

static unsigned int *bus_turn(void *domain)
{
    return &((struct domain *)domain)->lowest_turn;
}

const struct vlapic_bus irq_bus = {
    .apic = bus_apic,
    .kick = bus_kick,
    .nmi = bus_nmi,
    .init = bus_init,
    .sipi = bus_sipi,
    .eoi = bus_eoi,
    .turn = bus_turn,
};

uint64_t irq_guest_tsc(const struct vcpu *v, uint64_t host_tsc)
{
    return host_tsc + v->tsc_offset;
}

bool irq_signalled(const struct vcpu *v)
{
    return v->run_state != VCPU_DOWN &&
           ((v->signals & VCPU_SIGNAL_INIT) ||
            ((v->signals & VCPU_SIGNAL_SIPI) && v->run_state == VCPU_WAIT_SIPI));
}

static void change_state(struct vcpu *v, void (*change)(struct vcpu_state *s, uint8_t vector))
{
    struct vcpu_state *s = kzalloc(sizeof(*s));

    if (s == NULL) {
        domain_stop(v->domain, "out of memory to start vCPU %u", v->id);
        return;
    }
    vcpu_get_state(v, s);
    change(s, v->sipi_vector);
    if (vcpu_set_state(v, s) != 0) {
        domain_stop(v->domain, "vCPU %u cannot be started", v->id);
    }
    vcpu_unload(v); /* it may go on at another CPU */
    kfree(s);
}

static void to_init(struct vcpu_state *s, uint8_t vector)
{
    (void)vector;
    vcpu_state_init(s);
}

static void take_init(struct vcpu *v)
{
    v->signals &= ~(VCPU_SIGNAL_INIT | VCPU_SIGNAL_NMI);
    if (v->id == 0) { /* it would begin at the reset vector, where guests have no firmware */
        domain_stop(v->domain, "INIT sent to the boot processor");
        return;
    }
    (void)hvm->nmi(v, false);
    vlapic_init_signal(&v->apic);
    v->wake_tsc = 0;
    v->run_state = VCPU_WAIT_SIPI;
    change_state(v, to_init);
    if (domain_is_deaf(v->domain)) {
        domain_stop(v->domain, "all vCPUs wait for SIPI or are halted with interrupts off");
    }
}

static void take_sipi(struct vcpu *v)
{
    v->signals &= ~VCPU_SIGNAL_SIPI;
    v->run_state = VCPU_RUNNABLE;
    change_state(v, vcpu_state_sipi);
}

void irq_take_signals(struct vcpu *v)
{
    if (v->run_state != VCPU_DOWN && (v->signals & VCPU_SIGNAL_INIT)) {
        take_init(v);
    }
    if (v->run_state == VCPU_WAIT_SIPI && (v->signals & VCPU_SIGNAL_SIPI)) {
        take_sipi(v);
    }
}

/* False while NMIs are blocked: the backend asks for an exit when they are no more. */
static bool take_nmi(struct vcpu *v)
{
    if (!hvm->nmi(v, true)) {
        return false;
    }
    v->signals &= ~VCPU_SIGNAL_NMI;
    return true;
}

void irq_before_entry(struct vcpu *v, uint64_t now)
{
    int vector;

    vlapic_timer_tick(&v->apic, irq_guest_tsc(v, now));
    if (v->signals & VCPU_SIGNAL_NMI) {
        (void)take_nmi(v);
    }
    vector = vlapic_pending(&v->apic);
    if (hvm->interrupt(v, vector)) {
        vlapic_take(&v->apic, (uint8_t)vector);
    }
}

bool irq_wakes(struct vcpu *v, uint64_t now)
{
    vlapic_timer_tick(&v->apic, irq_guest_tsc(v, now));
    if ((v->signals & VCPU_SIGNAL_NMI) && take_nmi(v)) {
        vcpu_unload(v);
        return true;
    }
    return vlapic_pending(&v->apic) >= 0 && !v->deaf;
}

uint64_t irq_next_timer(const struct vcpu *v)
{
    uint64_t next = vlapic_timer_next(&v->apic);

    uint64_t now = tsc_read(), guest_now = irq_guest_tsc(v, now);

    if (next == VLAPIC_NO_DEADLINE) {
        return UINT64_MAX;
    }
    return next <= guest_now ? now : now + MIN(next - guest_now, UINT64_MAX - now);
}

void irq_set_line(struct domain *d, unsigned int pin, bool up)
{
    vioapic_set_line(&d->ioapic, &irq_bus, d, pin, up);
}
