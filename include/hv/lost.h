/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a panic loses.
 */
#ifndef HV_LOST_H
#define HV_LOST_H

/* Prints a line for each domain: name, state, vCPUs. Believes nothing of the list of domains: it
 * may be what the panic is about. Needs neither heap nor locks. */
void lost_report(void);

#endif
