/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading with the CPU to itself: most of what an update costs on an emulator is the time that busy
 * guests get while their image is hashed.
 *
 * Command line: alone=1, the control domain pauses the others while an image is loaded.
 */
#ifndef GUEST_ALONE_H
#define GUEST_ALONE_H

#include <stdint.h>

#include "public/hypercall.h"

/* molt_load(). With alone=1 no other domain runs meanwhile; those that ran before run again when it
 * returns, whatever it returns. */
int64_t alone_load(const struct hc_lu_load *load);

#endif
