/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The timeline of an update: the STOPS record, who takes what from it, and the lines.
 */
#include "fakes/whole_update.h"

#include <stdio.h>

#include "hv/console.h"
#include "hv/modules.h"
#include "hv/recorder.h"

#define MANY 40U /* vCPUs: several pieces of a record */

static int setup_timeline(void **state)
{
    (void)setup(state);
    world_sample(false);
    lu.boot.cmdline = WORLD_CMDLINE " timeline";
    timeline_prepare();
    return 0;
}

/* The running image's STOPS record, if there is one; the stream stays until the next call. */
static const struct lu_stop *stops_written(size_t *nr)
{
    static uint8_t *stream;
    struct stream_reader reader;
    struct stream_item item;
    const char *reason = "";
    size_t length;

    free(stream);
    stream = world_stream(&length);
    assert_int_equal(stream_open(&reader, stream, length, &reason), 0);
    while (stream_next(&reader, &item)) {
        if (item.type == LU_REC_STOPS) {
            *nr = item.length / sizeof(struct lu_stop);
            return (const void *)item.data;
        }
    }
    *nr = 0;
    return NULL;
}

static const struct lu_stop *find_stop(const struct lu_stop *s, size_t nr, const struct vcpu *v)
{
    for (size_t i = 0; i < nr; i++) {
        if (s[i].domain == v->domain->id && s[i].vcpu == v->id) {
            return &s[i];
        }
    }
    return NULL;
}

static void second_cpu(void)
{
    fake_cpu2.apic_id = 6;
    fake_cpu.next = &fake_cpu2;
    nr_cpus = 2;
}

static void first_cpu_only(void)
{
    fake_cpu.next = NULL;
    nr_cpus = 1;
}

/* ---- the record ---- */

static void test_save__without_the_word__no_record(void **state)
{
    size_t nr;

    (void)state;
    lu.boot.cmdline = WORLD_CMDLINE;
    timeline_prepare();
    assert_null(stops_written(&nr));
    lu.boot.cmdline = WORLD_CMDLINE " timeline";
    timeline_prepare();
    assert_non_null(stops_written(&nr));
    fake_stream_newest = 1;
    assert_null(stops_written(&nr));
    fake_stream_newest = LU_STREAM_VERSION;
}

static void test_save__cpus_and_vcpus__when_and_where(void **state)
{
    struct vcpu *v = domain_find(1)->vcpus, *w = v->next_in_domain;
    struct domain *many = domain_create("many", 77, false);
    struct vcpu_state s;
    const struct lu_stop *stops, *found;
    size_t nr, all = 0;

    (void)state;
    vcpu_state_reset(&s);
    assert_int_equal(domain_add_vcpus(many, MANY, &s), 0);
    second_cpu();
    fake_cpu.stop_tsc = 1001;
    fake_cpu2.stop_tsc = 1002;
    v->cpu = &fake_cpu2;
    v->entered = true;
    v->last_exit_tsc = 900;
    w->entered = false; /* not since the update before */
    w->cpu = NULL;
    w->stopped_tsc = 800;
    w->last_exit_tsc = 0;
    for_each_domain(d) {
        all += d->nr_vcpus;
    }
    stops = stops_written(&nr);
    first_cpu_only();
    assert_int_equal(nr, 2 + all);
    assert_true(nr > MANY);
    assert_int_equal(stops[0].domain, LU_STOP_CPU);
    assert_int_equal(stops[0].vcpu, 0);
    assert_int_equal(stops[0].apic_id, 0);
    assert_int_equal(stops[0].tsc, 1001);
    assert_int_equal(stops[1].domain, LU_STOP_CPU);
    assert_int_equal(stops[1].apic_id, 6);
    assert_int_equal(stops[1].tsc, 1002);
    for_each_domain(d) {
        for_each_vcpu(d, any) {
            assert_non_null(find_stop(stops + 2, nr - 2, any));
        }
    }
    found = find_stop(stops + 2, nr - 2, v);
    assert_int_equal(found->apic_id, 6);
    assert_int_equal(found->tsc, 900);
    found = find_stop(stops + 2, nr - 2, w);
    assert_int_equal(found->apic_id, LU_STOP_NO_CPU);
    assert_int_equal(found->tsc, 800);
}

