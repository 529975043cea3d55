/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A timer that sends NMIs to this CPU while a new image starts: for machines with one CPU, where
 * nobody else can notice that it hangs.
 *
 * Seam: the hypervisor implements this in arch/x86_64/watchdog.c, host tests fake it. What an NMI
 * means, whoever takes it decides by lu_way_back.deadline_tsc.
 */
#ifndef HV_WATCHDOG_H
#define HV_WATCHDOG_H

#include "hv/compiler.h"
#include "hv/mb2.h"
#include "hv/types.h"

/*
 * Finds the way from the timer to the first CPU, by the firmware's tables in `info`, and closes it:
 * an NMI that an earlier image let through comes no more. True: watchdog_arm() may be called. The
 * first call of an image does the work, which takes too long for a pause, and prints why the answer
 * is false. hv_lock held.
 */
bool watchdog_prepare(const struct boot_info *info);

/* From now on an NMI to this CPU, the first one, every 55 ms; none before 55 ms are over. */
void watchdog_arm(void);

/* The image before has armed it: NMIs are expected here too. */
void watchdog_take_over(void);

/* None for another 55 ms, if it is armed: before code in which an NMI would be the end. */
void watchdog_restart(void);

/* No more NMIs, but for one at once on QEMU. Any image, prepared or not, armed or not. */
void watchdog_stop(void);

/* NMIs that came since watchdog_arm(). */
unsigned int watchdog_nmis(void);

#endif
