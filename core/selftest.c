/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Breaking rules on purpose: the memory protections and the panic path, shown on the real machine.
 */
#include "hv/selftest.h"

#include "hv/buddy.h"
#include "hv/cmdline.h"
#include "hv/domain.h"
#include "hv/frametable.h"
#include "hv/lu.h"
#include "hv/phase.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/time.h"
#include "hv/watchdog.h"
#include "public/hypercall.h"

#define LOST_POINTER 0xffffb00000000000UL /* of the direct map, where there is no RAM */
#define WATCHDOG_SPIN_US 240000U          /* four periods and a part of one */

static void do_panic(void)
{
    panic("selftest: asked for");
}

/* Text is not writable. */
static void write_text(void)
{
    volatile uint8_t *text = (volatile uint8_t *)(uintptr_t)do_panic;

    *text = 0;
}

/* Constants are not writable. */
static void write_rodata(void)
{
    volatile char *version = (volatile char *)(uintptr_t)lu_version;

    *version = 'x';
}

/* Data is not executable. */
static void run_data(void)
{
    static uint8_t code[] = {0xc3}; /* ret */

    ((void (*)(void))(uintptr_t)code)();
}

/* RAM is not executable through the direct map. */
static void run_direct_map(void)
{
    mfn_t mfn = buddy_alloc(ORDER_4K, FRAME_IMAGE, OWNER_NONE);
    uint8_t *page = mfn_to_va(mfn);

    page[0] = 0xc3; /* ret */
    ((void (*)(void))(uintptr_t)page)();
}

/* Nothing is mapped at address 0, and nothing in the lower half. */
static void read_null(void)
{
    volatile const uint8_t *volatile null = (volatile const uint8_t *)(uintptr_t)8;

    (void)*null;
}

/* The stack ends at a page that is not mapped; the fault is handled on a stack of its own. */
static unsigned int overflow_stack(unsigned int depth)
{
    volatile uint8_t frame[1024]; /* so that the backtrace reaches the caller */

    frame[depth % sizeof(frame)] = (uint8_t)depth;
    return depth == ~0U ? 0 : overflow_stack(depth + 1) + frame[0];
}

static void stack(void)
{
    (void)overflow_stack(0);
}

/* Memory of the region cannot become anything that is preserved. */
static void region(void)
{
    static const enum frame_state preserved[] = {FRAME_GUEST, FRAME_STREAM, FRAME_MODULE,
                                                 FRAME_RECORDER};
    struct hc_lu_region r;

    lu_get_region(&r);
    for (unsigned int i = 0; i < ARRAY_SIZE(preserved); i++) {
        mfn_t mfn = pa_to_mfn(r.arena_base[1 - r.active]);

        if (frametable_claim(mfn, ORDER_4K, preserved[i], 1) == 0) {
            return;
        }
    }
    panic("selftest: region memory was refused to everything that is preserved");
}

/* A panic that finds the list of domains damaged. */
static void lost(void)
{
    struct domain *d = domain_list;

    while (d != NULL && d->next != NULL) {
        d = d->next;
    }
    if (d != NULL) {
        d->next = (struct domain *)(uintptr_t)LOST_POINTER;
    }
    do_panic();
}

/* A panic that faults while it is printed. */
static void again(void)
{
    phase = (const char *)(uintptr_t)LOST_POINTER;
    do_panic();
}

static void spin_until(uint64_t tsc)
{
    while (tsc_read() < tsc) {
        cpu_pause();
    }
}

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    {"panic", do_panic},         {"write-text", write_text}, {"write-rodata", write_rodata},
    {"run-data", run_data},      {"run-ram", run_direct_map}, {"null", read_null},
    {"stack", stack},            {"region", region},          {"lost", lost},
    {"again", again},
};

/* NMIs come with interrupts off, one in each period, and none any more when they are stopped. */
static void watchdog(const struct boot_info *info)
{
    unsigned int seen;

    if (!watchdog_prepare(info)) {
        return; /* said why */
    }
    watchdog_arm();
    spin_until(tsc_read() + us_to_tsc(WATCHDOG_SPIN_US));
    seen = watchdog_nmis();
    watchdog_stop();
    spin_until(tsc_read() + us_to_tsc(WATCHDOG_SPIN_US));
    printk("selftest: watchdog: NMIs in %u ms: %u, then stopped: %u", WATCHDOG_SPIN_US / 1000, seen,
           watchdog_nmis() - seen);
}

void selftest_run(const struct boot_info *info)
{
    struct str_span name;

    if (!cmdline_get(info->cmdline, "selftest", &name)) {
        return;
    }
    if (span_eq(name, "watchdog")) {
        watchdog(info);
        return;
    }
    for (unsigned int i = 0; i < ARRAY_SIZE(tests); i++) {
        if (span_eq(name, tests[i].name)) {
            tests[i].run();
            printk("selftest: %s: not caught", tests[i].name);
            return;
        }
    }
    printk("selftest: \"%.*s\" is unknown", (int)name.len, name.s);
}
