/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a domain, step by step.
 *
 * A new domain is loaded when its first vCPU may run: so the fact crosses an update with the vCPU.
 * Lock: hv_lock. Host test: tests/host/test_domctl.c
 */
#include "hv/domctl.h"

#include "hv/acpi.h"
#include "hv/buddy.h"
#include "hv/cmdline.h"
#include "hv/errno.h"
#include "hv/hvm.h"
#include "hv/machine.h"
#include "hv/printk.h"
#include "hv/sched.h"
#include "hv/slab.h"
#include "hv/string.h"

/* Left in the heap for molt itself (nested tables, streams), besides 1/256 of what is taken. */
#define HEAP_RESERVE MIB(4)

_Static_assert(DOMAIN_NAME_MAX == sizeof(((struct hc_domain *)0)->name), "names");
_Static_assert(VCPU_EXIT_KINDS == HC_EXIT_KINDS && MAX_ORDER + 1 == HC_ORDERS, "statistics");

static bool name_valid(const char *name)
{
    size_t len = strnlen(name, DOMAIN_NAME_MAX);

    for (size_t i = 0; i < len; i++) {
        char c = name[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_' || c == '-' || c == '.')) {
            return false;
        }
    }
    return len > 0 && len < DOMAIN_NAME_MAX;
}

