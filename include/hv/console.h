/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console: one serial port for molt and all guests.
 *
 * Output goes into a ring by whole lines and leaves it as the port takes it, so nobody waits for
 * the port. Input goes to whoever has the focus: molt's command line or one guest's UART. Ctrl-A
 * changes the focus.
 */
#ifndef HV_CONSOLE_H
#define HV_CONSOLE_H

#include "hv/compiler.h"
#include "hv/types.h"

struct domain;

#define CONSOLE_FOCUS_MOLT 0xffffU

/* One line of molt's own, newline added. Never waits; outside an update's pause a full ring is
 * drained by polling, inside it the line is dropped and counted. */
void console_line(const char *text, size_t len);

/*
 * One line of a guest, printed as "[name] text". False: it has to wait, try again. A guest that has
 * more than CONSOLE_AHEAD bytes to be printed until its last line is out waits, so that the port is
 * shared line by line among those who want to print much, and is there at once for the others.
 */
#define CONSOLE_AHEAD 8192U
MUST_CHECK bool console_guest_line(struct domain *d, const char *text, size_t len);

/* True when a line of any length would be taken now. */
bool console_has_room(const struct domain *d);

/* True when a line of molt's own would not have to wait for the port. */
bool console_has_own_room(void);

/* The line of a domain that ends: as console_line(). */
void console_guest_last_line(struct domain *d, const char *text, size_t len);

/* Moves what the port takes, reads what was typed, shows unfinished lines of who has the focus. */
void console_poll(void);

/* Waits until everything has left the port (end of the run, panic). */
void console_drain(void);

/* Between these, console_line() never waits. */
void console_pause_begin(void);
void console_pause_end(void);

/* Bytes not yet printed, for the next image: two pieces of the ring, oldest first. */
struct console_piece {
    const uint8_t *bytes;
    size_t len;
};
void console_pending(struct console_piece pieces[2]);
/* Puts bytes that the previous image left in front of everything (empty ring). */
void console_restore(const uint8_t *bytes, size_t len, uint16_t focus);
uint16_t console_focus(void);
/* Gives the keyboard to a domain, or to molt. */
void console_set_focus(uint16_t id);

/* The line being typed at molt's own console, for the next image; `escape`: after Ctrl-A. */
#define CONSOLE_EDIT_MAX 200U
size_t console_edit(const char **text, bool *escape);
/* Restored after console_restore(); at most CONSOLE_EDIT_MAX bytes. */
void console_restore_edit(const char *text, size_t len, bool new_escape);

#endif
