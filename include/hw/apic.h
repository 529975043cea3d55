/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local APIC and I/O APIC: registers and their fields, one name per bit.
 *
 * SDM volume 3, "Advanced Programmable Interrupt Controller (APIC)": "Local APIC Register Address
 * Map", "Local Vector Table", "Interrupt Command Register (ICR)", "Extended XAPIC (x2APIC)".
 * 82093AA I/O APIC data sheet, "Register Description"; Intel ICH data sheets for the EOI register.
 */
#ifndef HW_APIC_H
#define HW_APIC_H

/* ---- MSRs ------------------------------------------------------------------------------------ */

/* IA32_APIC_BASE; its number is MSR_APIC_BASE in hw/x86.h */
#define APIC_BASE_BSP 0x0000000000000100UL
#define APIC_BASE_EXTD 0x0000000000000400UL
#define APIC_BASE_EN 0x0000000000000800UL
#define APIC_BASE_ADDR 0x000ffffffffff000UL

#define MSR_TSC_DEADLINE 0x6e0U
#define MSR_X2APIC_FIRST 0x800U /* the register at byte offset N in xAPIC mode: 0x800 + N / 16 */
#define MSR_X2APIC_LAST 0x8ffU

/* ---- Local APIC: byte offsets of the registers ----------------------------------------------- */

#define APIC_ID 0x020U
#define APIC_VERSION 0x030U
#define APIC_TPR 0x080U
#define APIC_APR 0x090U
#define APIC_PPR 0x0a0U
#define APIC_EOI 0x0b0U
#define APIC_RRD 0x0c0U
#define APIC_LDR 0x0d0U
#define APIC_DFR 0x0e0U
#define APIC_SVR 0x0f0U
#define APIC_ISR 0x100U /* eight registers, as TMR and IRR */
#define APIC_TMR 0x180U
#define APIC_IRR 0x200U
#define APIC_ESR 0x280U
#define APIC_LVT_CMCI 0x2f0U
#define APIC_ICR_LOW 0x300U
#define APIC_ICR_HIGH 0x310U
#define APIC_LVT_TIMER 0x320U
#define APIC_LVT_THERMAL 0x330U
#define APIC_LVT_PERF 0x340U
#define APIC_LVT_LINT0 0x350U
#define APIC_LVT_LINT1 0x360U
#define APIC_LVT_ERROR 0x370U
#define APIC_TMICT 0x380U
#define APIC_TMCCT 0x390U
#define APIC_TDCR 0x3e0U
#define APIC_SELF_IPI 0x3f0U
#define APIC_REGISTER_STEP 0x10U

/* ---- Local APIC: fields ---------------------------------------------------------------------- */

#define APIC_XAPIC_ID_SHIFT 24
#define APIC_VERSION_INTEGRATED 0x14U
#define APIC_VERSION_MAX_LVT_SHIFT 16

#define APIC_TPR_MASK 0xffU
#define APIC_PRIORITY_CLASS 0xf0U

#define APIC_LDR_SHIFT 24
#define APIC_LDR_MASK 0xff000000U
#define APIC_DFR_MODEL_SHIFT 28
#define APIC_DFR_MODEL 0xf0000000U
#define APIC_DFR_FLAT 0xfU
#define APIC_DFR_CLUSTER 0x0U
#define X2APIC_LDR_CLUSTER_SHIFT 16
#define X2APIC_LDR_MEMBERS 0xffffU

#define APIC_SVR_VECTOR 0x0ffU
#define APIC_SVR_ENABLE 0x100U
#define APIC_SVR_FOCUS_OFF 0x200U

#define APIC_ESR_SEND_ILLEGAL 0x20U
#define APIC_ESR_RECEIVE_ILLEGAL 0x40U
#define APIC_ESR_REGISTER_ILLEGAL 0x80U

/* Vectors 0 to 15 are illegal in messages. */
#define APIC_VECTOR_MIN 16U

/* Delivery modes, of messages and of entries */
#define APIC_MODE_FIXED 0U
#define APIC_MODE_LOWEST 1U
#define APIC_MODE_SMI 2U
#define APIC_MODE_NMI 4U
#define APIC_MODE_INIT 5U
#define APIC_MODE_SIPI 6U
#define APIC_MODE_EXTINT 7U

#define APIC_LVT_VECTOR 0x000ffU
#define APIC_LVT_MODE 0x00700U
#define APIC_LVT_PENDING 0x01000U
#define APIC_LVT_ACTIVE_LOW 0x02000U
#define APIC_LVT_REMOTE_IRR 0x04000U
#define APIC_LVT_LEVEL 0x08000U
#define APIC_LVT_MASKED 0x10000U
#define APIC_LVT_TIMER_MODE 0x60000U
#define APIC_TIMER_ONE_SHOT 0x00000U
#define APIC_TIMER_PERIODIC 0x20000U
#define APIC_TIMER_DEADLINE 0x40000U

#define APIC_ICR_VECTOR 0x000ffU
#define APIC_ICR_MODE_SHIFT 8
#define APIC_ICR_MODE 0x00700U
#define APIC_ICR_LOGICAL 0x00800U
#define APIC_ICR_PENDING 0x01000U
#define APIC_ICR_ASSERT 0x04000U
#define APIC_ICR_LEVEL 0x08000U
#define APIC_ICR_SHORTHAND 0xc0000U
#define APIC_ICR_TO_SELF 0x40000U
#define APIC_ICR_TO_ALL 0x80000U
#define APIC_ICR_TO_OTHERS 0xc0000U
#define APIC_ICR_HIGH_SHIFT 32
#define APIC_ICR_XAPIC_DEST_SHIFT 56
#define APIC_ICR_HIGH_DEST 0xff000000U /* of the upper half, in xAPIC mode */

#define APIC_BROADCAST 0xffU
#define X2APIC_BROADCAST 0xffffffffU

#define APIC_TDCR_LOW 0x3U
#define APIC_TDCR_HIGH 0x8U
#define APIC_TDCR_128 0xaU

/* ---- I/O APIC -------------------------------------------------------------------------------- */

/* Byte offsets in its page */
#define IOAPIC_SELECT 0x00U
#define IOAPIC_WINDOW 0x10U
#define IOAPIC_EOI 0x40U

/* Registers behind the window */
#define IOAPIC_ID 0x00U
#define IOAPIC_VERSION 0x01U
#define IOAPIC_ARBITRATION 0x02U
#define IOAPIC_PINS_MAX 120U     /* index registers end at 0xff */
#define IOAPIC_REDIRECTION 0x10U /* two for each pin: low half, high half */

#define IOAPIC_SELECT_MASK 0xffU
#define IOAPIC_ID_MASK 0x0f000000U
#define IOAPIC_VERSION_EOI 0x20U
#define IOAPIC_VERSION_MAX_PIN_SHIFT 16

#define IOAPIC_RTE_VECTOR 0x00000000000000ffUL
#define IOAPIC_RTE_MODE_SHIFT 8
#define IOAPIC_RTE_MODE 0x0000000000000700UL
#define IOAPIC_RTE_LOGICAL 0x0000000000000800UL
#define IOAPIC_RTE_PENDING 0x0000000000001000UL
#define IOAPIC_RTE_ACTIVE_LOW 0x0000000000002000UL
#define IOAPIC_RTE_REMOTE_IRR 0x0000000000004000UL
#define IOAPIC_RTE_LEVEL 0x0000000000008000UL
#define IOAPIC_RTE_MASKED 0x0000000000010000UL
#define IOAPIC_RTE_DEST_SHIFT 56
#define IOAPIC_RTE_DEST 0xff00000000000000UL

#endif
