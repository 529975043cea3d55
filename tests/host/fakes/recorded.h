/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the flight recorder holds.
 */
#ifndef FAKES_RECORDED_H
#define FAKES_RECORDED_H

#include "hv/recorder.h"

/* Entries that can be read. */
static inline unsigned int recorded_count(void)
{
    struct lu_log_entry e;
    uint64_t from = 0;
    unsigned int n = 0;

    while (recorder_read(&from, &e)) {
        n++;
    }
    return n;
}

#endif
