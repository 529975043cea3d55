/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hypercalls about domains: arguments out of the caller's memory, results back into it.
 *
 * Lock: hv_lock. Host test: tests/host/test_domctl.c
 */
#include "hv/domctl.h"

#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/guest_pages.h"
#include "hv/lu.h"
#include "hv/printk.h"
#include "hv/sched.h"
#include "hv/slab.h"
#include "hv/vmap.h"

#define CMDLINE_MAX 4096U
#define LIST_MAX 256U /* domains for one call */

_Static_assert(EPERM == HC_EPERM && ENOENT == HC_ENOENT && E2BIG == HC_E2BIG &&
                   EEXIST == HC_EEXIST && ENOSPC == HC_ENOSPC,
               "results are the ABI's");

/* The caller's structure at RBX, RCX bytes of it. */
static int take(struct vcpu *v, void *to, size_t size)
{
    if (v->gpr[GPR_RCX] < size) {
        return -EINVAL;
    }
    return domain_read(v->domain, v->gpr[GPR_RBX], to, size);
}

static struct domain *find(uint64_t id)
{
    return id <= DOMAIN_MAX_ID ? domain_find((uint16_t)id) : NULL;
}

/* A slice is done: the guest executes the instruction again. */
static int64_t result_of(int rc)
{
    return rc == DOMAIN_AGAIN ? HYPERCALL_RESTART : rc;
}

/* The set of domains stays as it is from the request for an update to its end: the stream is begun
 * before, and nothing half-done must be there. */
static bool must_wait(struct vcpu *v)
{
    if (lu_requested()) {
        sched_give_way(v);
        return true;
    }
    return false;
}

/* The domain with the lowest id from `id` on. */
static struct domain *next_by_id(uint64_t id)
{
    struct domain *next = NULL;

    for_each_domain(d) {
        if (d->id >= id && (next == NULL || d->id < next->id)) {
            next = d;
        }
    }
    return next;
}

static int64_t do_list(struct vcpu *v)
{
    uint64_t room = v->gpr[GPR_RCX] / sizeof(struct hc_domain);
    uint64_t at = v->gpr[GPR_RBX], id = v->gpr[GPR_RDX];
    int64_t n = 0;

    if (room == 0) {
        return -EINVAL;
    }
    room = MIN(room, LIST_MAX);
    for (struct domain *d; (uint64_t)n < room && (d = next_by_id(id)) != NULL; n++) {
        struct hc_domain out;

        domctl_describe(d, &out);
        if (domain_write(v->domain, at + (uint64_t)n * sizeof(out), &out, sizeof(out)) != 0) {
            return -EFAULT;
        }
        id = d->id + 1U;
    }
    return n;
}

static int64_t do_create(struct vcpu *v)
{
    struct hc_dom_create args;
    struct domain *d;
    int rc = take(v, &args, sizeof(args));

    if (rc != 0) {
        return rc;
    }
    if (args.flags != 0) {
        return -EINVAL;
    }
    if (must_wait(v)) {
        return HYPERCALL_RESTART;
    }
    rc = domctl_create(args.name, args.vcpus, false, &d);
    return rc == 0 ? d->id : rc;
}

static int64_t do_memory(struct vcpu *v)
{
    struct domain *d = find(v->gpr[GPR_RBX]);

    if (d == NULL) {
        return -ENOENT;
    }
    if (must_wait(v)) {
        return HYPERCALL_RESTART;
    }
    return result_of(domctl_memory(d, v->gpr[GPR_RCX]));
}

/* The caller's command line, terminated. */
static int take_cmdline(struct vcpu *v, const struct hc_dom_load *args, char **out)
{
    char *text;

    if (args->cmdline_bytes > CMDLINE_MAX) {
        return -E2BIG;
    }
    text = kzalloc(args->cmdline_bytes + 1);
    if (text == NULL) {
        return -ENOMEM;
    }
    if (domain_read(v->domain, args->cmdline, text, args->cmdline_bytes) != 0) {
        kfree(text);
        return -EFAULT;
    }
    *out = text;
    return 0;
}

/* The payload is parsed, so it is copied first. A module only goes into the guest's memory,
 * whatever its bytes are by then: it is mapped where it is. */
static int load(struct vcpu *v, struct domain *d, const struct hc_dom_load *args, const char **why)
{
    const struct guest_pages p = {args->list, args->pages, args->bytes};
    const struct guest_pages m = {args->module_list, args->module_pages, args->module_bytes};
    void *payload = NULL, *module = NULL;
    char *cmdline = NULL;
    int rc = guest_pages_check(v->domain, &p);

    *why = "its page list or command line";
    if (rc == 0 && m.bytes != 0) {
        rc = guest_pages_check(v->domain, &m);
    }
    if (rc == 0) {
        rc = take_cmdline(v, args, &cmdline);
    }
    if (rc == 0) {
        rc = guest_pages_copy(v->domain, &p, &payload);
    }
    if (rc == 0 && m.bytes != 0) {
        rc = guest_pages_map(v->domain, &m, &module);
    }
    if (rc == 0) {
        const struct guest_module mod = {module, m.bytes, ""};
        const struct guest_payload g = {.data = payload,
                                        .bytes = p.bytes,
                                        .cmdline = cmdline,
                                        .modules = &mod,
                                        .nr_modules = m.bytes != 0 ? 1 : 0,
                                        .vcpus = d->nr_vcpus};

        rc = domctl_load(d, &g, why);
    }
    vunmap(module);
    vfree(payload);
    kfree(cmdline);
    return rc;
}

