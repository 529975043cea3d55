/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading with the CPU to itself.
 */
#include "lib/alone.h"

#include "lib/bootinfo.h"
#include "lib/lib.h"
#include "lib/molt.h"

#define DOMAINS_MAX 16

static void must(int64_t r, const char *what, uint32_t id)
{
    if (r < 0) {
        damage("alone", "%s of domain %u: %" P64 "d", what, id, r);
    }
}

int64_t alone_load(const struct hc_lu_load *load)
{
    struct hc_domain list[DOMAINS_MAX];
    bool paused[DOMAINS_MAX] = {false};
    int64_t n, r;

    if (cmdline_number("alone", 0) == 0) {
        return molt_load(load);
    }
    n = molt_call(HC_DOM_LIST, (uintptr_t)list, sizeof(list), 0, 0);
    must(n, "HC_DOM_LIST", 0);
    for (int64_t i = 0; i < n; i++) {
        paused[i] = list[i].state == HC_DOM_RUNNING && (list[i].flags & HC_DOM_CONTROL) == 0;
        if (paused[i]) {
            must(molt_call(HC_DOM_PAUSE, list[i].id, 0, 0, 0), "HC_DOM_PAUSE", list[i].id);
        }
    }
    r = molt_load(load);
    for (int64_t i = 0; i < n; i++) {
        if (paused[i]) {
            must(molt_call(HC_DOM_RESUME, list[i].id, 0, 0, 0), "HC_DOM_RESUME", list[i].id);
        }
    }
    return r;
}
