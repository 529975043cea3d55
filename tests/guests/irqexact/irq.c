/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts counted on both ends.
 */
#include "irqexact/irq.h"

#include "lib/clock.h"
#include "lib/cpu.h"
#include "lib/molt.h"

#define DWELL_SPINS 20000U /* most of the time is spent so */
#define LOITER_EVERY 8U
#define WAIT_MS 10000U
#define SERVE_SPINS 2000U

struct irq_cpu irq_cpus[SMP_MAX];
struct area *const irq_areas[] = {
    &area_ipi,   &area_sti,      &area_mov_ss,   &area_nesting,   &area_tpr,
    &area_nmi,   &area_one_shot, &area_deadline, &area_periodic,  &area_line,
    &area_cross, &area_lowest,   &area_logical,  &area_cross_nmi, &area_restart,
};
const unsigned int irq_area_count = ARRAY_SIZE(irq_areas);

bool irq_logical_works(void)
{
    return molt_present() || !apic_is_x2();
}

struct irq_cpu *irq_self(void)
{
    return &irq_cpus[smp_self()];
}

uint32_t irq_rand(struct irq_cpu *cpu, uint32_t n)
{
    return (uint32_t)(rand64(&cpu->random) >> 16) % n;
}

/* The gate of 0x80 is not an interrupt's: lib/cpu.c. */
static unsigned int usable(unsigned int vector)
{
    return vector == 0x80 ? 0x81 : vector;
}

unsigned int irq_rand_vector(struct irq_cpu *cpu)
{
    return usable(VECTOR_FIRST + irq_rand(cpu, VECTOR_LAST + 1 - VECTOR_FIRST));
}

unsigned int irq_vector_of(struct irq_cpu *cpu, unsigned int class)
{
    return usable(class * 16 + irq_rand(cpu, 16));
}

void irq_on(void)
{
    __asm__ volatile("sti" ::: "memory");
}

void irq_off(void)
{
    __asm__ volatile("cli" ::: "memory");
}

void irq_count(struct area *area)
{
    __atomic_fetch_add(&area->checks, 1, __ATOMIC_RELAXED);
}

static uint64_t updates(void)
{
    struct hc_info info;

    return molt_present() && molt_info(&info) == 0 ? info.updates : 0;
}

static void spin(uint32_t n)
{
    while (n-- > 0) {
        __asm__ volatile("" ::: "memory");
    }
}

static void dwell(struct irq_cpu *cpu, uint64_t *random, enum place place)
{
    uint64_t before = updates();

    spin((uint32_t)(rand64(random) >> 32) % (place == IN_CODE ? DWELL_SPINS / 16 : DWELL_SPINS));
    cpu->updates[place] += (uint32_t)(updates() - before);
}

void irq_dwell(struct irq_cpu *cpu, enum place place)
{
    dwell(cpu, &cpu->random, place);
}

static void handle(struct irq_cpu *cpu, struct irq_last *last, const struct trap_frame *frame)
{
    void (*inside)(struct irq_cpu *, unsigned int) = last->inside;
    unsigned int vector = (unsigned int)frame->vector;

    last->tsc = rdtsc();
    last->rip = frame->rip;
    last->inside = NULL;
    cpu->seen[vector]++;
    if (cpu->loiter != 0 && vector != VEC_NMI && rand64(&cpu->handler_random) % LOITER_EVERY == 0) {
        dwell(cpu, &cpu->handler_random, IN_HANDLER);
    }
    if (inside != NULL) {
        inside(cpu, vector);
    }
    if (cpu->every != NULL && vector == cpu->every_vector) {
        cpu->every(cpu);
    }
}

static bool take(struct trap_frame *frame)
{
    struct irq_cpu *cpu = irq_self();

    if (frame->vector == VEC_NMI) {
        handle(cpu, &cpu->nmi, frame);
        return true;
    }
    if (frame->vector < 32) {
        return false;
    }
    if (frame->vector == APIC_SPURIOUS_VECTOR && !molt_present()) {
        return true; /* real ones may do so when TPR rises: SDM volume 3, "Spurious Interrupt" */
    }
    if (!apic_test(APIC_ISR, (unsigned int)frame->vector)) {
        damage("irq", "CPU %u: vector 0x%x is not in service", cpu->id,
               (unsigned int)frame->vector);
    }
    handle(cpu, &cpu->irq, frame);
    irq_off();
    apic_eoi();
    return true;
}

