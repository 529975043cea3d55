/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control domain's program: updates molt again and again, and checks what it is told.
 *
 * Command line: updates=N (0: only sleeps, until the run ends), interval=MS (1000), delay=MS before
 * the first update (0), source=module|pages|both (module), maxgap=MS (2000), seed=N (1), jitter=US
 * (0), modules=N,N,... . With source=pages the images are its own multiboot modules; both takes
 * turns. With modules= the image modules of those indexes come one after the other, again and
 * again; without it the one that does not run. With audit=1 molt audits itself before each update
 * and right after it, in the middle of the work that follows. With jitter= the moments of the
 * updates are random, by the seed: each interval is longer by up to so many microseconds, and some
 * instructions more or less pass before HC_LU_EXEC. alone=1 as in lib/alone.h.
 */
#include "lib/alone.h"
#include "lib/bootinfo.h"
#include "lib/clock.h"
#include "lib/cpu.h"
#include "lib/cpustate.h"
#include "lib/fpuwin.h"
#include "lib/gpr.h"
#include "lib/image.h"
#include "lib/lib.h"
#include "lib/mempat.h"
#include "lib/molt.h"
#include "lib/x86.h"

#define DEFAULT_INTERVAL_MS 1000U
#define IDLE_SLEEP_US 100000U
#define CHECK_PAGES 256U /* a MiB */
#define SPIN_MAX 2000U
#define MODULES_MAX 16U
#define SHORT_ID 17 /* of a build id, in a line */

enum source { SOURCE_MODULE, SOURCE_PAGES, SOURCE_BOTH };

static uint64_t rng;
static uint64_t moments; /* random numbers too */
static uint64_t jitter_us;
static bool audits; /* audit= */
static enum source source;
static uint32_t turns[MODULES_MAX]; /* modules= */
static unsigned int turn_count;
static struct hc_info info;

static void get_info(void)
{
    int64_t r = molt_info(&info);

    if (r != 0) {
        damage("hypercall", "HC_INFO returned %" P64 "d", r);
    }
}

static void get_status(struct hc_lu_status *status)
{
    int64_t r;

    memset(status, 0xa5, sizeof(*status));
    r = molt_status(status);
    if (r != 0) {
        damage("hypercall", "HC_LU_STATUS returned %" P64 "d", r);
    }
}

static void get_region(struct hc_lu_region *region)
{
    int64_t r;

    memset(region, 0xa5, sizeof(*region));
    r = molt_call(HC_LU_REGION, (uintptr_t)region, sizeof(*region), 0, 0);
    if (r != 0) {
        damage("hypercall", "HC_LU_REGION returned %" P64 "d", r);
    }
    if (region->active > 1 || region->size == 0) {
        damage("region", "active arena %u, size 0x%" P64 "x", region->active, region->size);
    }
    for (unsigned int i = 0; i < 2; i++) {
        if (region->arena_base[i] < region->base ||
            region->arena_base[i] + region->arena_size[i] > region->base + region->size) {
            damage("region", "arena %u lies outside", i);
        }
    }
}

static void sleep_us(uint64_t us)
{
    uint64_t from = clock_check();
    uint64_t slept;
    int64_t r = molt_sleep(us);

    slept = clock_cycles_to_us(rdtsc() - from);
    if (r != 0 || slept < us || slept > us + clock_max_allowed_us()) {
        damage("sleep", "HC_SLEEP of %" P64 "u us returned %" P64 "d after %" P64 "u us", us, r,
               slept);
    }
    clock_restart_gap();
}

static void wait_for_next(uint64_t interval_ms)
{
    sleep_us(interval_ms * 1000 + (jitter_us != 0 ? rand64(&moments) % jitter_us : 0));
}

/* A random number of instructions: other CPUs' vCPUs stop at others of theirs. */
static void spin_at_random(void)
{
    uint64_t n = jitter_us != 0 ? rand64(&moments) % SPIN_MAX : 0;

    while (n-- > 0) {
        __asm__ volatile("" ::: "memory");
    }
}

