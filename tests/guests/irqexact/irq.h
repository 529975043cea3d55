/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the irqexact payload: interrupts counted on both ends, by CPU and vector.
 *
 * Whoever sends an interrupt first adds it to `expected` of the CPU that is to take it, and sends
 * no other of that vector there until it was taken: edges of one vector merge while they wait in
 * IRR.
 */
#ifndef GUEST_IRQ_H
#define GUEST_IRQ_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/apic.h"
#include "lib/lib.h"
#include "lib/smp.h"
#include "lib/x86.h"

#define VECTOR_FIRST 0x30U
#define VECTOR_LAST 0xdfU
#define VECTOR_STOP 0xe0U /* ends irq_serve() */
#define VECTOR_LINE 0xe4U
#define CLASS_OF(vector) ((vector) >> 4)

/* What a CPU does while it waits: an update ought to find it in each of them. */
enum place { IN_CODE, IN_HANDLER, IN_NMI, WITH_TPR, WITH_IF_OFF, IN_HLT, PLACES };

struct irq_cpu;

struct irq_last {
    volatile uint64_t rip; /* where it was interrupted */
    volatile uint64_t tsc;
    void (*volatile inside)(struct irq_cpu *cpu, unsigned int vector); /* run once, before EOI */
};

struct irq_cpu {
    unsigned int id;
    volatile uint32_t seen[256];     /* taken; [VEC_NMI]: NMIs */
    volatile uint32_t expected[256]; /* sent to it */
    struct irq_last irq, nmi;        /* the latest */
    volatile uint32_t every_vector;  /* `every` runs before each EOI of this vector */
    void (*volatile every)(struct irq_cpu *cpu);
    volatile uint32_t loiter; /* handlers take their time now and then */
    volatile uint32_t stop;   /* irq_serve() */
    volatile uint32_t halts;
    uint32_t nmi_before;
    uint64_t random;         /* for what runs on it */
    uint64_t handler_random; /* for its handlers */
    volatile uint32_t updates[PLACES];
    /* arguments of `inside` */
    unsigned int other[2];
};

extern struct irq_cpu irq_cpus[SMP_MAX];

void irq_init(uint64_t seed);
/* Logical destinations: not on Bochs itself in x2APIC mode, whose LDR is 0. */
bool irq_logical_works(void);
struct irq_cpu *irq_self(void);

/* A random number below n; a random vector of the class given (any: of 0x30 to 0xdf). */
uint32_t irq_rand(struct irq_cpu *cpu, uint32_t n);
unsigned int irq_rand_vector(struct irq_cpu *cpu);
unsigned int irq_vector_of(struct irq_cpu *cpu, unsigned int class);

/* Does nothing for a while; counts the updates that come meanwhile. */
void irq_dwell(struct irq_cpu *cpu, enum place place);
/* HLT with interrupts on unless `vector` has been taken; what wakes it must have it. */
void irq_halt_until(struct irq_cpu *cpu, unsigned int vector);
/* Waits until all that was sent to `cpu` with this vector was taken; ends the guest if more was. */
void irq_wait(struct irq_cpu *cpu, unsigned int vector);
/* Each CPU took what was sent to it, of each vector: ends the guest otherwise. No one may be
 * sending. */
void irq_check_counts(const char *when);
/* Interrupts taken so far, on all CPUs. */
uint64_t irq_total(void);

/* With interrupts off: sends itself a fixed interrupt and waits until IRR has it. */
void irq_pend(struct irq_cpu *cpu, unsigned int vector);
void irq_on(void);
void irq_off(void);

/* Work for another CPU: takes interrupts, spinning, halted or with interrupts off for a while,
 * until irq_serve_end(). */
void irq_serve(void *arg);
void irq_serve_all(void);
void irq_serve_end(unsigned int cpu);
void irq_serve_end_all(void);

/* What is tested, a round of it. On any CPU: */
void alone_round(struct irq_cpu *cpu);
void timer_round(struct irq_cpu *cpu);
/* On the first one, the others idle: */
void line_round(void);
void cross_round(void);

/* Areas of all that, n of them. */
extern struct area *const irq_areas[];
extern const unsigned int irq_area_count;
extern struct area area_ipi, area_sti, area_mov_ss, area_nesting, area_tpr, area_nmi;
extern struct area area_one_shot, area_deadline, area_periodic;
extern struct area area_line, area_cross, area_lowest, area_logical, area_cross_nmi, area_restart;
/* Any CPU may count. */
void irq_count(struct area *area);

#endif
