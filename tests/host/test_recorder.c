/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flight recorder, the ring: what is written is read, in order; what is torn, flipped or foreign is
 * not believed.
 */
#include "hv/recorder.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/machine.h"
#include "fakes/recorded.h"
#include "hv/crc32c.h"
#include "hv/percpu.h"
#include "hv/time.h"

#define RING_BYTES KIB(64)
#define SLOTS (RING_BYTES / LU_LOG_SLOT - 1)
#define THREADS 4U
#define THREAD_LINES 5000U

uint64_t tsc_khz;
static struct percpu cpus[THREADS];
static __thread struct percpu *here;

struct percpu *this_cpu(void)
{
    return here;
}

static union {
    uint8_t bytes[RING_BYTES];
    struct lu_log_header header;
    struct lu_log_entry slots[SLOTS + 1]; /* the header's place first */
} memory ALIGNED(RING_BYTES);

static int setup(void **state)
{
    (void)state;
    fake_machine_reset();
    fake_tsc = 1000;
    fake_tsc_step = 10;
    tsc_khz = 2000;
    for (unsigned int i = 0; i < THREADS; i++) {
        cpus[i].id = i;
    }
    here = &cpus[3];
    memset(&memory, 0x5a, sizeof(memory));
    recorder_create(&memory, RING_BYTES);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    recorder_detach();
    return 0;
}

static void say(const char *text)
{
    recorder_text(text, strlen(text));
}

static void say_number(unsigned int n)
{
    char text[32];

    snprintf(text, sizeof(text), "line %u", n);
    say(text);
}

/* The next entry from *from on has this number and text. */
static void assert_next(uint64_t *from, uint64_t number, const char *text)
{
    struct lu_log_entry e;

    assert_true(recorder_read(from, &e));
    assert_int_equal(e.number, number);
    assert_int_equal(*from, number + 1);
    assert_int_equal(e.length, strlen(text));
    assert_memory_equal(e.text, text, e.length);
}

static void assert_no_more(uint64_t from)
{
    struct lu_log_entry e;

    assert_false(recorder_read(&from, &e));
}

static void test_read__lines_and_steps__in_order_as_written(void **state)
{
    char line[RECORDER_LINE_MAX];
    struct lu_log_entry e;
    uint64_t from = 0;

    (void)state;
    assert_int_equal(recorder_next(), 1);
    assert_no_more(0);
    assert_int_equal(recorder_new_boot(400), 0);
    say("first");
    recorder_step("second");
    say("");
    assert_int_equal(recorder_next(), 4);
    assert_next(&from, 1, "first");
    assert_next(&from, 2, "second");
    assert_next(&from, 3, "");
    assert_no_more(from);
    from = 0;
    assert_true(recorder_read(&from, &e));
    line[recorder_format(&e, line)] = '\0';
    assert_string_equal(line, "1 1000 0.000300 3 line first"); /* 600 cycles at 2 MHz */
    assert_true(recorder_read(&from, &e));
    line[recorder_format(&e, line)] = '\0';
    assert_string_equal(line, "2 1010 0.000305 3 step second");
    here = NULL; /* before there are CPUs */
    say("early");
    assert_next(&from, 3, "");
    assert_next(&from, 4, "early");
    assert_no_more(from);
    assert_no_more(UINT64_MAX);
}

static void test_append__more_than_there_are_slots__the_last_ones_stay(void **state)
{
    const unsigned int total = 3 * SLOTS + 5;
    uint64_t from = 0;
    char text[32];

    (void)state;
    for (unsigned int n = 1; n <= total; n++) {
        say_number(n);
    }
    for (unsigned int n = total - SLOTS + 1; n <= total; n++) {
        snprintf(text, sizeof(text), "line %u", n);
        assert_next(&from, n, text);
    }
    assert_no_more(from);
    from = total;
    assert_next(&from, total, text);
}

static void test_append__long_line__in_several_entries(void **state)
{
    char text[1000], joined[1000];
    struct lu_log_entry e;

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (char)('!' + i % 90);
    }
    for (size_t len = 0; len <= sizeof(text); len++) {
        size_t kept = MIN(len, (size_t)800), got = 0;
        uint64_t from = recorder_next();

        recorder_text(text, len);
        while (recorder_read(&from, &e)) {
            assert_int_equal((e.flags & LU_LOG_MORE) != 0, got != 0);
            memcpy(joined + got, e.text, e.length);
            got += e.length;
        }
        assert_int_equal(got, kept);
        assert_memory_equal(joined, text, kept);
    }
}

