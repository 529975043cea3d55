/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local APIC, in xAPIC mode through its page or in x2APIC mode through MSRs, and I/O APIC.
 *
 * The functions act on the local APIC of the CPU that calls. Register numbers are offsets in the
 * page (SDM volume 3, "Local APIC Register Address Map").
 */
#ifndef GUEST_APIC_H
#define GUEST_APIC_H

#include <stdbool.h>
#include <stdint.h>

#define APIC_ID 0x020U
#define APIC_VERSION 0x030U
#define APIC_TPR 0x080U
#define APIC_PPR 0x0a0U
#define APIC_EOI 0x0b0U
#define APIC_LDR 0x0d0U
#define APIC_DFR 0x0e0U
#define APIC_SVR 0x0f0U
#define APIC_ISR 0x100U
#define APIC_IRR 0x200U
#define APIC_ESR 0x280U
#define APIC_ICR 0x300U
#define APIC_ICR_HIGH 0x310U
#define APIC_LVT_TIMER 0x320U
#define APIC_LVT_LINT0 0x350U
#define APIC_LVT_LINT1 0x360U
#define APIC_LVT_ERROR 0x370U
#define APIC_TMICT 0x380U
#define APIC_TMCCT 0x390U
#define APIC_TDCR 0x3e0U
#define APIC_SELF_IPI 0x3f0U
#define APIC_REGISTERS_END 0x400U

/* The lower half of ICR */
#define APIC_FIXED 0x000U
#define APIC_LOWEST 0x100U
#define APIC_NMI 0x400U
#define APIC_INIT 0x500U
#define APIC_SIPI 0x600U
#define APIC_MODE 0x700U
#define APIC_LOGICAL 0x800U
#define APIC_PENDING 0x1000U
#define APIC_ASSERT 0x4000U
#define APIC_TO_SELF 0x40000U
#define APIC_TO_ALL 0x80000U
#define APIC_TO_OTHERS 0xc0000U

#define APIC_MASKED 0x10000U
#define APIC_TIMER_ONE_SHOT 0x00000U
#define APIC_TIMER_PERIODIC 0x20000U
#define APIC_TIMER_DEADLINE 0x40000U
#define APIC_SVR_ENABLE 0x100U
#define APIC_SPURIOUS_VECTOR 0xffU
#define APIC_DFR_FLAT 0xffffffffU
#define APIC_DFR_CLUSTER 0x0fffffffU

#define APIC_PAGE_PA 0xfee00000U
#define APIC_MSR(reg) (0x800U + (reg) / 16)

/* Interrupts of a PC's PIC are masked, the mode is chosen: apic=xapic|x2apic on the command line
 * (xapic). The first CPU calls this; ends the guest if CPUID does not show that mode. */
void apic_choose(void);
/* x2APIC mode was chosen. */
bool apic_is_x2(void);
/* Puts this CPU's APIC into the mode chosen, on, everything masked, TPR 0, logical id 1 << id in
 * the flat model. */
void apic_init(void);

uint32_t apic_read(uint32_t reg);
void apic_write(uint32_t reg, uint32_t value);
uint32_t apic_id(void);
void apic_eoi(void);
/* An IPI; `destination` as ICR wants it in this mode, but always in the lowest bits. */
void apic_send(uint32_t destination, uint32_t icr_low);
/* A bit of IRR or ISR. */
bool apic_test(uint32_t map, unsigned int vector);
/* LVT timer entry and divisor: a power of two, 1 to 128. Disarmed. */
void apic_timer_set(uint32_t mode, unsigned int vector, unsigned int divisor);
bool apic_has_deadline(void);
void apic_deadline(uint64_t tsc);

/* ---- I/O APIC ---- */
#define IOAPIC_PAGE_PA 0xfec00000U
#define IOAPIC_PIN_COM1 4U
#define IOAPIC_LEVEL 0x8000U
#define IOAPIC_LOGICAL 0x800U
#define IOAPIC_REMOTE_IRR 0x4000U
#define IOAPIC_MASKED 0x10000U
#define IOAPIC_DEST_SHIFT 56

uint32_t ioapic_read(uint32_t reg);
void ioapic_write(uint32_t reg, uint32_t value);
/* A whole redirection entry; masked while it changes. */
void ioapic_route(unsigned int pin, uint64_t entry);
uint64_t ioapic_entry(unsigned int pin);

#endif
