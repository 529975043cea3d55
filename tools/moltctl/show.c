/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text for people, JSON for programs. docs/MOLTCTL.md lists the fields.
 */
#include "show.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

#define LOG_LINE_MAX 256U
#define AUDIT_NO_FRAME UINT64_MAX
#define SHORT_ID 12 /* characters of a build id that are shown */
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

uint64_t cycles_to_us10(uint64_t cycles, uint64_t tsc_khz)
{
    return tsc_khz == 0 ? 0 : cycles / tsc_khz * 10000 + cycles % tsc_khz * 10000 / tsc_khz;
}

const char *state_name(uint32_t state)
{
    static const char *const names[] = {
        [HC_DOM_NEW] = "new",       [HC_DOM_RUNNING] = "running", [HC_DOM_PAUSED] = "paused",
        [HC_DOM_EXITED] = "exited", [HC_DOM_STOPPED] = "stopped", [HC_DOM_DYING] = "dying",
    };

    return state < ARRAY_SIZE(names) ? names[state] : "unknown";
}

const char *refusal_name(uint32_t code)
{
    static const char *const names[] = {
        [HC_LU_R_NONE] = "none",
        [HC_LU_R_NO_IMAGE] = "no-image",
        [HC_LU_R_BUSY] = "busy",
        [HC_LU_R_MEMORY] = "memory",
        [HC_LU_R_PAGES] = "pages",
        [HC_LU_R_MALFORMED] = "malformed",
        [HC_LU_R_NOTE] = "note",
        [HC_LU_R_MACHINE] = "machine",
        [HC_LU_R_STREAM] = "stream",
        [HC_LU_R_SPACE] = "space",
        [HC_LU_R_FEATURE] = "feature",
        [HC_LU_R_HASH] = "hash",
        [HC_LU_R_SIGNATURE] = "signature",
        [HC_LU_R_ROLLBACK] = "rollback",
        [HC_LU_R_CPU] = "cpu",
        [HC_LU_R_OWN_STREAM] = "own-stream",
        [HC_LU_R_AUDIT] = "audit",
        [HC_LU_R_ARGUMENTS] = "arguments",
        [HC_LU_R_PAUSE] = "pause",
        [HC_LU_R_BACK_SILENT] = "back-silent",
        [HC_LU_R_BACK_PANIC] = "back-panic",
        [HC_LU_R_BACK_EXCEPTION] = "back-exception",
        [HC_LU_R_BACK_REFUSED] = "back-refused",
        [HC_LU_R_BACK_DEADLINE] = "back-deadline",
        [HC_LU_R_BACK_RELOCATOR] = "back-relocator",
    };

    return code < ARRAY_SIZE(names) && names[code] != NULL ? names[code] : "unknown";
}

/* Strings come from outside: they end where their array does. */
#define TEXT(field) (int)strnlen((field), sizeof(field)), (field)
#define JSON_TEXT(j, key, field) json_bytes((j), (key), (field), strnlen((field), sizeof(field)))

/* ---- domains ---- */

void show_domains(FILE *out, const struct hc_domain *domains, size_t n)
{
    fprintf(out, "%-4s %-20s %-8s %5s %11s  %s\n", "ID", "NAME", "STATE", "VCPUS", "MEMORY", "");
    for (size_t i = 0; i < n; i++) {
        const struct hc_domain *d = &domains[i];

        fprintf(out, "%-4" PRIu32 " %-20.*s %-8s %5" PRIu32 " %7" PRIu64 " KiB", d->id,
                TEXT(d->name), state_name(d->state), d->vcpus, d->memory_bytes >> 10);
        if (d->flags & HC_DOM_CONTROL) {
            fputs("  control", out);
        }
        if (d->state == HC_DOM_EXITED) {
            fprintf(out, "  code %" PRIu32, d->exit_code);
        }
        fputc('\n', out);
    }
}

static void domain_fields(struct json *j, const struct hc_domain *d)
{
    json_number(j, "id", d->id);
    JSON_TEXT(j, "name", d->name);
    json_text(j, "state", state_name(d->state));
    json_bool(j, "control", (d->flags & HC_DOM_CONTROL) != 0);
    json_number(j, "vcpus", d->vcpus);
    json_number(j, "memory_bytes", d->memory_bytes);
    if (d->state == HC_DOM_EXITED) {
        json_number(j, "exit_code", d->exit_code);
    } else {
        json_null(j, "exit_code");
    }
}

