/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts: between the APIC models and the vCPUs.
 */
#include "hv/irq.h"

#include "hv/domain.h"
#include "hv/hvm.h"
#include "hv/seam.h"

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

/* One host CPU: the scheduler looks at every vCPU before it picks one. */
static void bus_kick(void *domain, unsigned int i)
{
    (void)domain;
    (void)i;
}

static void bus_nmi(void *domain, unsigned int i)
{
    struct vcpu *v = vcpu_of(domain, i);

    if (v != NULL && v->run_state == VCPU_RUNNABLE) {
        hvm->inject(v, EVENT_VALID | EVENT_TYPE_NMI << 8 | 2, 0);
    }
}

/* INIT and SIPI start other vCPUs; a domain has one, which nobody restarts. */
static void bus_init(void *domain, unsigned int i)
{
    (void)domain;
    (void)i;
}

static void bus_sipi(void *domain, unsigned int i, uint8_t vector)
{
    (void)domain;
    (void)i;
    (void)vector;
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

void irq_before_entry(struct vcpu *v, uint64_t now)
{
    int vector;

    vlapic_timer_tick(&v->apic, irq_guest_tsc(v, now));
    vector = vlapic_pending(&v->apic);
    if (hvm->interrupt(v, vector)) {
        vlapic_take(&v->apic, (uint8_t)vector);
    }
}

bool irq_wakes(struct vcpu *v, uint64_t now)
{
    vlapic_timer_tick(&v->apic, irq_guest_tsc(v, now));
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
