/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fake timer, see watchdog.h.
 */
#include "fakes/watchdog.h"

#include <stdlib.h>

struct fake_watchdog fake_watchdog;

bool watchdog_prepare(const struct boot_info *info)
{
    (void)info;
    fake_watchdog.prepares++;
    return !fake_watchdog.useless;
}

void watchdog_arm(void)
{
    if (fake_watchdog.prepares == 0 || fake_watchdog.useless) {
        abort();
    }
    fake_watchdog.arms++;
}

void watchdog_take_over(void)
{
    fake_watchdog.takes++;
}

void watchdog_restart(void)
{
    fake_watchdog.restarts++;
}

void watchdog_stop(void)
{
    fake_watchdog.stops++;
}

unsigned int watchdog_nmis(void)
{
    return 0;
}