static void test_read__any_bit_flipped__that_entry_is_not_believed(void **state)
{
    (void)state;
    for (unsigned int n = 1; n <= 9; n++) {
        say_number(n);
    }
    for (unsigned int bit = 0; bit < 8 * LU_LOG_SLOT; bit++) {
        uint8_t *byte = (uint8_t *)&memory.slots[1 + 5] + bit / 8;
        uint64_t from = 4;

        *byte ^= (uint8_t)(1U << bit % 8);
        assert_int_equal(recorded_count(), 8);
        assert_next(&from, 4, "line 4");
        assert_next(&from, 6, "line 6");
        *byte ^= (uint8_t)(1U << bit % 8);
    }
    assert_int_equal(recorded_count(), 9);
}

/* A reset in the middle of an entry, wherever: some of its bytes are the new ones. */
static void test_read__torn_between_two_entries__neither_is_believed(void **state)
{
    struct lu_log_entry old, new;

    (void)state;
    say("what was there before");
    old = memory.slots[2];
    for (unsigned int n = 2; n <= SLOTS + 1; n++) {
        say("and what came a whole ring later");
    }
    new = memory.slots[2];
    assert_int_equal(old.number, 1);
    assert_int_equal(new.number, SLOTS + 1);
    for (size_t cut = 1; cut < sizeof(new); cut++) {
        memory.slots[2] = old;
        memcpy(&memory.slots[2], &new, cut);
        if (memcmp(&memory.slots[2], &new, sizeof(new)) != 0) {
            assert_int_equal(recorded_count(), SLOTS - 1);
        }
        memory.slots[2] = new;
        memcpy(&memory.slots[2], &old, cut);
        if (memcmp(&memory.slots[2], &new, sizeof(new)) != 0) {
            assert_int_equal(recorded_count(), SLOTS - 1);
        }
    }
}

/* A good entry that another slot's number stands in: not one of this ring. */
static void test_read__entry_in_another_slot__not_believed(void **state)
{
    (void)state;
    say("one");
    say("two");
    memory.slots[1 + 7] = memory.slots[1 + 1];
    assert_int_equal(recorder_new_boot(0), 2);
    assert_int_equal(recorder_next(), 3);
}

static void test_format__bytes_of_others__no_terminal_codes(void **state)
{
    char line[RECORDER_LINE_MAX];
    struct lu_log_entry e;
    uint64_t from = 0;
    size_t len;

    (void)state;
    recorder_text("a\x1b[2J\r\n\x7f\xff\0z", 11);
    assert_true(recorder_read(&from, &e));
    len = recorder_format(&e, line);
    assert_memory_equal(line + len - 11, "a?[2J?????z" + 0, 11);
    /* The longest that there is. */
    memset(&e, 0xff, sizeof(e));
    e.length = LU_LOG_TEXT;
    memory.header.boot = e.boot;
    memory.header.boot_tsc = 1;
    tsc_khz = 1;
    assert_true(recorder_format(&e, line) < RECORDER_LINE_MAX);
}

static void test_attach__next_image__goes_on(void **state)
{
    uint64_t from = 0;

    (void)state;
    say("old image");
    recorder_detach();
    say("nobody hears this");
    recorder_step("nor this");
    assert_int_equal(recorder_next(), 1);
    assert_no_more(0);
    assert_true(recorder_attach(&memory, RING_BYTES));
    say("new image");
    assert_next(&from, 1, "old image");
    assert_next(&from, 2, "new image");
}

static void test_attach__no_ring_there__refused(void **state)
{
    (void)state;
    for (unsigned int bit = 0; bit < 8 * offsetof(struct lu_log_header, next); bit++) {
        memory.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_false(recorder_attach(&memory, RING_BYTES));
        assert_false(recorder_attached());
        memory.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    assert_false(recorder_attach(&memory, RING_BYTES / 2));
    assert_false(recorder_attach(&memory, RING_BYTES - 1));
    assert_false(recorder_attach(&memory, 0));
    assert_true(recorder_attach(&memory, RING_BYTES));
    for (unsigned int round = 0; round < 1000; round++) {
        for (size_t i = 0; i < LU_LOG_SLOT; i++) {
            memory.bytes[i] = (uint8_t)rand();
        }
        assert_false(recorder_attach(&memory, RING_BYTES));
    }
}

static void test_sizes__powers_of_two_in_bounds__ok(void **state)
{
    (void)state;
    for (unsigned int bit = 0; bit < 64; bit++) {
        assert_int_equal(recorder_size_ok(BIT(bit)), bit >= 12 && bit <= 30);
        assert_false(bit > 1 && recorder_size_ok(BIT(bit) + 1));
    }
    assert_false(recorder_size_ok(0));
}

/* The counter is under no checksum: the entries say where the end is. */
static void test_attach__counter_damaged__entries_are_counted(void **state)
{
    static const uint64_t wrong[] = {0, 1, 2, SLOTS + 1, 5 * SLOTS, UINT64_MAX, BIT(63)};
    uint64_t from = 0;

    (void)state;
    for (unsigned int n = 1; n <= SLOTS + 20; n++) {
        say_number(n);
    }
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        memory.header.next = wrong[i];
        assert_true(recorder_attach(&memory, RING_BYTES));
        assert_int_equal(recorder_next(), SLOTS + 21);
    }
    say("next");
    from = SLOTS + 20;
    assert_next(&from, SLOTS + 20, "line 531");
    assert_next(&from, SLOTS + 21, "next");
}

