/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fake CPUs, see smp.h.
 */
#include "fakes/smp.h"

#include <stdlib.h>

#include "fakes/machine.h"
#include "hv/seam.h"
#include "public/lu_abi.h"

struct fake_smp fake_smp;

unsigned int cpus_start(const struct boot_info *info)
{
    (void)info;
    return 0;
}

void cpus_report(unsigned int online)
{
    (void)online;
}

int cpus_prepare(const struct lu_park *park)
{
    (void)park;
    fake_smp.prepares++;
    return 0;
}

void cpus_release(struct lu_handover *page)
{
    page->park.entry_pa = 1;
    fake_smp.releases++;
}

void cpus_return(struct lu_handover *page)
{
    page->park.entry_pa = 1;
    fake_smp.returns++;
}

void cpu_park(paddr_t park_pa)
{
    struct lu_park *park = pa_to_va(park_pa);

    park->parked++;
    fake_smp.parks++;
    abort(); /* nobody comes back from there: tests with several CPUs stop before */
}

uint64_t cpus_bytes(unsigned int nr)
{
    return nr * KIB(64);
}

void cpu_kick(struct percpu *cpu)
{
    fake_smp.kicks++;
    fake_smp.kicked = cpu;
    if (fake_smp.kick != NULL) {
        fake_smp.kick();
    }
}

void cpu_nmi(struct percpu *cpu)
{
    (void)cpu;
    fake_smp.nmis++;
}

void cpu_halt(uint64_t until_tsc)
{
    fake_smp.halts++;
    fake_smp.halted_until = until_tsc;
    if (fake_smp.halt != NULL) {
        fake_smp.halt();
    }
    if (until_tsc != UINT64_MAX && fake_tsc < until_tsc) {
        fake_tsc = until_tsc;
    }
}

void tlb_flush(void)
{
    fake_smp.flushes++;
}
