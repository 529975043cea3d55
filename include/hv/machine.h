/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run as a whole: its end, and what brings it about (end= on the command line).
 */
#ifndef HV_MACHINE_H
#define HV_MACHINE_H

#include "hv/compiler.h"
#include "hv/types.h"

struct domain;

/* What comes after a panic (panic= on the command line). */
enum panic_policy { PANIC_OFF, PANIC_HALT, PANIC_RESET };

/* Reads end= (all, control, never), panic= (off, halt, reset) and autoupdate=. */
void machine_init(const char *cmdline);

/* PANIC_OFF before machine_init(). Any stage. */
enum panic_policy machine_panic_policy(void);

/* Cold boot is done; entered_tsc: when the boot loader entered molt. Reported once the first guest
 * has run. */
void machine_booted(uint64_t entered_tsc);

/* Prints every domain's memory checksum, when digest is on the command line. Slow. */
void machine_report_digests(void);

/* Called when a domain ended. */
void machine_domain_ended(const struct domain *d);

/* True once guests have been asked to finish (HC_INFO_SHUTDOWN). Carried over updates. */
bool machine_shutdown_requested(void);
void machine_request_shutdown(void);

/* Between guests: ends the run when it is over, starts updates of its own when no domain can. */
void machine_poll(void);

/* Drains the console and stops the machine: 0xf4 (QEMU), "Shutdown" (Bochs), then HLT. */
NORETURN void machine_end(bool ok);

#endif