/* ---- taking it over ---- */

static void adopt_stops(const struct lu_stop *stops, size_t nr, uint32_t version)
{
    static uint8_t page[PAGE_SIZE] __attribute__((aligned(4096)));
    struct lu_record record = {LU_REC_STOPS, (uint32_t)(nr * sizeof(*stops))};
    struct stream_reader reader = {
        .data = page,
        .length = sizeof(struct lu_stream_header) + sizeof(record) + record.length,
        .version = version,
    };

    memcpy(page + sizeof(struct lu_stream_header), &record, sizeof(record));
    memcpy(page + sizeof(struct lu_stream_header) + sizeof(record), stops, record.length);
    timeline_adopt(&reader);
}

static void test_adopt__record__what_fits_is_taken(void **state)
{
    struct vcpu *v = domain_find(1)->vcpus, *w = v->next_in_domain;
    const struct lu_stop stops[] = {
        {LU_STOP_CPU, 0, 6, 500},  {LU_STOP_CPU, 0, 99, 1}, /* no such CPU */
        {LU_STOP_CPU, 7, 0, 400},  {1, 0, 6, 450},
        {1, 1, LU_STOP_NO_CPU, 0}, {1, 2, 0, 2}, /* no such vCPU */
        {4711, 0, 0, 3},
    };

    (void)state;
    second_cpu();
    w->stopped_on = &fake_cpu;
    adopt_stops(stops, ARRAY_SIZE(stops), 2);
    assert_int_equal(fake_cpu2.stop_tsc, 500);
    assert_int_equal(fake_cpu.stop_tsc, 400);
    assert_ptr_equal(v->stopped_on, &fake_cpu2);
    assert_int_equal(v->stopped_tsc, 450);
    assert_null(w->stopped_on);
    assert_int_equal(w->stopped_tsc, 0);
    /* In a stream of version 1 it is an unknown record; without the word nobody asks. */
    v->stopped_tsc = 7;
    adopt_stops(stops, ARRAY_SIZE(stops), 1);
    assert_int_equal(v->stopped_tsc, 7);
    lu.boot.cmdline = WORLD_CMDLINE;
    adopt_stops(stops, ARRAY_SIZE(stops), 2);
    assert_int_equal(v->stopped_tsc, 7);
    first_cpu_only();
}

/* ---- the lines ---- */

static void report(uint64_t stop, uint64_t failed)
{
    uint64_t cursor = 0;

    for (unsigned int i = 0; !timeline_slice(&cursor, stop, failed); i++) {
        assert_true(i < 1000);
    }
}

static unsigned int occurrences(const char *text)
{
    unsigned int n = 0;

    for (const char *at = strstr(fake_log(), text); at != NULL; at = strstr(at + 1, text)) {
        n++;
    }
    return n;
}

static unsigned int scheduled(void)
{
    unsigned int n = 0;

    for_each_domain(d) {
        for_each_vcpu(d, v) {
            n += v->run_next != NULL || v->entered_tsc != 0;
        }
    }
    return n;
}

static void step_at(uint64_t tsc, const char *name)
{
    fake_tsc = tsc;
    recorder_step(name);
}

