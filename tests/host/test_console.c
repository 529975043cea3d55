/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Console: ring, whole lines, focus, line editor, pause, what goes over to the next image.
 *
 * core/console.c is included: each test starts with a fresh one.
 */
#include "../../core/console.c"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/seam.h"
#include "hv/commands.h"
#include "hw/ports.h"

#define GUESTS 3U
#define LINES 400U

struct domain *domain_list;
uint64_t domain_generation;
static struct domain guests[GUESTS];
static char ran[16][EDIT_MAX + 1];
static unsigned int nr_ran;

struct domain *domain_find(uint16_t id)
{
    for_each_domain(d) {
        if (d->id == id) {
            return d;
        }
    }
    return NULL;
}

void printk(const char *fmt, ...)
{
    char text[300] = "molt: ";
    va_list args;

    va_start(args, fmt);
    vsnprintf(text + 6, sizeof(text) - 6, fmt, args);
    va_end(args);
    console_line(text, strlen(text));
}

void command_run(const char *line)
{
    snprintf(ran[nr_ran % 16], sizeof(ran[0]), "%s", line);
    nr_ran++;
}

static uint64_t now = 1;

uint64_t tsc_read(void)
{
    return now;
}

static uint64_t random_state;

uint64_t random_u64(void)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return random_state >> 33;
}

static void fresh_console(void)
{
    head = tail = dropped = 0;
    pausing = escape = prompting = false;
    open_line = OPEN_NONE;
    focus = CONSOLE_FOCUS_MOLT;
    edit_length = 0;
    memset(ring, 0xee, sizeof(ring));
}

static int setup(void **state)
{
    (void)state;
    fresh_console();
    fake_seam_reset();
    random_state = 1;
    nr_ran = 0;
    domain_list = NULL;
    for (unsigned int i = GUESTS; i-- > 0;) {
        output_free(&guests[i].output);
        memset(&guests[i], 0, sizeof(guests[i]));
        snprintf(guests[i].name, sizeof(guests[i].name), "g%u", i + 1);
        guests[i].id = (uint16_t)(i + 1);
        vuart_reset(&guests[i].uart);
        guests[i].next = domain_list;
        domain_list = &guests[i];
    }
    return 0;
}

static void type(const char *keys)
{
    fake_serial_type(keys, strlen(keys));
    for (size_t i = 0; i < strlen(keys); i++) {
        console_poll();
    }
}

static void drained(void)
{
    fake_serial_left = -1;
    console_drain();
    assert_int_equal(head, tail);
}

static bool guest_puts(unsigned int g, const char *text)
{
    for (; *text != '\0'; text++) {
        if (!vuart_write(&guests[g], UART_DATA, (uint8_t)*text)) {
            return false;
        }
    }
    return true;
}

static void test_lines__molt_and_guests__as_written(void **state)
{
    (void)state;
    printk("one");
    assert_true(guest_puts(0, "two\r\n"));
    assert_true(console_guest_line(&guests[2], "three\n?", 5));
    assert_true(guest_puts(1, "a\x01"
                              "b\x7f\tc\n"));
    drained();
    assert_string_equal(fake_serial_out(),
                        "molt: one\r\n[g1] two\r\n[g3] three\r\n[g2] a?b?\tc\r\n");
}

/* What could make the terminal show what nobody printed. */
static void test_guest_line__control_bytes__not_let_through(void **state)
{
    char text[33];

    (void)state;
    for (unsigned int i = 0; i < 32; i++) {
        text[i] = (char)i;
    }
    text[32] = 0x7f;
    assert_true(console_guest_line(&guests[0], text, sizeof(text)));
    drained();
    const char *out = fake_serial_out();
    assert_int_equal(fake_serial_out_len(), 5 + 33 + 2);
    for (size_t i = 5; i < 5 + 33; i++) {
        assert_true(out[i] == '?' || out[i] == '\t');
    }
}

