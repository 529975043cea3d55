/* SPDX-License-Identifier: Apache-2.0 */
/*
 * selftest=NAME on the command line: makes molt break a rule on purpose, to show that it is caught.
 */
#ifndef HV_SELFTEST_H
#define HV_SELFTEST_H

#include "hv/mb2.h"

/* Does what selftest= names, if anything, and panics by it; says so when the name is unknown. A
 * rule that was not enforced is reported as "selftest: NAME: not caught". selftest=watchdog breaks
 * none: it counts NMIs and goes on. hv_lock held. */
void selftest_run(const struct boot_info *info);

#endif
