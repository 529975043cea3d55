/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A domain that is nothing but APICs: what goes over the bus is counted.
 */
#ifndef FAKES_APIC_DOMAIN_H
#define FAKES_APIC_DOMAIN_H

#include "hv/vioapic.h"
#include "hv/vlapic.h"

#define APIC_DOMAIN_CPUS 24U

struct apic_domain {
    unsigned int nr;
    struct vlapic apic[APIC_DOMAIN_CPUS];
    struct vioapic ioapic; /* for tests that have one: they reset it and take the EOIs */
    void (*eoi)(struct apic_domain *d, uint8_t vector);
    unsigned int kicks[APIC_DOMAIN_CPUS];
    unsigned int nmis[APIC_DOMAIN_CPUS];
    unsigned int inits[APIC_DOMAIN_CPUS];
    unsigned int sipis[APIC_DOMAIN_CPUS];
    uint8_t sipi_vector;
    unsigned int eois[256];
    unsigned int turn;
    uint64_t random;
    uint64_t now; /* guest TSC of all */
};

extern const struct vlapic_bus apic_domain_bus;

void apic_domain_init(struct apic_domain *d, unsigned int nr, uint64_t seed);
/* Counters back to 0. */
void apic_domain_forget(struct apic_domain *d);
uint64_t apic_domain_random(struct apic_domain *d);

/* Registers of APIC i, at the time of the domain. */
uint32_t apic_get(struct apic_domain *d, unsigned int i, uint32_t offset);
void apic_set(struct apic_domain *d, unsigned int i, uint32_t offset, uint32_t value);
int apic_rdmsr(struct apic_domain *d, unsigned int i, uint32_t index, uint64_t *value);
int apic_wrmsr(struct apic_domain *d, unsigned int i, uint32_t index, uint64_t value);

/* Copies an APIC member by member into a fresh one, as a record does. */
void apic_copy(struct vlapic *to, const struct vlapic *from);
/* All members are equal. */
bool apic_same(const struct vlapic *a, const struct vlapic *b);

#endif
