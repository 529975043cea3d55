/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counted failures of pool_alloc(), buddy_alloc() and kzalloc().
 *
 * A test that wants them links tests/host/fakes/alloc_fail.c and sets
 *   test_x_LDFLAGS := $(ALLOC_FAIL_LDFLAGS)
 */
#ifndef FAKES_ALLOC_FAIL_H
#define FAKES_ALLOC_FAIL_H

#include <stdbool.h>

/* The next n allocations work, all later ones fail; n < 0: no failures. */
void fake_fail_alloc_after(long n);

/* True when an allocation was made to fail since the last fake_fail_alloc_after(). */
bool fake_fail_hit(void);

#endif
