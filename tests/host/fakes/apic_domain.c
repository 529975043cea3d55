/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A domain that is nothing but APICs.
 */
#include "apic_domain.h"

#include <string.h>

static struct vlapic *bus_apic(void *domain, unsigned int i)
{
    struct apic_domain *d = domain;

    return i < d->nr ? &d->apic[i] : NULL;
}

static void bus_kick(void *domain, unsigned int i)
{
    ((struct apic_domain *)domain)->kicks[i]++;
}

static void bus_nmi(void *domain, unsigned int i)
{
    ((struct apic_domain *)domain)->nmis[i]++;
}

static void bus_init(void *domain, unsigned int i)
{
    ((struct apic_domain *)domain)->inits[i]++;
}

static void bus_sipi(void *domain, unsigned int i, uint8_t vector)
{
    struct apic_domain *d = domain;

    d->sipis[i]++;
    d->sipi_vector = vector;
}

static void bus_eoi(void *domain, uint8_t vector)
{
    struct apic_domain *d = domain;

    d->eois[vector]++;
    if (d->eoi != NULL) {
        d->eoi(d, vector);
    }
}

static unsigned int *bus_turn(void *domain)
{
    return &((struct apic_domain *)domain)->turn;
}

const struct vlapic_bus apic_domain_bus = {
    .apic = bus_apic,
    .kick = bus_kick,
    .nmi = bus_nmi,
    .init = bus_init,
    .sipi = bus_sipi,
    .eoi = bus_eoi,
    .turn = bus_turn,
};

void apic_domain_init(struct apic_domain *d, unsigned int nr, uint64_t seed)
{
    memset(d, 0, sizeof(*d));
    d->nr = nr;
    d->random = seed;
    d->now = 1000000;
    for (unsigned int i = 0; i < nr; i++) {
        vlapic_reset(&d->apic[i], i, i == 0);
    }
}

void apic_domain_forget(struct apic_domain *d)
{
    memset(d->kicks, 0, sizeof(d->kicks));
    memset(d->nmis, 0, sizeof(d->nmis));
    memset(d->inits, 0, sizeof(d->inits));
    memset(d->sipis, 0, sizeof(d->sipis));
    memset(d->eois, 0, sizeof(d->eois));
    d->sipi_vector = 0;
}

uint64_t apic_domain_random(struct apic_domain *d)
{
    uint64_t x = d->random += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

uint32_t apic_get(struct apic_domain *d, unsigned int i, uint32_t offset)
{
    return vlapic_mmio_read(&d->apic[i], offset, d->now);
}

void apic_set(struct apic_domain *d, unsigned int i, uint32_t offset, uint32_t value)
{
    vlapic_mmio_write(&d->apic[i], &apic_domain_bus, d, offset, value, d->now);
}

int apic_rdmsr(struct apic_domain *d, unsigned int i, uint32_t index, uint64_t *value)
{
    return vlapic_msr_read(&d->apic[i], index, value, d->now);
}

int apic_wrmsr(struct apic_domain *d, unsigned int i, uint32_t index, uint64_t value)
{
    return vlapic_msr_write(&d->apic[i], &apic_domain_bus, d, index, value, d->now);
}

void apic_copy(struct vlapic *to, const struct vlapic *from)
{
    memset(to, 0, sizeof(*to));
    to->id = from->id;
    to->apic_base = from->apic_base;
    to->tpr = from->tpr;
    to->svr = from->svr;
    to->ldr = from->ldr;
    to->dfr = from->dfr;
    to->esr = from->esr;
    to->esr_pending = from->esr_pending;
    memcpy(to->lvt, from->lvt, sizeof(to->lvt));
    to->icr = from->icr;
    memcpy(to->irr, from->irr, sizeof(to->irr));
    memcpy(to->isr, from->isr, sizeof(to->isr));
    memcpy(to->tmr, from->tmr, sizeof(to->tmr));
    to->timer_initial = from->timer_initial;
    to->timer_divide = from->timer_divide;
    to->timer_start = from->timer_start;
    to->tsc_deadline = from->tsc_deadline;
    to->tsc_per_tick = from->tsc_per_tick;
}

bool apic_same(const struct vlapic *a, const struct vlapic *b)
{
    struct vlapic x, y;

    /* Without padding. */
    apic_copy(&x, a);
    apic_copy(&y, b);
    return memcmp(&x, &y, sizeof(x)) == 0;
}
