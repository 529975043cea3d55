/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The timer of a local APIC: as many interrupts as were armed, and none too early.
 *
 * One-shot and TSC deadline: armed once, one interrupt, when the count or the TSC is there.
 *
 * Periodic: tick k is due at START + k * PERIOD. A tick sets a bit in IRR, so those that come while
 * the bit is set merge with it, and that is all that may: interrupt n does not come before tick n,
 * and where code runs with interrupts on SLACK_US behind a tick, an interrupt has stood for it. So
 * a CPU that does not run (an update, another vCPU) merges ticks, and nothing else does.
 *
 * The timer counts TSC cycles under molt and on Bochs. Elsewhere (engine=tcg) its frequency is not
 * known: only the numbers are compared.
 *
 * SDM volume 3, "APIC Timer", "TSC-Deadline Mode".
 */
#include "irqexact/irq.h"

#include "lib/clock.h"
#include "lib/molt.h"

#define CYCLES_MIN 200U
#define CYCLES_SPREAD 40000U
#define PERIOD_MIN 15000U /* longer than a handler, exits included: else nothing else ever runs */
#define PERIODS 12U
#define SLACK_US 100U
#define WAIT_MS 10000U
#define FAR_MS 3600000U /* longer than a pause of the domain */

struct area area_one_shot = {"one-shot", 0};
struct area area_deadline = {"deadline", 0};
struct area area_periodic = {"periodic", 0};

/* A wait with what came armed: halted, spinning, or with interrupts off till long after. */
static void await(struct irq_cpu *cpu, unsigned int vector, uint64_t due)
{
    switch (irq_rand(cpu, 3)) {
    case 0:
        irq_halt_until(cpu, vector);
        break;
    case 1:
        irq_on();
        break;
    default:
        while (rdtsc() < due) {
            irq_dwell(cpu, WITH_IF_OFF);
        }
        irq_on();
        break;
    }
    irq_wait(cpu, vector);
}

static void not_early(const char *area, struct irq_cpu *cpu, uint64_t due)
{
    if (cpu_is_exact() && cpu->irq.tsc < due) {
        damage(area, "CPU %u: taken at TSC %" P64 "u, %" P64 "u too early", cpu->id, cpu->irq.tsc,
               due - cpu->irq.tsc);
    }
}

static void one_shot(struct irq_cpu *cpu)
{
    unsigned int vector = irq_rand_vector(cpu);
    unsigned int divisor = 1U << irq_rand(cpu, 8);
    uint32_t cycles = CYCLES_MIN + irq_rand(cpu, CYCLES_SPREAD);
    uint32_t count = cycles / divisor + 1;
    uint64_t due;

    irq_off();
    apic_timer_set(APIC_TIMER_ONE_SHOT, vector, divisor);
    cpu->expected[vector]++;
    due = rdtsc() + (uint64_t)count * divisor;
    apic_write(APIC_TMICT, count);
    await(cpu, vector, due);
    not_early("one-shot", cpu, due);
    if (apic_read(APIC_TMCCT) != 0) {
        damage("one-shot", "CPU %u: counts on at 0x%x", cpu->id, apic_read(APIC_TMCCT));
    }
    irq_off();
    irq_count(&area_one_shot);
}

static void deadline(struct irq_cpu *cpu)
{
    unsigned int vector = irq_rand_vector(cpu);
    uint64_t due;

    irq_off();
    apic_timer_set(APIC_TIMER_DEADLINE, vector, 1);
    if (irq_rand(cpu, 4) == 0) { /* disarmed in time, or replaced */
        apic_deadline(rdtsc() + FAR_MS * clock_khz());
        apic_deadline(0);
    }
    cpu->expected[vector]++;
    due = rdtsc() + irq_rand(cpu, CYCLES_SPREAD);
    due -= irq_rand(cpu, 8) == 0 ? CYCLES_SPREAD : 0; /* in the past: at once */
    apic_deadline(due);
    await(cpu, vector, due);
    not_early("deadline", cpu, due);
    if (molt_present() && rdmsr(MSR_TSC_DEADLINE) != 0) { /* Bochs itself does not clear it */
        damage("deadline", "CPU %u: still armed", cpu->id);
    }
    irq_off();
    irq_count(&area_deadline);
}

