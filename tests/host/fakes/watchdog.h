/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fake of hv/watchdog.h: a timer that nothing comes from; notes what is asked of it.
 */
#ifndef FAKES_WATCHDOG_H
#define FAKES_WATCHDOG_H

#include "hv/watchdog.h"

struct fake_watchdog {
    bool useless; /* there is no timer */
    unsigned int prepares, arms, stops, takes, restarts;
};

extern struct fake_watchdog fake_watchdog;

#endif
