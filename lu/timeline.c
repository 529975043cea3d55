/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The timeline of an update, for tools/molt timeline: printed with the word `timeline`.
 *
 *   old image, in the pause   save_stops()      when each CPU and each vCPU stopped, as a record
 *   new image, guests run     timeline_adopt()  takes it from the stream that is still there
 *                             timeline_slice()  lines: steps of both images as the flight recorder
 *                                               has them, CPUs, vCPUs
 *
 * After a failed update the old image prints what it knows itself. Without the word nothing is
 * written and nothing printed.
 * Host test: tests/host/test_timeline.c
 */
#include "lu_priv.h"

#include "hv/cmdline.h"
#include "hv/console.h"
#include "hv/domain.h"
#include "hv/percpu.h"
#include "hv/printk.h"
#include "hv/recorder.h"
#include "hv/string.h"
#include "hv/time.h"

#define FIRST_STEP "old: stop"
#define LINES_PER_SLICE 8U

void timeline_prepare(void)
{
    struct str_span v;

    lu.timeline = cmdline_get(lu.boot.cmdline, "timeline", &v);
}

/* ---- when they stopped ---- */

void timeline_note_stop(struct vcpu *v)
{
    v->stopped_on = v->cpu;
    if (v->entered) { /* else it still stands from the update before */
        v->stopped_tsc = v->last_exit_tsc;
    }
}

/* Appended several at a time: an append costs more than what it copies. */
struct stops {
    struct stream_writer *writer;
    unsigned int nr;
    struct lu_stop stop[16];
};

static void flush_stops(struct stops *s)
{
    stream_append(s->writer, s->stop, s->nr * sizeof(s->stop[0]));
    s->nr = 0;
}

static void add_stop(struct stops *s, uint16_t domain, unsigned int vcpu, const struct percpu *cpu,
                     uint64_t tsc)
{
    if (s->nr == ARRAY_SIZE(s->stop)) {
        flush_stops(s);
    }
    s->stop[s->nr++] = (struct lu_stop){
        .domain = domain,
        .vcpu = (uint16_t)vcpu,
        .apic_id = cpu != NULL ? cpu->apic_id : LU_STOP_NO_CPU,
        .tsc = tsc,
    };
}

void save_stops(struct stream_writer *w)
{
    uint32_t n = nr_cpus;
    struct stops stops;

    if (!lu.timeline) {
        return;
    }
    for_each_domain(d) {
        n += d->nr_vcpus;
    }
    stops.writer = w;
    stops.nr = 0;
    stream_record_begin(w, LU_REC_STOPS, n * (uint32_t)sizeof(struct lu_stop));
    for_each_cpu(cpu) {
        add_stop(&stops, LU_STOP_CPU, 0, cpu, cpu->stop_tsc);
    }
    for_each_domain(d) {
        for_each_vcpu(d, v) {
            timeline_note_stop(v);
            add_stop(&stops, d->id, v->id, v->stopped_on, v->stopped_tsc);
        }
    }
    flush_stops(&stops);
    stream_record_end(w);
}

/* NULL: none that is here. */
static struct percpu *find_cpu(uint32_t apic_id)
{
    for_each_cpu(cpu) {
        if (cpu->apic_id == apic_id) {
            return cpu;
        }
    }
    return NULL;
}

static void adopt_stop(const struct lu_stop *stop)
{
    struct percpu *cpu = find_cpu(stop->apic_id);
    struct domain *d = stop->domain != LU_STOP_CPU ? domain_find(stop->domain) : NULL;

    if (stop->domain == LU_STOP_CPU && cpu != NULL) {
        cpu->stop_tsc = stop->tsc;
    }
    for (struct vcpu *v = d != NULL ? d->vcpus : NULL; v != NULL; v = v->next_in_domain) {
        if (v->id == stop->vcpu) {
            v->stopped_on = cpu;
            v->stopped_tsc = stop->tsc;
        }
    }
}

void timeline_adopt(struct stream_reader *r)
{
    struct stream_item item;

    timeline_prepare();
    stream_rewind(r);
    while (lu.timeline && stream_next(r, &item)) {
        const struct lu_stop *stops = (const void *)item.data;

        if (item.type == LU_REC_STOPS && restore_knows(r, item.type)) {
            for (size_t i = 0; i < item.length / sizeof(*stops); i++) {
                adopt_stop(&stops[i]);
            }
        }
    }
}

/* ---- the report ---- */

#define ULL(x) ((unsigned long long)(x))