static void test_slice__all_rows__a_line_each(void **state)
{
    struct vcpu *v = domain_find(1)->vcpus, *w = v->next_in_domain;
    char want[128];

    (void)state;
    second_cpu();
    lu.attempts = 9;
    tsc_khz = 2000;
    step_at(1000, "old: stop");
    step_at(2000, "old: jump"); /* of the update before */
    step_at(100000, "old: stop");
    recorder_text("a line of text", 14);
    step_at(200000, "new: \"odd\\\x01name\"");
    fake_cpu = (struct percpu){.self = &fake_cpu, .next = &fake_cpu2};
    fake_cpu.stop_tsc = 99000;
    fake_cpu.online_tsc = 150000;
    fake_cpu.first_entry_tsc = 300000;
    fake_cpu2.stop_tsc = 99500;
    fake_cpu2.online_tsc = 310000;
    fake_cpu2.first_entry_tsc = 320000;
    v->held = true;
    v->stopped_on = &fake_cpu2;
    v->stopped_tsc = 99400;
    v->entered_tsc = 300100;
    v->entered_on = &fake_cpu;
    w->held = false;
    w->stopped_on = NULL;
    w->stopped_tsc = 0;
    w->entered_tsc = 0;
    w->entered_on = &fake_cpu2; /* under the image before */
    fake_log_clear();
    report(99000, 0);
    first_cpu_only();
    assert_true(fake_printed("timeline n=9 khz=2000 stop=99000\n"));
    snprintf(want, sizeof(want), "timeline n=9 cpu=0 tsc=%u step=\"old: stop\"\n", 100000);
    assert_true(fake_printed(want));
    assert_true(fake_printed("timeline n=9 cpu=0 tsc=200000 step=\"new: ?odd??name?\"\n"));
    assert_int_equal(occurrences("step="), 2);
    assert_true(
        fake_printed("timeline n=9 cpu=0 apic=0 stop=99000 online=150000 entered=300000\n"));
    assert_true(
        fake_printed("timeline n=9 cpu=1 apic=6 stop=99500 online=310000 entered=320000\n"));
    snprintf(want, sizeof(want),
             "timeline n=9 vcpu=%s.0 held=1 from=1 to=0 stopped=99400 entered=300100\n",
             v->domain->name);
    assert_true(fake_printed(want));
    snprintf(want, sizeof(want), "timeline n=9 vcpu=%s.1 held=0 from=- to=- stopped=0 entered=0\n",
             v->domain->name);
    assert_true(fake_printed(want));
    assert_int_equal(occurrences("vcpu="), scheduled()); /* other domains have ended */
    assert_int_equal(occurrences("timeline"), 5 + scheduled());
}

/* Guests do not wait for all of many vCPUs. */
static void test_slice__many_rows__in_several_slices(void **state)
{
    struct domain *many = domain_create("many", 77, false);
    unsigned int slices = 1;
    uint64_t cursor = 0;
    struct vcpu_state s;

    (void)state;
    vcpu_state_reset(&s);
    assert_int_equal(domain_add_vcpus(many, MANY, &s), 0);
    for_each_vcpu(many, v) {
        v->entered_tsc = 1; /* it has ended since */
    }
    fake_log_clear();
    while (!timeline_slice(&cursor, 1, 0)) {
        slices++;
        assert_true(slices < 1000);
    }
    assert_int_equal(occurrences("vcpu=many."), MANY);
    assert_true(slices > 1 && slices < MANY);
}

static void test_slice__without_a_recorder__no_steps(void **state)
{
    (void)state;
    recorder_step("old: stop");
    recorder_detach();
    fake_log_clear();
    report(1, 0);
    assert_int_equal(occurrences("step="), 0);
    assert_int_equal(occurrences("vcpu="), scheduled());
}

static void test_slice__without_the_word__nothing(void **state)
{
    uint64_t cursor = 0;

    (void)state;
    lu.timeline = false;
    fake_log_clear();
    assert_true(timeline_slice(&cursor, 1, 0));
    assert_string_equal(fake_log(), "");
}

/* Guests may fill the console's ring, but for what is kept for molt: no line waits for the port. */
static void test_slice__console_is_full__waits(void **state)
{
    static const char line[1001] = {[0 ... 999] = 'x'};
    uint64_t cursor = 0;

    (void)state;
    fake_serial_left = 0;
    while (console_has_own_room()) {
        console_line(line, sizeof(line) - 1);
    }
    fake_log_clear();
    assert_false(timeline_slice(&cursor, 1, 0));
    assert_string_equal(fake_log(), "");
    fake_serial_left = 8192;
    fake_serial_fifo = 8192;
    console_poll();
    assert_true(console_has_own_room());
    (void)timeline_slice(&cursor, 1, 0);
    assert_true(fake_printed("timeline n="));
    fake_serial_left = -1;
    console_drain();
}

