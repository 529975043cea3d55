/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local APIC of a vCPU (dev/vlapic*.c): xAPIC and x2APIC, with its timer. Pure: time comes in as
 * guest TSC values, effects on other vCPUs go out through struct vlapic_bus. Any contents of struct
 * vlapic are safe to work on, whatever a record brought.
 */
#ifndef HV_VLAPIC_H
#define HV_VLAPIC_H

#include "hv/compiler.h"
#include "hv/types.h"

#define VLAPIC_MMIO_BASE 0xfee00000UL
#define VLAPIC_LVTS 6 /* timer, thermal, performance, LINT0, LINT1, error */
#define VLAPIC_NO_DEADLINE UINT64_MAX

enum vlapic_lvt { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR };

struct vlapic {
    LAYOUT(uint32_t id;       /* xAPIC and x2APIC id: the vCPU's number */
           uint64_t apic_base; /* IA32_APIC_BASE */
           uint32_t tpr; uint32_t svr; uint32_t ldr; uint32_t dfr; uint32_t esr;
           uint32_t esr_pending; uint32_t lvt[VLAPIC_LVTS]; uint64_t icr;
           ,
           uint32_t irr[8]; uint32_t isr[8]; uint32_t tmr[8]; /* 256 bits each */
           uint32_t timer_initial; uint32_t timer_divide;     /* registers TMICT, TDCR */
           /* Guest TSC when the count began (one-shot, periodic); VLAPIC_NO_DEADLINE: it is at 0 */
           uint64_t timer_start;
           uint64_t tsc_deadline; /* MSR value, 0 disarmed */
           uint32_t tsc_per_tick; /* guest TSC cycles of one undivided APIC timer tick, from 1 */)
};

/* What the APIC needs from the rest of its domain. All of them may be called from within a register
 * write, also for the vCPU that writes; kick comes last. */
struct vlapic_bus {
    /* The APIC of vCPU number i, NULL past the last. */
    struct vlapic *(*apic)(void *domain, unsigned int i);
    /* vCPU i has something new to look at (interrupt, NMI, INIT, SIPI). */
    void (*kick)(void *domain, unsigned int i);
    void (*nmi)(void *domain, unsigned int i);
    void (*init)(void *domain, unsigned int i);
    void (*sipi)(void *domain, unsigned int i, uint8_t vector);
    /* A level-triggered vector was completed: for the I/O APIC. */
    void (*eoi)(void *domain, uint8_t vector);
    /* Kept for the domain, from 0: whose turn it is among equals in lowest-priority messages. */
    unsigned int *(*turn)(void *domain);
};

/* State after RESET, in xAPIC mode; bsp: the boot processor (APIC_BASE bit 8). tsc_per_tick becomes
 * 1: set it afterwards. */
void vlapic_reset(struct vlapic *a, unsigned int id, bool bsp);
/* After INIT: as reset, but APIC_BASE and the id stay. */
void vlapic_init_signal(struct vlapic *a);

/* Guest-physical address of the register page: what the guest wrote to APIC_BASE. */
paddr_t vlapic_base(const struct vlapic *a);

/* xAPIC register at byte offset 0 to 0xfff, 32-bit accesses at 16-byte steps; others read 0 and are
 * ignored. Disabled or in x2APIC mode nobody answers: reads all ones. now: guest TSC. */
uint32_t vlapic_mmio_read(struct vlapic *a, uint32_t offset, uint64_t now);
void vlapic_mmio_write(struct vlapic *a, const struct vlapic_bus *bus, void *domain,
                       uint32_t offset, uint32_t value, uint64_t now);

/* x2APIC MSRs 0x800 to 0x8ff, IA32_APIC_BASE and IA32_TSC_DEADLINE: 0, or -EINVAL for #GP. Address
 * bits of APIC_BASE from MAXPHYADDR up to 51 are the caller's to refuse. */
MUST_CHECK int vlapic_msr_read(struct vlapic *a, uint32_t index, uint64_t *value, uint64_t now);
MUST_CHECK int vlapic_msr_write(struct vlapic *a, const struct vlapic_bus *bus, void *domain,
                                uint32_t index, uint64_t value, uint64_t now);

/* An interrupt message for this APIC: edge or level. False: disabled, or the vector is illegal. */
bool vlapic_accept(struct vlapic *a, uint8_t vector, bool level);

/* Delivers an interrupt message on the bus (I/O APIC, MSI): destination as in a redirection entry,
 * 8 bits of which all ones are everybody. False when no APIC accepted it. */
bool vlapic_deliver(const struct vlapic_bus *bus, void *domain, uint8_t destination, bool logical,
                    uint8_t delivery_mode, uint8_t vector, bool level);

/* Highest vector that may be delivered now (enabled, above PPR), or -1. Take: moves it from IRR to
 * ISR. */
int vlapic_pending(const struct vlapic *a);
void vlapic_take(struct vlapic *a, uint8_t vector);
bool vlapic_enabled(const struct vlapic *a); /* globally and by SVR */

/* CR8 as the task priority; also while the APIC is disabled. */
uint64_t vlapic_cr8(const struct vlapic *a);
void vlapic_set_cr8(struct vlapic *a, uint64_t cr8);

/* Guest TSC at which the timer fires next, VLAPIC_NO_DEADLINE when it does not. Tick: raises what
 * is due at `now`; periodic timers keep their phase and fold missed ticks into one. */
uint64_t vlapic_timer_next(const struct vlapic *a);
void vlapic_timer_tick(struct vlapic *a, uint64_t now);

/* The guest TSC has jumped by `delta` (the guest wrote it): the count goes on as before, a deadline
 * is compared with the new TSC. */
void vlapic_tsc_moved(struct vlapic *a, uint64_t delta);

#endif