/* A shell needs them: bytes as they are; '\r' is part of an end of line, or a byte of the line. */
static void test_guest_line__control_domain__terminal_bytes_let_through(void **state)
{
    (void)state;
    guests[0].control = true;
    assert_true(guest_puts(0, "a\b \b\x1b[J\x7f\a.\r\n"));
    assert_true(guest_puts(0, "one\rtwo\r\r\n\r\nend\n"));
    assert_true(guest_puts(1, "x\ry\b\n"));
    drained();
    assert_string_equal(fake_serial_out(), "[g1] a\b \b\x1b[J\x7f\a.\r\n[g1] one\rtwo\r\n"
                                           "[g1] \r\n[g1] end\r\n[g2] xy?\r\n");
}

/* The line is full just where the held '\r' belongs, and the port stands still. */
static void test_guest_line__held_return__back_pressure_loses_nothing(void **state)
{
    char line[VUART_LINE + 1];

    (void)state;
    guests[0].control = true;
    memset(line, 'l', VUART_LINE);
    line[VUART_LINE] = '\0';
    assert_true(guest_puts(0, line));
    assert_true(guest_puts(0, "\r"));
    fake_serial_left = 0;
    while (console_guest_line(&guests[1], "fill", 4)) {
    }
    while (console_guest_line(&guests[2], "fill", 4)) {
    }
    guests[0].uart.printed_to = UINT64_MAX; /* it has had its turn */
    assert_false(guest_puts(0, "x"));
    assert_false(guest_puts(0, "x"));
    guests[0].uart.printed_to = 0;
    drained();
    fake_serial_clear();
    assert_true(guest_puts(0, "x\n"));
    drained();
    assert_int_equal(fake_serial_out_len(), 5 + VUART_LINE + 2 + 5 + 2 + 2);
    assert_string_equal(fake_serial_out() + 5 + VUART_LINE, "\r\n[g1] \rx\r\n");
}

/* ---- random interleaving ---- */

struct written {
    char lines[LINES][VUART_LINE + 1];
    unsigned int made; /* lines begun */
    size_t at;         /* in the line being written */
    /* while reading the output */
    unsigned int next;
    unsigned int seen[LINES];
};

static struct written guest_lines[GUESTS];
static unsigned int molt_made, molt_next;

static void make_line(unsigned int g)
{
    struct written *w = &guest_lines[g];
    size_t extra = random_u64() % 8 == 0 ? random_u64() % 225 : random_u64() % 30;
    int n = snprintf(w->lines[w->made], 20, "%u-%05u-", g + 1, w->made);

    for (size_t i = 0; i < extra && n < (int)VUART_LINE; i++) {
        w->lines[w->made][n++] = (char)('a' + random_u64() % 26);
    }
    w->lines[w->made][n] = '\0';
    w->made++;
    w->at = 0;
}

/* Some bytes of a guest's current line; at its end the newline, when there is room. */
static void guest_steps(unsigned int g)
{
    struct written *w = &guest_lines[g];

    for (unsigned int i = (unsigned int)(random_u64() % 40); w->made <= LINES && i > 0; i--) {
        if (w->made == 0 || w->lines[w->made - 1][w->at] == '\0') {
            if (w->made > 0 && !vuart_write(&guests[g], UART_DATA, '\n')) {
                return;
            }
            if (w->made == LINES) {
                w->at = 0;
                w->made++; /* done */
                return;
            }
            make_line(g);
        }
        if (!vuart_write(&guests[g], UART_DATA, (uint8_t)w->lines[w->made - 1][w->at])) {
            return;
        }
        w->at++;
    }
}

static void take_guest_line(unsigned int g, const char *text, size_t len)
{
    struct written *w = &guest_lines[g];

    for (unsigned int k = w->next; k < LINES && k <= w->next + 1; k++) {
        if (strncmp(w->lines[k], text, len) != 0 || (k > w->next && w->seen[w->next] == 0)) {
            continue;
        }
        w->next = k;
        w->seen[k] += w->lines[k][len] == '\0' ? 1 : 0;
        return;
    }
    fail_msg("[g%u] %.*s: torn, or not in order", g + 1, (int)len, text);
}

