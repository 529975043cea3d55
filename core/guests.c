/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests from boot modules, at cold boot:
 *
 *   guest name=NAME mem=64M vcpus=1 [control] cmdline=REST...
 *   module of=NAME cmdline=REST...
 */
#include "hv/guest_load.h"

#include "hv/domctl.h"
#include "hv/acpi.h"
#include "hv/errno.h"
#include "hv/modules.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hv/string.h"

struct guest_config {
    char name[DOMAIN_NAME_MAX];
    uint64_t memory;
    uint64_t vcpus;
    bool control;
    const char *cmdline;
};

/* The text behind the first word "cmdline=", to the end of the line. */
static const char *rest_of_line(const char *line)
{
    const char *cursor = line;
    struct str_span word;

    while (cmdline_word(&cursor, &word)) {
        if (word.len >= 8 && strncmp(word.s, "cmdline=", 8) == 0) {
            return word.s + 8;
        }
    }
    return "";
}

/* Words before cmdline= only: what follows is the guest's. */
static int read_config(const char *line, size_t index, struct guest_config *c)
{
    const char *cursor = line;
    struct str_span word;

    *c = (struct guest_config){.memory = GUEST_MEMORY_DEFAULT, .vcpus = 1};
    fmt_str(c->name, sizeof(c->name), "guest%zu", index);
    c->cmdline = rest_of_line(line);
    while (cmdline_word(&cursor, &word) && word.s + 8 != c->cmdline) {
        struct str_span value = {word.s, word.len};

        while (value.len > 0 && *value.s != '=') {
            value.s++;
            value.len--;
        }
        if (value.len > 0) {
            value.s++;
            value.len--;
        }
        if (strncmp(word.s, "name=", 5) == 0 && value.len > 0) {
            fmt_str(c->name, sizeof(c->name), "%.*s", (int)MIN(value.len, sizeof(c->name) - 1),
                    value.s);
        } else if (strncmp(word.s, "mem=", 4) == 0) {
            if (parse_size(value, &c->memory) != 0 || c->memory < GUEST_MEMORY_MIN ||
                c->memory > GIB(1024 * 64)) {
                printk("guest %s: mem= is not a size from 2M up", c->name);
                return -EINVAL;
            }
            c->memory = align_down(c->memory, PAGE_SIZE);
        } else if (strncmp(word.s, "vcpus=", 6) == 0) {
            if (parse_size(value, &c->vcpus) != 0 || c->vcpus == 0 || c->vcpus > ACPI_VCPUS_MAX) {
                printk("guest %s: vcpus= is not 1 to %u", c->name, ACPI_VCPUS_MAX);
                return -EINVAL;
            }
        } else if (span_eq(word, "control")) {
            c->control = true;
        } else if (!span_eq(word, "guest")) {
            printk("guest %s: unknown option \"%.*s\"", c->name, (int)word.len, word.s);
        }
    }
    return 0;
}

/* Has "of=NAME" before cmdline=: what follows that is the guest's. */
static bool module_of(const char *line, const char *name)
{
    const char *cursor = line, *rest = rest_of_line(line);
    struct str_span word;

    while (cmdline_word(&cursor, &word) && word.s + 8 != rest) {
        if (word.len > 3 && strncmp(word.s, "of=", 3) == 0 &&
            span_eq((struct str_span){word.s + 3, word.len - 3}, name)) {
            return true;
        }
    }
    return false;
}

/* All "module of=NAME" modules of one guest; returns how many, or -ENOMEM. */
static int collect_modules(const struct boot_info *info, const char *name,
                           struct guest_module **out)
{
    struct mb2_module m;
    int n = 0;

    *out = kzalloc((info->nr_modules + 1) * sizeof(**out));
    if (*out == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; mb2_module(info, i, &m); i++) {
        if (module_is(m.cmdline, "module") && module_of(m.cmdline, name)) {
            (*out)[n++] = (struct guest_module){pa_to_va(m.start), m.end - m.start,
                                                rest_of_line(m.cmdline)};
        }
    }
    return n;
}

static int build(const struct boot_info *info, const struct mb2_module *m,
                 const struct guest_config *c, struct domain *d, const char **why)
{
    struct guest_module *modules = NULL;
    int n, rc = domain_add_memory(d, c->memory);

    *why = "out of memory";
    if (rc != 0) {
        return rc;
    }
    n = collect_modules(info, c->name, &modules);
    rc = n;
    if (n >= 0) {
        const struct guest_payload payload = {.data = pa_to_va(m->start),
                                              .bytes = m->end - m->start,
                                              .cmdline = c->cmdline,
                                              .modules = modules,
                                              .nr_modules = (size_t)n,
                                              .vcpus = (unsigned int)c->vcpus};

        rc = domctl_load(d, &payload, why);
    }
    kfree(modules);
    return rc == 0 ? domctl_start(d) : rc;
}

static void create(const struct boot_info *info, const struct mb2_module *m, size_t index)
{
    struct guest_config c;
    struct domain *d;
    const char *why = "";
    int rc;

    if (read_config(m->cmdline, index, &c) != 0) {
        return;
    }
    rc = domctl_create(c.name, (unsigned int)c.vcpus, c.control, &d);
    if (rc != 0) {
        printk("guest %s: not created: %s", c.name,
               rc == -EEXIST   ? "the name is taken"
               : rc == -EINVAL ? "letters, digits, '_', '-' and '.' make a name"
                               : "out of memory");
        return;
    }
    if (build(info, m, &c, d, &why) != 0) {
        printk("guest %s: not created: %s", c.name, why);
        domain_destroy(d);
        return;
    }
    printk("domain %s id=%u memory=%lluM extents=%zu%s%s%s", d->name, d->id,
           (unsigned long long)(d->memory_bytes >> 20), d->extents.nr, d->control ? " control" : "",
           c.cmdline[0] != '\0' ? " cmdline=" : "", c.cmdline);
}

void guests_create(const struct boot_info *info)
{
    struct mb2_module m;

    for (size_t i = 0; mb2_module(info, i, &m); i++) {
        if (module_is(m.cmdline, "guest")) {
            create(info, &m, i);
        } else if (!module_is(m.cmdline, "module") && !module_is(m.cmdline, "image")) {
            printk("modules: \"%s\": neither guest, module nor image: ignored", m.cmdline);
        }
    }
}