static int64_t do_load(struct vcpu *v)
{
    struct hc_dom_load args;
    const char *why = "";
    struct domain *d;
    int rc = take(v, &args, sizeof(args));

    if (rc != 0) {
        return rc;
    }
    if (args.reserved != 0) {
        return -EINVAL;
    }
    d = find(args.id);
    if (d == NULL) {
        return -ENOENT;
    }
    rc = domctl_load_ready(d);
    if (rc != 0) {
        return result_of(rc);
    }
    rc = load(v, d, &args, &why);
    if (rc != 0) {
        printk("domain %s: not loaded: %s (%d)", d->name, why, rc);
    }
    return rc;
}

static int64_t do_start(struct vcpu *v)
{
    struct domain *d = find(v->gpr[GPR_RBX]);

    return d != NULL ? domctl_start(d) : -ENOENT;
}

static int64_t do_pause(struct vcpu *v)
{
    struct domain *d = find(v->gpr[GPR_RBX]);

    if (d == v->domain) {
        return -EPERM;
    }
    return d != NULL ? result_of(domctl_pause(d)) : -ENOENT;
}

static int64_t do_resume(struct vcpu *v)
{
    struct domain *d = find(v->gpr[GPR_RBX]);

    return d != NULL ? domctl_resume(d) : -ENOENT;
}

static int64_t do_destroy(struct vcpu *v)
{
    struct domain *d = find(v->gpr[GPR_RBX]);

    if (d == v->domain) {
        return -EPERM;
    }
    if (d == NULL) {
        return -ENOENT;
    }
    return must_wait(v) ? HYPERCALL_RESTART : domctl_destroy(d);
}

static int64_t do_stats(struct vcpu *v)
{
    struct domain *d = find(v->gpr[GPR_RDX]);
    struct hc_dom_stats stats;

    if (d == NULL) {
        return -ENOENT;
    }
    if (v->gpr[GPR_RCX] == 0) {
        return -EINVAL;
    }
    domctl_stats(d, &stats);
    return domain_write(v->domain, v->gpr[GPR_RBX], &stats, MIN(v->gpr[GPR_RCX], sizeof(stats)));
}

static int64_t do_console_read(struct vcpu *v)
{
    struct domain *d = find(v->gpr[GPR_RDX]);
    struct output_piece pieces[2];
    struct hc_console args;
    int rc = take(v, &args, sizeof(args));
    size_t n;

    if (rc != 0) {
        return rc;
    }
    if (d == NULL) {
        return -ENOENT;
    }
    if (args.at > d->output.total) {
        return -EINVAL;
    }
    n = output_get(&d->output, &args.at, (size_t)MIN(args.bytes, OUTPUT_BYTES), pieces);
    args.at += n;
    if (domain_write(v->domain, args.buffer, pieces[0].bytes, pieces[0].len) != 0 ||
        domain_write(v->domain, args.buffer + pieces[0].len, pieces[1].bytes, pieces[1].len) != 0) {
        return -EFAULT;
    }
    rc = domain_write(v->domain, v->gpr[GPR_RBX], &args, sizeof(args));
    return rc == 0 ? (int64_t)n : rc;
}

static int64_t do_console_write(struct vcpu *v)
{
    struct domain *d = find(v->gpr[GPR_RDX]);
    uint8_t bytes[VUART_FIFO];
    struct hc_console args;
    int rc = take(v, &args, sizeof(args));
    uint64_t n;

    if (rc != 0) {
        return rc;
    }
    if (d == NULL) {
        return -ENOENT;
    }
    n = MIN(args.bytes, (uint64_t)vuart_room(d));
    if (domain_read(v->domain, args.buffer, bytes, n) != 0) {
        return -EFAULT;
    }
    for (uint64_t i = 0; i < n; i++) {
        (void)vuart_input(d, bytes[i]);
    }
    return (int64_t)n;
}

int64_t domain_call(struct vcpu *v)
{
    switch (v->gpr[GPR_RAX]) {
    case HC_DOM_LIST:
        return do_list(v);
    case HC_DOM_CREATE:
        return do_create(v);
    case HC_DOM_MEMORY:
        return do_memory(v);
    case HC_DOM_LOAD:
        return do_load(v);
    case HC_DOM_START:
        return do_start(v);
    case HC_DOM_PAUSE:
        return do_pause(v);
    case HC_DOM_RESUME:
        return do_resume(v);
    case HC_DOM_DESTROY:
        return do_destroy(v);
    case HC_DOM_STATS:
        return do_stats(v);
    case HC_CONSOLE_READ:
        return do_console_read(v);
    case HC_CONSOLE_WRITE:
        return do_console_write(v);
    default:
        return -ENOSYS;
    }
}