static void take_line(const char *text, size_t len)
{
    unsigned int g, n;

    if (len > 7 && strncmp(text, "molt: m-", 8) == 0) {
        assert_int_equal(sscanf(text + 8, "%u", &n), 1);
        assert_int_equal(n, molt_next);
        assert_int_equal(len, 8 + 6 + 30);
        molt_next++;
    } else if (len > 4 && sscanf(text, "[g%u] ", &g) == 1) {
        assert_true(g >= 1 && g <= GUESTS);
        take_guest_line(g - 1, text + 5, len - 5);
    } else if (strncmp(text, "molt> ", 6) != 0 && strncmp(text, "molt: console: ", 15) != 0 &&
               len != 0) {
        fail_msg("what is this: %.*s", (int)len, text);
    }
}

static void random_key(bool change_focus)
{
    static const char keys[] = "abcxyz 123\b\b\x7f\r\n\t\x1b\xff";
    char key = keys[random_u64() % (sizeof(keys) - 1)];

    if (change_focus && random_u64() % 6 == 0) {
        char two[2] = {KEY_ESCAPE, "01239\001mx"[random_u64() % 8]};

        fake_serial_type(two, 2);
    } else {
        fake_serial_type(&key, 1);
    }
}

static bool all_written(void)
{
    for (unsigned int g = 0; g < GUESTS; g++) {
        if (guest_lines[g].made <= LINES) {
            return false;
        }
    }
    return true;
}

static void interleave(bool change_focus, unsigned int seed)
{
    const char *out, *end;

    (void)setup(NULL);
    random_state = seed;
    memset(guest_lines, 0, sizeof(guest_lines));
    molt_made = molt_next = 0;
    head = tail = random_u64() % RING_BYTES;
    while (!all_written()) {
        /* The port takes little for a while, then much. */
        fake_serial_left = (long)(random_u64() % (molt_made % 100 < 50 ? 20 : 4000));
        switch (random_u64() % 5) {
        case 0:
            /* console_line() waits for the port where the ring is full: leave room for that. */
            if (room() > 200) {
                printk("m-%06u%30s", molt_made, "");
                molt_made++;
            }
            break;
        case 1:
            random_key(change_focus);
            break;
        default:
            guest_steps((unsigned int)(random_u64() % GUESTS));
            break;
        }
        if (room() > 400) {
            console_poll();
        } else {
            drain_some();
        }
        assert_true(head - tail <= RING_BYTES);
    }
    drained();
    out = fake_serial_out();
    for (; (end = strstr(out, "\r\n")) != NULL; out = end + 2) {
        /* A typed line's echo has backspaces in it. */
        if (memchr(out, '\b', (size_t)(end - out)) == NULL) {
            take_line(out, (size_t)(end - out));
        }
    }
    assert_int_equal(molt_next, molt_made);
    for (unsigned int g = 0; g < GUESTS; g++) {
        for (unsigned int i = 0; i < LINES; i++) {
            assert_int_equal(guest_lines[g].seen[i], 1);
        }
    }
}

static void test_console__random_interleaving__every_line_in_one_piece(void **state)
{
    (void)state;
    for (unsigned int seed = 1; seed <= 12; seed++) {
        interleave(false, seed);
        interleave(true, seed);
    }
}

/* ---- full ring ---- */

static void test_guest_line__port_stands_still__back_pressure_and_room_for_molt(void **state)
{
    unsigned int n = 0;

    (void)state;
    fake_serial_left = 0;
    while (console_guest_line(&guests[0], "a line of some length", 21)) {
        n++;
        guests[0].uart.printed_to = 0; /* as if it were another one each time */
        assert_true(n < 10000);
    }
    assert_true(n > 1000);
    assert_false(console_has_room(&guests[0]));
    assert_true(room() >= GUEST_RESERVE);
    for (unsigned int i = 0; i < 100; i++) {
        printk("molt has its own room"); /* would wait for ever otherwise */
    }
    assert_false(console_guest_line(&guests[0], "x", 1));
    drained();
    assert_true(console_has_room(&guests[0]));
    assert_true(console_guest_line(&guests[0], "x", 1));
}

/* ---- turns ---- */

static uint64_t bytes_of(unsigned int g)
{
    const char *out = fake_serial_out(), *end;
    uint64_t n = 0;

    for (; (end = strstr(out, "\r\n")) != NULL; out = end + 2) {
        n += out[0] == '[' && out[2] == (char)('1' + g) ? (uint64_t)(end - out) + 2 : 0;
    }
    return n;
}