/* ---- with updates ---- */

static void load(void)
{
    make_elf(1);
    (void)add_sealed("image");
    lu.finish = LU_FINISH_DONE;
    assert_int_equal(lu_load_module(modules_images() - 1, why), 0);
}

/* Where each text stands in what was printed, one behind the other. */
static void assert_in_order(const char *const texts[], size_t nr)
{
    const char *at = fake_log();

    for (size_t i = 0; i < nr; i++) {
        const char *next = strstr(at, texts[i]);

        if (next == NULL) {
            fail_msg("\"%s\" is missing", texts[i]);
        }
        at = next;
    }
}

static void test_update__with_the_word__both_images_and_every_row(void **state)
{
    static const char *const texts[] = {
        "update n=1 ok",   "timeline n=1 khz=",   "\"old: stop\"",
        "\"old: save\"",   "\"old: jump\"",       "\"new: stream\"",
        "\"new: commit 1", " cpu=0 apic=0 stop=", " vcpu=",
    };
    struct vcpu *v = domain_find(1)->vcpus;
    char want[128];

    (void)state;
    load();
    v->entered = true;
    v->last_exit_tsc = 123456;
    lu.attempts = 0;
    assert_true(exec(NULL));
    next_image(1, true);
    fake_log_clear();
    work_until_done();
    assert_in_order(texts, ARRAY_SIZE(texts));
    snprintf(want, sizeof(want), "vcpu=%s.0 held=1 from=0 to=- stopped=123456 ",
             domain_find(1)->name);
    assert_true(fake_printed(want));
}

static void next_image_fails(void)
{
    handover()->failure = (struct lu_failure){.kind = LU_FAIL_PANIC, .tsc = 777};
    recorder_step("way back");
}

static void test_back__with_the_word__told_by_the_old_image(void **state)
{
    static const char *const texts[] = {
        "update n=1 back", "timeline n=1 khz=", " failed=777\n",       "\"old: jump\"",
        "\"way back\"",    "\"old: back\"",     " cpu=0 apic=0 stop=", " vcpu=",
    };
    struct vcpu *v = domain_find(1)->vcpus;
    char want[128];

    (void)state;
    load();
    for_each_vcpu(domain_find(1), any) {
        any->entered = true;
        any->entered_tsc = 5;
        any->last_exit_tsc = 4321;
    }
    lu.attempts = 0;
    fake_end.comes_back = next_image_fails;
    assert_false(exec(NULL)); /* it is here again */
    fake_end.comes_back = NULL;
    v->entered_tsc = 999999;
    v->entered_on = &fake_cpu;
    fake_log_clear();
    work_until_done();
    assert_in_order(texts, ARRAY_SIZE(texts));
    snprintf(want, sizeof(want), "vcpu=%s.0 held=1 from=0 to=0 stopped=4321 entered=999999",
             v->domain->name);
    assert_true(fake_printed(want));
    snprintf(want, sizeof(want), "vcpu=%s.1 held=0 from=0 to=- stopped=4321 entered=0",
             v->domain->name);
    assert_true(fake_printed(want));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_timeline, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_save__without_the_word__no_record),
        TEST(test_save__cpus_and_vcpus__when_and_where),
        TEST(test_adopt__record__what_fits_is_taken),
        TEST(test_slice__all_rows__a_line_each),
        TEST(test_slice__many_rows__in_several_slices),
        TEST(test_slice__without_a_recorder__no_steps),
        TEST(test_slice__without_the_word__nothing),
        TEST(test_slice__console_is_full__waits),
        TEST(test_update__with_the_word__both_images_and_every_row),
        TEST(test_back__with_the_word__told_by_the_old_image),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