static void load_image(unsigned int n)
{
    struct hc_lu_load load = {0};
    struct hc_lu_status status;
    struct image image;
    int64_t r;

    if (source == SOURCE_PAGES || (source == SOURCE_BOTH && n % 2 == 0)) {
        if (!image_other(info.build_id, &image)) {
            damage("update", "no module holds an image other than %s", info.build_id);
        }
        image_scatter(&image, &rng, &load);
    } else {
        load.source = HC_LU_SOURCE_MODULE;
        load.module = turn_count != 0 ? turns[(n - 1) % turn_count] : HC_LU_MODULE_OTHER;
    }
    r = alone_load(&load);
    get_status(&status);
    if (r != 0) {
        damage("update", "n=%u: HC_LU_LOAD returned %" P64 "d: %s", n, r, status.reason);
    }
    if (status.state != HC_LU_LOADED || status.last_result != 0) {
        damage("update", "n=%u: loaded, but state %u, last result %d", n, status.state,
               status.last_result);
    }
    if (strcmp(status.loaded_build_id, info.build_id) == 0 || status.loaded_build_id[0] == '\0') {
        damage("update", "n=%u: loaded build id \"%s\" under \"%s\"", n, status.loaded_build_id,
               info.build_id);
    }
    /* The pages are this guest's again. */
    if (load.source == HC_LU_SOURCE_PAGES) {
        image_pages_scribble();
    }
}

/* HC_LU_EXEC with every register of the CPU holding a value of its own. */
static uint64_t exec(unsigned int n)
{
    struct hc_lu_status status;
    uint64_t from;
    uint64_t gap;
    int64_t r;
    unsigned int i;

    cpustate_begin(&rng);
    fpu_window_begin(&rng);
    gpr_fill(&rng, gpr_flags_kernel());
    gpr_in[GPR_RAX] = HC_LU_EXEC;
    from = clock_check();
    gpr_vmcall();
    gap = clock_check() - from;
    r = (int64_t)gpr_out[GPR_RAX];
    if (r != 0) {
        get_status(&status);
        damage("update", "n=%u: HC_LU_EXEC returned %" P64 "d: %s", n, r, status.reason);
    }
    i = gpr_difference(1U << GPR_RAX);
    if (i != GPR_COUNT) {
        damage("gpr", "n=%u: %s after HC_LU_EXEC: expected 0x%" P64 "x, got 0x%" P64 "x", n,
               gpr_name(i), gpr_in[i], gpr_out[i]);
    }
    gpr_area.checks++;
    fpu_window_check();
    cpustate_check();
    cpustate_fire();
    return gap;
}

static void check_phases(unsigned int n, const struct hc_lu_status *s)
{
    const uint64_t phases[] = {s->phase_save, s->phase_jump, s->phase_boot, s->phase_adopt,
                               s->phase_resume};
    static const char *const names[] = {"save", "jump", "boot", "adopt", "resume"};

    for (size_t i = 0; i < ARRAY_SIZE(phases); i++) {
        if (phases[i] == 0 || phases[i] > s->blackout) {
            report(false, "phases", "n=%u: %s took %" P64 "u cycles of a blackout of %" P64 "u", n,
                   names[i], phases[i], s->blackout);
        }
    }
}

static void update(unsigned int n)
{
    struct hc_info before;
    struct hc_lu_status loaded;
    struct hc_lu_status status;
    struct hc_lu_region old_region;
    struct hc_lu_region region;
    char from[SHORT_ID];
    char to[SHORT_ID];
    uint64_t gap;

    get_info();
    before = info;
    get_region(&old_region);
    load_image(n);
    get_status(&loaded);
    if (jitter_us != 0) { /* by now the others wait for their slices, where they stopped */
        sleep_us(rand64(&moments) % jitter_us);
    }
    spin_at_random();
    gap = exec(n);
    get_info();
    get_status(&status);
    get_region(&region);
    str_copy(from, before.build_id, sizeof(from));
    str_copy(to, info.build_id, sizeof(to));
    print_crc("update n=%u from=%s to=%s blackout=%" P64 "u cycles save=%" P64 "u jump=%" P64
              "u boot=%" P64 "u adopt=%" P64 "u resume=%" P64 "u gap_us=%" P64 "u",
              n, from, to, status.blackout, status.phase_save, status.phase_jump, status.phase_boot,
              status.phase_adopt, status.phase_resume, clock_cycles_to_us(gap));
    if (info.updates != before.updates + 1 || status.updates != info.updates) {
        damage("update", "n=%u: updates were %" P64 "u, HC_INFO says %" P64 "u, status %" P64 "u",
               n, before.updates, info.updates, status.updates);
    }
    if (strcmp(info.build_id, loaded.loaded_build_id) != 0) {
        damage("update", "n=%u: loaded was %s, running is %s", n, loaded.loaded_build_id,
               info.build_id);
    }
    if (status.stream_version == 0) {
        damage("update", "n=%u: no stream version", n);
    }
    if (info.tsc_khz != before.tsc_khz || info.memory_bytes != before.memory_bytes ||
        info.domain_id != before.domain_id || (info.flags & HC_INFO_CONTROL) == 0) {
        damage("update", "n=%u: HC_INFO changed", n);
    }
    report(status.state == HC_LU_IDLE && status.last_result == 0 && status.reason[0] == '\0',
           "update", "n=%u: done, state %u, result %d, reason \"%s\"", n, status.state,
           status.last_result, status.reason);
    report(region.active != old_region.active, "region", "n=%u: arena %u after %u", n,
           region.active, old_region.active);
    check_phases(n, &status);
}