/* One guest prints as fast as it can and comes first; another one has a line now and then. */
static void
test_turns__a_flood_and_a_quiet_guest__the_quiet_one_waits_for_a_bounded_time(void **state)
{
    static char text[VUART_LINE];
    unsigned int waiting = 0, longest = 0, lines = 0;

    (void)state;
    memset(text, 'f', sizeof(text));
    for (unsigned int round = 0; round < 40000; round++) {
        while (console_guest_line(&guests[0], text, sizeof(text))) {
        }
        if (round % 1000 == 500 && round < 39000) {
            /* Taken at once: no matter that the other one asks again and again. */
            assert_true(console_guest_line(&guests[1], "quiet", 5));
            lines++;
            waiting = 1;
        }
        fake_serial_left = 16;
        console_poll();
        if (waiting != 0 && strstr(fake_serial_out(), "[g2] quiet\r\n") != NULL) {
            longest = MAX(longest, waiting);
            waiting = 0;
            fake_serial_clear();
        }
        waiting += waiting != 0 ? 1 : 0;
    }
    assert_int_equal(lines, 39);
    assert_int_equal(waiting, 0);
    assert_true(longest * 16 <= CONSOLE_AHEAD + 3 * LINE_ROOM);
    /* The port never stood still for it. */
    assert_true(head - tail >= CONSOLE_AHEAD - 2 * LINE_ROOM);
}

/* Two floods, one of which always comes first and has longer lines: each gets its lines in turn. */
static void test_turns__two_floods__line_by_line(void **state)
{
    static char text[VUART_LINE];

    (void)state;
    memset(text, 'f', sizeof(text));
    for (unsigned int round = 0; round < 20000; round++) {
        while (console_guest_line(&guests[0], text, 100)) {
        }
        while (console_guest_line(&guests[1], text, 50)) {
        }
        fake_serial_left = 16;
        console_poll();
    }
    uint64_t one = bytes_of(0) / 107, two = bytes_of(1) / 57;

    assert_true(one > 500 && two > 500);
    assert_true(one < two + two / 4 && two < one + one / 4);
}

/* Interrupt-driven guests are told when it is their turn again. */
static void test_turns__told_to_wait__event_when_there_is_room(void **state)
{
    (void)state;
    fake_serial_left = 0;
    while (guest_puts(0, "some line\n")) {
    }
    assert_int_equal(vuart_read(&guests[0], UART_LSR) & UART_LSR_THRE, 0);
    guests[0].uart.tx_event = false;
    console_poll();
    assert_true(guests[0].uart.tx_blocked);
    assert_false(guests[0].uart.tx_event);
    fake_serial_left = -1;
    while (guests[0].uart.tx_blocked) {
        console_poll();
    }
    assert_true(guests[0].uart.tx_event);
    assert_true(console_has_room(&guests[0]));
}

/* A domain that ends does not wait for a turn, and takes of what is molt's own. */
static void test_last_line__no_turn_left__printed_at_once(void **state)
{
    (void)state;
    fake_serial_left = 0;
    while (guest_puts(0, "some line\n")) {
    }
    vuart_flush(&guests[0]);
    fake_serial_left = -1;
    guests[0].uart.line_length = 0;
    assert_true(guest_puts(1, "dying words"));
    vuart_flush(&guests[1]);
    drained();
    assert_non_null(strstr(fake_serial_out(), "[g2] dying words\r\n"));
}

static void test_console_line__ring_full__waits_for_the_port(void **state)
{
    unsigned int n = 0;

    (void)state;
    fake_serial_left = 0;
    while (room() > 100) {
        printk("%080u", n++);
    }
    fake_serial_left = -1; /* the port moves again while console_line() polls it */
    for (unsigned int i = 0; i < 10; i++) {
        printk("%080u", n++);
    }
    drained();
    const char *out = fake_serial_out();
    for (unsigned int i = 0; i < n; i++) {
        char want[100];

        snprintf(want, sizeof(want), "molt: %080u\r\n", i);
        assert_int_equal(strncmp(out, want, strlen(want)), 0);
        out += strlen(want);
    }
    assert_string_equal(out, "");
}