void show_domains_json(FILE *out, const struct hc_domain *domains, size_t n)
{
    struct json j = {.out = out};

    json_open(&j, NULL, '[');
    for (size_t i = 0; i < n; i++) {
        json_open(&j, NULL, '{');
        domain_fields(&j, &domains[i]);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    json_end(&j);
}

void show_domain_json(FILE *out, const struct hc_domain *domain)
{
    struct json j = {.out = out};

    json_open(&j, NULL, '{');
    domain_fields(&j, domain);
    json_close(&j, '}');
    json_end(&j);
}

/* ---- statistics ---- */

static void size_text(uint64_t bytes, char text[24])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB"};
    unsigned int unit = 0;

    while (unit + 1 < ARRAY_SIZE(units) && bytes >= 1024 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    (void)snprintf(text, 24, "%" PRIu64 " %s", bytes, units[unit]);
}

void show_stats(FILE *out, const struct hc_domain *d, const struct hc_dom_stats *s,
                uint64_t tsc_khz)
{
    uint64_t us10 = cycles_to_us10(s->run_cycles, tsc_khz);
    char size[24];

    fprintf(out, "%.*s (%" PRIu32 "): %s\n", TEXT(d->name), d->id, state_name(d->state));
    fprintf(out, "ran      %20" PRIu64 " cycles, %" PRIu64 " us\n", s->run_cycles, us10 / 10);
    fprintf(out, "console  %20" PRIu64 " bytes\n", s->console_bytes);
    for (unsigned int i = 0; i < HC_EXIT_KINDS; i++) {
        if (s->exits[i] != 0) {
            fprintf(out, "exit     %20" PRIu64 " %.*s\n", s->exits[i], TEXT(s->exit_names[i]));
        }
    }
    for (unsigned int i = 0; i < HC_ORDERS; i++) {
        if (s->extents[i] != 0) {
            size_text(UINT64_C(4096) << i, size);
            fprintf(out, "extents  %20" PRIu64 " of %s\n", s->extents[i], size);
        }
    }
}

void show_stats_json(FILE *out, const struct hc_domain *d, const struct hc_dom_stats *s,
                     uint64_t tsc_khz)
{
    struct json j = {.out = out};
    char key[24];

    json_open(&j, NULL, '{');
    domain_fields(&j, d);
    json_number(&j, "run_cycles", s->run_cycles);
    json_tenths(&j, "run_us", cycles_to_us10(s->run_cycles, tsc_khz));
    json_number(&j, "console_bytes", s->console_bytes);
    json_open(&j, "exits", '{');
    for (unsigned int i = 0; i < HC_EXIT_KINDS; i++) {
        if (s->exit_names[i][0] != '\0') {
            (void)snprintf(key, sizeof(key), "%.*s", TEXT(s->exit_names[i]));
            json_number(&j, key, s->exits[i]);
        }
    }
    json_close(&j, '}');
    json_open(&j, "extents", '{');
    for (unsigned int i = 0; i < HC_ORDERS; i++) {
        if (s->extents[i] != 0) {
            (void)snprintf(key, sizeof(key), "%" PRIu64, UINT64_C(4096) << i);
            json_number(&j, key, s->extents[i]);
        }
    }
    json_close(&j, '}');
    json_close(&j, '}');
    json_end(&j);
}

/* ---- molt ---- */

struct phase {
    const char *name;
    uint64_t cycles;
};
#define PHASES 5

static void phases_of(const struct hc_lu_status *lu, struct phase phases[PHASES])
{
    phases[0] = (struct phase){"save", lu->phase_save};
    phases[1] = (struct phase){"jump", lu->phase_jump};
    phases[2] = (struct phase){"boot", lu->phase_boot};
    phases[3] = (struct phase){"adopt", lu->phase_adopt};
    phases[4] = (struct phase){"resume", lu->phase_resume};
}

static void cycles_line(FILE *out, const char *name, uint64_t cycles, uint64_t tsc_khz)
{
    uint64_t us10 = cycles_to_us10(cycles, tsc_khz);

    fprintf(out, "%-10s %12" PRIu64 " cycles %10" PRIu64 ".%" PRIu64 " us\n", name, cycles,
            us10 / 10, us10 % 10);
}

static void show_blackout(FILE *out, const struct hc_lu_status *lu, uint64_t tsc_khz)
{
    struct phase phases[PHASES];
    char name[16];

    phases_of(lu, phases);
    cycles_line(out, "blackout", lu->blackout, tsc_khz);
    for (unsigned int i = 0; i < PHASES; i++) {
        (void)snprintf(name, sizeof(name), "  %s", phases[i].name);
        cycles_line(out, name, phases[i].cycles, tsc_khz);
    }
}

static void blackout_fields(struct json *j, const struct hc_lu_status *lu, uint64_t tsc_khz)
{
    struct phase phases[PHASES];

    phases_of(lu, phases);
    json_number(j, "blackout_cycles", lu->blackout);
    json_tenths(j, "blackout_us", cycles_to_us10(lu->blackout, tsc_khz));
    json_open(j, "phases_cycles", '{');
    for (unsigned int i = 0; i < PHASES; i++) {
        json_number(j, phases[i].name, phases[i].cycles);
    }
    json_close(j, '}');
}

static void image_fields(struct json *j, const char *key, const char *version, size_t version_max,
                         const char *id, size_t id_max)
{
    json_open(j, key, '{');
    json_bytes(j, "version", version, strnlen(version, version_max));
    json_bytes(j, "build_id", id, strnlen(id, id_max));
    json_close(j, '}');
}

static void running_fields(struct json *j, const char *key, const struct hc_info *info)
{
    image_fields(j, key, info->version, sizeof(info->version), info->build_id,
                 sizeof(info->build_id));
}

/* Who notices that a loaded image hangs. */
static const char *watch_name(uint32_t watch)
{
    return watch == HC_LU_WATCH_CPU ? "cpu" : watch == HC_LU_WATCH_TIMER ? "timer" : "none";
}

void show_status(FILE *out, const struct molt_state *m)
{
    const struct hc_lu_region *r = &m->region;

    fprintf(out, "molt %.*s, build %.*s\n", TEXT(m->info.version), TEXT(m->info.build_id));
    fprintf(out, "updates %" PRIu64 ", refused %" PRIu64 "\n", m->lu.updates, m->lu.refused);
    if (m->lu.updates != 0) {
        show_blackout(out, &m->lu, m->info.tsc_khz);
    }
    if (m->lu.reason[0] != '\0') {
        fprintf(out, "last refusal: %.*s (%s, code %" PRIu32 ")\n", TEXT(m->lu.reason),
                refusal_name(m->lu.code), m->lu.code);
    }
    if (m->lu.backs != 0) {
        fprintf(out,
                "came back from %" PRIu64 " updates that failed; blackout of the last %" PRIu64
                " cycles\n",
                m->lu.backs, m->lu.back_blackout);
    }
    if (m->lu.state == HC_LU_LOADED) {
        fprintf(out, "loaded: %.*s, build %.*s; watched by: %s\n", TEXT(m->lu.loaded_version),
                TEXT(m->lu.loaded_build_id), watch_name(m->lu.watch));
    }
    fprintf(out,
            "region 0x%" PRIx64 ", %" PRIu64 " KiB; arena %c; the next image has %" PRIu64
            " KiB and needs %" PRIu64 " KiB and its own size\n",
            r->base, r->size >> 10, r->active == 0 ? 'A' : 'B',
            r->arena_size[r->active == 0 ? 1 : 0] >> 10, r->required >> 10);
    fprintf(out, "this domain: %" PRIu32 ", %" PRIu64 " KiB; TSC %" PRIu64 " kHz\n",
            m->info.domain_id, m->info.memory_bytes >> 10, m->info.tsc_khz);
}

void show_status_json(FILE *out, const struct molt_state *m)
{
    const struct hc_lu_region *r = &m->region;
    struct json j = {.out = out};

    json_open(&j, NULL, '{');
    running_fields(&j, "running", &m->info);
    json_number(&j, "updates", m->lu.updates);
    json_number(&j, "refused", m->lu.refused);
    if (m->lu.updates != 0) {
        json_open(&j, "last_update", '{');
        blackout_fields(&j, &m->lu, m->info.tsc_khz);
        json_close(&j, '}');
    } else {
        json_null(&j, "last_update");
    }
    JSON_TEXT(&j, "reason", m->lu.reason);
    json_number(&j, "reason_code", m->lu.code);
    json_text(&j, "reason_name", refusal_name(m->lu.code));
    json_number(&j, "needed_bytes", m->lu.needed);
    json_number(&j, "backs", m->lu.backs);
    json_number(&j, "back_blackout_cycles", m->lu.back_blackout);
    json_bool(&j, "busy", m->lu.busy != 0);
    json_text(&j, "watch", watch_name(m->lu.watch));
    if (m->lu.state == HC_LU_LOADED) {
        image_fields(&j, "loaded", m->lu.loaded_version, sizeof(m->lu.loaded_version),
                     m->lu.loaded_build_id, sizeof(m->lu.loaded_build_id));
    } else {
        json_null(&j, "loaded");
    }
    json_open(&j, "region", '{');
    json_number(&j, "base", r->base);
    json_number(&j, "size", r->size);
    json_text(&j, "arena", r->active == 0 ? "A" : "B");
    json_number(&j, "next_size", r->arena_size[r->active == 0 ? 1 : 0]);
    json_number(&j, "next_required", r->required);
    json_close(&j, '}');
    json_number(&j, "domain", m->info.domain_id);
    json_number(&j, "memory_bytes", m->info.memory_bytes);
    json_number(&j, "tsc_khz", m->info.tsc_khz);
    json_close(&j, '}');
    json_end(&j);
}

/* The words of a line before its text. */
enum { LOG_NUMBER, LOG_TSC, LOG_SECONDS, LOG_CPU, LOG_KIND, LOG_WORDS };

/* Where each word starts, and the text behind them. False: there are not as many. */
static bool split(char *line, char *words[LOG_WORDS + 1])
{
    for (unsigned int i = 0; i < LOG_WORDS; i++) {
        char *end = strchr(line, ' ');

        if (end == NULL || end == line) {
            return false;
        }
        *end = '\0';
        words[i] = line;
        line = end + 1;
    }
    words[LOG_WORDS] = line;
    return true;
}

static void put_seconds(struct json *j, const char *text)
{
    char *dot;
    uint64_t whole = strtoull(text, &dot, 10);

    if (dot == text || *dot != '.') {
        json_null(j, "us"); /* of an earlier boot */
    } else {
        json_number(j, "us", whole * 1000000 + strtoull(dot + 1, NULL, 10));
    }
}

void show_log_line_json(struct json *j, const char *line, size_t n)
{
    char copy[LOG_LINE_MAX + 1], *words[LOG_WORDS + 1];

    n = n < LOG_LINE_MAX ? n : LOG_LINE_MAX;
    memcpy(copy, line, n);
    copy[n] = '\0';
    json_open(j, NULL, '{');
    if (split(copy, words)) {
        json_number(j, "number", strtoull(words[LOG_NUMBER], NULL, 10));
        json_number(j, "tsc", strtoull(words[LOG_TSC], NULL, 10));
        put_seconds(j, words[LOG_SECONDS]);
        json_number(j, "cpu", strtoull(words[LOG_CPU], NULL, 10));
        json_text(j, "kind", words[LOG_KIND]);
        json_text(j, "text", words[LOG_WORDS]);
    } else {
        json_bytes(j, "text", line, n);
    }
    json_close(j, '}');
}

void show_audit(FILE *out, const struct hc_audit *a)
{
    fprintf(out, "%" PRIu64 " frames, %" PRIu64 " mismatches\n", a->frames, a->mismatches);
    if (a->mismatches == 0) {
        return;
    }
    if (a->mfn != AUDIT_NO_FRAME) {
        fprintf(out, "frame 0x%" PRIx64 ": ", a->mfn);
    }
    fprintf(out, "%.*s\n", TEXT(a->text));
}

void show_audit_json(FILE *out, const struct hc_audit *a)
{
    struct json j = {.out = out};

    json_open(&j, NULL, '{');
    json_bool(&j, "ok", a->mismatches == 0);
    json_number(&j, "frames", a->frames);
    json_number(&j, "mismatches", a->mismatches);
    if (a->mismatches != 0 && a->mfn != AUDIT_NO_FRAME) {
        json_number(&j, "mfn", a->mfn);
    } else {
        json_null(&j, "mfn");
    }
    JSON_TEXT(&j, "text", a->text);
    json_close(&j, '}');
    json_end(&j);
}

void show_update(FILE *out, const struct hc_info *before, const struct molt_state *now)
{
    fprintf(out, "molt %.*s (%.*s) was replaced by %.*s (%.*s): update %" PRIu64 "\n",
            TEXT(before->version), SHORT_ID, before->build_id, TEXT(now->info.version), SHORT_ID,
            now->info.build_id, now->lu.updates);
    show_blackout(out, &now->lu, now->info.tsc_khz);
}

void show_update_json(FILE *out, const struct hc_info *before, const struct molt_state *now)
{
    struct json j = {.out = out};

    json_open(&j, NULL, '{');
    running_fields(&j, "from", before);
    running_fields(&j, "to", &now->info);
    json_number(&j, "updates", now->lu.updates);
    blackout_fields(&j, &now->lu, now->info.tsc_khz);
    json_close(&j, '}');
    json_end(&j);
}

void show_console_json(FILE *out, const struct hc_domain *d, uint64_t from, const void *bytes,
                       size_t n)
{
    struct json j = {.out = out};

    json_open(&j, NULL, '{');
    json_number(&j, "id", d->id);
    JSON_TEXT(&j, "name", d->name);
    json_number(&j, "from", from);
    json_number(&j, "to", from + n);
    json_bytes(&j, "text", bytes, n);
    json_close(&j, '}');
    json_end(&j);
}

void show_error_json(FILE *out, const char *error, const char *text)
{
    struct json j = {.out = out};

    json_open(&j, NULL, '{');
    json_text(&j, "error", error);
    json_text(&j, "text", text);
    json_close(&j, '}');
    json_end(&j);
}
