/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moltctl: what its files share.
 */
#ifndef MOLTCTL_H
#define MOLTCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "options.h"
#include "public/hypercall.h"

/* Exit codes. */
#define EXIT_OK 0
#define EXIT_REFUSED 1 /* molt has refused it, or it went wrong */
#define EXIT_USAGE 2
#define EXIT_PLACE 3 /* not under molt, not the control domain, not root */

/* Says on stderr what is wrong, with --json as an object on stdout too, and ends. `result` is the
 * call's, 0 when no call was involved. */
_Noreturn void fail(int code, int64_t result, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The command line; main() fills it in. */
extern struct options options;

/* Commands: each does what `options` says and returns an exit code. */
int cmd_list(void);
int cmd_status(void);
int cmd_stat(void);
int cmd_create(void);
int cmd_start(void);
int cmd_pause(void);
int cmd_resume(void);
int cmd_destroy(void);
int cmd_console(void);
int cmd_update(void);
int cmd_audit(void);
int cmd_log(void);

/* Finds the domain that options.name means, by name or else by number; fails if there is none. */
struct hc_domain domain_wanted(void);
/* The domain with this number; false if there is none. */
bool domain_get(uint32_t id, struct hc_domain *out);

#endif