/* ---- periodic ---- */

static struct ticks {
    uint64_t earliest; /* START, not before and not after */
    uint64_t latest;
    uint64_t period;
    volatile uint64_t stood_for; /* ticks that interrupts have stood for */
    volatile uint32_t interrupts;
} all_ticks[SMP_MAX];

static uint64_t ticks_at(uint64_t tsc, uint64_t start, uint64_t period)
{
    return tsc < start ? 0 : (tsc - start) / period;
}

static void on_tick(struct irq_cpu *cpu)
{
    struct ticks *t = &all_ticks[cpu->id];
    uint64_t due = ticks_at(rdtsc(), t->earliest, t->period);

    t->interrupts++;
    cpu->expected[cpu->every_vector]++; /* they are counted here */
    if (cpu_is_exact() && t->interrupts > due) {
        damage("periodic", "CPU %u: interrupt %u, but %" P64 "u ticks were due", cpu->id,
               t->interrupts, due);
    }
    t->stood_for = due;
    if (t->interrupts >= PERIODS) {
        apic_write(APIC_TMICT, 0);
    }
}

static void check_lost(struct irq_cpu *cpu, struct ticks *t, uint64_t slack)
{
    uint64_t due = ticks_at(rdtsc() - slack, t->latest, t->period);

    if (cpu_is_exact() && t->interrupts < PERIODS && t->stood_for < due) {
        damage("periodic",
               "CPU %u: interrupt %u stood for tick %" P64 "u, but tick %" P64 "u is over", cpu->id,
               t->interrupts, t->stood_for, due);
    }
}

static void periodic(struct irq_cpu *cpu)
{
    struct ticks *t = &all_ticks[cpu->id];
    unsigned int divisor = 1U << irq_rand(cpu, 6);
    uint32_t count = (PERIOD_MIN + irq_rand(cpu, CYCLES_SPREAD)) / divisor;
    uint64_t slack = SLACK_US * clock_khz() / 1000;
    uint64_t until;

    irq_off();
    t->interrupts = 0;
    t->stood_for = 0;
    t->period = (uint64_t)count * divisor;
    t->latest = UINT64_MAX; /* not yet known: nothing is lost so far */
    cpu->every_vector = irq_rand_vector(cpu);
    cpu->every = on_tick;
    apic_timer_set(APIC_TIMER_PERIODIC, cpu->every_vector, divisor);
    t->earliest = rdtsc();
    apic_write(APIC_TMICT, count);
    t->latest = rdtsc();
    until = t->latest + WAIT_MS * clock_khz();
    while (t->interrupts < PERIODS && rdtsc() < until) {
        irq_on();
        switch (irq_rand(cpu, 4)) {
        case 0:
            irq_off();
            irq_dwell(cpu, WITH_IF_OFF);
            break;
        case 1:
            irq_off();
            if (t->interrupts < PERIODS) {
                __asm__ volatile("sti\n\thlt" ::: "memory");
            }
            break;
        default:
            irq_dwell(cpu, IN_CODE);
            check_lost(cpu, t, slack);
            break;
        }
    }
    irq_off();
    apic_write(APIC_TMICT, 0);
    irq_on();
    smp_relax();
    irq_off();
    if (t->interrupts < PERIODS) {
        damage("periodic", "CPU %u: %u interrupts in %u ms", cpu->id, t->interrupts, WAIT_MS);
    }
    cpu->every = NULL;
    irq_count(&area_periodic);
}

void timer_round(struct irq_cpu *cpu)
{
    for (unsigned int i = 0; i < 4; i++) {
        one_shot(cpu);
        if (apic_has_deadline()) {
            deadline(cpu);
        }
    }
    periodic(cpu);
}
