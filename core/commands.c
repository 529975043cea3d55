/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands of molt's own console: a table, a function each.
 */
#include "hv/commands.h"

#include "hv/audit.h"
#include "hv/cmdline.h"
#include "hv/console.h"
#include "hv/domctl.h"
#include "hv/exit.h"
#include "hv/hvm.h"
#include "hv/log.h"
#include "hv/lu.h"
#include "hv/machine.h"
#include "hv/memory.h"
#include "hv/modules.h"
#include "hv/printk.h"
#include "hv/recorder.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hv/time.h"

#define ULL(x) ((unsigned long long)(x))
#define LOG_LINES 20U

static void cmd_help(struct str_span arg);

static const char *state_name(const struct domain *d)
{
    switch (d->state) {
    case DOMAIN_NEW:
        return "new";
    case DOMAIN_PAUSED:
        return "paused";
    case DOMAIN_EXITED:
        return "exited";
    case DOMAIN_STOPPED:
        return "stopped";
    case DOMAIN_DYING:
        return "dying";
    default:
        return hvm == NULL ? "not running (no virtualization)" : "running";
    }
}

static void cmd_domains(struct str_span arg)
{
    (void)arg;
    for_each_domain(d) {
        uint64_t exits = 0, ms = 0;

        for_each_vcpu(d, v) {
            for (unsigned int i = 0; i < HVM_EXIT_REASONS; i++) {
                exits += v->exits[i];
            }
            ms += v->run_cycles / tsc_khz;
        }
        printk("domain %u %s: %s%s, %llu MiB in %zu extents, %u vCPU, %llu exits, %llu ms", d->id,
               d->name, state_name(d), d->control ? ", control" : "", ULL(d->memory_bytes >> 20),
               d->extents.nr, d->nr_vcpus, ULL(exits), ULL(ms));
    }
}

static void cmd_exits(struct str_span arg)
{
    (void)arg;
    for_each_domain(d) {
        exit_print(d);
    }
}

/* What molt leaves alone is all that is not RAM. */
static void print_memory_map(void)
{
    for (size_t i = 0; i < memory_map.nr; i++) {
        const struct e820_range *r = &memory_map.ranges[i];

        printk("memory: 0x%llx-0x%llx %s type=%u", (unsigned long long)r->start,
               (unsigned long long)r->end, r->type == E820_RAM ? "RAM" : "firmware", r->type);
    }
}

static void cmd_memory(struct str_span arg)
{
    if (span_eq(arg, "map")) {
        print_memory_map();
    }
    (void)memory_account();
}

static void cmd_audit(struct str_span arg)
{
    struct hc_audit found;

    (void)arg;
    (void)!audit_print(&found);
}

static void cmd_digest(struct str_span arg)
{
    (void)arg;
    for_each_domain(d) {
        printk("digest %s crc=%08x", d->name, domain_digest(d));
    }
}

static void cmd_status(struct str_span arg)
{
    struct hc_lu_status s;
    struct hc_lu_region r;

    (void)arg;
    lu_get_status(&s);
    lu_get_region(&r);
    printk("status: molt %s/%.12s, %s, arena %c of 0x%llx-0x%llx, %llu KiB needed", lu_version,
           lu_build_id(), hvm != NULL ? hvm->name : "no virtualization", 'A' + (int)r.active,
           ULL(r.base), ULL(r.base + r.size), ULL(r.required >> 10));
    printk("status: updates=%llu refused=%llu last blackout=%llu cycles (%llu us)", ULL(s.updates),
           ULL(s.refused), ULL(s.blackout), ULL(s.blackout * 1000 / tsc_khz));
    if (s.backs != 0) {
        printk("status: came back from %llu updates that failed, last blackout=%llu cycles",
               ULL(s.backs), ULL(s.back_blackout));
    }
    printk("status: loaded: %s%s%.12s%s%s", s.state == HC_LU_LOADED ? s.loaded_version : "nothing",
           s.state == HC_LU_LOADED ? "/" : "", s.loaded_build_id,
           s.reason[0] != '\0' ? ", last refusal: " : "", s.reason);
}

static void cmd_images(struct str_span arg)
{
    unsigned int i = 0;

    (void)arg;
    for (struct image_module *m = image_modules; m != NULL; m = m->next) {
        printk("image %u: %s, %llu KiB", i++, m->cmdline, ULL(m->bytes >> 10));
    }
}

static void cmd_update(struct str_span arg)
{
    char why[LU_REASON_MAX];
    uint64_t index = LU_MODULE_OTHER;

    if (arg.len != 0 && (parse_size(arg, &index) != 0 || index >= LU_MODULE_OTHER)) {
        printk("update: \"%.*s\" is no image number (see: images)", (int)arg.len, arg.s);
        return;
    }
    if (lu_load_module((unsigned int)index, why) == 0) {
        (void)!lu_request_exec(NULL, why); /* a refusal has been printed */
    }
}

