/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Domains: life, memory, guest-physical access.
 *
 * Owns: domain_list. Host test: tests/host/test_domain.c
 */
#include "hv/domain.h"

#include "hv/buddy.h"
#include "hv/crc32c.h"
#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/hvm.h"
#include "hv/machine.h"
#include "hv/percpu.h"
#include "hv/printk.h"
#include "hv/sched.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hv/string.h"
#include "hv/wallclock.h"

#define REAP_VCPUS 8U /* for one slice */
#define REAP_EXTENTS 256U

struct domain *domain_list;
uint64_t domain_generation;

struct domain *domain_find(uint16_t id)
{
    for_each_domain(d) {
        if (d->id == id) {
            return d;
        }
    }
    return NULL;
}

uint16_t domain_free_id(void)
{
    uint16_t id = 1;

    while (id <= DOMAIN_MAX_ID && domain_find(id) != NULL) {
        id++;
    }
    return id <= DOMAIN_MAX_ID ? id : 0;
}

struct domain *domain_create(const char *name, uint16_t id, bool control)
{
    struct domain **link = &domain_list;
    struct domain *d;

    if (name[0] == '\0' || strnlen(name, DOMAIN_NAME_MAX) == DOMAIN_NAME_MAX || id == 0 ||
        id > DOMAIN_MAX_ID) {
        return NULL;
    }
    for (; *link != NULL; link = &(*link)->next) {
        if ((*link)->id == id || strcmp((*link)->name, name) == 0) {
            return NULL;
        }
    }
    d = kzalloc(sizeof(*d));
    if (d == NULL) {
        return NULL;
    }
    str_copy(d->name, sizeof(d->name), name);
    d->id = id;
    d->control = control;
    d->state = DOMAIN_RUNNING;
    extent_map_init(&d->extents);
    vuart_reset(&d->uart);
    vioapic_reset(&d->ioapic);
    wallclock_start(&d->clock);
    if (hvm != NULL && hvm->domain_init(d) != 0) {
        kfree(d);
        return NULL;
    }
    domain_generation++;
    *link = d; /* at the end: the list stays in the order of creation */
    return d;
}

static void vcpus_down(struct domain *d)
{
    for_each_vcpu(d, v) {
        sched_remove(v);
        v->run_state = VCPU_DOWN;
    }
}

/* It has ended: by another of its vCPUs, whose last exits come one after the other. */
static bool is_over(const struct domain *d)
{
    return d->state == DOMAIN_EXITED || d->state == DOMAIN_STOPPED || d->state == DOMAIN_DYING;
}

void domain_exit(struct domain *d, uint32_t code)
{
    if (is_over(d)) {
        return;
    }
    d->state = DOMAIN_EXITED;
    d->exit_code = code;
    vcpus_down(d);
    vuart_flush(d);
    exit_print(d);
    printk("domain %s exit=%u", d->name, code);
    machine_domain_ended(d);
}

void domain_stop(struct domain *d, const char *fmt, ...)
{
    char reason[160];
    va_list args;

    if (is_over(d)) {
        return;
    }
    va_start(args, fmt);
    (void)fmt_vstr(reason, sizeof(reason), fmt, args);
    va_end(args);
    vuart_flush(d);
    printk("domain %s stopped reason=\"%s\"", d->name, reason);
    for_each_vcpu(d, v) {
        vcpu_dump(v);
    }
    exit_print(d);
    d->state = DOMAIN_STOPPED;
    vcpus_down(d);
    machine_domain_ended(d);
}

void domain_doom(struct domain *d)
{
    vcpus_down(d);
    d->state = DOMAIN_DYING;
}

static void unlink_domain(struct domain *d)
{
    struct domain **link = &domain_list;

    while (*link != d) {
        link = &(*link)->next;
    }
    *link = d->next;
}

static bool is_running(const struct domain *d)
{
    for_each_vcpu(d, v) {
        if (v->running) {
            return true;
        }
    }
    return false;
}

/* A slice of what a dying domain has; true when it is gone. */
static bool reap(struct domain *d)
{
    domain_generation++;
    for (unsigned int n = 0; d->vcpus != NULL; n++) {
        struct vcpu *v = d->vcpus;

        if (n == REAP_VCPUS) {
            return false;
        }
        d->vcpus = v->next_in_domain;
        d->nr_vcpus--;
        vcpu_destroy(v);
    }
    if (hvm != NULL && d->stage2 != NULL) {
        hvm->domain_fini(d);
        d->stage2 = NULL;
    }
    for (unsigned int n = 0; d->extents.nr > 0; n++) {
        struct extent e;

        if (n == REAP_EXTENTS) {
            return false;
        }
        e = extent_map_pop(&d->extents);
        buddy_free(e.mfn, e.order);
    }
    extent_map_free(&d->extents);
    if (!fresh_free_slice(&d->fresh)) {
        return false;
    }
    output_free(&d->output);
    unlink_domain(d);
    kfree(d);
    return true;
}

