/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where molt is in its life: printed by a panic.
 */
#ifndef HV_PHASE_H
#define HV_PHASE_H

extern const char *phase; /* static text: "boot: memory", "update: save", "run", ... */

#endif