/* The domain that a command names, by name or number; NULL, and a line that says so. */
static struct domain *named(struct str_span arg)
{
    struct domain *d = domctl_find(arg.s, arg.len);

    if (d == NULL) {
        printk("\"%.*s\": no such domain, try domains", (int)arg.len, arg.s);
    }
    return d;
}

static void report(const struct domain *d, int rc)
{
    if (rc == 0) {
        printk("domain %u %s: %s", d->id, d->name, state_name(d));
    } else {
        printk("domain %u %s: it is %s", d->id, d->name, state_name(d));
    }
}

static void cmd_pause(struct str_span arg)
{
    struct domain *d = named(arg);

    if (d != NULL) {
        int rc = domctl_pause(d);

        report(d, rc == DOMAIN_AGAIN ? 0 : rc); /* soon */
    }
}

static void cmd_resume(struct str_span arg)
{
    struct domain *d = named(arg);

    if (d != NULL) {
        report(d, domctl_resume(d));
    }
}

static void cmd_destroy(struct str_span arg)
{
    struct domain *d = named(arg);

    if (d != NULL && lu_requested()) {
        printk("destroy: not while an update is asked for");
    } else if (d != NULL) {
        report(d, domctl_destroy(d));
    }
}

static void cmd_console(struct str_span arg)
{
    struct domain *d = named(arg);

    if (d != NULL) {
        console_set_focus(d->id);
    }
}

static void cmd_stat(struct str_span arg)
{
    struct domain *d = named(arg);
    struct hc_dom_stats *s = kzalloc(sizeof(*s));

    if (d != NULL && s != NULL) {
        domctl_stats(d, s);
        exit_print(d);
        for (unsigned int i = 0; i < HC_ORDERS; i++) {
            if (s->extents[i] != 0) {
                printk("stat %s: %llu extents of %llu KiB", d->name, ULL(s->extents[i]), 4ULL << i);
            }
        }
        printk("stat %s: %s, %llu bytes written to its console", d->name, state_name(d),
               ULL(s->console_bytes));
    }
    kfree(s);
}

static void cmd_log(struct str_span arg)
{
    uint64_t lines = LOG_LINES;

    if (arg.len != 0 && parse_size(arg, &lines) != 0) {
        printk("log: \"%.*s\" is no number", (int)arg.len, arg.s);
        return;
    }
    log_print(lines, recorder_next());
}

static void cmd_quit(struct str_span arg)
{
    (void)arg;
    machine_end(true);
}

static void cmd_reset(struct str_span arg)
{
    (void)arg;
    printk("reset: the guests are lost");
    console_drain();
    machine_reset();
}

static const struct command {
    const char *name;
    const char *help;
    void (*run)(struct str_span arg);
} commands[] = {
    {"help", "this list", cmd_help},
    {"domains", "domains and what they do", cmd_domains},
    {"list", "the same", cmd_domains},
    {"exits", "exits of each domain by reason, since this image runs", cmd_exits},
    {"stat", "exits, extents and output of domain NAME", cmd_stat},
    {"pause", "no turns for domain NAME until it is resumed", cmd_pause},
    {"resume", "turns again", cmd_resume},
    {"destroy", "end domain NAME and give back its memory", cmd_destroy},
    {"console", "the keyboard for domain NAME", cmd_console},
    {"memory", "where every frame is; memory map: what is RAM", cmd_memory},
    {"audit", "does everybody agree on whose each frame is", cmd_audit},
    {"update", "replace the running image: by the other one, or by image N", cmd_update},
    {"images", "images to update to", cmd_images},
    {"status", "running image, region, last update", cmd_status},
    {"digest", "checksum of each domain's memory (slow)", cmd_digest},
    {"log", "the last lines (20, or N) of the flight recorder", cmd_log},
    {"reset", "reset the machine at once, guests and all", cmd_reset},
    {"quit", "end the run", cmd_quit},
};

static void cmd_help(struct str_span arg)
{
    (void)arg;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        printk("%-8s %s", commands[i].name, commands[i].help);
    }
    printk("Ctrl-A, then 0: this console, 1 to 9: a domain's, Ctrl-A: the next");
}

void command_run(const char *line)
{
    const char *cursor = line;
    struct str_span word, arg = {"", 0};

    if (!cmdline_word(&cursor, &word)) {
        return;
    }
    (void)cmdline_word(&cursor, &arg);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (span_eq(word, commands[i].name)) {
            commands[i].run(arg);
            return;
        }
    }
    printk("\"%.*s\": unknown command, try help", (int)word.len, word.s);
}
