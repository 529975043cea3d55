/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Console: output ring, keyboard focus, line editor.
 *
 * Owns: the ring, the focus. The ring holds whole lines, except for the unfinished line of who has
 * the focus; when another line comes in between, that one is closed and shown again from its start,
 * so every complete line stands in the output in one piece.
 */
#include "hv/console.h"

#include "hv/commands.h"
#include "hv/domain.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/string.h"

#define RING_BYTES 65536U   /* a power of two */
#define GUEST_RESERVE 8192U /* kept for molt's own lines */
#define KEY_ESCAPE 0x01     /* Ctrl-A */
#define KEY_BACKSPACE 0x08
#define KEY_DELETE 0x7f
#define EDIT_MAX 200U
#define ECHO_ROOM 64U /* more than a key's echo and the end of a line */

static uint8_t ring[RING_BYTES];
static uint64_t head, tail; /* bytes ever written and ever printed */
static uint64_t dropped;
static bool pausing;

static uint16_t focus = CONSOLE_FOCUS_MOLT;
static bool escape;    /* Ctrl-A was typed */
static bool prompting; /* someone has typed: show a prompt */
static char edit[EDIT_MAX + 1];
static size_t edit_length;
static size_t shown;   /* of the focus's unfinished line */
static bool open_line; /* the last thing in the ring is an unfinished line */

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

/* Before a whole line: whatever is unfinished is closed and will be shown again. */
static void close_open_line(void)
{
    if (open_line) {
        put_str("\r\n");
        open_line = false;
        shown = 0;
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

bool console_has_room(void)
{
    return room() >= GUEST_RESERVE + VUART_LINE + DOMAIN_NAME_MAX + 8;
}

/* Guests choose their bytes: terminal control sequences and the like stay out of the log. */
static void put_printable(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        put(((unsigned char)c < ' ' && c != '\t') || c == KEY_DELETE ? "?" : &c, 1);
    }
}

bool console_guest_line(const char *name, const char *text, size_t len)
{
    if (!console_has_room()) {
        drain_some();
        if (!console_has_room()) {
            return false;
        }
    }
    if (open_line && focus != CONSOLE_FOCUS_MOLT && domain_find(focus) != NULL &&
        strcmp(domain_find(focus)->name, name) == 0) {
        put_printable(text + shown, len - MIN(shown, len)); /* the rest of what is shown already */
        open_line = false;
        shown = 0;
    } else {
        close_open_line();
        put_str("[");
        put_str(name);
        put_str("] ");
        put_printable(text, len);
    }
    put_str("\r\n");
    return true;
}

/* Shows the unfinished line of who has the focus, as far as it is not shown yet. */
static void show_unfinished(void)
{
    struct domain *d = focus != CONSOLE_FOCUS_MOLT ? domain_find(focus) : NULL;

    if (!console_has_room()) {
        return;
    }
    if (d != NULL) {
        if (d->uart.line_length > shown) {
            if (!open_line) {
                put_str("[");
                put_str(d->name);
                put_str("] ");
            }
            put_printable(d->uart.line + shown, d->uart.line_length - shown);
            shown = d->uart.line_length;
            open_line = true;
        }
    } else if (focus == CONSOLE_FOCUS_MOLT && prompting && !open_line) {
        put_str("molt> ");
        put(edit, edit_length);
        open_line = true;
    }
}

static void set_focus(uint16_t id)
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
    set_focus(d != NULL ? d->id : CONSOLE_FOCUS_MOLT);
}

static void escape_key(int key)
{
    if (key == KEY_ESCAPE || key == '\t') {
        focus_next();
    } else if (key >= '1' && key <= '9') {
        set_focus((uint16_t)(key - '0'));
    } else if (key == '0' || key == 'm') {
        set_focus(CONSOLE_FOCUS_MOLT);
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
        if (open_line) {
            put_str("\r\n");
            open_line = false;
        }
        edit[edit_length] = '\0';
        edit_length = 0;
        command_run(edit);
    } else if (key == KEY_BACKSPACE || key == KEY_DELETE) {
        if (edit_length > 0) {
            edit_length--;
            if (open_line) {
                put_str("\b \b");
            }
        }
    } else if (key >= ' ' && key < KEY_DELETE && edit_length < EDIT_MAX) {
        edit[edit_length++] = (char)key;
        if (open_line) {
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
        (void)vuart_input(d, (uint8_t)key); /* a full FIFO overruns, as the real one does */
    } else {
        focus = CONSOLE_FOCUS_MOLT;
        edit_key(key);
    }
}

void console_poll(void)
{
    int key = serial_get();

    if (key >= 0) {
        input_key(key);
    }
    show_unfinished();
    drain_some();
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

    len = MIN(len, RING_BYTES - own);
    for (size_t i = own; i-- > 0;) { /* what was printed since boot moves back */
        ring[(tail + len + i) & (RING_BYTES - 1)] = ring[(tail + i) & (RING_BYTES - 1)];
    }
    for (size_t i = 0; i < len; i++) {
        ring[(tail + i) & (RING_BYTES - 1)] = bytes[i];
    }
    head += len;
    focus = new_focus;
    prompting = new_focus == CONSOLE_FOCUS_MOLT ? prompting : true;
}

uint16_t console_focus(void)
{
    return focus;
}
