/* SPDX-License-Identifier: Apache-2.0 */
/*
 * selftest=NAME on the command line: makes molt break a rule on purpose, to show that it is caught.
 */
#ifndef HV_SELFTEST_H
#define HV_SELFTEST_H

/* Does what selftest= names, if anything, and panics by it; says so when the name is unknown. A
 * rule that was not enforced is reported as "selftest: NAME: not caught". */
void selftest_run(const char *cmdline);

#endif
