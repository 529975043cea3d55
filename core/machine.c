/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a run, and updates by molt itself where no guest can ask for them.
 */
#include "hv/machine.h"

#include "hv/cmdline.h"
#include "hv/console.h"
#include "hv/domain.h"
#include "hv/hvm.h"
#include "hv/lu.h"
#include "hv/percpu.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/time.h"

#define SHUTDOWN_GRACE_MS 20000U /* for guests to finish their checks */

enum end_policy { END_ALL, END_CONTROL, END_NEVER };

static enum end_policy policy;
static enum panic_policy panic_policy;
static bool digests;
static bool shutdown_requested;
static uint64_t shutdown_deadline;
static uint64_t entered; /* by the boot loader; 0: reported, or an update boot */
static uint64_t auto_updates, auto_interval_ms, auto_next;

static uint64_t number_or(struct str_span s, uint64_t otherwise)
{
    uint64_t v;

    return parse_size(s, &v) == 0 ? v : otherwise;
}

static void read_autoupdate(struct str_span v)
{
    size_t comma = 0;

    while (comma < v.len && v.s[comma] != ',') {
        comma++;
    }
    auto_updates = number_or((struct str_span){v.s, comma}, 0);
    if (comma < v.len) {
        auto_interval_ms = number_or((struct str_span){v.s + comma + 1, v.len - comma - 1}, 100);
    } else {
        auto_interval_ms = 100;
    }
}

static void read_panic(struct str_span v)
{
    panic_policy = PANIC_OFF;
    if (span_eq(v, "reset")) {
        panic_policy = PANIC_RESET;
    } else if (span_eq(v, "halt")) {
        panic_policy = PANIC_HALT;
    } else if (!span_eq(v, "off")) {
        printk("command line: panic= is off, halt or reset; taking off");
    }
}

enum panic_policy machine_panic_policy(void)
{
    return panic_policy;
}

void machine_init(const char *cmdline)
{
    struct str_span v;

    if (cmdline_get(cmdline, "panic", &v)) {
        read_panic(v);
    }
    policy = END_ALL;
    if (cmdline_get(cmdline, "end", &v)) {
        if (span_eq(v, "control")) {
            policy = END_CONTROL;
        } else if (span_eq(v, "never")) {
            policy = END_NEVER;
        } else if (!span_eq(v, "all")) {
            printk("command line: end= is all, control or never; taking all");
        }
    }
    digests = cmdline_get(cmdline, "digest", &v);
    if (cmdline_get(cmdline, "autoupdate", &v)) {
        read_autoupdate(v);
    }
    auto_next = tsc_read() + ms_to_tsc(auto_interval_ms);
    domain_memory_init(cmdline);
}

void machine_booted(uint64_t entered_tsc)
{
    entered = entered_tsc;
}

void machine_report_digests(void)
{
    if (digests) {
        for_each_domain(d) {
            printk("digest %s crc=%08x", d->name, domain_digest(d));
        }
    }
}

static void report_boot(void)
{
    uint64_t first = hvm != NULL ? 0 : tsc_read();

    for_each_cpu(cpu) {
        if (first == 0 || (cpu->first_entry_tsc != 0 && cpu->first_entry_tsc < first)) {
            first = cpu->first_entry_tsc;
        }
    }
    if (entered != 0 && first != 0) {
        printk("boot: %llu cycles to %s, TSC %llu kHz", (unsigned long long)(first - entered),
               hvm != NULL ? "the first guest" : "the end", (unsigned long long)tsc_khz);
        entered = 0;
    }
}

void machine_request_shutdown(void)
{
    if (!shutdown_requested) {
        shutdown_requested = true;
        shutdown_deadline = tsc_read() + ms_to_tsc(SHUTDOWN_GRACE_MS);
    }
}

bool machine_shutdown_requested(void)
{
    return shutdown_requested;
}

void machine_domain_ended(const struct domain *d)
{
    if (policy == END_CONTROL && d->control) {
        machine_request_shutdown();
    }
}

static bool has_ended(const struct domain *d)
{
    return d->state == DOMAIN_EXITED || d->state == DOMAIN_STOPPED;
}

/* The end waits for it. Asked to finish, those that get no turns cannot. */
static bool holds_up(const struct domain *d)
{
    return !has_ended(d) &&
           !(shutdown_requested && (d->state == DOMAIN_PAUSED || d->state == DOMAIN_NEW));
}

static void report_unfinished(void)
{
    for_each_domain(d) {
        if (holds_up(d)) {
            printk("end: domain %s still runs %u ms after the request to finish", d->name,
                   SHUTDOWN_GRACE_MS);
        }
    }
}

static void end_if_over(void)
{
    bool any = false, running = false, ok = true;

    for_each_domain(d) {
        bool ended = has_ended(d);

        any = true;
        running |= holds_up(d);
        ok &= !ended || (d->state == DOMAIN_EXITED && d->exit_code == 0);
    }
    if (policy == END_NEVER || !any) {
        return;
    }
    if (running && !(shutdown_requested && tsc_read() > shutdown_deadline)) {
        return;
    }
    if (running && hvm != NULL) {
        report_unfinished();
    }
    machine_end(ok);
}

/* Without virtualization domains do not run, so nobody calls the hypercalls: autoupdate=N,MS. */
static void auto_update(void)
{
    char why[LU_REASON_MAX];

    if (hvm != NULL || auto_updates == 0 || lu_busy()) {
        return;
    }
    if (lu_updates() >= auto_updates) {
        printk("autoupdate: %llu updates done", (unsigned long long)lu_updates());
        machine_end(true);
    }
    if (tsc_read() < auto_next) {
        return;
    }
    auto_next = tsc_read() + ms_to_tsc(auto_interval_ms);
    if (lu_load_module(LU_MODULE_OTHER, why) != 0 || lu_request_exec(NULL, why) != 0) {
        machine_end(false);
    }
}

void machine_poll(void)
{
    report_boot();
    if (!lu_busy()) {
        end_if_over();
    }
    auto_update();
}

void machine_end(bool ok)
{
    printk("end %s", ok ? "ok" : "failed");
    console_drain();
    machine_off(ok);
}
