/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a panic loses: the domains, as far as their list can be read.
 *
 * Each domain is looked at only where memory is mapped, and the list is in the order of ids, so a
 * walk that goes astray or round in a circle ends.
 * Host test: tests/host/test_lost.c
 */
#include "hv/lost.h"

#include "hv/domain.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/string.h"

static const char *state_name(enum domain_state state)
{
    static const char *const names[] = {
        [DOMAIN_NEW] = "new",       [DOMAIN_RUNNING] = "running", [DOMAIN_PAUSED] = "paused",
        [DOMAIN_EXITED] = "exited", [DOMAIN_STOPPED] = "stopped", [DOMAIN_DYING] = "dying",
    };

    return (unsigned int)state < ARRAY_SIZE(names) ? names[state] : "in no known state";
}

static void name_of(const struct domain *d, char out[DOMAIN_NAME_MAX + 1])
{
    size_t length = strnlen(d->name, sizeof(d->name));

    for (size_t i = 0; i < length; i++) {
        out[i] = d->name[i] > ' ' && d->name[i] < 0x7f ? d->name[i] : '?';
    }
    out[length] = '\0';
}

static bool readable(const struct domain *d)
{
    return (uintptr_t)d % _Alignof(struct domain) == 0 && memory_mapped(d, sizeof(*d));
}

void lost_report(void)
{
    const struct domain *d = domain_list;
    char name[DOMAIN_NAME_MAX + 1];
    unsigned int id = 0; /* that was seen last */

    for (; d != NULL && readable(d) && d->id > id; d = d->next) {
        id = d->id;
        name_of(d, name);
        printk("lost: domain %s: %s, %u vCPU%s", name, state_name(d->state), d->nr_vcpus,
               d->nr_vcpus == 1 ? "" : "s");
    }
    if (d != NULL) {
        printk("lost: the list of domains is damaged behind id %u", id);
    }
}
