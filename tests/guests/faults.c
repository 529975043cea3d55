/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control domain's program for faults in updates: arms one after the other, tries an update,
 * and checks that what comes of it is what its list says; then a good update has to work.
 *
 * The list is its first multiboot module, a line each:
 *
 *     POINT KIND N SEED EXPECT [REPEAT]
 *
 * EXPECT: "back" (the new image ran and failed), "pause" (the old one failed before), "refused"
 * (the update did not come to that), "ok" (it works all the same), or several with '|' between.
 * REPEAT: so many seeds, from SEED on. With the kind "alloc" and N 0, allocations are counted in a
 * good update, and then each of them fails once; SEED (1: all) says every how many.
 *
 * A line "- good N" is for endurance: N good updates, all image modules in turns (of which only the
 * test images know faults), and then the guest's clock against the host's.
 *
 * Command line: still=ID, a paused domain whose memory must not change; digest=N, looked at after
 * every N faults (8) and at the end; good=N, a good update after every N faults (1); settle=US, a
 * rest after each update, for the work that follows it (20000; 200000 with engine=tcg); alone=1 as
 * in lib/alone.h.
 */
#include "lib/alone.h"
#include "lib/bootinfo.h"
#include "lib/clock.h"
#include "lib/lib.h"
#include "lib/molt.h"
#include "lib/x86.h"
#include "public/fault.h"

#define FIELD 32
#define REASON 64

struct line {
    struct hc_fault fault;
    char expect[FIELD];
    uint64_t repeat;
};

static struct area faults_area = {"faults", 0};

static uint64_t still; /* 0: none */
static int64_t still_digest;
static uint64_t settle_us;
static uint64_t digest_every;
static uint64_t good_every;
static uint64_t since_good;

/* ---- the list ---- */

static const char *list_at, *list_end;

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The next word of the line; empty at its end. */
static void take_word(char *out, size_t size)
{
    size_t n = 0;

    while (list_at < list_end && blank(*list_at)) {
        list_at++;
    }
    while (list_at < list_end && !blank(*list_at) && *list_at != '\n') {
        if (n + 1 == size) {
            damage("list", "a word is longer than %u characters", (unsigned int)size - 1);
        }
        out[n++] = *list_at++;
    }
    memset(out + n, 0, size - n);
}

static uint64_t take_number(uint64_t otherwise)
{
    char text[FIELD];
    uint64_t v = 0;

    take_word(text, sizeof(text));
    for (const char *p = text; *p != '\0'; p++) {
        if (*p < '0' || *p > '9') {
            damage("list", "\"%s\" is no number", text);
        }
        v = v * 10 + (uint64_t)(*p - '0');
    }
    return text[0] != '\0' ? v : otherwise;
}

static bool take_line(struct line *l)
{
    memset(l, 0, sizeof(*l));
    while (list_at < list_end && *list_at == '\n') {
        list_at++;
    }
    take_word(l->fault.point, sizeof(l->fault.point));
    if (l->fault.point[0] == '\0') {
        return false;
    }
    take_word(l->fault.kind, sizeof(l->fault.kind));
    l->fault.n = take_number(1);
    l->fault.seed = take_number(0);
    take_word(l->expect, sizeof(l->expect));
    l->repeat = take_number(1);
    return true;
}

/* Is it one of the words between '|'? */
static bool expected(const char *list, const char *outcome)
{
    size_t n = strlen(outcome);

    while (*list != '\0') {
        const char *end = list;

        while (*end != '\0' && *end != '|') {
            end++;
        }
        if ((size_t)(end - list) == n && strncmp(list, outcome, n) == 0) {
            return true;
        }
        list = *end == '|' ? end + 1 : end;
    }
    return false;
}

/* ---- molt ---- */

static struct hc_info get_info(void)
{
    struct hc_info info;

    if (molt_info(&info) != 0) {
        damage("hypercall", "HC_INFO");
    }
    return info;
}

static struct hc_lu_status get_status(void)
{
    struct hc_lu_status status;

    if (molt_status(&status) != 0) {
        damage("hypercall", "HC_LU_STATUS");
    }
    return status;
}

static struct hc_fault_status get_fault_status(void)
{
    struct hc_fault_status status;

    if (molt_call(HC_FAULT_STATUS, (uintptr_t)&status, sizeof(status), 0, 0) != 0) {
        damage("hypercall", "HC_FAULT_STATUS");
    }
    return status;
}

static void arm(const struct hc_fault *f)
{
    int64_t r = molt_call(HC_FAULT_ARM, (uintptr_t)f, sizeof(*f), 0, 0);

    if (r != 0) {
        damage("fault", "%s %s: cannot be armed: %" P64 "d", f->point, f->kind, r);
    }
}

static void disarm(void)
{
    static const struct hc_fault none;

    arm(&none);
}

/* Load and exec; *loaded: whether it came to exec. */
static int64_t try_update(bool *loaded)
{
    static const struct hc_lu_load load = {.source = HC_LU_SOURCE_MODULE,
                                           .module = HC_LU_MODULE_OTHER};
    int64_t r = alone_load(&load);

    *loaded = r == 0;
    return r == 0 ? molt_call(HC_LU_EXEC, 0, 0, 0, 0) : r;
}

