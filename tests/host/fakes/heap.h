/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small heap for tests of code that uses single pages: buddy_alloc() of order 0 over malloc.
 *
 * Physical addresses are ordinary addresses, so the relocator can run on them and ASan sees every
 * page. Implements the seam that lu/ uses, instead of fakes/machine.c.
 */
#ifndef FAKES_HEAP_H
#define FAKES_HEAP_H

#include <setjmp.h>

#include "hv/buddy.h"
#include "hv/types.h"

/* The next n allocations work, all later ones fail; n < 0: no failures (as at the start). */
void heap_fail_after(long n);

/* Pages allocated and not freed; of one kind. */
size_t heap_in_use(void);
size_t heap_in_use_as(enum frame_state state);

/* True when the frame is a page of this heap in that state. */
bool heap_is(mfn_t mfn, enum frame_state state);

/* What cpu_has_crc32() answers. */
extern bool heap_has_crc32;

/* HEAP_PANICS(statement): true when the statement panicked. A panic outside of it aborts. */
extern jmp_buf heap_panic_jmp;
extern bool heap_panic_armed;
#define HEAP_PANICS(statement)               \
    __extension__({                          \
        volatile bool heap_panicked_ = true; \
        heap_panic_armed = true;             \
        if (setjmp(heap_panic_jmp) == 0) {   \
            statement;                       \
            heap_panicked_ = false;          \
        }                                    \
        heap_panic_armed = false;            \
        heap_panicked_;                      \
    })

#endif
