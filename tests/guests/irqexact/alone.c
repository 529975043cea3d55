/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts that a CPU sends to itself: delivery, shadows, priorities, NMI.
 *
 * SDM volume 3, "Interrupt, Task, and Processor Priority", "Handling Multiple NMIs", "Masking
 * Exceptions and Interrupts When Switching Stacks"; volume 2, "STI - Set Interrupt Flag".
 */
#include "irqexact/irq.h"

#include "lib/molt.h"

struct area area_ipi = {"self IPI", 0};
struct area area_sti = {"STI shadow", 0};
struct area area_mov_ss = {"MOV SS shadow", 0};
struct area area_nesting = {"nesting", 0};
struct area area_tpr = {"TPR", 0};
struct area area_nmi = {"NMI", 0};

static void expect(bool ok, const char *area, struct irq_cpu *cpu, const char *text,
                   unsigned int vector)
{
    if (!ok) {
        damage(area, "CPU %u: %s, vector 0x%x", cpu->id, text, vector);
    }
}

/* ---- to itself, in every way there is ---- */

static void send_self(struct irq_cpu *cpu, unsigned int vector, unsigned int way)
{
    cpu->expected[vector]++;
    switch (way) {
    case 0:
        apic_send(0, APIC_TO_SELF | vector);
        break;
    case 1:
        apic_send(apic_id(), vector);
        break;
    case 2:
        if (apic_is_x2()) {
            apic_write(APIC_SELF_IPI, vector);
        } else {
            apic_send(apic_id(), APIC_ASSERT | vector);
        }
        break;
    default: /* one member of the first cluster, or of the flat model */
        apic_send(1U << cpu->id, APIC_LOGICAL | vector);
        break;
    }
}

static void ipi(struct irq_cpu *cpu)
{
    unsigned int vector = irq_rand_vector(cpu);
    unsigned int way = irq_rand(cpu, irq_logical_works() ? 4 : 3);

    switch (irq_rand(cpu, 3)) {
    case 0:
        irq_on();
        send_self(cpu, vector, way);
        break;
    case 1:
        irq_off();
        send_self(cpu, vector, way);
        irq_dwell(cpu, WITH_IF_OFF);
        expect(cpu->seen[vector] + 1 == cpu->expected[vector], "self IPI", cpu,
               "taken with interrupts off", vector);
        irq_on();
        break;
    default:
        irq_off();
        send_self(cpu, vector, way);
        irq_halt_until(cpu, vector);
        break;
    }
    irq_on();
    irq_wait(cpu, vector);
    irq_off();
    irq_count(&area_ipi);
}

/* ---- shadows ---- */

/* With an interrupt waiting: STI lets one more instruction pass. What is behind that one must be
 * where the interrupt comes. */
#define STI_THEN(insn)                        \
    __asm__ volatile("leaq 1f(%%rip), %0\n\t" \
                     "sti\n\t" insn "\n"      \
                     "1:\n\t"                 \
                     "nop\n\t"                \
                     "cli"                    \
                     : "=&S"(behind)          \
                     : "D"(zero)              \
                     : "rax", "rbx", "rcx", "rdx", "memory", "cc")

static void sti(struct irq_cpu *cpu)
{
    unsigned int vector = irq_rand_vector(cpu);
    uint32_t seen = cpu->seen[vector];
    unsigned int kind = irq_rand(cpu, 9);
    uint64_t zero = 0;
    uint64_t behind;

    irq_pend(cpu, vector);
    switch (kind) {
    case 0:
        STI_THEN("nop");
        break;
    case 1:
        STI_THEN("cpuid");
        break;
    case 2:
        STI_THEN("inb $0x80, %%al");
        break;
    case 3:
        STI_THEN("movq %%cr8, %%rax");
        break;
    case 4:
        STI_THEN("movq %1, %%cr8");
        break;
    case 5:
        STI_THEN("hlt");
        break;
    case 6:
        STI_THEN("pause");
        break;
    case 7:
        STI_THEN("wbinvd");
        break;
    default: /* the shadow is over before there is a chance */
        STI_THEN("cli");
        expect(cpu->seen[vector] == seen, "STI shadow", cpu, "taken between STI and CLI", vector);
        STI_THEN("nop");
        break;
    }
    expect(cpu->seen[vector] == seen + 1, "STI shadow", cpu, "not taken behind it", vector);
    /* QEMU's TCG lets one more pass behind a PAUSE. */
    if (cpu->irq.rip != behind && (cpu_is_exact() || cpu->irq.rip != behind + 1)) {
        damage("STI shadow", "CPU %u: kind %u: taken at 0x%" P64 "x, expected 0x%" P64 "x", cpu->id,
               kind, cpu->irq.rip, behind);
    }
    irq_count(&area_sti);
}

