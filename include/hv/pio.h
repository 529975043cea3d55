/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Port I/O of guests: which device answers.
 */
#ifndef HV_PIO_H
#define HV_PIO_H

#include "hv/hvm.h"

/* Handles an HVM_EXIT_IO. Ports without a device read as all ones; writes to them are ignored. */
void pio_handle(struct vcpu *v, const struct hvm_exit *exit);

#endif