/* After an update the image's heap opens, and the other arena is made free. */
static void settle(void)
{
    if (molt_sleep(settle_us) != 0) {
        damage("hypercall", "HC_SLEEP");
    }
}

/* ---- checks ---- */

static void check_still(const char *when)
{
    if (still != 0) {
        int64_t digest = molt_call(HC_FAULT_DIGEST, still, 0, 0, 0);

        if (digest != still_digest) {
            damage("digest", "%s: domain %" P64 "u: 0x%" P64 "x, was 0x%" P64 "x", when, still,
                   (uint64_t)digest, (uint64_t)still_digest);
        }
    }
}

static void check_audit(const char *when)
{
    struct hc_audit audit;
    int64_t r = molt_call(HC_LU_AUDIT, (uintptr_t)&audit, sizeof(audit), 0, 0);

    if (r != 0) {
        damage("audit", "%s: %" P64 "d, %" P64 "u mismatches, first mfn 0x%" P64 "x: %s", when, r,
               audit.mismatches, audit.mfn, audit.text);
    }
}

/* Nothing is armed: it works, at once. */
static void good_update(void)
{
    struct hc_info before = get_info(), after;
    struct hc_lu_status status;
    bool loaded;
    int64_t r;

    disarm();
    r = try_update(&loaded);
    after = get_info();
    status = get_status();
    if (r != 0 || after.updates != before.updates + 1 ||
        strcmp(after.build_id, before.build_id) == 0 || status.code != HC_LU_R_NONE) {
        damage("good update", "%" P64 "d, updates %" P64 "u after %" P64 "u, code %u %s", r,
               after.updates, before.updates, status.code, status.reason);
    }
    since_good = 0;
    settle();
}

/* What became of the update, and whether everything fits that. NULL: it does not. */
static const char *outcome_of(int64_t r, bool loaded, const struct hc_info *before,
                              const struct hc_lu_status *was)
{
    struct hc_info after = get_info();
    struct hc_lu_status s = get_status();
    bool same = strcmp(after.build_id, before->build_id) == 0 && after.updates == before->updates;

    if (r == 0) {
        return !same && after.updates == before->updates + 1 && s.code == HC_LU_R_NONE ? "ok"
                                                                                       : NULL;
    }
    if (!same || s.refused != was->refused + 1 || s.reason[0] == '\0' || s.last_result != r) {
        return NULL;
    }
    if (r == -HC_ECANCELED) {
        const char *how = s.code == HC_LU_R_PAUSE         ? "pause"
                          : s.code >= HC_LU_R_BACK_SILENT ? "back"
                                                          : NULL;

        return loaded && s.backs == was->backs + 1 && s.back_blackout != 0 ? how : NULL;
    }
    return s.code != HC_LU_R_NONE && s.code < HC_LU_R_BACK_SILENT && s.backs == was->backs
               ? "refused"
               : NULL;
}

/* One fault. */
static void inject(const struct hc_fault *f, const char *expect)
{
    struct hc_info before = get_info();
    struct hc_lu_status was = get_status(), s;
    struct hc_fault_status faults = get_fault_status();
    uint64_t fired = faults.fired;
    const char *outcome;
    char reason[REASON]; /* so much of it that the line is not printed in pieces */
    bool loaded;
    int64_t r;

    arm(f);
    r = try_update(&loaded);
    settle();
    outcome = outcome_of(r, loaded, &before, &was);
    s = get_status();
    faults = get_fault_status();
    fired = faults.fired - fired;
    str_copy(reason, s.reason, sizeof(reason));
    print_crc("fault point=%s kind=%s n=%" P64 "u seed=%" P64 "u result=%" P64
              "d outcome=%s code=%u blackout=%" P64 "u reason=\"%s\"",
              f->point, f->kind, f->n, f->seed, r, outcome != NULL ? outcome : "wrong", s.code,
              r == -HC_ECANCELED ? s.back_blackout : 0, reason);
    if (outcome != NULL && fired == 0 && r == 0 && faults.allocations < f->n &&
        strcmp(f->kind, "alloc") == 0) {
        expect = "ok"; /* the first update needs more than the later ones */
    } else if (outcome == NULL || !expected(expect, outcome) || fired != 1) {
        report(false, "fault",
               "%s %s n=%" P64 "u seed=%" P64 "u: %s, expected %s; came to pass %" P64 "u times",
               f->point, f->kind, f->n, f->seed, outcome != NULL ? outcome : "wrong", expect,
               fired);
    }
    faults_area.checks++;
    if (faults_area.checks % digest_every == 0) {
        check_still(f->point);
    }
    check_audit(f->point);
    if (++since_good >= good_every) {
        good_update();
    }
}

/* ---- endurance ---- */

/* Guest TSC less host TSC, as near as a hypercall tells: the middle of the shortest of some. */
static int64_t clock_offset(void)
{
    uint64_t best = UINT64_MAX;
    int64_t offset = 0;

    for (int i = 0; i < 8; i++) {
        uint64_t from = rdtsc();
        uint64_t host = get_fault_status().tsc;
        uint64_t took = rdtsc() - from;

        if (took < best) {
            best = took;
            offset = (int64_t)(from + took / 2 - host);
        }
    }
    return offset;
}

