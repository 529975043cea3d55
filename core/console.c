/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Console: output ring, keyboard focus, line editor.
 *
 * Owns: the ring, the focus. The ring holds whole lines, except for the unfinished line of who has
 * the focus; when another line comes in between, that one is closed, and shown again from its start
 * if there is more of it, so every complete line stands in the output in one piece, and once.
 */
#include "hv/console.h"

#include "hv/commands.h"
#include "hv/domain.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/string.h"
#include "hv/time.h"

#define RING_BYTES 65536U   /* a power of two */
#define GUEST_RESERVE 8192U /* kept for molt's own lines */
#define KEY_ESCAPE 0x01     /* Ctrl-A */
#define KEY_BACKSPACE 0x08
#define KEY_DELETE 0x7f
#define EDIT_MAX CONSOLE_EDIT_MAX
#define HOLD_MS 1000U
#define ECHO_ROOM 64U /* more than a key's echo and the end of a line */
#define LINE_ROOM (VUART_LINE + DOMAIN_NAME_MAX + 8U)
#define OPEN_NONE 0U

static uint8_t ring[RING_BYTES];
static uint64_t head, tail; /* bytes ever written and ever printed */
static uint64_t dropped;
static bool pausing;

static uint16_t focus = CONSOLE_FOCUS_MOLT;
static bool escape;    /* Ctrl-A was typed */
static bool prompting; /* someone has typed: show a prompt */
static char edit[EDIT_MAX + 1];
static size_t edit_length;
/* Whose unfinished line is the last thing in the ring: a domain's, the prompt's
 * (CONSOLE_FOCUS_MOLT), or there is none. */
static uint16_t open_line = OPEN_NONE;

static size_t room(void)
{
    return RING_BYTES - (size_t)(head - tail);
}

static void put(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        ring[head++ & (RING_BYTES - 1)] = (uint8_t)text[i];
    }
}

static void put_str(const char *text)
{
    put(text, strlen(text));
}

static void drain_some(void)
{
    unsigned int n = head != tail ? serial_room() : 0;

    while (n-- > 0 && head != tail) {
        serial_put(ring[tail++ & (RING_BYTES - 1)]);
    }
}

/* Before a whole line. */
static void close_open_line(void)
{
    if (open_line != OPEN_NONE) {
        put_str("\r\n");
        open_line = OPEN_NONE;
    }
}

void console_line(const char *text, size_t len)
{
    len = MIN(len, (size_t)4096);
    while (!pausing && room() < len + 8) {
        drain_some();
    }
    if (room() < len + 8) {
        dropped++;
        return;
    }
    close_open_line();
    put(text, len);
    put_str("\r\n");
}

static bool guests_have_room(void)
{
    return room() >= GUEST_RESERVE + LINE_ROOM;
}

bool console_has_own_room(void)
{
    return room() >= GUEST_RESERVE / 2;
}

bool console_has_room(const struct domain *d)
{
    return guests_have_room() && d->uart.printed_to <= tail + CONSOLE_AHEAD;
}

/* Guests choose their bytes: terminal control sequences and the like stay out of the log. The
 * control domain is trusted with more than that, and a shell there needs them. */
static void put_text(const struct domain *d, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        bool odd = ((unsigned char)c < ' ' && c != '\t') || c == KEY_DELETE;

        put(odd && !d->control ? "?" : &c, 1);
    }
}

/* Brings a guest's line into the output up to `len`: what is there of it and not closed goes on. */
static void put_guest_text(struct domain *d, const char *text, size_t len)
{
    size_t from = d->uart.line_shown;

    if (open_line != d->id) {
        close_open_line();
        put_str("[");
        put_str(d->name);
        put_str("] ");
        open_line = d->id;
        from = 0;
    }
    put_text(d, text + from, len - from);
    d->uart.line_shown = (uint32_t)len;
}

static void put_guest_line(struct domain *d, const char *text, size_t len)
{
    if (len == 0 || d->uart.line_shown != len || open_line == d->id) {
        put_guest_text(d, text, len);
        close_open_line();
    } /* else all of it was shown, and closed by another line */
    d->uart.line_shown = 0;
    d->uart.printed_to = head;
}

bool console_guest_line(struct domain *d, const char *text, size_t len)
{
    if (!console_has_room(d)) {
        drain_some();
        if (!console_has_room(d)) {
            return false;
        }
    }
    put_guest_line(d, text, len);
    return true;
}

void console_guest_last_line(struct domain *d, const char *text, size_t len)
{
    while (!pausing && room() < LINE_ROOM) {
        drain_some();
    }
    if (room() < LINE_ROOM) {
        dropped++;
        return;
    }
    put_guest_line(d, text, len);
}

/* Shows the unfinished line of who has the focus, as far as it is not shown yet. */
static void show_unfinished(void)
{
    struct domain *d = focus != CONSOLE_FOCUS_MOLT ? domain_find(focus) : NULL;

    if (d == NULL) { /* or the domain is gone */
        focus = CONSOLE_FOCUS_MOLT;
    }
    if (!guests_have_room()) {
        return;
    }
    if (d != NULL) {
        if (d->uart.line_length > d->uart.line_shown) {
            put_guest_text(d, d->uart.line, d->uart.line_length);
        }
    } else if (prompting && open_line == OPEN_NONE) {
        put_str("molt> ");
        put(edit, edit_length);
        open_line = CONSOLE_FOCUS_MOLT;
    }
}

/* Guests that were told to wait and need not any longer. */
static void unblock_guests(void)
{
    for_each_domain(d) {
        if (d->uart.tx_blocked && console_has_room(d)) {
            vuart_unblock(d);
        }
    }
}

