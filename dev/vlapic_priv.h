/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the files of the local APIC model: vlapic.c (registers, modes), vlapic_irq.c (priorities,
 * messages, errors), vlapic_timer.c.
 */
#ifndef DEV_VLAPIC_PRIV_H
#define DEV_VLAPIC_PRIV_H

#include "hv/vlapic.h"
#include "hw/apic.h"

static inline bool hardware_enabled(const struct vlapic *a)
{
    return a->apic_base & APIC_BASE_EN;
}

static inline bool x2apic_mode(const struct vlapic *a)
{
    return hardware_enabled(a) && (a->apic_base & APIC_BASE_EXTD);
}

/* vlapic_irq.c */

/* Logs an error (APIC_ESR_*); the first one since ESR was written raises the error interrupt. */
void vlapic_error(struct vlapic *a, uint32_t error);
/* The logical destination register as the guest reads it. */
uint32_t vlapic_ldr(const struct vlapic *a);
/* Arbitration and processor priority registers. */
uint32_t vlapic_apr(const struct vlapic *a);
uint32_t vlapic_ppr(const struct vlapic *a);
/* EOI register: the vector in service with the highest priority is done. */
void vlapic_end_of_interrupt(struct vlapic *a, const struct vlapic_bus *bus, void *domain);
/* Sends the message in ICR, or a vector to itself (SELF IPI). */
void vlapic_send_icr(struct vlapic *a, const struct vlapic_bus *bus, void *domain);
void vlapic_send_self(struct vlapic *a, const struct vlapic_bus *bus, void *domain, uint8_t vector);

/* vlapic_timer.c; all but the first want vlapic_timer_tick() just before. */

void vlapic_timer_reset(struct vlapic *a);
void vlapic_timer_set_lvt(struct vlapic *a, uint32_t lvt);
void vlapic_timer_set_initial(struct vlapic *a, uint32_t count, uint64_t now);
void vlapic_timer_set_divide(struct vlapic *a, uint32_t divide, uint64_t now);
uint32_t vlapic_timer_count(const struct vlapic *a, uint64_t now);
/* IA32_TSC_DEADLINE as the guest sees it. */
uint64_t vlapic_timer_deadline(const struct vlapic *a);
void vlapic_timer_set_deadline(struct vlapic *a, uint64_t deadline, uint64_t now);

#endif
