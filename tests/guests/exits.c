/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a way into molt and back costs, in TSC cycles: for tools/bench.
 *
 * Prints `exit NAME min=N max=N` for each kind: cycles of one, an average over a batch, the lowest
 * and the highest over the batches. The highest holds whatever else molt did meanwhile.
 *
 * An IPI is over when its handler has said so: `self` on the CPU that sent it, `ipi` (with vcpus=2
 * and as many CPUs below) on another one. apic=x2apic for Linux's choice of a mode.
 */
#include "lib/apic.h"
#include "lib/bootinfo.h"
#include "lib/cpu.h"
#include "lib/lib.h"
#include "lib/molt.h"
#include "lib/smp.h"
#include "lib/x86.h"

#define OPS 64U
#define BATCHES 32U
#define UNUSED_PORT 0x80U
#define UNKNOWN_CALL 15U
#define VECTOR 0x41U

static struct hc_info info;
static volatile uint32_t taken;
static volatile uint32_t serving;

static void do_nothing(void)
{
    __asm__ volatile("" ::: "memory");
}

static void do_cpuid(void)
{
    (void)cpuid(0, 0);
}

static void do_vmcall(void)
{
    (void)molt_call(UNKNOWN_CALL, 0, 0, 0, 0);
}

static void do_info(void)
{
    (void)molt_info(&info);
}

static void do_out(void)
{
    outb(UNUSED_PORT, 0);
}

/* One access: which register of the I/O APIC is selected. */
static void do_mmio(void)
{
    (void)*(volatile uint32_t *)(uintptr_t)IOAPIC_PAGE_PA;
}

static void send(unsigned int cpu, uint32_t how)
{
    uint32_t before = taken;

    apic_send(cpu, how | VECTOR);
    while (taken == before) {
        cpu_pause();
    }
}

static void do_self(void)
{
    send(0, APIC_TO_SELF);
}

static void do_ipi(void)
{
    send(1, 0);
}

static bool take(struct trap_frame *frame)
{
    if (frame->vector != VECTOR) {
        return false;
    }
    taken++;
    apic_eoi();
    return true;
}

static void interrupts_on(void)
{
    apic_init();
    __asm__ volatile("sti" ::: "memory");
}

/* The other CPU never leaves its guest by itself. */
static void serve(void *arg)
{
    (void)arg;
    interrupts_on();
    serving = 1;
    while (serving != 0) {
        cpu_pause();
    }
}

static void measure(const char *name, void (*op)(void))
{
    uint64_t lowest = UINT64_MAX;
    uint64_t highest = 0;

    op(); /* whatever is made on first use */
    for (unsigned int batch = 0; batch < BATCHES; batch++) {
        uint64_t from = rdtsc();
        uint64_t each;

        for (unsigned int i = 0; i < OPS; i++) {
            op();
        }
        each = (rdtsc() - from) / OPS;
        lowest = each < lowest ? each : lowest;
        highest = each > highest ? each : highest;
    }
    print("exit %s min=%" P64 "u max=%" P64 "u\n", name, lowest, highest);
}

int guest_main(void)
{
    ram_init(false);
    paging_init();
    apic_choose();
    trap_hook = take;
    interrupts_on();
    measure("none", do_nothing);
    measure("cpuid", do_cpuid);
    measure("out", do_out);
    measure("mmio", do_mmio);
    measure("self", do_self);
    if (molt_present()) {
        measure("vmcall", do_vmcall);
        measure("info", do_info);
    }
    smp_start((unsigned int)cmdline_number("vcpus", 1));
    if (smp_count > 1) {
        smp_run(1, serve, NULL);
        smp_wait(&serving, 1, "the other CPU does not serve");
        measure("ipi", do_ipi);
        serving = 0;
        smp_join(1);
    }
    return 0;
}
