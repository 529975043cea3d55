/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts between CPUs; CPUs that stop and start again.
 *
 * SDM volume 3, "Issuing Interprocessor Interrupts", "MP Initialization Protocol Algorithm for
 * Intel Processors" and, for what INIT leaves of an APIC, "Local APIC State After It Has Been
 * Software Disabled", "Local APIC State After an INIT Reset (Wait-for-SIPI State)".
 */
#include "irqexact/irq.h"

#include "lib/clock.h"
#include "lib/molt.h"

#define SENDS 12U
#define TRAFFIC 24U
#define NMI_RETRY_MS 50U
#define GAP_US 300U
#define XAPIC_ID_SHIFT 24
#define XAPIC_CLUSTER 3U /* any but 15 */

struct area area_cross = {"IPI", 0};
struct area area_lowest = {"lowest priority", 0};
struct area area_logical = {"logical destination", 0};
struct area area_cross_nmi = {"NMI to others", 0};
struct area area_restart = {"INIT and SIPI", 0};

/* Sent by one CPU to all of a set: each takes it once. */
static void send_set(uint32_t set, unsigned int vector, uint32_t destination, uint32_t icr)
{
    bool nmi = (icr & APIC_MODE) == APIC_NMI;
    unsigned int seen_as = nmi ? VEC_NMI : vector;

    for (unsigned int i = 0; i < smp_count; i++) {
        irq_cpus[i].expected[seen_as] += set >> i & 1;
    }
    apic_send(destination, icr | (nmi ? 0 : vector));
    for (unsigned int i = 0; i < smp_count; i++) {
        if ((set >> i & 1) != 0) {
            irq_wait(&irq_cpus[i], seen_as);
        }
    }
}

static uint32_t all(void)
{
    return (1U << smp_count) - 1;
}

/* A logical destination for a set, in this mode and model. */
static uint32_t logical(uint32_t set, bool cluster)
{
    return cluster && !apic_is_x2() ? XAPIC_CLUSTER << 4 | set : set;
}

static unsigned int other(struct irq_cpu *self)
{
    return (self->id + 1 + irq_rand(self, smp_count - 1)) % smp_count;
}

/* ---- the first CPU sends, the others serve ---- */

static void send_fixed(struct irq_cpu *self)
{
    unsigned int vector = irq_rand_vector(self);
    unsigned int to = other(self);

    switch (irq_rand(self, 4)) {
    case 0:
        send_set(all() & ~1U, vector, 0, APIC_TO_OTHERS);
        break;
    case 1:
        send_set(all(), vector, 0, APIC_TO_ALL);
        break;
    case 2:
        send_set(all(), vector, apic_is_x2() ? UINT32_MAX : 0xff, 0);
        break;
    default:
        send_set(1U << to, vector, to, 0);
        break;
    }
    irq_count(&area_cross);
}

static void send_logical(struct irq_cpu *self, bool cluster)
{
    uint32_t set = 1 + irq_rand(self, all());

    send_set(set, irq_rand_vector(self), logical(set, cluster), APIC_LOGICAL);
    irq_count(&area_logical);
}

/* To one of a set, whichever. */
static void send_lowest(struct irq_cpu *self, bool cluster)
{
    uint32_t set = 1 + irq_rand(self, all());
    unsigned int vector = irq_rand_vector(self);
    uint32_t before = 0;
    uint32_t taken;
    uint64_t until = rdtsc() + 10000 * clock_khz();

    for (unsigned int i = 0; i < smp_count; i++) {
        before += irq_cpus[i].seen[vector];
    }
    apic_send(logical(set, cluster), APIC_LOGICAL | APIC_LOWEST | vector);
    do {
        taken = 0;
        for (unsigned int i = 0; i < smp_count; i++) {
            taken += irq_cpus[i].seen[vector];
        }
        if (rdtsc() > until) {
            damage("lowest priority", "vector 0x%x to set 0x%x: taken by nobody", vector, set);
        }
        smp_relax();
    } while (taken == before);
    irq_dwell(self, IN_CODE);
    for (unsigned int i = 0; i < smp_count; i++) {
        struct irq_cpu *cpu = &irq_cpus[i];
        uint32_t more = cpu->seen[vector] - cpu->expected[vector];

        if (more > (set >> i & 1)) {
            damage("lowest priority", "vector 0x%x to set 0x%x: CPU %u took %u", vector, set, i,
                   more);
        }
        taken -= cpu->seen[vector];
        cpu->expected[vector] += more;
    }
    if (taken != 0) {
        damage("lowest priority", "vector 0x%x to set 0x%x: taken more than once", vector, set);
    }
    irq_count(&area_lowest);
}

