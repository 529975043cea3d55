/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moltctl status, audit and update.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "door.h"
#include "frames.h"
#include "memory.h"
#include "moltctl.h"
#include "show.h"

static void get(uint64_t number, void *out, size_t bytes, const char *what)
{
    int64_t result;

    memset(out, 0, bytes);
    result = door_exchange(number, out, bytes, 0);
    if (result != 0) {
        fail(EXIT_REFUSED, result, "cannot read %s: %s", what, door_error_text(result));
    }
}

static void get_state(struct molt_state *m)
{
    get(HC_INFO, &m->info, sizeof(m->info), "what runs");
    get(HC_LU_STATUS, &m->lu, sizeof(m->lu), "the status of live update");
    get(HC_LU_REGION, &m->region, sizeof(m->region), "the live-update region");
}

int cmd_status(void)
{
    struct molt_state m;

    get_state(&m);
    if (options.json) {
        show_status_json(stdout, &m);
    } else {
        show_status(stdout, &m);
    }
    return EXIT_OK;
}

/* It is told what the audit has found whether that is good or bad. */
int cmd_audit(void)
{
    struct hc_audit found = {.frames = 0};
    int64_t result = door_exchange(HC_LU_AUDIT, &found, sizeof(found), 0);

    if (result != 0 && (result != -HC_EBADMSG || found.mismatches == 0)) {
        fail(EXIT_REFUSED, result, "no audit: %s", door_error_text(result));
    }
    if (options.json) {
        show_audit_json(stdout, &found);
    } else {
        show_audit(stdout, &found);
    }
    return found.mismatches == 0 ? EXIT_OK : EXIT_REFUSED;
}

/* One step more; with --json only the end is told. */
__attribute__((format(printf, 1, 2))) static void progress(const char *fmt, ...)
{
    va_list args;

    if (!options.json) {
        va_start(args, fmt);
        (void)vprintf(fmt, args);
        va_end(args);
        putchar('\n');
        (void)fflush(stdout);
    }
}

/* Loading and updating are two calls: nobody else's may come between them. */
static void one_at_a_time(void)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        fail(EXIT_REFUSED, 0, "cannot lock /proc/self/exe: %s", strerror(errno));
    }
}

_Noreturn static void refused(int64_t result, const char *what)
{
    struct hc_lu_status lu;

    get(HC_LU_STATUS, &lu, sizeof(lu), "the status of live update");
    if (lu.last_result == result && lu.reason[0] != '\0') {
        fail(EXIT_REFUSED, result, "%s: %s: %.*s (%s)", options.name, what,
             (int)strnlen(lu.reason, sizeof(lu.reason)), lu.reason, refusal_name(lu.code));
    }
    fail(EXIT_REFUSED, result, "%s: %s: %s", options.name, what, door_error_text(result));
}

static void load(void)
{
    struct hc_lu_load args = {.source = HC_LU_SOURCE_PAGES};
    struct pages image, list;
    int64_t result;

    args.bytes = pages_read_file(&image, options.name);
    args.pages = image.nr;
    args.list = pages_list(&list, &image);
    progress("loading %s: %llu bytes in %zu pages", options.name, (unsigned long long)args.bytes,
             image.nr);
    result = door_exchange(HC_LU_LOAD, &args, sizeof(args), 0);
    if (!pages_hold(&image) || !pages_hold(&list)) {
        fail(EXIT_REFUSED, 0, "memory has moved while molt read it; nothing is updated");
    }
    pages_put(&list);
    pages_put(&image);
    if (result != 0) {
        refused(result, "not loaded");
    }
}

int cmd_update(void)
{
    struct hc_info before;
    struct molt_state now;
    int64_t result;

    one_at_a_time();
    load();
    get_state(&now);
    before = now.info;
    progress("updating %.*s to %.*s", (int)sizeof(before.version), before.version,
             (int)sizeof(now.lu.loaded_version), now.lu.loaded_version);
    result = door_call(HC_LU_EXEC, 0, 0, 0);
    if (result != 0) {
        refused(result, "not updated");
    }
    get_state(&now);
    if (options.json) {
        show_update_json(stdout, &before, &now);
    } else {
        show_update(stdout, &before, &now);
    }
    return EXIT_OK;
}
