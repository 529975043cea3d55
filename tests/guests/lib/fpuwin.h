/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x87, SSE, AVX and AVX-512 state and XCR0 held live over a window of ordinary C code.
 */
#ifndef GUEST_FPUWIN_H
#define GUEST_FPUWIN_H

#include <stdint.h>

#include "lib/lib.h"

extern struct area fpu_area, avx_area, avx512_area, xcr0_area, pkru_area;

/* Chooses an XCR0 and loads random state in every part that it enables. */
void fpu_window_begin(uint64_t *random);
/* Compares; may be called repeatedly. Ends the guest on damage. */
void fpu_window_check(void);

#endif