static void test_new_boot__after_a_reset__numbers_go_on_and_boots_differ(void **state)
{
    char line[RECORDER_LINE_MAX];
    struct lu_log_entry e;
    uint64_t from = 0;

    (void)state;
    assert_int_equal(recorder_new_boot(900), 0);
    say("before");
    say("torn by the reset");
    memory.slots[1 + 2].text[3] ^= 1;
    memory.header.next = 77; /* not written back */
    memory.header.boot = 99;
    fake_tsc = 3000;
    assert_true(recorder_attach(&memory, RING_BYTES));
    assert_int_equal(recorder_new_boot(2000), 1);
    say("after");
    assert_true(recorder_read(&from, &e));
    assert_int_equal(e.boot, 1);
    line[recorder_format(&e, line)] = '\0';
    assert_string_equal(line, "1 1000 - 3 line before");
    assert_true(recorder_read(&from, &e));
    assert_int_equal(e.boot, 2);
    line[recorder_format(&e, line)] = '\0';
    assert_string_equal(line, "2 3000 0.000500 3 line after");
    assert_no_more(from);
    recorder_new_boot(0); /* not known when */
    fake_tsc = 5000;
    say("later");
    assert_true(recorder_read(&from, &e));
    line[recorder_format(&e, line)] = '\0';
    assert_string_equal(line, "3 5000 - 3 line later");
}

/* ---- several at once ---- */

static void *appender(void *cpu)
{
    char text[250];

    here = cpu;
    for (unsigned int n = 0; n < THREAD_LINES; n++) {
        int len = snprintf(text, sizeof(text), "cpu %u line %u ", here->id, n);

        memset(text + len, 'a' + (int)(n % 26), n % 120);
        recorder_text(text, (size_t)len + n % 120);
    }
    return NULL;
}

/* What a reader believes is one whole piece of a line. */
static void check_entry(const struct lu_log_entry *e, unsigned int next[THREADS])
{
    char text[LU_LOG_TEXT + 1] = "";
    unsigned int cpu, n, after = 0;

    memcpy(text, e->text, e->length);
    if (e->flags & LU_LOG_MORE) {
        assert_int_equal(strspn(text, "abcdefghijklmnopqrstuvwxyz"), e->length);
        assert_int_equal(strspn(text, (char[]){text[0], '\0'}), e->length);
        return;
    }
    assert_int_equal(sscanf(text, "cpu %u line %u %n", &cpu, &n, &after), 2);
    assert_int_equal(cpu, e->cpu);
    assert_true(n >= next[cpu]);
    next[cpu] = n + 1;
    for (unsigned int i = after; i < e->length; i++) {
        assert_int_equal(text[i], 'a' + n % 26);
    }
}

static void test_append__several_cpus_and_a_reader__whole_entries_in_order(void **state)
{
    unsigned int next[THREADS] = {0};
    pthread_t threads[THREADS];
    struct lu_log_entry e;
    uint64_t from = 0;

    (void)state;
    fake_tsc_step = 0; /* the fake clock is not made for several */
    for (unsigned int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, appender, &cpus[i]), 0);
    }
    while (recorder_next() < THREADS * THREAD_LINES) {
        while (recorder_read(&from, &e)) {
            check_entry(&e, next);
        }
    }
    for (unsigned int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    /* Nobody writes any more: nearly all slots are good. A writer that was held up for a whole ring
     * may have spoiled some. */
    memset(next, 0, sizeof(next));
    from = 0;
    unsigned int good = 0;
    while (recorder_read(&from, &e)) {
        check_entry(&e, next);
        good++;
    }
    assert_true(good > SLOTS / 2);
    assert_int_equal(from, recorder_next());
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_read__lines_and_steps__in_order_as_written),
        TEST(test_append__more_than_there_are_slots__the_last_ones_stay),
        TEST(test_append__long_line__in_several_entries),
        TEST(test_read__any_bit_flipped__that_entry_is_not_believed),
        TEST(test_read__torn_between_two_entries__neither_is_believed),
        TEST(test_read__entry_in_another_slot__not_believed),
        TEST(test_format__bytes_of_others__no_terminal_codes),
        TEST(test_attach__next_image__goes_on),
        TEST(test_attach__no_ring_there__refused),
        TEST(test_sizes__powers_of_two_in_bounds__ok),
        TEST(test_attach__counter_damaged__entries_are_counted),
        TEST(test_new_boot__after_a_reset__numbers_go_on_and_boots_differ),
        TEST(test_append__several_cpus_and_a_reader__whole_entries_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