static void test_pause__ring_full__lines_dropped_whole_and_counted(void **state)
{
    unsigned int n, lost;
    char want[80];

    (void)state;
    console_pause_begin();
    fake_serial_left = 0;
    for (n = 0; n < 3000; n++) {
        printk("p-%05u%40s", n, "");
    }
    assert_true(head - tail <= RING_BYTES);
    lost = (unsigned int)dropped;
    assert_true(lost > 100 && lost < n);
    console_poll(); /* nothing is said inside the pause */
    assert_int_equal(dropped, lost);
    console_pause_end();
    fake_serial_left = -1;
    while (head != tail) {
        console_poll();
    }
    console_poll();
    drained();
    const char *out = fake_serial_out();
    for (unsigned int i = 0; i < n - lost; i++) {
        snprintf(want, sizeof(want), "molt: p-%05u", i);
        assert_int_equal(strncmp(out, want, strlen(want)), 0);
        out = strstr(out, "\r\n") + 2;
    }
    snprintf(want, sizeof(want), "molt: console: %u lines dropped\r\n", lost);
    assert_string_equal(out, want);
}

/* Keys echoed into a ring that does not empty must not run over what is in it. */
static void test_edit__typing_while_the_port_stands_still__ring_never_overrun(void **state)
{
    (void)state;
    type("a");
    fake_serial_left = 0;
    for (unsigned int i = 0; i < 40000; i++) {
        type(i % 2 == 0 ? "\b" : "b");
        assert_true(head - tail <= RING_BYTES);
    }
    drained();
    type("\r");
    assert_int_equal(nr_ran, 1);
}

/* ---- focus and editor ---- */

static void test_edit__keys__line_as_corrected(void **state)
{
    static const struct {
        const char *keys, *line;
    } rows[] = {
        {"help\r", "help"},     {"\r", ""},          {"hlep\b\b\belp\r", "help"},
        {"x\x7fy\n", "y"},      {"\b\b\ba\r", "a"},  {"a\tb\x03\x1b[A\r", "ab[A"},
        {"with two  words\r", "with two  words"},
    };
    char longest[300];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        type(rows[i].keys);
        assert_int_equal(nr_ran, i + 1);
        assert_string_equal(ran[i], rows[i].line);
    }
    nr_ran = 0;
    memset(longest, 'k', sizeof(longest));
    longest[299] = '\0';
    type(longest);
    type("\r");
    assert_int_equal(strlen(ran[0]), EDIT_MAX);
}

static void test_edit__a_line_comes_in_between__prompt_shown_again(void **state)
{
    (void)state;
    type("dom");
    printk("hello");
    console_poll();
    type("ains\r");
    drained();
    assert_string_equal(fake_serial_out(),
                        "molt> dom\r\nmolt: hello\r\nmolt> domains\r\nmolt> \r\n");
    assert_string_equal(ran[0], "domains");
}

static void test_focus__keys__go_to_who_has_it(void **state)
{
    static const struct {
        const char *keys;
        uint16_t focus;
    } rows[] = {
        {"\001" "1", 1}, {"\001" "2", 2}, {"\001" "9", CONSOLE_FOCUS_MOLT},
        {"\001\001", 1}, {"\001\t", 2},   {"\001\001", 3}, {"\001\001", CONSOLE_FOCUS_MOLT},
        {"\001" "3", 3}, {"\001" "0", CONSOLE_FOCUS_MOLT}, {"\001" "2", 2}, {"\001" "x", 2},
        {"\001" "m", CONSOLE_FOCUS_MOLT},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        type(rows[i].keys);
        assert_int_equal(console_focus(), rows[i].focus);
        type("k");
        for (unsigned int g = 0; g < GUESTS; g++) {
            bool got = guests[g].uart.rx_count != 0;

            assert_int_equal(got, rows[i].focus == g + 1);
            guests[g].uart.rx_count = 0;
            guests[g].uart.lsr_errors = 0;
        }
    }
    /* Its domain is gone: molt has it again. */
    type("\001"
         "1");
    domain_list = &guests[1];
    type("x");
    assert_int_equal(console_focus(), CONSOLE_FOCUS_MOLT);
}

/* What it has read of what was typed. */
static unsigned int read_by(struct domain *d)
{
    unsigned int n = d->uart.rx_count;

    d->uart.rx_count = 0;
    return n;
}