static bool name_used(const char *name)
{
    for_each_domain(d) {
        if (strcmp(d->name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* vCPUs as after RESET; none of them may run. */
static int add_vcpus(struct domain *d, unsigned int n)
{
    struct vcpu_state *state = kzalloc(sizeof(*state));
    int rc;

    if (state == NULL) {
        return -ENOMEM;
    }
    vcpu_state_reset(state);
    rc = domain_add_vcpus(d, n, state);
    kfree(state);
    if (rc == 0) {
        d->vcpus->run_state = VCPU_DOWN;
    }
    return rc;
}

int domctl_create(const char *name, unsigned int vcpus, bool control, struct domain **out)
{
    uint16_t id = domain_free_id();
    struct domain *d;
    int rc;

    if (!name_valid(name) || vcpus == 0 || vcpus > ACPI_VCPUS_MAX) {
        return -EINVAL;
    }
    if (name_used(name)) {
        return -EEXIST;
    }
    if (id == 0) {
        return -ENOSPC;
    }
    d = domain_create(name, id, control);
    if (d == NULL) {
        return -ENOMEM;
    }
    d->state = DOMAIN_NEW;
    rc = add_vcpus(d, vcpus);
    if (rc != 0) {
        domain_destroy(d);
        return rc;
    }
    *out = d;
    return 0;
}

static bool is_loaded(const struct domain *d)
{
    return d->vcpus != NULL && d->vcpus->run_state == VCPU_RUNNABLE;
}

int domctl_memory(struct domain *d, uint64_t bytes)
{
    if (d->state != DOMAIN_NEW || is_loaded(d) || bytes == 0 || !is_aligned(bytes, PAGE_SIZE) ||
        bytes > DOMCTL_MEMORY_MAX - MIN(d->memory_bytes, DOMCTL_MEMORY_MAX)) {
        return -EINVAL;
    }
    if (d->growth.phase == GROWTH_NONE) {
        if (!buddy_opened()) { /* after an update: soon */
            return DOMAIN_AGAIN;
        }
        if (buddy_free_frames() < (bytes + bytes / 256 + HEAP_RESERVE) >> PAGE_SHIFT) {
            return -ENOMEM;
        }
    }
    return domain_grow(d, bytes);
}

int domctl_load_ready(struct domain *d)
{
    if (d->state != DOMAIN_NEW || d->vcpus == NULL || is_loaded(d)) {
        return -EINVAL;
    }
    if (d->growth.phase != GROWTH_NONE) {
        return -EBUSY;
    }
    return domain_clean(d) ? 0 : DOMAIN_AGAIN;
}

int domctl_load(struct domain *d, const struct guest_payload *payload, const char **why)
{
    struct vcpu_state *state;
    int rc = domctl_load_ready(d);

    if (rc != 0) {
        *why = "not a new domain, or its memory is being added";
        return rc;
    }
    *why = "out of memory";
    state = kzalloc(sizeof(*state));
    if (state == NULL) {
        return -ENOMEM;
    }
    rc = guest_load(d, payload, state, why);
    if (rc == 0 && vcpu_set_state(d->vcpus, state) != 0) {
        *why = "its vCPU cannot be in that state";
        rc = -ENOEXEC;
    }
    kfree(state);
    vcpu_unload(d->vcpus);
    if (rc != 0) {
        domain_soil(d);
        return rc;
    }
    d->vcpus->run_state = VCPU_RUNNABLE;
    return 0;
}

/* All vCPUs that may ever run again. */
static void schedule(struct domain *d)
{
    d->state = DOMAIN_RUNNING;
    for_each_vcpu(d, v) {
        if (v->run_state != VCPU_DOWN) {
            sched_add(v);
        }
    }
}

int domctl_start(struct domain *d)
{
    if (d->state != DOMAIN_NEW) {
        return -EINVAL;
    }
    if (!is_loaded(d)) {
        return -ENOEXEC;
    }
    schedule(d);
    return 0;
}

int domctl_pause(struct domain *d)
{
    if (d->state != DOMAIN_RUNNING && d->state != DOMAIN_PAUSED) {
        return -EINVAL;
    }
    d->state = DOMAIN_PAUSED;
    for_each_vcpu(d, v) {
        sched_remove(v);
    }
    for_each_vcpu(d, v) {
        if (v->running) { /* on another CPU, which was told */
            return DOMAIN_AGAIN;
        }
    }
    return 0;
}

int domctl_resume(struct domain *d)
{
    if (d->state != DOMAIN_PAUSED) {
        return -EINVAL;
    }
    schedule(d);
    return 0;
}

int domctl_destroy(struct domain *d)
{
    bool ended = d->state == DOMAIN_EXITED || d->state == DOMAIN_STOPPED;

    if (d->state == DOMAIN_DYING) {
        return -EBUSY;
    }
    domain_doom(d);
    if (!ended) { /* the run may end with it */
        machine_domain_ended(d);
    }
    return 0;
}

static uint32_t state_of(const struct domain *d)
{
    switch (d->state) {
    case DOMAIN_NEW:
        return HC_DOM_NEW;
    case DOMAIN_RUNNING:
        return HC_DOM_RUNNING;
    case DOMAIN_PAUSED:
        return HC_DOM_PAUSED;
    case DOMAIN_EXITED:
        return HC_DOM_EXITED;
    case DOMAIN_STOPPED:
        return HC_DOM_STOPPED;
    default:
        return HC_DOM_DYING;
    }
}

void domctl_describe(const struct domain *d, struct hc_domain *out)
{
    *out = (struct hc_domain){
        .id = d->id,
        .state = state_of(d),
        .flags = d->control ? HC_DOM_CONTROL : 0,
        .vcpus = d->nr_vcpus,
        .memory_bytes = d->memory_bytes,
        .exit_code = d->state == DOMAIN_EXITED ? d->exit_code : 0,
    };
    str_copy(out->name, sizeof(out->name), d->name);
}

void domctl_stats(const struct domain *d, struct hc_dom_stats *out)
{
    memset(out, 0, sizeof(*out));
    for_each_vcpu(d, v) {
        out->run_cycles += v->run_cycles;
        for (unsigned int i = 0; i < HVM_EXIT_REASONS; i++) {
            out->exits[i] += v->exits[i];
        }
    }
    for (unsigned int i = 0; i < HVM_EXIT_REASONS; i++) {
        str_copy(out->exit_names[i], sizeof(out->exit_names[i]), hvm_exit_name(i));
    }
    for (size_t i = 0; i < d->extents.nr; i++) {
        out->extents[d->extents.items[i].order]++;
    }
    out->console_bytes = d->output.total;
}

struct domain *domctl_find(const char *name, size_t len)
{
    uint64_t id;

    for_each_domain(d) {
        if (span_eq((struct str_span){name, len}, d->name)) {
            return d;
        }
    }
    if (parse_size((struct str_span){name, len}, &id) != 0 || id > DOMAIN_MAX_ID) {
        return NULL;
    }
    return domain_find((uint16_t)id);
}