void console_set_focus(uint16_t id)
{
    struct domain *d = id != CONSOLE_FOCUS_MOLT ? domain_find(id) : NULL;

    focus = d != NULL ? id : CONSOLE_FOCUS_MOLT;
    prompting = true;
    edit_length = 0;
    close_open_line();
    printk("console: %s (Ctrl-A then 0: molt, 1 to 9: a domain, Ctrl-A: the next)",
           d != NULL ? d->name : "molt");
}

/* The next domain after the one with the focus, then molt. */
static void focus_next(void)
{
    struct domain *d = focus == CONSOLE_FOCUS_MOLT ? domain_list : domain_find(focus);

    if (d != NULL && focus != CONSOLE_FOCUS_MOLT) {
        d = d->next;
    }
    console_set_focus(d != NULL ? d->id : CONSOLE_FOCUS_MOLT);
}

static void escape_key(int key)
{
    if (key == KEY_ESCAPE || key == '\t') {
        focus_next();
    } else if (key >= '1' && key <= '9') {
        console_set_focus((uint16_t)(key - '0'));
    } else if (key == '0' || key == 'm') {
        console_set_focus(CONSOLE_FOCUS_MOLT);
    } else {
        printk("console: Ctrl-A then 0: molt, 1 to 9: a domain, Ctrl-A: the next");
    }
}

static void edit_key(int key)
{
    if (room() < ECHO_ROOM) {
        return; /* the port stands still: nobody sees what is typed */
    }
    prompting = true;
    if (key == '\r' || key == '\n') {
        close_open_line();
        edit[edit_length] = '\0';
        edit_length = 0;
        command_run(edit);
    } else if (key == KEY_BACKSPACE || key == KEY_DELETE) {
        if (edit_length > 0) {
            edit_length--;
            if (open_line == CONSOLE_FOCUS_MOLT) {
                put_str("\b \b");
            }
        }
    } else if (key >= ' ' && key < KEY_DELETE && edit_length < EDIT_MAX) {
        edit[edit_length++] = (char)key;
        if (open_line == CONSOLE_FOCUS_MOLT) {
            put(&edit[edit_length - 1], 1);
        }
    }
}

static void input_key(int key)
{
    struct domain *d;

    if (escape) {
        escape = false;
        escape_key(key);
        return;
    }
    if (key == KEY_ESCAPE) {
        escape = true;
        return;
    }
    d = focus != CONSOLE_FOCUS_MOLT ? domain_find(focus) : NULL;
    if (d != NULL) {
        (void)vuart_input(d, (uint8_t)key); /* see held_up() */
    } else {
        focus = CONSOLE_FOCUS_MOLT;
        edit_key(key);
    }
}

/*
 * A guest that is slow to read keeps what is typed waiting in the port. For a while: then its FIFO
 * overruns, as a real one would, so that Ctrl-A gets through to leave it.
 */
static bool held_up(void)
{
    static uint64_t since; /* host TSC; 0: there is room */
    const struct domain *d = focus != CONSOLE_FOCUS_MOLT && !escape ? domain_find(focus) : NULL;

    if (d == NULL || vuart_room(d) != 0) {
        since = 0;
        return false;
    }
    if (since == 0) {
        since = tsc_read();
    }
    return tsc_read() - since < ms_to_tsc(HOLD_MS);
}

void console_poll(void)
{
    int key = held_up() ? -1 : serial_get();

    if (key >= 0) {
        input_key(key);
    }
    show_unfinished();
    drain_some();
    unblock_guests();
    if (dropped != 0 && !pausing) {
        uint64_t n = dropped;

        dropped = 0;
        printk("console: %llu lines dropped", (unsigned long long)n);
    }
}

void console_drain(void)
{
    close_open_line();
    while (head != tail) {
        drain_some();
    }
    while (!serial_idle()) {
    }
}

void console_pause_begin(void)
{
    close_open_line();
    pausing = true;
}

void console_pause_end(void)
{
    pausing = false;
}

void console_pending(struct console_piece pieces[2])
{
    size_t at = tail & (RING_BYTES - 1);
    size_t n = (size_t)(head - tail);
    size_t first = MIN(n, RING_BYTES - at);

    pieces[0] = (struct console_piece){&ring[at], first};
    pieces[1] = (struct console_piece){ring, n - first};
}

void console_restore(const uint8_t *bytes, size_t len, uint16_t new_focus)
{
    size_t own = (size_t)(head - tail);
    size_t from, n;

    len = MIN(len, RING_BYTES - own);
    for (size_t i = own; i-- > 0;) { /* what was printed since boot moves back */
        ring[(tail + len + i) & (RING_BYTES - 1)] = ring[(tail + i) & (RING_BYTES - 1)];
    }
    from = tail & (RING_BYTES - 1);
    n = MIN(len, RING_BYTES - from);
    memcpy(&ring[from], bytes, n);
    memcpy(ring, bytes + n, len - n);
    head += len;
    focus = new_focus;
    prompting = new_focus == CONSOLE_FOCUS_MOLT ? prompting : true;
}

size_t console_edit(const char **text, bool *after_escape)
{
    *text = edit;
    *after_escape = escape;
    return edit_length;
}

void console_restore_edit(const char *text, size_t len, bool new_escape)
{
    edit_length = MIN(len, (size_t)EDIT_MAX);
    memcpy(edit, text, edit_length);
    prompting |= edit_length != 0;
    escape = new_escape;
}

uint16_t console_focus(void)
{
    return focus;
}
