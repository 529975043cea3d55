/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory-mapped devices of guests: local APIC and I/O APIC.
 */
#ifndef HV_MMIO_H
#define HV_MMIO_H

#include "hv/hvm.h"

/* Emulates the access of a HVM_EXIT_STAGE2 outside guest memory. False when no device is there. */
bool mmio_handle(struct vcpu *v, const struct hvm_exit *exit);

#endif
