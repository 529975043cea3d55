/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moltctl: command line, sizes, JSON, frame numbers, what is shown.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../tools/moltctl/frames.h"
#include "../../tools/moltctl/json.h"
#include "../../tools/moltctl/options.h"
#include "../../tools/moltctl/show.h"
#include "fakes/cmocka_inc.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define WORDS_MAX 16

/* ---- command line ---- */

/* Splits at blanks; "_" stands for an empty word. */
static bool parse(const char *line, struct options *o, char why[OPTIONS_WHY_MAX])
{
    static char copy[512];
    char *argv[WORDS_MAX + 1] = {"moltctl"};
    int argc = 1;

    snprintf(copy, sizeof(copy), "%s", line);
    for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " ")) {
        assert_true(argc < WORDS_MAX);
        argv[argc++] = strcmp(word, "_") == 0 ? word + 1 : word;
    }
    return options_parse(argc, argv, o, why);
}

static void test_options_parse__commands__taken(void **state)
{
    static const struct {
        const char *line;
        enum command command;
        const char *name;
        bool json, dump;
    } rows[] = {
        {"help", COMMAND_HELP, NULL, false, false},
        {"--help", COMMAND_HELP, NULL, false, false},
        {"list", COMMAND_LIST, NULL, false, false},
        {"list --json", COMMAND_LIST, NULL, true, false},
        {"status", COMMAND_STATUS, NULL, false, false},
        {"audit", COMMAND_AUDIT, NULL, false, false},
        {"audit --json", COMMAND_AUDIT, NULL, true, false},
        {"log", COMMAND_LOG, NULL, false, false},
        {"log --json", COMMAND_LOG, NULL, true, false},
        {"stat a", COMMAND_STAT, "a", false, false},
        {"start --json 7", COMMAND_START, "7", true, false},
        {"pause a", COMMAND_PAUSE, "a", false, false},
        {"resume a", COMMAND_RESUME, "a", false, false},
        {"destroy a", COMMAND_DESTROY, "a", false, false},
        {"console a --dump --json", COMMAND_CONSOLE, "a", true, true},
        {"console a", COMMAND_CONSOLE, "a", false, false},
        {"update /lib/x.elf", COMMAND_UPDATE, "/lib/x.elf", false, false},
        {"update -", COMMAND_UPDATE, "-", false, false},
    };
    char why[OPTIONS_WHY_MAX];
    struct options o;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (!parse(rows[i].line, &o, why)) {
            fail_msg("%s: %s", rows[i].line, why);
        }
        assert_int_equal(o.command, rows[i].command);
        assert_int_equal(o.json, rows[i].json);
        assert_int_equal(o.dump, rows[i].dump);
        if (rows[i].name == NULL) {
            assert_null(o.name);
        } else {
            assert_string_equal(o.name, rows[i].name);
        }
    }
}

static void test_options_parse__create__all_options_and_defaults(void **state)
{
    char why[OPTIONS_WHY_MAX];
    struct options o;

    (void)state;
    assert_true(parse("create two --kernel k", &o, why));
    assert_int_equal(o.memory_bytes, 64 << 20);
    assert_int_equal(o.vcpus, 1);
    assert_null(o.module);
    assert_string_equal(o.cmdline, "");
    assert_false(o.start);
    assert_true(parse("create --mem 1G --vcpus=255 two --kernel=k --module m --cmdline a=b --start",
                      &o, why));
    assert_string_equal(o.name, "two");
    assert_int_equal(o.memory_bytes, 1 << 30);
    assert_int_equal(o.vcpus, 255);
    assert_string_equal(o.kernel, "k");
    assert_string_equal(o.module, "m");
    assert_string_equal(o.cmdline, "a=b");
    assert_true(o.start);
    assert_true(parse("create two --kernel k --cmdline=console=ttyS0", &o, why));
    assert_string_equal(o.cmdline, "console=ttyS0");
}

