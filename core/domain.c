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
#include "hv/printk.h"
#include "hv/sched.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hv/string.h"

#define LOW_MEMORY_END GIB(3) /* above it, up to 4 GiB, no memory */
#define HIGH_MEMORY GIB(4)

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

    while (domain_find(id) != NULL) {
        id++;
    }
    return id;
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
    d->clock.base_tsc = tsc_read();
    if (hvm != NULL && hvm->domain_init(d) != 0) {
        kfree(d);
        return NULL;
    }
    domain_generation++;
    *link = d; /* at the end: the list stays in the order of creation */
    return d;
}

/* Largest order allowed at gfn for `frames` more frames. */
static unsigned int fitting_order(uint64_t gfn, uint64_t frames)
{
    unsigned int order = MAX_ORDER;

    while (order > 0 && (!is_aligned(gfn, BIT(order)) || BIT(order) > frames)) {
        order--;
    }
    return order;
}

/* Fills [gfn, gfn + frames) from the heap. */
static int add_range(struct domain *d, uint64_t gfn, uint64_t frames)
{
    while (frames > 0) {
        unsigned int order = fitting_order(gfn, frames);
        mfn_t mfn = buddy_alloc(order, FRAME_GUEST, d->id);

        while (!mfn_valid(mfn) && order > 0) {
            mfn = buddy_alloc(--order, FRAME_GUEST, d->id);
        }
        if (!mfn_valid(mfn)) {
            return -ENOMEM;
        }
        if (extent_map_add(&d->extents, gfn_from(gfn), mfn, order, 0) != 0) {
            buddy_free(mfn, order);
            return -ENOMEM;
        }
        frames_zero(mfn, BIT(order));
        gfn += BIT(order);
        frames -= BIT(order);
    }
    return 0;
}

static void drop_memory(struct domain *d)
{
    for (size_t i = 0; i < d->extents.nr; i++) {
        buddy_free(d->extents.items[i].mfn, d->extents.items[i].order);
    }
    extent_map_free(&d->extents);
    d->memory_bytes = 0;
}

int domain_add_memory(struct domain *d, uint64_t bytes)
{
    uint64_t low = MIN(bytes, LOW_MEMORY_END);
    int rc;

    domain_generation++;
    rc = add_range(d, 0, low >> PAGE_SHIFT);

    if (rc == 0 && bytes > low) {
        rc = add_range(d, HIGH_MEMORY >> PAGE_SHIFT, (bytes - low) >> PAGE_SHIFT);
    }
    if (rc != 0) {
        drop_memory(d);
        return rc;
    }
    d->memory_bytes = bytes;
    return 0;
}

static void vcpus_down(struct domain *d)
{
    for_each_vcpu(d, v) {
        sched_remove(v);
        v->run_state = VCPU_DOWN;
    }
}

void domain_exit(struct domain *d, uint32_t code)
{
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

void domain_destroy(struct domain *d)
{
    struct domain **link = &domain_list;

    domain_generation++;
    vcpus_down(d);
    while (d->vcpus != NULL) {
        struct vcpu *v = d->vcpus;

        d->vcpus = v->next_in_domain;
        vcpu_destroy(v);
    }
    if (hvm != NULL) {
        hvm->domain_fini(d);
    }
    drop_memory(d);
    while (*link != d) {
        link = &(*link)->next;
    }
    *link = d->next;
    kfree(d);
}

/* Host address of guest-physical gpa, and how many bytes from there lie side by side (at most len);
 * NULL outside the memory. */
static void *guest_run(const struct domain *d, uint64_t gpa, uint64_t len, uint64_t *run)
{
    const struct extent *e = extent_map_find(&d->extents, gfn_from(gpa >> PAGE_SHIFT));
    uint64_t offset;

    if (e == NULL) {
        return NULL;
    }
    offset = gpa - (e->gfn.v << PAGE_SHIFT);
    *run = MIN(len, (BIT(e->order) << PAGE_SHIFT) - offset);
    return (uint8_t *)mfn_to_va(e->mfn) + offset;
}

/* Every byte of [gpa, gpa + len) is memory. */
static bool guest_range_ok(const struct domain *d, uint64_t gpa, uint64_t len)
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

uint32_t domain_digest(struct domain *d)
{
    uint32_t crc = 0;

    for (size_t i = 0; i < d->extents.nr; i++) {
        const struct extent *e = &d->extents.items[i];

        crc = crc32c(crc, mfn_to_va(e->mfn), BIT(e->order) << PAGE_SHIFT);
    }
    return crc;
}
