/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A control guest that makes other guests out of its first module, again and again: creates, loads,
 * starts, pauses, resumes, watches and destroys them, and updates molt in the middle of that.
 *
 * Command line: updates=N, one in each round (5), interval=MS that a child runs (100), memory=MIB
 * of a child (24), seed=N. In the first and in the last round the update finds no child, so that
 * the accounts of memory after these two must be equal.
 */
#include "lib/bootinfo.h"
#include "lib/clock.h"
#include "lib/image.h"
#include "lib/lib.h"
#include "lib/molt.h"

#define NAME "child"
#define LIST_MAX 16U
#define TIMEOUT_MS 5000U
#define HOST_TIMEOUT_MS 30000U /* by the clock of a host that may be busy */
#define OUTPUT_MAX 4096U

/* Where in a child's life the update comes. */
enum moment { WHEN_NONE, WHEN_NEW, WHEN_LOADED, WHEN_RUNNING, WHEN_PAUSED, MOMENTS };
static const char *const moments[MOMENTS] = {"gone", "new", "loaded", "running", "paused"};

static struct image payload;
static uint64_t rng, memory_bytes, interval_ms;
static struct hc_dom_stats stats;
static char output[OUTPUT_MAX];
static uint64_t restart_us; /* longest HC_DOM_MEMORY */

static int64_t call(uint64_t number, uint64_t rbx, uint64_t rcx, uint64_t rdx)
{
    return molt_call(number, rbx, rcx, rdx, 0);
}

/* The call worked. */
static int64_t must(int64_t result, const char *what)
{
    if (result < 0) {
        damage("domains", "%s returned %" P64 "d", what, result);
    }
    return result;
}

static void sleep_ms(uint64_t ms)
{
    must(molt_sleep(ms * 1000), "HC_SLEEP");
}

/* The domain's entry of the list; false when it is not there. */
static bool find(uint32_t id, struct hc_domain *out)
{
    static struct hc_domain list[LIST_MAX];
    int64_t n = must(call(HC_DOM_LIST, (uintptr_t)list, sizeof(list), id), "HC_DOM_LIST");

    if (n > 0 && list[0].id == id) {
        *out = list[0];
        return true;
    }
    return false;
}

static void expect_state(uint32_t id, uint32_t state, const char *when)
{
    struct hc_domain d;

    if (!find(id, &d)) {
        damage("domains", "%s: domain %u is not there", when, id);
    }
    if (d.state != state || strcmp(d.name, NAME) != 0 || d.memory_bytes != memory_bytes ||
        d.vcpus != 1 || d.flags != 0) {
        damage("domains", "%s: state %u instead of %u, name %s, %" P64 "u bytes", when, d.state,
               state, d.name, d.memory_bytes);
    }
}

static unsigned int timeout_ms(void)
{
    return cpu_is_exact() ? TIMEOUT_MS : HOST_TIMEOUT_MS;
}

/* The work after the update is done, and its account of memory printed. */
static void settle(void)
{
    struct hc_lu_status status;
    uint64_t waited = 0;

    while (must(molt_status(&status), "HC_LU_STATUS"), status.busy != 0) {
        if (waited++ > timeout_ms()) {
            damage("domains", "molt is busy for %u ms after an update", timeout_ms());
        }
        sleep_ms(1);
    }
}

static void update(unsigned int n, const char *when)
{
    const struct hc_lu_load load = {.source = HC_LU_SOURCE_MODULE, .module = HC_LU_MODULE_OTHER};
    struct hc_info before, after;

    must(molt_info(&before), "HC_INFO");
    must(molt_load(&load), "HC_LU_LOAD");
    must(call(HC_LU_EXEC, 0, 0, 0), "HC_LU_EXEC");
    must(molt_info(&after), "HC_INFO");
    if (after.updates != before.updates + 1) {
        damage("domains", "n=%u: %" P64 "u updates after %" P64 "u", n, after.updates,
               before.updates);
    }
    print_crc("update n=%u child=%s", n, when);
}

static uint32_t create(void)
{
    struct hc_dom_create args = {.name = NAME, .vcpus = 1};
    uint32_t id = (uint32_t)must(call(HC_DOM_CREATE, (uintptr_t)&args, sizeof(args), 0), "create");
    uint64_t half = memory_bytes / 2 / PAGE_SIZE * PAGE_SIZE, from = clock_us(), took;

    if (call(HC_DOM_CREATE, (uintptr_t)&args, sizeof(args), 0) != -HC_EEXIST) {
        damage("domains", "a second domain of the same name");
    }
    must(call(HC_DOM_MEMORY, id, half, 0), "HC_DOM_MEMORY");
    must(call(HC_DOM_MEMORY, id, memory_bytes - half, 0), "HC_DOM_MEMORY");
    took = clock_us() - from;
    restart_us = took > restart_us ? took : restart_us;
    expect_state(id, HC_DOM_NEW, "created");
    if (call(HC_DOM_START, id, 0, 0) != -HC_ENOEXEC) {
        damage("domains", "started without a payload");
    }
    return id;
}

static void load(uint32_t id)
{
    static const char words[] = "seed=7 maxgap=20000";
    struct hc_lu_load pages;
    struct hc_dom_load args = {
        .id = id, .cmdline = (uintptr_t)words, .cmdline_bytes = sizeof(words) - 1};

    image_scatter(&payload, &rng, &pages);
    args.list = pages.list;
    args.pages = pages.pages;
    args.bytes = pages.bytes;
    must(call(HC_DOM_LOAD, (uintptr_t)&args, sizeof(args), 0), "HC_DOM_LOAD");
    image_pages_scribble(); /* they are this guest's again */
    expect_state(id, HC_DOM_NEW, "loaded");
}