static void test_focus__guest_reads_slowly__keys_wait_but_not_for_ever(void **state)
{
    (void)state;
    guests[0].uart.fcr = UART_FCR_ENABLE;
    console_set_focus(1);
    type("0123456789abcdefghi");
    for (unsigned int i = 0; i < 10; i++) {
        console_poll();
    }
    assert_int_equal(read_by(&guests[0]), 16);
    assert_int_equal(guests[0].uart.lsr_errors, 0);
    for (unsigned int i = 0; i < 10; i++) {
        console_poll();
    }
    assert_int_equal(read_by(&guests[0]), 3);

    type("0123456789abcdef");
    type("\x01"
         "0");
    now += 999 * tsc_khz;
    console_poll();
    assert_int_equal(console_focus(), 1);
    now += 2 * tsc_khz;
    console_poll();
    console_poll();
    assert_int_equal(console_focus(), CONSOLE_FOCUS_MOLT);
}

static void test_focus__partial_line__shown_at_once_and_finished_in_place(void **state)
{
    (void)state;
    type("\001"
         "1");
    drained();
    fake_serial_clear();
    assert_true(guest_puts(0, "login: "));
    assert_true(guest_puts(1, "hidden"));
    console_poll();
    assert_true(guest_puts(0, "root"));
    console_poll();
    drain_some();
    while (head != tail) {
        drain_some();
    }
    assert_string_equal(fake_serial_out(), "[g1] login: root");
    assert_true(guest_puts(0, "!\n"));
    assert_true(guest_puts(1, " no more\n"));
    drained();
    assert_string_equal(fake_serial_out(), "[g1] login: root!\r\n[g2] hidden no more\r\n");
}

static void test_focus__partial_line_interrupted__shown_again_from_its_start(void **state)
{
    (void)state;
    type("\001"
         "1");
    drained();
    fake_serial_clear();
    assert_true(guest_puts(0, "half"));
    console_poll();
    printk("in between");
    console_poll();
    assert_true(guest_puts(0, " and half\n"));
    drained();
    assert_string_equal(fake_serial_out(),
                        "[g1] half\r\nmolt: in between\r\n[g1] half and half\r\n");
}

/* Closed just before its end: it is there in one piece, so it is not printed again. */
static void test_focus__line_interrupted_before_its_newline__printed_once(void **state)
{
    (void)state;
    type("\001"
         "1");
    drained();
    fake_serial_clear();
    assert_true(guest_puts(0, "whole line"));
    console_poll();
    printk("in between");
    assert_true(guest_puts(0, "\nnext\n"));
    assert_true(guest_puts(0, "third"));
    console_poll();
    type("\001"
         "2");
    assert_true(guest_puts(0, "\n\n"));
    drained();
    assert_string_equal(fake_serial_out(),
                        "[g1] whole line\r\nmolt: in between\r\n[g1] next\r\n[g1] third\r\n"
                        "molt: console: g2 (Ctrl-A then 0: molt, 1 to 9: a domain, Ctrl-A: the "
                        "next)\r\n[g1] \r\n");
}

/* ---- the next image ---- */

static void test_restore_edit__half_typed_line__goes_on(void **state)
{
    char longer[CONSOLE_EDIT_MAX + 50];
    const char *text;
    bool after_escape;

    (void)state;
    type("doma");
    assert_int_equal(console_edit(&text, &after_escape), 4);
    assert_memory_equal(text, "doma", 4);
    assert_false(after_escape);
    fresh_console();
    console_restore((const uint8_t *)"", 0, CONSOLE_FOCUS_MOLT);
    console_restore_edit("doma", 4, false);
    drained();
    fake_serial_clear();
    console_poll();
    type("ins\r");
    drained();
    assert_string_equal(ran[nr_ran - 1], "domains");
    assert_non_null(strstr(fake_serial_out(), "molt> domains\r\n"));
    type("\001");
    assert_int_equal(console_edit(&text, &after_escape), 0);
    assert_true(after_escape);
    fresh_console();
    console_restore_edit("", 0, true);
    type("2");
    assert_int_equal(console_focus(), 2);
    memset(longer, 'x', sizeof(longer));
    console_restore_edit(longer, sizeof(longer), false);
    assert_int_equal(console_edit(&text, &after_escape), CONSOLE_EDIT_MAX);
}