static void send_nmis(struct irq_cpu *self)
{
    unsigned int to = other(self);

    if (irq_rand(self, 2) != 0) {
        send_set(all() & ~1U, 0, 0, APIC_TO_OTHERS | APIC_NMI);
    } else {
        send_set(1U << to, 0, to, APIC_NMI);
    }
    irq_count(&area_cross_nmi);
}

/* Start-up IPIs are for CPUs that wait for them. */
static void send_idle_sipi(struct irq_cpu *self)
{
    apic_send(other(self), APIC_SIPI | SMP_TRAMPOLINE_VECTOR);
    irq_count(&area_restart);
}

static void conduct(bool cluster)
{
    struct irq_cpu *self = &irq_cpus[0];

    irq_serve_all();
    irq_on();
    for (unsigned int i = 0; i < SENDS; i++) {
        if (irq_rand(self, 2) != 0) {
            clock_spin_us(irq_rand(self, GAP_US));
        }
        switch (irq_rand(self, irq_logical_works() ? 6 : 4)) {
        case 0:
        case 1:
            send_fixed(self);
            break;
        case 2:
            send_nmis(self);
            break;
        case 3:
            send_idle_sipi(self);
            break;
        case 4:
            send_logical(self, cluster);
            break;
        default:
            send_lowest(self, cluster);
            break;
        }
    }
    irq_off();
    irq_serve_end_all();
}

/* ---- the model of logical destinations ---- */

static void set_model(void *arg)
{
    bool cluster = arg != NULL;
    uint32_t member = 1U << smp_self();

    if (!apic_is_x2()) {
        apic_write(APIC_DFR, cluster ? APIC_DFR_CLUSTER : APIC_DFR_FLAT);
        apic_write(APIC_LDR, logical(member, cluster) << XAPIC_ID_SHIFT);
    } else if (irq_logical_works() && apic_read(APIC_LDR) != member) {
        damage("logical destination", "CPU %u: LDR is 0x%x", smp_self(), apic_read(APIC_LDR));
    }
}

static void set_model_all(bool cluster)
{
    for (unsigned int i = 1; i < smp_count; i++) {
        smp_run(i, set_model, cluster ? irq_cpus : NULL);
    }
    set_model(cluster ? irq_cpus : NULL);
    smp_join_all();
}

/* ---- all send to all at once ---- */

static volatile uint32_t traffic_done;

static void traffic(void *arg)
{
    struct irq_cpu *self = arg;

    self->loiter = 1;
    for (unsigned int i = 0; i < TRAFFIC; i++) {
        unsigned int vector = irq_vector_of(self, 4 + self->id); /* nobody else sends it */
        unsigned int to = other(self);

        irq_on();
        switch (irq_rand(self, 4)) {
        case 0:
            send_set(all() & ~(1U << self->id), vector, 0, APIC_TO_OTHERS);
            break;
        case 1:
            send_set(all(), vector, 0, APIC_TO_ALL);
            break;
        default:
            send_set(1U << to, vector, to, 0);
            break;
        }
        irq_count(&area_cross);
        if (irq_rand(self, 4) == 0) {
            irq_dwell(self, IN_CODE);
        }
    }
    __atomic_fetch_add(&traffic_done, 1, __ATOMIC_SEQ_CST);
    smp_wait(&traffic_done, smp_count, "CPUs are through"); /* the others wait for this one */
    irq_off();
    self->loiter = 0;
}

static void traffic_all(void)
{
    traffic_done = 0;
    for (unsigned int i = 1; i < smp_count; i++) {
        smp_run(i, traffic, &irq_cpus[i]);
    }
    traffic(&irq_cpus[0]);
    smp_join_all();
}

/* ---- NMI while halted for good, INIT, SIPI ---- */

