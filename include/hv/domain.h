/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Domains: a guest's memory, vCPUs, devices and fate.
 */
#ifndef HV_DOMAIN_H
#define HV_DOMAIN_H

#include "hv/compiler.h"
#include "hv/extent.h"
#include "hv/types.h"
#include "hv/vcpu.h"
#include "hv/vioapic.h"
#include "hv/vuart.h"

#define DOMAIN_NAME_MAX 32
#define DOMAIN_MAX_ID 0xfffeU

enum domain_state {
    DOMAIN_RUNNING,
    DOMAIN_EXITED,  /* wrote its exit code to port 0xf4 */
    DOMAIN_STOPPED, /* stopped by molt; the reason was printed */
};

struct domain {
    LAYOUT(uint16_t id; bool control; enum domain_state state; uint32_t exit_code;
           uint64_t memory_bytes; struct extent_map extents; struct vcpu *vcpus;
           ,
           char name[DOMAIN_NAME_MAX]; unsigned int nr_vcpus; struct vuart uart;
           struct vioapic ioapic; struct pvclock clock;
           unsigned int lowest_turn; /* struct vlapic_bus; starts anew after an update */
           void *stage2; /* the backend's nested page tables */
           struct domain *next;)
};

/* All domains, by id. Lock: domain_lock in SMP; today one CPU. */
extern struct domain *domain_list;

/* Counts every change to the domain list or to any domain's memory or vCPUs. */
extern uint64_t domain_generation;

#define for_each_domain(d) for (struct domain *d = domain_list; d != NULL; d = d->next)
#define for_each_vcpu(d, v) for (struct vcpu *v = (d)->vcpus; v != NULL; v = v->next_in_domain)

/* A domain without memory and vCPUs. NULL: out of memory or ids, or the name is taken. */
struct domain *domain_create(const char *name, uint16_t id, bool control);
/* Lowest free id. */
uint16_t domain_free_id(void);
struct domain *domain_find(uint16_t id);

/* Takes memory from the heap in the largest extents there are, zeroed: [0, 3 GiB) and what is left
 * from 4 GiB on. 0 or -ENOMEM (nothing is kept). */
MUST_CHECK int domain_add_memory(struct domain *d, uint64_t bytes);

/* Ends: vCPUs go down, memory stays for inspection until domain_destroy(). */
void domain_exit(struct domain *d, uint32_t code);
PRINTF(2, 3) void domain_stop(struct domain *d, const char *fmt, ...);
void domain_destroy(struct domain *d); /* gives everything back */

/* Guest-physical access, bytes; crosses extents. 0 or -EFAULT (any byte outside: nothing
 * copied). */
MUST_CHECK int domain_read(struct domain *d, uint64_t gpa, void *buf, uint64_t len);
MUST_CHECK int domain_write(struct domain *d, uint64_t gpa, const void *buf, uint64_t len);

/* CRC-32C over all memory in gfn order. Slow: never inside the pause. */
uint32_t domain_digest(struct domain *d);

#endif
