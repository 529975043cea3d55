/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other CPUs of a 64-bit payload: their start by INIT and start-up IPI, work for them.
 *
 * A CPU waits for work with interrupts off. All CPUs have the same page tables, a GDT, TSS, IDT and
 * stacks of their own, and share trap_hook. Only the first CPU may use fault_call() and
 * user_call().
 */
#ifndef GUEST_SMP_H
#define GUEST_SMP_H

#include <stdbool.h>
#include <stdint.h>

#define SMP_MAX 4U
#define SMP_TRAMPOLINE_PA 0x8000U
#define SMP_TRAMPOLINE_VECTOR (SMP_TRAMPOLINE_PA >> 12)

/* CPUs that run, the first included: 0 to smp_count - 1; their APIC ids are the same. */
extern unsigned int smp_count;

/* Starts CPUs 1 to count - 1 one after the other, after apic_init() and paging_init(). Ends the
 * guest when one does not come, or with an APIC id that is not its number. */
void smp_start(unsigned int count);
/* INIT, `gap_us` later SIPI, and waits until the CPU waits for work. Whatever it did is over. */
void smp_restart(unsigned int cpu, uint64_t gap_us);
/* The first half: INIT alone; and the second. */
void smp_init_signal(unsigned int cpu);
void smp_start_up(unsigned int cpu);
/* The CPU that asks. */
unsigned int smp_self(void);

/* Gives an idle CPU work; fn(arg) runs there, interrupts off at first. */
void smp_run(unsigned int cpu, void (*fn)(void *), void *arg);
bool smp_busy(unsigned int cpu);
/* Waits until a CPU (until all the others) has done its work. */
void smp_join(unsigned int cpu);
void smp_join_all(void);

/* In every loop that waits for something: under molt other vCPUs get the CPU. */
void smp_relax(void);
/* Ends the guest unless *what becomes `value` within 10 s. */
void smp_wait(const volatile uint32_t *what, uint32_t value, const char *text);

#endif
