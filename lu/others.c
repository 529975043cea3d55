/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The update and the other CPUs: the first one makes them stop, and then park or go on.
 *
 *   the first CPU                     every other one
 *   others_stop()   wants STOP        lu_stop_here(): vCPU unloaded, out of hv_lock, polls
 *   others_go_on()  wants RUN         back to its loop: the update was refused
 *   others_park()   wants PARK        out of virtualization, into the loop of the relocator page
 *   others_return() wants RUN         out of whichever of both: the update has failed
 */
#include "lu_priv.h"

#include "hv/errno.h"
#include "hv/fault.h"
#include "hv/hvm.h"
#include "hv/lock.h"
#include "hv/percpu.h"
#include "hv/sched.h"
#include "hv/seam.h"
#include "hv/smp.h"
#include "hv/time.h"
#include "hv/vcpu.h"
#include "hv/way_back.h"

#define OTHERS_PARK_MS 1000U

/* Nobody is held up when nobody wants to run. */
void others_note_stop(void)
{
    struct percpu *cpu = this_cpu();

    cpu->stop_tsc = sched_idle() ? tsc_read() : cpu->last_exit_tsc;
}

static enum lu_others wanted(void)
{
    return __atomic_load_n(&lu.others, __ATOMIC_ACQUIRE);
}

static void want(enum lu_others what)
{
    __atomic_store_n(&lu.others, what, __ATOMIC_RELEASE);
}

static paddr_t park_pa(void)
{
    return lu.region.base + offsetof(struct lu_handover, park);
}

/* The first CPU hangs while it saves: an NMI tells it to give up. One from each CPU that waits. */
static void watch_first(void)
{
    struct percpu *cpu = this_cpu();

    if (way_back_late() && !cpu->told) {
        cpu->told = true;
        cpu_nmi(cpu_list);
    }
}

void lu_stop_here(void)
{
    struct percpu *cpu = this_cpu();

    if (lu.others != LU_OTHERS_STOP) {
        return;
    }
    others_note_stop();
    if (cpu->loaded != NULL) {
        vcpu_unload(cpu->loaded);
    }
    FAULT_POINT("old.other.stop");
    cpu->told = false;
    __atomic_store_n(&cpu->stopped, true, __ATOMIC_RELEASE);
    hv_unlock();
    while (wanted() == LU_OTHERS_STOP) {
        watch_first();
        cpu_pause();
    }
    if (wanted() == LU_OTHERS_PARK) {
        if (hvm != NULL) {
            hvm->cpu_off();
        }
        FAULT_POINT("old.other.park");
        cpu_park(park_pa());
    }
    hv_lock();
    cpu->stopped = false;
}

static bool all_stopped(void)
{
    for_each_cpu(cpu) {
        if (cpu != this_cpu() && !__atomic_load_n(&cpu->stopped, __ATOMIC_ACQUIRE)) {
            return false;
        }
    }
    return true;
}

int others_stop(uint64_t limit_ms, const char **why)
{
    uint64_t deadline = tsc_read() + ms_to_tsc(limit_ms);

    want(LU_OTHERS_STOP);
    for_each_cpu(cpu) {
        if (cpu != this_cpu()) {
            cpu_kick(cpu);
        }
    }
    hv_unlock();
    while (!all_stopped() && tsc_read() < deadline) {
        cpu_pause();
    }
    hv_lock();
    *why = "a CPU does not stop";
    return all_stopped() ? 0 : -EBUSY;
}

uint64_t others_first_stop(void)
{
    uint64_t first = UINT64_MAX;

    for_each_cpu(cpu) {
        first = MIN(first, cpu->stop_tsc);
    }
    return first;
}

void others_go_on(void)
{
    want(LU_OTHERS_RUN);
}

int others_park(void)
{
    uint64_t deadline = tsc_read() + ms_to_tsc(OTHERS_PARK_MS);

    lu.handover->park = (struct lu_park){0};
    lu.handover->park_check = 0;
    want(LU_OTHERS_PARK);
    while (__atomic_load_n(&lu.handover->park.parked, __ATOMIC_ACQUIRE) + 1 != nr_cpus) {
        if (tsc_read() >= deadline) {
            return -EBUSY;
        }
        cpu_pause();
    }
    return 0;
}

void others_return(void)
{
    if (wanted() == LU_OTHERS_STOP) {
        others_go_on();
        return;
    }
    for_each_cpu(cpu) {
        cpu->stopped = false; /* it will not say so itself */
    }
    want(LU_OTHERS_RUN);
    cpus_return(lu.handover);
}