static void report_begin(uint64_t stop, uint64_t failed)
{
    char text[32] = "";

    if (failed != 0) {
        fmt_str(text, sizeof(text), " failed=%llu", ULL(failed));
    }
    printk("timeline n=%llu khz=%llu stop=%llu%s", ULL(lu.attempts), ULL(tsc_khz), ULL(stop), text);
}

static bool is_step(const struct lu_log_entry *e)
{
    return (e->flags & (LU_LOG_STEP | LU_LOG_MORE)) == LU_LOG_STEP && e->boot == recorder_boot();
}

/* Number of the entry with which the last update began; where there is none, of the next one. */
static uint64_t first_step(void)
{
    uint64_t from = 0, first = recorder_next();
    struct lu_log_entry e;

    while (recorder_read(&from, &e)) {
        if (is_step(&e) && e.length == sizeof(FIRST_STEP) - 1 &&
            memcmp(e.text, FIRST_STEP, e.length) == 0) {
            first = e.number;
        }
    }
    return first;
}

/* The next step from *from on; false when there is none. */
static bool report_step(uint64_t *from)
{
    char name[LU_LOG_TEXT + 1];
    struct lu_log_entry e;

    do {
        if (!recorder_read(from, &e)) {
            return false;
        }
    } while (!is_step(&e));
    for (size_t i = 0; i < e.length; i++) { /* the other image wrote it: nothing ends the quotes */
        char c = e.text[i];

        name[i] = c >= ' ' && c <= '~' && c != '"' && c != '\\' ? c : '?';
    }
    name[e.length] = '\0';
    printk("timeline n=%llu cpu=%u tsc=%llu step=\"%s\"", ULL(lu.attempts), e.cpu, ULL(e.tsc),
           name);
    return true;
}

/* A CPU besides the first is online when it runs this image; before `stop` it never was out. */
static void report_cpu(const struct percpu *cpu)
{
    printk("timeline n=%llu cpu=%u apic=%u stop=%llu online=%llu entered=%llu", ULL(lu.attempts),
           cpu->id, cpu->apic_id, ULL(cpu->stop_tsc), ULL(cpu->online_tsc),
           ULL(cpu->first_entry_tsc));
}

struct cpu_name {
    char text[16];
};

static struct cpu_name cpu_name(const struct percpu *cpu)
{
    struct cpu_name name = {"-"};

    if (cpu != NULL) {
        fmt_str(name.text, sizeof(name.text), "%u", cpu->id);
    }
    return name;
}

static void report_vcpu(const struct domain *d, const struct vcpu *v)
{
    struct cpu_name from = cpu_name(v->stopped_on);
    struct cpu_name to = cpu_name(v->entered_tsc != 0 ? v->entered_on : NULL);

    printk("timeline n=%llu vcpu=%s.%u held=%u from=%s to=%s stopped=%llu entered=%llu",
           ULL(lu.attempts), d->name, v->id, v->held, from.text, to.text, ULL(v->stopped_tsc),
           ULL(v->entered_tsc));
}

#undef ULL

/* The CPU or vCPU with this index, CPUs first; false behind the last one. */
static bool report_row(uint64_t index)
{
    for_each_cpu(cpu) {
        if (index-- == 0) {
            report_cpu(cpu);
            return true;
        }
    }
    for_each_domain(d) {
        for_each_vcpu(d, v) {
            /* Of those that are scheduled, or were until they ended just now. */
            if ((v->run_next != NULL || v->entered_tsc != 0) && index-- == 0) {
                report_vcpu(d, v);
                return true;
            }
        }
    }
    return false;
}

/* The next line; false behind the last one. */
static bool report_line(uint64_t *cursor, uint64_t stop, uint64_t failed)
{
    static uint64_t step; /* number of the recorder's entry to look at next; 0: all are reported */

    if (*cursor == 0) {
        report_begin(stop, failed);
        step = first_step();
        *cursor = 1;
        return true;
    }
    if (step != 0 && report_step(&step)) {
        return true;
    }
    step = 0;
    return report_row((*cursor)++ - 1);
}

bool timeline_slice(uint64_t *cursor, uint64_t stop, uint64_t failed)
{
    for (unsigned int i = 0; lu.timeline && i < LINES_PER_SLICE; i++) {
        if (!console_has_own_room()) {
            return false;
        }
        if (!report_line(cursor, stop, failed)) {
            return true;
        }
    }
    return !lu.timeline;
}
