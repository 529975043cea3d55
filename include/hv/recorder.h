/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flight recorder: the last lines of molt's own and the steps of updates, in preserved memory.
 *
 * A ring of self-contained entries, each with number, host TSC and checksum, so that nothing that
 * was half-written is believed. All images of a machine append to the same ring, and a cold boot
 * that finds it goes on with it. Needs neither heap nor locks: a panic writes to it too. The format
 * is an ABI (struct lu_log_entry); where the ring lies is live update's business (hv/lu.h).
 */
#ifndef HV_RECORDER_H
#define HV_RECORDER_H

#include "hv/compiler.h"
#include "hv/types.h"
#include "public/lu_abi.h"

#define RECORDER_ORDER 4U /* of a ring that this image makes */
#define RECORDER_BYTES (PAGE_SIZE << RECORDER_ORDER)

/* A line of text, without newline; long ones take several entries. Any stage, any CPU; before the
 * ring is known it goes nowhere. */
void recorder_text(const char *text, size_t len);

/* A step of an update, by its static name: costs some hundred cycles, allowed in the pause. */
void recorder_step(const char *name);

/* ---- the ring ---- */

/* May `bytes` of memory hold a ring? */
bool recorder_size_ok(uint64_t bytes);

/* Appends to the ring that lies there from now on: naturally aligned memory that stays mapped.
 * False when it holds none, and then there is no ring. */
MUST_CHECK bool recorder_attach(void *at, uint64_t bytes);
/* The same with an empty ring, made there. */
void recorder_create(void *at, uint64_t bytes);
/* No ring any more. */
void recorder_detach(void);
bool recorder_attached(void);

/* A cold boot that began at boot_tsc goes on with an attached ring. Returns how many entries there
 * are of earlier ones. */
unsigned int recorder_new_boot(uint64_t boot_tsc);

/* Which cold boot of the ring's this is, from 1 on; 0 when there is no ring. */
uint32_t recorder_boot(void);

/* ---- readers: any stage, any CPU, while others append ---- */

/* Number that the next entry gets; 1 when there are none. */
uint64_t recorder_next(void);

/* The first good entry that is there with a number of at least *from: true, and *from is the number
 * behind it. False: there is none (yet). */
bool recorder_read(uint64_t *from, struct lu_log_entry *out);

/* An entry in words: number, TSC, seconds since the cold boot or "-", CPU, "line", "step" or "more"
 * (LU_LOG_MORE), text. No newline; returns the length. */
#define RECORDER_LINE_MAX 192U
size_t recorder_format(const struct lu_log_entry *e, char out[RECORDER_LINE_MAX]);

#endif