static void test_options_parse__nonsense__refused_with_the_word(void **state)
{
    static const struct {
        const char *line, *why;
    } rows[] = {
        {"", "no command"},
        {"nonsense", "nonsense"},
        {"list extra", "extra"},
        {"list --dump", "--dump does not go with list"},
        {"list --mem 1M", "--mem does not go with list"},
        {"list --jso", "--jso is no option"},
        {"list --json=1", "--json takes no value"},
        {"audit it", "it"},
        {"log 5", "5"},
        {"log -f --json", "--json does not go with -f"},
        {"log --follow --json", "--json does not go with -f"},
        {"log -f=1", "-f takes no value"},
        {"list -f", "-f does not go with list"},
        {"stat", "name is missing"},
        {"stat a b", "b"},
        {"update", "file is missing"},
        {"create two", "--kernel FILE is missing"},
        {"create --kernel k", "name is missing"},
        {"create _ --kernel k", "1 to 31"},
        {"create 12345678901234567890123456789012 --kernel k", "1 to 31"},
        {"create two --kernel", "its value is missing"},
        {"create two --kernel k --mem 0", "--mem 0"},
        {"create two --kernel k --mem 5", "--mem 5"},
        {"create two --kernel k --mem 64X", "--mem 64X"},
        {"create two --kernel k --vcpus 0", "--vcpus 0"},
        {"create two --kernel k --vcpus 256", "--vcpus 256"},
        {"create two --kernel k --vcpus 1x", "--vcpus 1x"},
        {"create two --kernel k --vcpus _", "--vcpus"},
    };
    char why[OPTIONS_WHY_MAX];
    struct options o;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (parse(rows[i].line, &o, why) || strstr(why, rows[i].why) == NULL) {
            fail_msg("\"%s\": %s", rows[i].line, why);
        }
    }
}

/* The text has to lie in one page. */
static void test_options_parse__cmdline_length__less_than_a_page(void **state)
{
    char text[4097], *argv[] = {"moltctl", "create", "a", "--kernel", "k", "--cmdline", text};
    char why[OPTIONS_WHY_MAX];
    struct options o;

    (void)state;
    memset(text, 'x', sizeof(text));
    text[4096] = '\0';
    assert_false(options_parse(7, argv, &o, why));
    text[4095] = '\0';
    assert_true(options_parse(7, argv, &o, why));
}

static void test_size_parse__table__powers_of_1024(void **state)
{
    static const struct {
        const char *text;
        bool good;
        uint64_t bytes;
    } rows[] = {
        {"0", true, 0},
        {"65536", true, 65536},
        {"4K", true, 4096},
        {"64M", true, 64 << 20},
        {"64m", true, 64 << 20},
        {"2G", true, UINT64_C(2) << 30},
        {"1t", true, UINT64_C(1) << 40},
        {"16777215T", true, UINT64_C(16777215) << 40},
        {"16777216T", false, 0},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"18446744073709551615K", false, 0},
        {"", false, 0},
        {"M", false, 0},
        {"1MB", false, 0},
        {"-1", false, 0},
        {" 1", false, 0},
        {"0x10", false, 0},
        {"1@", false, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t bytes = 77;

        assert_int_equal(size_parse(rows[i].text, &bytes), rows[i].good);
        assert_int_equal(bytes, rows[i].good ? rows[i].bytes : 77);
    }
}

/* ---- JSON ---- */

static char *text;
static size_t text_length;

static FILE *begin(void)
{
    FILE *out = open_memstream(&text, &text_length);

    assert_non_null(out);
    return out;
}

static void expect(FILE *out, const char *want)
{
    fclose(out);
    assert_string_equal(text, want);
    free(text);
}

