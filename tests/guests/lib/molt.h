/* SPDX-License-Identifier: Apache-2.0 */
/*
 * molt seen from a guest: detection and hypercalls.
 */
#ifndef GUEST_MOLT_H
#define GUEST_MOLT_H

#include <stdbool.h>
#include <stdint.h>

#include "public/hypercall.h"

/* Whether CPUID carries molt's signature. */
bool molt_present(void);

/*
 * Whether the CPU itself is exact: not QEMU's TCG, which ignores segment limits and more. Known by
 * its signature, or under molt by engine=tcg on the command line.
 */
bool cpu_is_exact(void);

/* False for the SVM of emulators: QEMU's ("QEMU TCG CPU version ...") does not arm the breakpoints
 * that a guest's DR7 asks for; Bochs's (engine=tcg) leaves DR6 as it was at an intercepted #DB. */
bool breakpoints_work(void);

/* VMCALL; #UD where no hypervisor answers. */
int64_t molt_call(uint64_t number, uint64_t rbx, uint64_t rcx, uint64_t rdx, uint64_t rsi);

int64_t molt_info(struct hc_info *info);
int64_t molt_status(struct hc_lu_status *status);
int64_t molt_load(const struct hc_lu_load *load);
int64_t molt_sleep(uint64_t us);
/* True once molt ends the run; false without molt. */
bool molt_shutdown(void);

#endif