void irq_init(uint64_t seed)
{
    for (unsigned int i = 0; i < SMP_MAX; i++) {
        irq_cpus[i].id = i;
        irq_cpus[i].random = mix64(seed * 2 * SMP_MAX + 2 * i) | 1;
        irq_cpus[i].handler_random = mix64(seed * 2 * SMP_MAX + 2 * i + 1) | 1;
    }
    trap_hook = take;
}

void irq_halt_until(struct irq_cpu *cpu, unsigned int vector)
{
    uint64_t before = updates();

    irq_off();
    while (cpu->seen[vector] != cpu->expected[vector]) {
        cpu->halts++;
        __asm__ volatile("sti\n\thlt\n\tcli" ::: "memory");
    }
    irq_on();
    cpu->updates[IN_HLT] += (uint32_t)(updates() - before);
}

void irq_wait(struct irq_cpu *cpu, unsigned int vector)
{
    uint64_t until = rdtsc() + WAIT_MS * clock_khz();

    while (cpu->seen[vector] != cpu->expected[vector]) {
        if ((int32_t)(cpu->seen[vector] - cpu->expected[vector]) > 0) {
            damage("irq", "CPU %u took vector 0x%x %u times, sent were %u", cpu->id, vector,
                   cpu->seen[vector], cpu->expected[vector]);
        }
        if (rdtsc() > until) {
            damage("irq", "CPU %u took vector 0x%x %u times, sent were %u, for %u ms", cpu->id,
                   vector, cpu->seen[vector], cpu->expected[vector], WAIT_MS);
        }
        smp_relax();
    }
}

void irq_check_counts(const char *when)
{
    for (unsigned int i = 0; i < smp_count; i++) {
        for (unsigned int v = 0; v < 256; v++) {
            if (irq_cpus[i].seen[v] != irq_cpus[i].expected[v]) {
                damage("irq", "%s: CPU %u took vector 0x%x %u times, sent were %u", when, i, v,
                       irq_cpus[i].seen[v], irq_cpus[i].expected[v]);
            }
        }
    }
}

uint64_t irq_total(void)
{
    uint64_t total = 0;

    for (unsigned int i = 0; i < smp_count; i++) {
        for (unsigned int v = 0; v < 256; v++) {
            total += irq_cpus[i].seen[v];
        }
    }
    return total;
}

void irq_pend(struct irq_cpu *cpu, unsigned int vector)
{
    cpu->expected[vector]++;
    apic_send(apic_id(), APIC_TO_SELF | vector);
    while (!apic_test(APIC_IRR, vector)) {
        cpu_pause();
    }
}

void irq_serve(void *arg)
{
    struct irq_cpu *cpu = arg;

    while (cpu->stop == 0) {
        switch (irq_rand(cpu, 4)) {
        case 0:
            irq_dwell(cpu, WITH_IF_OFF);
            irq_on();
            break;
        case 1:
            irq_on();
            spin(irq_rand(cpu, SERVE_SPINS));
            smp_relax();
            break;
        default:
            irq_off();
            if (cpu->stop == 0) {
                uint64_t before = updates();

                cpu->halts++;
                __asm__ volatile("sti\n\thlt" ::: "memory");
                cpu->updates[IN_HLT] += (uint32_t)(updates() - before);
            }
            break;
        }
        irq_off();
    }
    irq_on();
    irq_wait(cpu, VECTOR_STOP);
    irq_off();
}

void irq_serve_all(void)
{
    for (unsigned int i = 1; i < smp_count; i++) {
        irq_cpus[i].stop = 0;
        smp_run(i, irq_serve, &irq_cpus[i]);
    }
}

void irq_serve_end(unsigned int cpu)
{
    irq_cpus[cpu].expected[VECTOR_STOP]++;
    irq_cpus[cpu].stop = 1;
    apic_send(cpu, VECTOR_STOP);
    smp_join(cpu);
}

void irq_serve_end_all(void)
{
    for (unsigned int i = 1; i < smp_count; i++) {
        irq_serve_end(i);
    }
}