static void test_json__structures__commas_between(void **state)
{
    struct json j = {.out = begin()};

    (void)state;
    json_open(&j, NULL, '[');
    json_open(&j, NULL, '{');
    json_close(&j, '}');
    json_open(&j, NULL, '{');
    json_number(&j, "n", UINT64_MAX);
    json_open(&j, "in", '{');
    json_bool(&j, "t", true);
    json_bool(&j, "f", false);
    json_close(&j, '}');
    json_null(&j, "none");
    json_tenths(&j, "us", 123);
    json_tenths(&j, "zero", 0);
    json_close(&j, '}');
    json_close(&j, ']');
    json_end(&j);
    expect(j.out, "[{}, {\"n\": 18446744073709551615, \"in\": {\"t\": true, \"f\": false}, "
                  "\"none\": null, \"us\": 12.3, \"zero\": 0.0}]\n");
}

static void test_json_bytes__any__valid_text(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *want;
    } rows[] = {
        {"plain", 5, "\"plain\""},
        {"", 0, "\"\""},
        {"a\"b\\c", 5, "\"a\\\"b\\\\c\""},
        {"\0\1\n\r\t\x1b\x7f", 7, "\"\\u0000\\u0001\\n\\u000d\\u0009\\u001b\\u007f\""},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"\xc3", 1, "\"\\u00c3\""},                                /* cut off */
        {"\xe2\x82x", 3, "\"\\u00e2\\u0082x\""},                   /* not all there */
        {"\x80\xbf\xc0\xaf\xc1\xbf", 6, "\"\\u0080\\u00bf\\u00c0\\u00af\\u00c1\\u00bf\""},
        {"\xed\xa0\x80", 3, "\"\\u00ed\\u00a0\\u0080\""},          /* a surrogate */
        {"\xe0\x80\x80", 3, "\"\\u00e0\\u0080\\u0080\""},          /* too long a form */
        {"\xf4\x90\x80\x80", 4, "\"\\u00f4\\u0090\\u0080\\u0080\""}, /* behind the last */
        {"\xff\xf5", 2, "\"\\u00ff\\u00f5\""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct json j = {.out = begin()};

        json_bytes(&j, NULL, rows[i].bytes, rows[i].n);
        expect(j.out, rows[i].want);
    }
}

/* ---- frames ---- */

static void test_pages_for__bytes__rounded_up(void **state)
{
    (void)state;
    assert_int_equal(pages_for(0), 0);
    assert_int_equal(pages_for(1), 1);
    assert_int_equal(pages_for(4096), 1);
    assert_int_equal(pages_for(4097), 2);
    assert_int_equal(pages_for(UINT64_MAX), UINT64_MAX / 4096 + 1);
}

static void test_frame_from_pagemap__words__frame_if_present_and_shown(void **state)
{
    uint64_t frame = 5;

    (void)state;
    assert_false(frame_from_pagemap(0, &frame));
    assert_false(frame_from_pagemap(0x1234, &frame));            /* swapped out */
    assert_false(frame_from_pagemap(UINT64_C(1) << 63, &frame)); /* hidden: not root */
    assert_int_equal(frame, 5);
    assert_true(frame_from_pagemap(UINT64_C(0xe180000000001234), &frame)); /* flags above */
    assert_int_equal(frame, 0x1234);
}

