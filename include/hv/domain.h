/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Domains: a guest's memory, vCPUs, devices and fate.
 */
#ifndef HV_DOMAIN_H
#define HV_DOMAIN_H

#include "hv/compiler.h"
#include "hv/extent.h"
#include "hv/fresh.h"
#include "hv/output.h"
#include "hv/types.h"
#include "hv/vcpu.h"
#include "hv/vioapic.h"
#include "hv/vuart.h"

#define DOMAIN_NAME_MAX 32
#define DOMAIN_MAX_ID 0xfffeU

enum domain_state {
    DOMAIN_NEW, /* not started: memory and payload may be given to it */
    DOMAIN_RUNNING,
    DOMAIN_PAUSED,  /* as running, but none of its vCPUs is given a turn */
    DOMAIN_EXITED,  /* wrote its exit code to port 0xf4 */
    DOMAIN_STOPPED, /* stopped by molt; the reason was printed */
    DOMAIN_DYING,   /* destroyed; domain_reap() gives back what it has */
};

enum growth_phase { GROWTH_NONE, GROWTH_TAKE, GROWTH_DROP };

/* Memory that is being added, in slices (core/domain_memory.c). Its extents are the last ones, and
 * memory_bytes does not count them yet. */
struct domain_growth {
    LAYOUT(uint64_t bytes; uint64_t taken;, enum growth_phase phase;
           int error;) /* GROWTH_DROP: what the call returns then; 0: it begins anew */
};

/* What an audit inside an update saw of a domain (lu/audit_gate.c). */
struct domain_sums {
    uint32_t extents, memory; /* CRC-32C */
    bool has_memory;
};

struct domain {
    LAYOUT(uint16_t id; bool control; enum domain_state state; uint32_t exit_code;
           uint64_t memory_bytes; struct extent_map extents; struct vcpu *vcpus;
           struct domain_growth growth; struct output output; /* of COM1, for readers */
           ,
           char name[DOMAIN_NAME_MAX]; unsigned int nr_vcpus; struct vuart uart;
           struct vioapic ioapic; struct pvclock clock;
           unsigned int lowest_turn; /* struct vlapic_bus; starts anew after an update */
           struct domain_sums sums; void *stage2; /* the backend's nested page tables */
           size_t clean_extent; uint64_t clean_frame; /* domain_clean() has come so far */
           struct fresh fresh;
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

/* ---- memory: core/domain_memory.c ---- */

/* extent_order=: the largest order of the extents of memory that is added from now on. */
void domain_memory_init(const char *cmdline);

/* What a function that works in slices returns when there is more to do: call it again. */
#define DOMAIN_AGAIN 1

/*
 * One slice of adding memory behind what the domain has, from the heap in the largest extents there
 * are: guest-physical [0, 3 GiB), and what is left from 4 GiB on. Contents are undefined until
 * domain_clean(). 0 when all is there; DOMAIN_AGAIN; -ENOMEM, and then nothing of it is kept;
 * -EBUSY when another number of bytes is being added.
 */
MUST_CHECK int domain_grow(struct domain *d, uint64_t bytes);
/* What domain_grow() has added and not finished will be dropped; the calls begin anew. */
void domain_settle(void);

/* One slice of zeroing; true when all memory is zero, or fresh. Until a payload is loaded. */
MUST_CHECK bool domain_clean(struct domain *d);
/* The memory has been written to: domain_clean() starts over. */
void domain_soil(struct domain *d);

/* Both in one go: zeroed memory. 0 or -ENOMEM (nothing is kept). */
MUST_CHECK int domain_add_memory(struct domain *d, uint64_t bytes);

/* Guest-physical address behind the first `bytes` of memory. */
uint64_t domain_memory_end(uint64_t bytes);

/* ---- ends ---- */

/* vCPUs go down, memory stays for inspection until the domain is destroyed. */
void domain_exit(struct domain *d, uint32_t code);
PRINTF(2, 3) void domain_stop(struct domain *d, const char *fmt, ...);

/* Takes a domain out of the scheduler for good. What it has is given back by domain_reap(), and
 * then it is gone: between guests only, and while none of its vCPUs runs. */
void domain_doom(struct domain *d);
/* One slice of that; true when there was something to do. */
bool domain_reap(void);
/* Something is left for domain_reap(): no update until that is done. */
bool domain_reaping(void);

void domain_destroy(struct domain *d); /* both at once: none of its vCPUs runs */

/* Guest-physical access, bytes; crosses extents. 0 or -EFAULT (any byte outside: nothing
 * copied). */
MUST_CHECK int domain_read(struct domain *d, uint64_t gpa, void *buf, uint64_t len);
MUST_CHECK int domain_write(struct domain *d, uint64_t gpa, const void *buf, uint64_t len);

/* An entry of a page table, 4 or 8 bytes and aligned to them, which vCPUs may change at any time:
 * read at once; replaced if it still is `old`. 0, -EFAULT (outside), -EBUSY (it has changed). */
MUST_CHECK int domain_read_entry(struct domain *d, uint64_t gpa, unsigned int bytes,
                                 uint64_t *value);
MUST_CHECK int domain_swap_entry(struct domain *d, uint64_t gpa, unsigned int bytes, uint64_t old,
                                 uint64_t new);

/* CRC-32C over all memory in gfn order. Slow: never inside the pause. */
uint32_t domain_digest(struct domain *d);

#endif