static void halt_off(void *arg)
{
    struct irq_cpu *cpu = arg;

    cpu->halts++;
    __asm__ volatile("hlt" ::: "memory");
    if (cpu->seen[VEC_NMI] == cpu->nmi_before) {
        damage("NMI to others", "CPU %u: left HLT with interrupts off, without one", cpu->id);
    }
}

/* One that comes before HLT does not end it: another follows. */
static void nmi_ends_hlt(struct irq_cpu *self)
{
    struct irq_cpu *cpu = &irq_cpus[other(self)];
    uint32_t halts = cpu->halts;
    bool done = false;

    cpu->nmi_before = cpu->seen[VEC_NMI];
    cpu->stop = 0;
    smp_run(cpu->id, halt_off, cpu);
    smp_wait(&cpu->halts, halts + 1, "halts");
    clock_spin_us(irq_rand(self, GAP_US));
    while (!done) {
        uint64_t until;

        cpu->expected[VEC_NMI]++;
        apic_send(cpu->id, APIC_NMI);
        irq_wait(cpu, VEC_NMI);
        until = rdtsc() + NMI_RETRY_MS * clock_khz();
        while (!(done = !smp_busy(cpu->id)) && rdtsc() < until) {
            smp_relax();
        }
    }
    irq_count(&area_cross_nmi);
}

static void check_after_init(void *arg)
{
    struct irq_cpu *cpu = arg;
    uint64_t base = rdmsr(MSR_APIC_BASE);
    uint32_t bits = 0;

    if ((base & (APIC_BASE_BSP | APIC_BASE_EN)) != APIC_BASE_EN ||
        ((base & APIC_BASE_EXTD) != 0) != apic_is_x2()) {
        if (molt_present()) { /* Bochs itself leaves x2APIC mode */
            damage("INIT and SIPI", "CPU %u: IA32_APIC_BASE is 0x%" P64 "x", cpu->id, base);
        }
        apic_init();
        return;
    }
    for (unsigned int i = 0; i < 256; i += 32) {
        bits |= apic_read(APIC_IRR + i / 32 * 16) | apic_read(APIC_ISR + i / 32 * 16);
    }
    if (apic_read(APIC_SVR) != APIC_SPURIOUS_VECTOR || bits != 0 || apic_read(APIC_TPR) != 0 ||
        apic_read(APIC_TMICT) != 0 || apic_read(APIC_LVT_TIMER) != APIC_MASKED) {
        damage("INIT and SIPI", "CPU %u: SVR 0x%x, IRR and ISR 0x%x, TPR 0x%x, timer 0x%x 0x%x",
               cpu->id, apic_read(APIC_SVR), bits, apic_read(APIC_TPR), apic_read(APIC_TMICT),
               apic_read(APIC_LVT_TIMER));
    }
    if (apic_id() != cpu->id) {
        damage("INIT and SIPI", "CPU %u: APIC id is %u", cpu->id, apic_id());
    }
    apic_init();
}

/* Taken out of whatever it does; an interrupt meanwhile is for nobody. */
static void restart(struct irq_cpu *self)
{
    struct irq_cpu *cpu = &irq_cpus[other(self)];
    unsigned int vector = irq_rand_vector(self);

    cpu->stop = 0;
    smp_run(cpu->id, irq_serve, cpu);
    clock_spin_us(irq_rand(self, GAP_US));
    if (irq_rand(self, 2) != 0) {
        send_set(1U << cpu->id, vector, cpu->id, 0);
    }
    smp_init_signal(cpu->id);
    clock_spin_us(irq_rand(self, GAP_US));
    if (molt_present()) { /* in the APICs of QEMU and Bochs it gets into IRR */
        apic_send(cpu->id, vector);
        clock_spin_us(irq_rand(self, GAP_US));
    }
    smp_start_up(cpu->id);
    smp_run(cpu->id, check_after_init, cpu);
    smp_join(cpu->id);
    irq_count(&area_restart);
}

void cross_round(void)
{
    struct irq_cpu *self = &irq_cpus[0];

    if (smp_count == 1) {
        return;
    }
    conduct(false);
    set_model_all(true);
    conduct(true);
    set_model_all(false);
    traffic_all();
    nmi_ends_hlt(self);
    restart(self);
    irq_off();
}
