/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts of a domain: its APICs, its I/O APIC, and who has to be woken.
 */
#ifndef HV_IRQ_H
#define HV_IRQ_H

#include "hv/compiler.h"
#include "hv/types.h"
#include "hv/vlapic.h"

struct domain;
struct vcpu;

#define IRQ_COM1 4U /* pin of the I/O APIC */

/* How the APIC models reach the other APICs of their domain. */
extern const struct vlapic_bus irq_bus;

/* Guest TSC of a vCPU at a host TSC. */
uint64_t irq_guest_tsc(const struct vcpu *v, uint64_t host_tsc);

/* INIT or SIPI has something for it to do, whatever its run state is. */
bool irq_signalled(const struct vcpu *v);

/* Does what INIT and SIPI ask for. On the CPU that runs the vCPU, between entries. */
void irq_take_signals(struct vcpu *v);

/* Just before an entry: the timer, an NMI, then the highest interrupt that can be taken. Loaded
 * vCPU. */
void irq_before_entry(struct vcpu *v, uint64_t now);

/* Not running: runs its timer; true when something wakes it from HLT. */
bool irq_wakes(struct vcpu *v, uint64_t now);

/* Host TSC at which its timer fires next, UINT64_MAX when it does not. */
uint64_t irq_next_timer(const struct vcpu *v);

/* A line of a device, up or down. */
void irq_set_line(struct domain *d, unsigned int pin, bool up);

#endif