/* Nothing comes between MOV SS and the next instruction, wherever the timer strikes. */
static void mov_ss(struct irq_cpu *cpu)
{
    unsigned int vector = irq_rand_vector(cpu);
    uint64_t a;
    uint64_t b;
    uint64_t c;
    uint64_t ss = 0x10;

    apic_timer_set(APIC_TIMER_ONE_SHOT, vector, 1);
    cpu->expected[vector]++;
    apic_write(APIC_TMICT, 100 + irq_rand(cpu, 5000));
    __asm__ volatile("leaq 1f(%%rip), %0\n\t"
                     "leaq 2f(%%rip), %1\n\t"
                     "leaq 3f(%%rip), %2\n\t"
                     "sti\n\t"
                     "nop\n"
                     "0:\n\t"
                     "movl %%edi, %%ss\n"
                     "1:\n\t"
                     "nop\n\t"
                     "movl %%edi, %%ss\n"
                     "2:\n\t"
                     "movq %%cr8, %%rax\n\t"
                     "movl %%edi, %%ss\n"
                     "3:\n\t"
                     "movl (%4), %%eax\n\t"
                     "cmpl %%eax, %5\n\t"
                     "jne 0b\n\t"
                     "cli"
                     : "=&r"(a), "=&r"(b), "=&r"(c)
                     : "D"(ss), "r"(&cpu->expected[vector]), "m"(cpu->seen[vector])
                     : "rax", "memory", "cc");
    expect(cpu->irq.rip != a && cpu->irq.rip != b && cpu->irq.rip != c, "MOV SS shadow", cpu,
           "taken in it", vector);
    irq_count(&area_mov_ss);
}

/* ---- priorities ---- */

/* In a handler: what has a higher class comes at once, what has not waits for EOI. */
static void nested(struct irq_cpu *cpu, unsigned int vector)
{
    unsigned int high = cpu->other[0];
    unsigned int low = cpu->other[1];
    uint32_t high_seen = cpu->seen[high];
    uint32_t low_seen = cpu->seen[low];

    irq_pend(cpu, low);
    irq_on();
    irq_dwell(cpu, IN_HANDLER);
    expect(cpu->seen[low] == low_seen, "nesting", cpu, "taken in a handler of higher priority",
           low);
    irq_off();
    irq_pend(cpu, high);
    expect(cpu->seen[high] == high_seen, "nesting", cpu, "taken with interrupts off", high);
    irq_on();
    irq_wait(cpu, high);
    irq_off();
    expect(cpu->seen[low] == low_seen && apic_test(APIC_ISR, vector) &&
               !apic_test(APIC_ISR, high) && apic_test(APIC_IRR, low),
           "nesting", cpu, "IRR or ISR is wrong in the handler", vector);
    expect((apic_read(APIC_PPR) & 0xf0U) == (vector & 0xf0U), "nesting", cpu, "PPR is wrong",
           vector);
}

static void nesting(struct irq_cpu *cpu)
{
    unsigned int class = 5 + irq_rand(cpu, 7);
    unsigned int vector = irq_vector_of(cpu, class);

    cpu->other[0] = irq_vector_of(cpu, class + 1 + irq_rand(cpu, CLASS_OF(VECTOR_LAST) - class));
    do {
        cpu->other[1] = irq_vector_of(cpu, 4 + irq_rand(cpu, class - 3));
    } while (cpu->other[1] == vector);
    irq_off();
    cpu->irq.inside = nested;
    irq_pend(cpu, vector);
    irq_on();
    irq_wait(cpu, vector);
    irq_wait(cpu, cpu->other[1]);
    irq_off();
    irq_count(&area_nesting);
}

static void set_tpr(unsigned int class, bool by_cr8)
{
    if (by_cr8) {
        write_cr8(class);
    } else {
        apic_write(APIC_TPR, class << 4);
    }
}