static bool is_test_image(void)
{
    struct hc_fault_status status;

    return molt_call(HC_FAULT_STATUS, (uintptr_t)&status, sizeof(status), 0, 0) == 0;
}

/* The next module that is not what runs. */
static void update_in_turn(void)
{
    static uint32_t module;
    struct hc_info before = get_info(), after;
    struct hc_lu_load load = {.source = HC_LU_SOURCE_MODULE};
    struct hc_lu_status status;
    int64_t r;

    do {
        load.module = module++ % get_status().modules;
        r = alone_load(&load);
        status = get_status();
    } while (r == 0 && strcmp(status.loaded_build_id, before.build_id) == 0);
    if (r == 0) {
        r = molt_call(HC_LU_EXEC, 0, 0, 0, 0);
    }
    after = get_info();
    if (r != 0 || after.updates != before.updates + 1) {
        damage("endurance", "update %" P64 "u: %" P64 "d %s", before.updates + 1, r,
               get_status().reason);
    }
    settle();
}

static void good_updates(uint64_t n)
{
    int64_t before = clock_offset(), drift;
    uint64_t made = 0;

    for (; made < n || !is_test_image(); made++) {
        update_in_turn();
    }
    drift = clock_offset() - before;
    drift = drift < 0 ? -drift : drift;
    report(clock_cycles_to_us((uint64_t)drift) < made, "endurance",
           "%" P64 "u updates: the clock is %" P64 "d cycles away from the host's", made, drift);
}

/* ---- allocations ---- */

/* How many there are on this way, by a good update. */
static uint64_t count_allocations(const struct hc_fault *f)
{
    struct hc_fault dry = *f;
    struct hc_fault_status s;
    bool loaded;
    int64_t r;

    dry.n = 0;
    arm(&dry);
    r = try_update(&loaded);
    s = get_fault_status();
    if (r != 0 || s.allocations == 0) {
        damage("alloc", "%s: dry run: %" P64 "d, %" P64 "u allocations, %s", f->point, r,
               s.allocations, get_status().reason);
    }
    disarm();
    settle();
    return s.allocations;
}

/* Each fails once, or every seed-th one. Both images count for themselves, since their structures
 * differ in size: with a good update after each fault the two take turns. */
static void sweep_allocations(const struct line *l)
{
    uint64_t count[2], step = l->fault.seed != 0 ? l->fault.seed : 1;
    uint64_t was = good_every;
    unsigned int image = 0;

    good_every = 1;
    count[0] = count_allocations(&l->fault); /* from the running one */
    count[1] = count_allocations(&l->fault);
    print_crc("allocations point=%s count=%" P64 "u,%" P64 "u", l->fault.point, count[0], count[1]);
    for (uint64_t n = 1; n <= count[0] || n <= count[1]; n += step) {
        for (unsigned int i = 0; i < 2; i++, image = 1 - image) {
            struct hc_fault f = l->fault;

            f.n = n;
            if (n <= count[image]) {
                inject(&f, l->expect);
            } else {
                good_update();
            }
        }
    }
    good_every = was;
}

/* ---- all of it ---- */

static void start(void)
{
    struct hc_info info = get_info();

    if ((info.flags & HC_INFO_CONTROL) == 0 || boot.module_count == 0) {
        damage("faults", "domain %u, %u modules: not the control domain, or no list",
               info.domain_id, boot.module_count);
    }
    good_every = cmdline_number("good", 1);
    digest_every = cmdline_number("digest", 8);
    settle_us = cmdline_number("settle", cpu_is_exact() ? 20000 : 200000);
    still = cmdline_number("still", 0);
    if (still != 0) {
        int64_t r = molt_call(HC_DOM_PAUSE, still, 0, 0, 0);

        still_digest = molt_call(HC_FAULT_DIGEST, still, 0, 0, 0);
        if (r != 0 || still_digest < 0) {
            damage("digest", "domain %" P64 "u: pause %" P64 "d, digest %" P64 "d", still, r,
                   still_digest);
        }
    }
    list_at = (const char *)(uintptr_t)boot.modules[0].mem.start;
    list_end = (const char *)(uintptr_t)boot.modules[0].mem.end;
}

int guest_main(void)
{
    struct line l;

    start();
    while (take_line(&l)) {
        if (strcmp(l.fault.kind, "alloc") == 0 && l.fault.n == 0) {
            sweep_allocations(&l);
            continue;
        }
        if (strcmp(l.fault.kind, "good") == 0) {
            good_updates(l.fault.n);
            continue;
        }
        for (uint64_t i = 0; i < l.repeat; i++, l.fault.seed++) {
            inject(&l.fault, l.expect);
        }
    }
    good_update();
    check_still("in the end");
    if (still != 0) {
        report(molt_call(HC_DOM_RESUME, still, 0, 0, 0) == 0, "digest", "domain %" P64 "u resumed",
               still);
    }
    report_area(&faults_area);
    report_end();
}