bool domain_reap(void)
{
    for_each_domain(d) {
        if (d->state == DOMAIN_DYING && !is_running(d)) {
            (void)reap(d);
            return true;
        }
        if (d->growth.phase == GROWTH_DROP && d->growth.error == 0) {
            (void)!domain_grow(d, d->growth.bytes);
            return true;
        }
    }
    return false;
}

bool domain_reaping(void)
{
    for_each_domain(d) {
        if (d->state == DOMAIN_DYING || d->growth.phase != GROWTH_NONE) {
            return true;
        }
    }
    return false;
}

void domain_destroy(struct domain *d)
{
    domain_doom(d);
    while (!reap(d)) {
    }
}

/* Host address of guest-physical gpa, and how many bytes from there lie side by side (at most len);
 * NULL outside the memory, or when what is fresh of it stays so. */
static void *guest_run(struct domain *d, uint64_t gpa, uint64_t len, uint64_t *run)
{
    const struct extent *e = extent_map_find(&d->extents, gfn_from(gpa >> PAGE_SHIFT));
    uint64_t offset;

    if (e == NULL) {
        return NULL;
    }
    offset = gpa - (e->gfn.v << PAGE_SHIFT);
    *run = MIN(len, (BIT(e->order) << PAGE_SHIFT) - offset);
    if (fresh_touch(d, gpa >> PAGE_SHIFT, ((gpa + *run - 1) >> PAGE_SHIFT) + 1) != 0) {
        return NULL;
    }
    return (uint8_t *)mfn_to_va(e->mfn) + offset;
}

/* Every byte of [gpa, gpa + len) is memory. */
static bool guest_range_ok(struct domain *d, uint64_t gpa, uint64_t len)
{
    uint64_t end, run;

    if (__builtin_add_overflow(gpa, len, &end)) {
        return false;
    }
    for (; gpa < end; gpa += run) {
        if (guest_run(d, gpa, end - gpa, &run) == NULL) {
            return false;
        }
    }
    return true;
}

int domain_read(struct domain *d, uint64_t gpa, void *buf, uint64_t len)
{
    uint8_t *to = buf;
    uint64_t run;

    if (!guest_range_ok(d, gpa, len)) {
        return -EFAULT;
    }
    for (; len > 0; gpa += run, to += run, len -= run) {
        const void *from = guest_run(d, gpa, len, &run);

        memcpy(to, from, run);
    }
    return 0;
}

int domain_write(struct domain *d, uint64_t gpa, const void *buf, uint64_t len)
{
    const uint8_t *from = buf;
    uint64_t run;

    if (!guest_range_ok(d, gpa, len)) {
        return -EFAULT;
    }
    for (; len > 0; gpa += run, from += run, len -= run) {
        void *to = guest_run(d, gpa, len, &run);

        memcpy(to, from, run);
    }
    return 0;
}

int domain_read_entry(struct domain *d, uint64_t gpa, unsigned int bytes, uint64_t *value)
{
    uint64_t run;
    void *entry = guest_run(d, gpa, bytes, &run);

    if (entry == NULL || run < bytes) {
        return -EFAULT;
    }
    *value = bytes == sizeof(uint64_t) ? __atomic_load_n((uint64_t *)entry, __ATOMIC_RELAXED)
                                       : __atomic_load_n((uint32_t *)entry, __ATOMIC_RELAXED);
    return 0;
}

int domain_swap_entry(struct domain *d, uint64_t gpa, unsigned int bytes, uint64_t old,
                      uint64_t new)
{
    uint32_t old32 = (uint32_t)old;
    uint64_t run;
    void *entry = guest_run(d, gpa, bytes, &run);
    bool same;

    if (entry == NULL || run < bytes) {
        return -EFAULT;
    }
    if (bytes == sizeof(uint64_t)) {
        same = __atomic_compare_exchange_n((uint64_t *)entry, &old, new, false, __ATOMIC_RELAXED,
                                           __ATOMIC_RELAXED);
    } else {
        same = __atomic_compare_exchange_n((uint32_t *)entry, &old32, (uint32_t) new, false,
                                           __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
    return same ? 0 : -EBUSY;
}

uint32_t domain_digest(struct domain *d)
{
    uint32_t crc = 0;

    for (size_t i = 0; i < d->extents.nr; i++) {
        const struct extent *e = &d->extents.items[i];

        crc = crc32c(crc, mfn_to_va(e->mfn), BIT(e->order) << PAGE_SHIFT);
    }
    return crc;
}
