/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moltctl list, stat, create, start, pause, resume, destroy.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "door.h"
#include "frames.h"
#include "memory.h"
#include "moltctl.h"
#include "show.h"

#define LIST_BYTES PAGE_BYTES /* of one call */

/* Domains from number `first` on: how many there are in `out`, of one call. */
static size_t list_some(uint64_t first, struct hc_domain out[LIST_BYTES / sizeof(struct hc_domain)])
{
    int64_t n;

    memset(out, 0, LIST_BYTES);
    n = door_exchange(HC_DOM_LIST, out, LIST_BYTES, first);
    if (n < 0 || (uint64_t)n > LIST_BYTES / sizeof(out[0])) {
        fail(EXIT_REFUSED, n, "cannot list the domains: %s", door_error_text(n));
    }
    return (size_t)n;
}

/* All domains; *out is the caller's to free. */
static size_t list_all(struct hc_domain **out)
{
    struct hc_domain *all = NULL;
    size_t nr = 0, n;

    do {
        struct hc_domain *more = realloc(all, nr * sizeof(all[0]) + LIST_BYTES);

        if (more == NULL) {
            fail(EXIT_REFUSED, 0, "out of memory");
        }
        all = more;
        n = list_some(nr == 0 ? 0 : (uint64_t)all[nr - 1].id + 1, all + nr);
        nr += n;
    } while (n != 0);
    *out = all;
    return nr;
}

bool domain_get(uint32_t id, struct hc_domain *out)
{
    static struct hc_domain some[LIST_BYTES / sizeof(struct hc_domain)];

    if (list_some(id, some) == 0 || some[0].id != id) {
        return false;
    }
    *out = some[0];
    return true;
}

struct hc_domain domain_wanted(void)
{
    struct hc_domain *all, found;
    size_t nr = list_all(&all), at = 0;
    char number[16];

    while (at < nr && strncmp(all[at].name, options.name, sizeof(all[at].name)) != 0) {
        at++;
    }
    for (size_t i = 0; at == nr && i < nr; i++) {
        (void)snprintf(number, sizeof(number), "%u", all[i].id);
        if (strcmp(number, options.name) == 0) {
            found = all[i];
            free(all);
            return found;
        }
    }
    if (at == nr) {
        fail(EXIT_REFUSED, -HC_ENOENT, "there is no domain %s", options.name);
    }
    found = all[at];
    free(all);
    return found;
}

int cmd_list(void)
{
    struct hc_domain *all;
    size_t nr = list_all(&all);

    if (options.json) {
        show_domains_json(stdout, all, nr);
    } else {
        show_domains(stdout, all, nr);
    }
    free(all);
    return EXIT_OK;
}

int cmd_stat(void)
{
    struct hc_domain d = domain_wanted();
    struct hc_dom_stats stats = {.run_cycles = 0};
    struct hc_info info = {.flags = 0};
    int64_t result = door_exchange(HC_DOM_STATS, &stats, sizeof(stats), d.id);

    if (result != 0) {
        fail(EXIT_REFUSED, result, "%s: %s", options.name, door_error_text(result));
    }
    (void)door_exchange(HC_INFO, &info, sizeof(info), 0);
    if (options.json) {
        show_stats_json(stdout, &d, &stats, info.tsc_khz);
    } else {
        show_stats(stdout, &d, &stats, info.tsc_khz);
    }
    return EXIT_OK;
}

/* ---- what changes them ---- */

/* The state afterwards, for --json; else success is silent. */
static int changed(uint32_t id)
{
    struct hc_domain d;

    if (options.json && domain_get(id, &d)) {
        show_domain_json(stdout, &d);
    }
    return EXIT_OK;
}

static int change(uint64_t number, const char *what)
{
    struct hc_domain d = domain_wanted();
    int64_t result = door_call(number, d.id, 0, 0);

    if (result != 0) {
        fail(EXIT_REFUSED, result, "%s (%s): not %s: %s", options.name, state_name(d.state), what,
             door_error_text(result));
    }
    return changed(d.id);
}

int cmd_start(void)
{
    return change(HC_DOM_START, "started");
}

int cmd_pause(void)
{
    return change(HC_DOM_PAUSE, "paused");
}

int cmd_resume(void)
{
    return change(HC_DOM_RESUME, "resumed");
}

/* molt gives memory back in slices: name and memory are free when the domain is gone. */
static void wait_until_gone(uint32_t id)
{
    const struct timespec between = {.tv_nsec = 2000000};
    struct hc_domain d;

    while (domain_get(id, &d) && d.state == HC_DOM_DYING) {
        (void)nanosleep(&between, NULL);
    }
}

int cmd_destroy(void)
{
    struct hc_domain d = domain_wanted();
    int64_t result = door_call(HC_DOM_DESTROY, d.id, 0, 0);

    if (result != 0) {
        fail(EXIT_REFUSED, result, "%s: not destroyed: %s", options.name, door_error_text(result));
    }
    wait_until_gone(d.id);
    if (options.json) {
        d.state = HC_DOM_DYING;
        show_domain_json(stdout, &d);
    }
    return EXIT_OK;
}

/* A step of cmd_create() behind the creation: without it there shall be no domain. */
static void must(int64_t result, uint32_t id, const char *what)
{
    if (result != 0) {
        (void)door_call(HC_DOM_DESTROY, id, 0, 0);
        fail(EXIT_REFUSED, result, "%s: not created: %s: %s", options.name, what,
             door_error_text(result));
    }
}

struct payload {
    struct pages file, list;
};

/* Reads a file for hc_dom_load. */
static void read_payload(struct payload *p, const char *path, uint64_t *list, uint64_t *pages,
                         uint64_t *bytes)
{
    *bytes = pages_read_file(&p->file, path);
    *pages = p->file.nr;
    *list = pages_list(&p->list, &p->file);
}

static bool payload_holds(const struct payload *p)
{
    return pages_hold(&p->file) && pages_hold(&p->list);
}

int cmd_create(void)
{
    struct hc_dom_create create = {.vcpus = options.vcpus};
    struct hc_dom_load args = {.id = 0};
    struct payload kernel, module;
    unsigned char *text = door_page(&args.cmdline);
    int64_t result;

    /* Files first: one that cannot be read leaves nothing behind. */
    read_payload(&kernel, options.kernel, &args.list, &args.pages, &args.bytes);
    if (options.module != NULL) {
        read_payload(&module, options.module, &args.module_list, &args.module_pages,
                     &args.module_bytes);
    }
    args.cmdline_bytes = strlen(options.cmdline);
    memcpy(text, options.cmdline, args.cmdline_bytes);
    memcpy(create.name, options.name, strlen(options.name));
    result = door_exchange(HC_DOM_CREATE, &create, sizeof(create), 0);
    if (result < 0) {
        fail(EXIT_REFUSED, result, "%s: not created: %s", options.name, door_error_text(result));
    }
    args.id = (uint32_t)result;
    must(door_call(HC_DOM_MEMORY, args.id, options.memory_bytes, 0), args.id, "memory");
    must(door_exchange(HC_DOM_LOAD, &args, sizeof(args), 0), args.id, options.kernel);
    if (!payload_holds(&kernel) || (options.module != NULL && !payload_holds(&module))) {
        (void)door_call(HC_DOM_DESTROY, args.id, 0, 0);
        fail(EXIT_REFUSED, 0, "memory has moved while molt read it; nothing is created");
    }
    if (options.start) {
        must(door_call(HC_DOM_START, args.id, 0, 0), args.id, "start");
    }
    return changed(args.id);
}