static void tpr(struct irq_cpu *cpu)
{
    unsigned int class = 4 + irq_rand(cpu, 9);
    unsigned int held = irq_vector_of(cpu, 4 + irq_rand(cpu, class - 3));
    unsigned int passes = irq_vector_of(cpu, class + 1);
    uint32_t seen = cpu->seen[held];

    irq_off();
    set_tpr(class, irq_rand(cpu, 2) != 0);
    expect(read_cr8() == class && apic_read(APIC_TPR) >> 4 == class, "TPR", cpu,
           "CR8 is not TPR for the class of", held);
    irq_pend(cpu, held);
    irq_on();
    irq_dwell(cpu, WITH_TPR);
    expect(cpu->seen[held] == seen, "TPR", cpu, "taken below TPR", held);
    irq_off();
    irq_pend(cpu, passes);
    irq_on();
    irq_wait(cpu, passes);
    expect(cpu->seen[held] == seen, "TPR", cpu, "taken below TPR", held);
    irq_off();
    set_tpr(class - 1, irq_rand(cpu, 2) != 0);
    if (CLASS_OF(held) < class) {
        irq_on();
        irq_dwell(cpu, WITH_TPR);
        expect(cpu->seen[held] == seen, "TPR", cpu, "taken below TPR", held);
        irq_off();
        set_tpr(CLASS_OF(held) - 1, irq_rand(cpu, 2) != 0);
    }
    irq_on();
    irq_wait(cpu, held);
    irq_off();
    set_tpr(0, irq_rand(cpu, 2) != 0);
    irq_count(&area_tpr);
}

/* ---- NMI ---- */

static void send_nmi(struct irq_cpu *cpu)
{
    cpu->expected[VEC_NMI]++;
    apic_send(apic_id(), APIC_NMI);
}

/* In the handler: more NMIs wait for its IRET and become one. */
static void nmi_in_nmi(struct irq_cpu *cpu, unsigned int vector)
{
    uint32_t seen = cpu->seen[VEC_NMI];

    send_nmi(cpu);
    if (cpu->other[0] != 0) {
        apic_send(apic_id(), APIC_NMI); /* merges: not expected */
    }
    irq_dwell(cpu, IN_NMI);
    expect(cpu->seen[VEC_NMI] == seen, "NMI", cpu, "taken in the handler of another", vector);
}

/* An interrupt waits until the handler is left; IRET lets it in. */
static void irq_in_nmi(struct irq_cpu *cpu, unsigned int vector)
{
    uint32_t seen = cpu->seen[cpu->other[1]];

    irq_pend(cpu, cpu->other[1]);
    irq_dwell(cpu, IN_NMI);
    expect(cpu->seen[cpu->other[1]] == seen, "NMI", cpu, "interrupted by", cpu->other[1]);
    (void)vector;
}

/* An interrupt handler is interrupted by an NMI, interrupts off or on. */
static void nmi_in_irq(struct irq_cpu *cpu, unsigned int vector)
{
    if ((vector & 1) != 0) {
        irq_on();
    }
    send_nmi(cpu);
    irq_wait(cpu, VEC_NMI);
    irq_off();
}

static void nmi(struct irq_cpu *cpu)
{
    unsigned int vector = irq_rand_vector(cpu);

    irq_off();
    switch (irq_rand(cpu, 4)) {
    case 0:
        break;
    case 1:
        cpu->other[0] = irq_rand(cpu, 2);
        cpu->nmi.inside = nmi_in_nmi;
        break;
    case 2:
        cpu->other[1] = vector;
        cpu->nmi.inside = irq_in_nmi;
        break;
    default:
        cpu->irq.inside = nmi_in_irq;
        irq_pend(cpu, vector);
        irq_on();
        irq_wait(cpu, vector);
        irq_off();
        break;
    }
    if (irq_rand(cpu, 2) != 0) {
        irq_on();
    }
    send_nmi(cpu);
    irq_wait(cpu, VEC_NMI);
    irq_on();
    irq_wait(cpu, vector);
    irq_off();
    irq_count(&area_nmi);
}

void alone_round(struct irq_cpu *cpu)
{
    static void (*const tests[])(struct irq_cpu *) = {ipi,    ipi,     ipi, sti, sti,
                                                      mov_ss, nesting, tpr, nmi};

    for (unsigned int i = 0; i < 2 * ARRAY_SIZE(tests); i++) {
        tests[irq_rand(cpu, ARRAY_SIZE(tests))](cpu);
    }
}