static void test_restore__what_was_pending__in_front_and_complete(void **state)
{
    char before[RING_BYTES + 1], want[RING_BYTES + 200];

    (void)state;
    for (unsigned int round = 0; round < 60; round++) {
        struct console_piece pieces[2];
        size_t n, own = round % 3;

        (void)setup(NULL);
        random_state = round + 1;
        head = tail = random_u64() % (3 * RING_BYTES);
        for (unsigned int i = 0; i < round * 30; i++) {
            console_line("some line of the old image", random_u64() % 27);
        }
        if (round == 59) {
            while (room() > 60) {
                console_line("to the brim", 11);
            }
        }
        type(round % 2 == 0 ? "\001"
                              "2"
                            : "\001"
                              "0");
        fake_serial_clear();
        console_pause_begin();
        console_pending(pieces);
        n = pieces[0].len + pieces[1].len;
        assert_int_equal(n, head - tail);
        memcpy(before, pieces[0].bytes, pieces[0].len);
        memcpy(before + pieces[0].len, pieces[1].bytes, pieces[1].len);
        before[n] = '\0';
        uint16_t had_focus = console_focus();

        fresh_console();
        head = tail = random_u64() % (3 * RING_BYTES);
        want[0] = '\0';
        for (size_t i = 0; i < own; i++) {
            printk("boot");
            strcat(want, "molt: boot\r\n");
        }
        console_restore((const uint8_t *)before, n, had_focus);
        assert_int_equal(console_focus(), had_focus);
        console_drain();
        assert_int_equal(strncmp(fake_serial_out(), before, n), 0);
        assert_string_equal(fake_serial_out() + n, want);
    }
}

static void test_restore__more_than_fits__cut_and_ring_sound(void **state)
{
    static uint8_t much[2 * RING_BYTES];

    (void)state;
    memset(much, 'x', sizeof(much));
    printk("boot");
    console_restore(much, sizeof(much), 77);
    assert_int_equal(head - tail, RING_BYTES);
    drained();
    assert_int_equal(fake_serial_out_len(), RING_BYTES);
    assert_string_equal(fake_serial_out() + RING_BYTES - 12, "molt: boot\r\n");
    type("x"); /* no such domain: molt has the keyboard */
    assert_int_equal(console_focus(), CONSOLE_FOCUS_MOLT);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_lines__molt_and_guests__as_written),
        TEST(test_guest_line__control_bytes__not_let_through),
        TEST(test_guest_line__control_domain__terminal_bytes_let_through),
        TEST(test_guest_line__held_return__back_pressure_loses_nothing),
        TEST(test_console__random_interleaving__every_line_in_one_piece),
        TEST(test_guest_line__port_stands_still__back_pressure_and_room_for_molt),
        TEST(test_console_line__ring_full__waits_for_the_port),
        TEST(test_pause__ring_full__lines_dropped_whole_and_counted),
        TEST(test_edit__typing_while_the_port_stands_still__ring_never_overrun),
        TEST(test_edit__keys__line_as_corrected),
        TEST(test_edit__a_line_comes_in_between__prompt_shown_again),
        TEST(test_focus__keys__go_to_who_has_it),
        TEST(test_focus__guest_reads_slowly__keys_wait_but_not_for_ever),
        TEST(test_focus__partial_line__shown_at_once_and_finished_in_place),
        TEST(test_focus__partial_line_interrupted__shown_again_from_its_start),
        TEST(test_turns__a_flood_and_a_quiet_guest__the_quiet_one_waits_for_a_bounded_time),
        TEST(test_turns__two_floods__line_by_line),
        TEST(test_turns__told_to_wait__event_when_there_is_room),
        TEST(test_last_line__no_turn_left__printed_at_once),
        TEST(test_focus__line_interrupted_before_its_newline__printed_once),
        TEST(test_restore_edit__half_typed_line__goes_on),
        TEST(test_restore__what_was_pending__in_front_and_complete),
        TEST(test_restore__more_than_fits__cut_and_ring_sound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