static void test_frames_find_run__tables__first_run_in_order(void **state)
{
    static const struct {
        uint64_t frames[8];
        size_t n, want;
        bool found;
        size_t run[8];
    } rows[] = {
        {{9}, 1, 1, true, {0}},
        {{9}, 1, 2, false, {0}},
        {{9}, 1, 0, false, {0}},
        {{7, 6, 5, 4}, 4, 4, true, {3, 2, 1, 0}},
        {{7, 6, 9, 10, 11}, 5, 3, true, {2, 3, 4}},
        {{7, 6, 9, 10, 11}, 5, 2, true, {1, 0}},
        {{7, 6, 9, 10, 11}, 5, 4, false, {0}},
        {{100, 3, 101, 1, 102, 5, 103, 2}, 8, 4, true, {0, 2, 4, 6}},
        {{0, 2, 4, 6}, 4, 2, false, {0}},
        {{UINT64_MAX, 0, 1}, 3, 2, true, {1, 2}},
        {{UINT64_MAX, 0}, 2, 2, false, {0}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        size_t run[8] = {77, 77, 77, 77, 77, 77, 77, 77};

        assert_int_equal(frames_find_run(rows[i].frames, rows[i].n, rows[i].want, run),
                         rows[i].found);
        for (size_t k = 0; k < rows[i].want && rows[i].found; k++) {
            assert_int_equal(run[k], rows[i].run[k]);
        }
        assert_true(rows[i].found || run[0] == 77);
    }
}

/* ---- what is shown ---- */

static const struct hc_domain domains[] = {
    {.id = 1, .state = HC_DOM_RUNNING, .flags = HC_DOM_CONTROL, .vcpus = 2,
     .memory_bytes = 32 << 20, .name = "control"},
    {.id = 3, .state = HC_DOM_EXITED, .vcpus = 1, .memory_bytes = 4096, .exit_code = 7,
     .name = "a \"b\""},
};

static void test_show_domains__two__a_line_each(void **state)
{
    FILE *out = begin();

    (void)state;
    show_domains(out, domains, 2);
    fclose(out);
    assert_non_null(
        strstr(text, "\n1    control              running      2   32768 KiB  control\n"));
    assert_non_null(
        strstr(text, "\n3    a \"b\"                exited       1       4 KiB  code 7\n"));
    free(text);
}

static void test_show_domains_json__two__objects(void **state)
{
    FILE *out = begin();

    (void)state;
    show_domains_json(out, domains, 2);
    expect(out, "[{\"id\": 1, \"name\": \"control\", \"state\": \"running\", \"control\": true, "
                "\"vcpus\": 2, \"memory_bytes\": 33554432, \"exit_code\": null}, "
                "{\"id\": 3, \"name\": \"a \\\"b\\\"\", \"state\": \"exited\", \"control\": false, "
                "\"vcpus\": 1, \"memory_bytes\": 4096, \"exit_code\": 7}]\n");
    out = begin();
    show_domains_json(out, NULL, 0);
    expect(out, "[]\n");
}

/* Strings without an end, states and numbers that nobody knows: what the array holds, no more. */
static void test_show__strings_without_end__as_long_as_their_array(void **state)
{
    struct molt_state m;
    struct hc_dom_stats stats;
    struct hc_domain d;
    FILE *out = begin();

    (void)state;
    memset(&m, 'x', sizeof(m));
    memset(&stats, 'x', sizeof(stats));
    memset(&d, 'x', sizeof(d));
    show_status(out, &m);
    show_status_json(out, &m);
    m.lu.state = HC_LU_LOADED;
    show_status(out, &m);
    show_status_json(out, &m);
    show_update(out, &m.info, &m);
    show_update_json(out, &m.info, &m);
    show_domains(out, &d, 1);
    show_domain_json(out, &d);
    show_stats(out, &d, &stats, m.info.tsc_khz);
    show_stats_json(out, &d, &stats, 0);
    fclose(out);
    assert_non_null(strstr(text, "unknown"));
    free(text);
}

static struct molt_state sample(void)
{
    return (struct molt_state){
        .info = {.version = "0.2.0",
                 .build_id = "0123456789abcdef",
                 .domain_id = 1,
                 .updates = 3,
                 .tsc_khz = 50000,
                 .memory_bytes = 1 << 20},
        .lu = {.updates = 3,
               .refused = 1,
               .blackout = 224845,
               .phase_save = 61066,
               .phase_jump = 375,
               .phase_boot = 59097,
               .phase_adopt = 103009,
               .phase_resume = 1298,
               .reason = "why",
               .code = HC_LU_R_SPACE,
               .needed = 8 << 20},
        .region = {.base = 0x1000000,
                   .size = 16 << 20,
                   .arena_size = {1 << 20, 2 << 20},
                   .active = 0,
                   .required = 4096},
    };
}

static void test_show_update__figures__cycles_and_microseconds(void **state)
{
    struct molt_state m = sample();
    struct hc_info before = {.version = "0.1.0", .build_id = "fedcba9876543210"};
    FILE *out = begin();

    (void)state;
    show_update(out, &before, &m);
    expect(out, "molt 0.1.0 (fedcba987654) was replaced by 0.2.0 (0123456789ab): update 3\n"
                "blackout         224845 cycles       4496.9 us\n"
                "  save            61066 cycles       1221.3 us\n"
                "  jump              375 cycles          7.5 us\n"
                "  boot            59097 cycles       1181.9 us\n"
                "  adopt          103009 cycles       2060.1 us\n"
                "  resume           1298 cycles         25.9 us\n");
    out = begin();
    show_update_json(out, &before, &m);
    expect(out, "{\"from\": {\"version\": \"0.1.0\", \"build_id\": \"fedcba9876543210\"}, "
                "\"to\": {\"version\": \"0.2.0\", \"build_id\": \"0123456789abcdef\"}, "
                "\"updates\": 3, \"blackout_cycles\": 224845, \"blackout_us\": 4496.9, "
                "\"phases_cycles\": {\"save\": 61066, \"jump\": 375, \"boot\": 59097, "
                "\"adopt\": 103009, \"resume\": 1298}}\n");
}

static void test_show_status_json__fields__as_documented(void **state)
{
    struct molt_state m = sample();
    FILE *out = begin();

    (void)state;
    show_status_json(out, &m);
    expect(out, "{\"running\": {\"version\": \"0.2.0\", \"build_id\": \"0123456789abcdef\"}, "
                "\"updates\": 3, \"refused\": 1, \"last_update\": {\"blackout_cycles\": 224845, "
                "\"blackout_us\": 4496.9, \"phases_cycles\": {\"save\": 61066, \"jump\": 375, "
                "\"boot\": 59097, \"adopt\": 103009, \"resume\": 1298}}, \"reason\": \"why\", "
                "\"reason_code\": 9, \"reason_name\": \"space\", \"needed_bytes\": 8388608, "
                "\"backs\": 0, \"back_blackout_cycles\": 0, \"busy\": false, \"watch\": \"none\", "
                "\"loaded\": null, \"region\": {\"base\": 16777216, \"size\": 16777216, "
                "\"arena\": \"A\", \"next_size\": 2097152, \"next_required\": 4096}, "
                "\"domain\": 1, \"memory_bytes\": 1048576, \"tsc_khz\": 50000}\n");
    m.lu.updates = 0;
    m.lu.state = HC_LU_LOADED;
    m.lu.watch = HC_LU_WATCH_TIMER;
    m.lu.backs = 2;
    m.lu.busy = 1;
    m.lu.back_blackout = 77;
    m.region.active = 1;
    out = begin();
    show_status_json(out, &m);
    fclose(out);
    assert_non_null(strstr(text, "\"last_update\": null, "));
    assert_non_null(strstr(text, "\"loaded\": {\"version\": \"\", \"build_id\": \"\"}, "));
    assert_non_null(strstr(text, "\"arena\": \"B\", \"next_size\": 1048576, "));
    assert_non_null(strstr(
        text,
        "\"backs\": 2, \"back_blackout_cycles\": 77, \"busy\": true, \"watch\": \"timer\", "));
    free(text);
    out = begin();
    show_status(out, &m);
    fclose(out);
    assert_non_null(strstr(text, "came back from 2 updates that failed; blackout of the last 77 "));
    assert_non_null(strstr(text, "; watched by: timer\n"));
    free(text);
}

static void test_refusal_name__codes__one_word_each(void **state)
{
    (void)state;
    assert_string_equal(refusal_name(HC_LU_R_NONE), "none");
    assert_string_equal(refusal_name(HC_LU_R_ROLLBACK), "rollback");
    assert_string_equal(refusal_name(HC_LU_R_BACK_RELOCATOR), "back-relocator");
    assert_string_equal(refusal_name(HC_LU_R_BACK_RELOCATOR + 1), "unknown");
    assert_string_equal(refusal_name(UINT32_MAX), "unknown");
    for (uint32_t i = 0; i <= HC_LU_R_BACK_RELOCATOR; i++) {
        bool known = i <= HC_LU_R_PAUSE || i >= HC_LU_R_BACK_SILENT;

        assert_int_equal(strcmp(refusal_name(i), "unknown") != 0, known);
        for (uint32_t k = 0; known && k < i; k++) {
            assert_string_not_equal(refusal_name(i), refusal_name(k));
        }
    }
}

static void test_show_status__refused__why_and_the_code(void **state)
{
    struct molt_state m = sample();
    FILE *out = begin();

    (void)state;
    show_status(out, &m);
    fclose(out);
    assert_non_null(strstr(text, "last refusal: why (space, code 9)\n"));
    free(text);
}

static void test_options__log_follow__known(void **state)
{
    static const char *const words[] = {"-f", "--follow"};
    char why[OPTIONS_WHY_MAX];
    struct options o;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char *argv[] = {"moltctl", "log", (char *)(uintptr_t)words[i]};

        assert_true(options_parse(3, argv, &o, why));
        assert_true(o.follow);
        assert_true(options_parse(2, argv, &o, why));
        assert_false(o.follow);
    }
}

