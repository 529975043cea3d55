/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every interrupt that is sent is taken, once: whatever an update, a pause or another vCPU's turn
 * comes in between.
 *
 * Rounds of tests until molt ends the run: on all CPUs at once what a CPU can do alone (self IPIs,
 * shadows, priorities, NMIs, timer), then the I/O APIC, then what CPUs do to each other. After each
 * round all counts, by CPU and vector, are compared.
 *
 * Command line: vcpus=N (1), apic=xapic|x2apic (xapic), seed=N (1), rounds=N (0: until molt ends
 * the run; without molt 20), engine=tcg (as lib/molt.h says).
 */
#include "irqexact/irq.h"

#include "lib/bootinfo.h"
#include "lib/clock.h"
#include "lib/cpu.h"
#include "lib/molt.h"

#define DEFAULT_ROUNDS 20U

static const char *const places[PLACES] = {"code", "handler", "nmi", "tpr", "if-off", "hlt"};

static void switch_on(void *arg)
{
    (void)arg;
    apic_init();
    if (apic_id() != smp_self()) {
        damage("apic", "CPU %u: APIC id is %u", smp_self(), apic_id());
    }
}

static void alone(void *arg)
{
    struct irq_cpu *cpu = arg;

    alone_round(cpu);
    timer_round(cpu);
    irq_off();
}

static void one_round(void)
{
    for (unsigned int i = 1; i < smp_count; i++) {
        smp_run(i, alone, &irq_cpus[i]);
    }
    alone(&irq_cpus[0]);
    smp_join_all();
    irq_check_counts("alone");
    line_round();
    irq_check_counts("I/O APIC");
    cross_round();
    irq_check_counts("between CPUs");
}

static void start(unsigned int cpus, uint64_t seed)
{
    ram_init(false);
    paging_init();
    apic_choose();
    irq_init(seed);
    switch_on(NULL);
    smp_start(cpus);
    for (unsigned int i = 1; i < smp_count; i++) {
        smp_run(i, switch_on, NULL);
    }
    smp_join_all();
}

static void report_updates(void)
{
    for (unsigned int place = 0; place < PLACES; place++) {
        uint32_t n = 0;

        for (unsigned int i = 0; i < smp_count; i++) {
            n += irq_cpus[i].updates[place];
        }
        print("hit %s n=%u\n", places[place], n);
    }
}

int guest_main(void)
{
    uint64_t seed = cmdline_number("seed", 1);
    uint64_t limit = cmdline_number("rounds", molt_present() ? 0 : DEFAULT_ROUNDS);
    uint64_t rounds = 0;

    start((unsigned int)cmdline_number("vcpus", 1), seed);
    print("irqexact seed=%" P64 "u cpus=%u mode=%s\n", seed, smp_count,
          apic_is_x2() ? "x2apic" : "xapic");
    do {
        one_round();
        rounds++;
    } while (limit != 0 ? rounds < limit : !molt_shutdown());
    for (unsigned int i = 0; i < irq_area_count; i++) {
        report_area(irq_areas[i]);
    }
    report(true, "irq", "%" P64 "u rounds, %" P64 "u interrupts, each taken once", rounds,
           irq_total());
    report_updates();
    report_end();
}