/* Reads all that the child has printed from `at` on; returns the position behind it. */
static uint64_t read_output(uint32_t id, uint64_t at)
{
    struct hc_console c = {.at = at};
    int64_t n;

    do {
        c.buffer = (uintptr_t)output;
        c.bytes = sizeof(output);
        n = must(call(HC_CONSOLE_READ, (uintptr_t)&c, sizeof(c), id), "HC_CONSOLE_READ");
    } while (n == sizeof(output));
    return c.at;
}

/* The child prints, and so is alive: its position when that was seen. */
static uint64_t alive(uint32_t id, uint64_t at, const char *when)
{
    for (uint64_t waited = 0; waited < timeout_ms(); waited += 20) {
        uint64_t now = read_output(id, at);

        if (now > at) {
            return now;
        }
        sleep_ms(20);
    }
    damage("domains", "%s: nothing printed within %u ms", when, timeout_ms());
}

static uint64_t paused(uint32_t id, const char *when)
{
    uint64_t at, runs;

    must(call(HC_DOM_STATS, (uintptr_t)&stats, sizeof(stats), id), "HC_DOM_STATS");
    runs = stats.run_cycles;
    at = read_output(id, 0);
    sleep_ms(100);
    must(call(HC_DOM_STATS, (uintptr_t)&stats, sizeof(stats), id), "HC_DOM_STATS");
    if (read_output(id, at) != at || stats.run_cycles != runs || stats.console_bytes != at) {
        damage("domains", "%s: it runs", when);
    }
    expect_state(id, HC_DOM_PAUSED, when);
    return at;
}

static void check_stats(uint32_t id)
{
    uint64_t bytes = 0, exits = 0;

    must(call(HC_DOM_STATS, (uintptr_t)&stats, sizeof(stats), id), "HC_DOM_STATS");
    for (unsigned int i = 0; i < HC_ORDERS; i++) {
        bytes += stats.extents[i] << (12 + i);
    }
    for (unsigned int i = 0; i < HC_EXIT_KINDS; i++) {
        exits += strcmp(stats.exit_names[i], "io") == 0 ? stats.exits[i] : 0;
    }
    if (bytes != memory_bytes || exits == 0 || stats.run_cycles == 0) {
        damage("domains", "statistics: %" P64 "u bytes, %" P64 "u exits for I/O", bytes, exits);
    }
}

static void destroy(uint32_t id)
{
    struct hc_domain d;
    uint64_t waited = 0;

    must(call(HC_DOM_DESTROY, id, 0, 0), "HC_DOM_DESTROY");
    while (find(id, &d)) {
        if (d.state != HC_DOM_DYING || waited++ > timeout_ms()) {
            damage("domains", "destroyed, and in state %u after %" P64 "u ms", d.state, waited);
        }
        sleep_ms(1);
    }
    if (call(HC_DOM_PAUSE, id, 0, 0) != -HC_ENOENT) {
        damage("domains", "destroyed, and not gone");
    }
}

static void round(unsigned int n, enum moment when)
{
    uint64_t at = 0;
    uint32_t id;

    if (when == WHEN_NONE) {
        update(n, moments[when]);
        settle();
    }
    id = create();
    if (when == WHEN_NEW) {
        update(n, moments[when]);
        expect_state(id, HC_DOM_NEW, "updated when new");
    }
    load(id);
    if (when == WHEN_LOADED) {
        update(n, moments[when]);
        expect_state(id, HC_DOM_NEW, "updated when loaded");
    }
    must(call(HC_DOM_START, id, 0, 0), "HC_DOM_START");
    at = alive(id, at, "started");
    sleep_ms(interval_ms);
    check_stats(id);
    if (when == WHEN_RUNNING) {
        update(n, moments[when]);
        at = alive(id, at, "updated when running");
    }
    must(call(HC_DOM_PAUSE, id, 0, 0), "HC_DOM_PAUSE");
    at = paused(id, "paused");
    if (when == WHEN_PAUSED) {
        update(n, moments[when]);
        if (paused(id, "updated when paused") != at) {
            damage("domains", "its output has moved over an update");
        }
    }
    must(call(HC_DOM_RESUME, id, 0, 0), "HC_DOM_RESUME");
    (void)alive(id, at, "resumed");
    expect_state(id, HC_DOM_RUNNING, "resumed");
    if (rand64(&rng) % 2 == 0) {
        must(call(HC_DOM_PAUSE, id, 0, 0), "HC_DOM_PAUSE");
    }
    settle(); /* so that the account still has the child */
    destroy(id);
}

int guest_main(void)
{
    uint64_t updates = cmdline_number("updates", 5);

    rng = cmdline_number("seed", 1);
    memory_bytes = cmdline_number("memory", 24) << 20;
    interval_ms = cmdline_number("interval", 100);
    if (boot.module_count == 0) {
        damage("domains", "no module to make a guest of");
    }
    payload.data = (uint8_t *)(uintptr_t)boot.modules[0].mem.start;
    payload.bytes = boot.modules[0].mem.end - boot.modules[0].mem.start;
    ram_init(true);
    image_pages_init(payload.bytes);
    for (unsigned int n = 1; n <= updates; n++) {
        round(n, n == 1 || n == updates ? WHEN_NONE : (enum moment)(n % (MOMENTS - 1) + 1));
        report(true, "domains", "round %u", n);
    }
    report(true, "domains", "memory given within %" P64 "u us", restart_us);
    report_end();
}
