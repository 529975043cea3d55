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

#define CONSOLE_FOCUS_MOLT 0xffffU

/* One line of molt's own, newline added. Never waits; outside an update's pause a full ring is
 * drained by polling, inside it the line is dropped and counted. */
void console_line(const char *text, size_t len);

/* One line of a guest, printed as "[name] text". False when the ring has no room: try again. */
MUST_CHECK bool console_guest_line(const char *name, const char *text, size_t len);

/* True when a guest's line of any length fits now. */
bool console_has_room(void);

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

#endif