static _Noreturn void final_report(void)
{
    struct area *areas[] = {
        &mempat_area, &gpr_area,   &fpu_area,     &avx_area,    &avx512_area,
        &xcr0_area,   &msr_area,   &control_area, &tables_area, &debug_area,
        &paging_area, &cpuid_area, &clock_area,
    };

    mempat_verify_all(NULL);
    for (size_t i = 0; i < ARRAY_SIZE(areas); i++) {
        report_area(areas[i]);
    }
    report_end();
}

/* Everybody in molt agrees on whose each frame is. */
static void audit(unsigned int n, const char *when)
{
    struct hc_audit found;
    uint64_t from, cycles;
    int64_t r;

    memset(&found, 0xa5, sizeof(found));
    from = clock_check();
    r = molt_call(HC_LU_AUDIT, (uintptr_t)&found, sizeof(found), 0, 0);
    cycles = clock_check() - from;
    if (r != 0 || found.mismatches != 0 || found.frames == 0 || found.text[0] != '\0') {
        damage("audit", "n=%u %s: HC_LU_AUDIT returned %" P64 "d, mfn 0x%" P64 "x: %s", n, when, r,
               found.mfn, found.text);
    }
    print_crc("audit n=%u %s frames=%" P64 "u cycles=%" P64 "u", n, when, found.frames, cycles);
}

/* Nothing to do but to be there. */
static _Noreturn void idle(void)
{
    while (!molt_shutdown()) {
        sleep_us(IDLE_SLEEP_US);
    }
    report(true, "control", "slept until the run ended");
    report_end();
}

/* Single digits between commas. */
static void read_turns(void)
{
    char text[2 * MODULES_MAX];

    cmdline_text("modules", text, sizeof(text), "");
    for (const char *p = text; *p >= '0' && *p <= '9'; p++) {
        turns[turn_count++] = (uint32_t)(*p - '0');
        if (*++p != ',') {
            break;
        }
    }
}

static void start(void)
{
    uint64_t largest = 0;
    char text[16];

    if (!molt_present()) {
        damage("control", "no molt here");
    }
    get_info();
    if ((info.flags & HC_INFO_CONTROL) == 0) {
        damage("control", "domain %u is not the control domain", info.domain_id);
    }
    cmdline_text("source", text, sizeof(text), "module");
    source = strcmp(text, "pages") == 0  ? SOURCE_PAGES
             : strcmp(text, "both") == 0 ? SOURCE_BOTH
                                         : SOURCE_MODULE;
    rng = cmdline_number("seed", 1);
    moments = mix64(rng) | 1;
    audits = cmdline_number("audit", 0) != 0;
    jitter_us = cmdline_number("jitter", 0);
    read_turns();
    ram_init(true);
    paging_init();
    cpustate_init();
    if (source != SOURCE_MODULE) {
        for (unsigned int i = 0; i < boot.module_count; i++) {
            uint64_t bytes = boot.modules[i].mem.end - boot.modules[i].mem.start;

            largest = bytes > largest ? bytes : largest;
        }
        if (largest == 0) {
            damage("control", "source=%s, but no modules", text);
        }
        image_pages_init(largest);
    }
    mempat_init(rand64(&rng));
    print_crc("control domain=%u modules=%u source=%s pages=%" P64 "u khz=%" P64 "u version=%s",
              info.domain_id, boot.module_count, text, mempat_pages(), clock_khz(), info.version);
    clock_restart_gap();
}

int guest_main(void)
{
    uint64_t updates = cmdline_number("updates", 0);
    uint64_t interval = cmdline_number("interval", DEFAULT_INTERVAL_MS);

    start();
    if (updates == 0) {
        idle();
    }
    sleep_us(cmdline_number("delay", 0) * 1000);
    for (unsigned int n = 1; n <= updates; n++) {
        mempat_step(CHECK_PAGES);
        wait_for_next(interval);
        if (audits) {
            audit(n, "before");
        }
        update(n);
        if (audits) {
            audit(n, "after");
        }
    }
    final_report();
}