static void test_show_log__lines__as_objects(void **state)
{
    static const struct {
        const char *line, *json;
    } rows[] = {
        {"17 123456789 12.000345 3 line update n=1 ok",
         "{\"number\": 17, \"tsc\": 123456789, \"us\": 12000345, \"cpu\": 3, "
         "\"kind\": \"line\", \"text\": \"update n=1 ok\"}"},
        {"18446744073709551615 5 - 0 step old: \"jump\"",
         "{\"number\": 18446744073709551615, \"tsc\": 5, \"us\": null, \"cpu\": 0, "
         "\"kind\": \"step\", \"text\": \"old: \\\"jump\\\"\"}"},
        {"1 2 0.000001 0 more ",
         "{\"number\": 1, \"tsc\": 2, \"us\": 1, \"cpu\": 0, \"kind\": \"more\", "
         "\"text\": \"\"}"},
        {"", "{\"text\": \"\"}"},
        {"1 2 3 4 line", "{\"text\": \"1 2 3 4 line\"}"},
        {"1  3 4 line x", "{\"text\": \"1  3 4 line x\"}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        FILE *out = begin();
        struct json j = {.out = out};

        show_log_line_json(&j, rows[i].line, strlen(rows[i].line));
        expect(out, rows[i].json);
    }
    char longest[5000];
    FILE *out = begin();
    struct json j = {.out = out};

    memset(longest, 'x', sizeof(longest));
    show_log_line_json(&j, longest, sizeof(longest));
    fclose(out);
    assert_true(strlen(text) < 300);
    free(text);
}

static void test_show_audit__agreement_or_not__both_forms(void **state)
{
    struct hc_audit a = {.frames = 1000};
    FILE *out = begin();

    (void)state;
    show_audit(out, &a);
    show_audit_json(out, &a);
    expect(out, "1000 frames, 0 mismatches\n"
                "{\"ok\": true, \"frames\": 1000, \"mismatches\": 0, \"mfn\": null, "
                "\"text\": \"\"}\n");
    a = (struct hc_audit){.frames = 1000, .mismatches = 2, .mfn = 0x1234, .text = "a; b"};
    out = begin();
    show_audit(out, &a);
    show_audit_json(out, &a);
    expect(out, "1000 frames, 2 mismatches\nframe 0x1234: a; b\n"
                "{\"ok\": false, \"frames\": 1000, \"mismatches\": 2, \"mfn\": 4660, "
                "\"text\": \"a; b\"}\n");
    a.mfn = UINT64_MAX;
    memset(a.text, 'x', sizeof(a.text));
    out = begin();
    show_audit(out, &a);
    show_audit_json(out, &a);
    fclose(out);
    assert_null(strstr(text, "frame 0x"));
    assert_non_null(strstr(text, "\"mfn\": null, \"text\": \"xxxx"));
    free(text);
}

static void test_show_stats__kinds__only_what_there_is(void **state)
{
    struct hc_dom_stats s = {.run_cycles = 1000000,
                             .exits = {0, 5},
                             .console_bytes = 12,
                             .exit_names = {"timer", "cpuid"}};
    FILE *out = begin();

    (void)state;
    s.extents[9] = 16;
    show_stats(out, &domains[0], &s, 50000);
    fclose(out);
    assert_non_null(strstr(text, "5 cpuid\n"));
    assert_null(strstr(text, "timer"));
    assert_non_null(strstr(text, "16 of 2 MiB\n"));
    assert_non_null(strstr(text, "1000000 cycles, 20000 us\n"));
    free(text);
    out = begin();
    show_stats_json(out, &domains[0], &s, 50000);
    fclose(out);
    assert_non_null(strstr(text, "\"run_cycles\": 1000000, \"run_us\": 20000.0, "
                                 "\"console_bytes\": 12, \"exits\": {\"timer\": 0, \"cpuid\": 5}, "
                                 "\"extents\": {\"2097152\": 16}}\n"));
    free(text);
}

static void test_cycles_to_us10__large__no_overflow(void **state)
{
    (void)state;
    assert_int_equal(cycles_to_us10(1, 0), 0);
    assert_int_equal(cycles_to_us10(5, 1000), 50);
    assert_int_equal(cycles_to_us10(49996, 49996), 10000);
    assert_int_equal(cycles_to_us10(UINT64_C(1) << 60, 1 << 20), UINT64_C(10000) << 40);
}

static void test_show_console_json__bytes__positions(void **state)
{
    FILE *out = begin();

    (void)state;
    show_console_json(out, &domains[0], 100, "a\r\n\xff", 4);
    expect(out, "{\"id\": 1, \"name\": \"control\", \"from\": 100, \"to\": 104, "
                "\"text\": \"a\\u000d\\n\\u00ff\"}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_parse__commands__taken),
        cmocka_unit_test(test_options_parse__create__all_options_and_defaults),
        cmocka_unit_test(test_options_parse__nonsense__refused_with_the_word),
        cmocka_unit_test(test_options_parse__cmdline_length__less_than_a_page),
        cmocka_unit_test(test_size_parse__table__powers_of_1024),
        cmocka_unit_test(test_json__structures__commas_between),
        cmocka_unit_test(test_json_bytes__any__valid_text),
        cmocka_unit_test(test_pages_for__bytes__rounded_up),
        cmocka_unit_test(test_frame_from_pagemap__words__frame_if_present_and_shown),
        cmocka_unit_test(test_frames_find_run__tables__first_run_in_order),
        cmocka_unit_test(test_show_domains__two__a_line_each),
        cmocka_unit_test(test_show_domains_json__two__objects),
        cmocka_unit_test(test_show__strings_without_end__as_long_as_their_array),
        cmocka_unit_test(test_show_update__figures__cycles_and_microseconds),
        cmocka_unit_test(test_show_status_json__fields__as_documented),
        cmocka_unit_test(test_refusal_name__codes__one_word_each),
        cmocka_unit_test(test_show_status__refused__why_and_the_code),
        cmocka_unit_test(test_options__log_follow__known),
        cmocka_unit_test(test_show_log__lines__as_objects),
        cmocka_unit_test(test_show_audit__agreement_or_not__both_forms),
        cmocka_unit_test(test_show_stats__kinds__only_what_there_is),
        cmocka_unit_test(test_cycles_to_us10__large__no_overflow),
        cmocka_unit_test(test_show_console_json__bytes__positions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
