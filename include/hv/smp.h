/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's CPUs: how they come, how they are woken, how they leave for the next image.
 *
 * Seam: the hypervisor implements this in arch/x86_64/smp.c and apic.c, host tests fake it. The
 * first CPU runs hv_main(); every other one comes out in cpu_main() (core/sched.c).
 */
#ifndef HV_SMP_H
#define HV_SMP_H

#include "hv/compiler.h"
#include "hv/mb2.h"
#include "hv/percpu.h"
#include "hv/types.h"

/*
 * Cold boot: starts every CPU that the firmware's MADT names as enabled (INIT, SIPI; SDM volume 3,
 * "MP Initialization Protocol"), at most the command line's cpus=N, and prints how many are there.
 * Returns, when all have arrived, how many did; they wait in cpu_main() for hv_lock, which the
 * caller holds. One that does not come within a second is left out, with a line. Heap open, tsc_khz
 * known.
 */
unsigned int cpus_start(const struct boot_info *info);

/* core/sched.c: where they come out, and stay. hv_lock not held. */
NORETURN void cpu_main(void);

/* Prints how many CPUs run this image, the first one included, and how they are reached: after an
 * update, when all that were parked have come. */
void cpus_report(unsigned int online);

/*
 * Update boot: the CPUs that the image before parked (struct lu_park in the handover page, mapped
 * at `park`). prepare: memory for them, from the arena's pool; 0 or -ENOMEM. release: lets them
 * go into this image and does not wait; they come to cpu_main(). No INIT, no SIPI, no delay.
 */
struct lu_park;
struct lu_handover;
MUST_CHECK int cpus_prepare(const struct lu_park *park);
void cpus_release(struct lu_handover *page);

/* The old image, back again: the CPUs that it parked come in as at an update, with the stacks they
 * had. Does not wait. */
void cpus_return(struct lu_handover *page);

/* Leaves this image: waits in code that outlives it until the next one releases it. Virtualization
 * off, context unloaded, hv_lock not held; park->parked grows by one when the CPU touches nothing
 * of the old image but its jump tables and relocator page any more. `park`: physical address. */
NORETURN void cpu_park(paddr_t park_pa);

/* Arena bytes for `nr` CPUs besides the first. */
uint64_t cpus_bytes(unsigned int nr);

/* Makes a CPU leave guest mode or cpu_halt() as soon as it can; remembered when it is in neither.
 * Not for this CPU. */
void cpu_kick(struct percpu *cpu);

/* A non-maskable interrupt to another CPU. */
void cpu_nmi(struct percpu *cpu);

/* Waits for a kick, at most until the host TSC reaches until_tsc (UINT64_MAX: no limit). May return
 * early. hv_lock not held. */
void cpu_halt(uint64_t until_tsc);

/* Drops all translations that this CPU holds of molt's own address space, global ones too. */
void tlb_flush(void);

#endif
