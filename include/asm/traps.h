/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exception frames and stacks.
 */
#ifndef ASM_TRAPS_H
#define ASM_TRAPS_H

#include "hv/compiler.h"
#include "hv/percpu.h"
#include "hv/types.h"

/* As isr.asm pushes it. */
struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector;
    uint64_t error;
    uint64_t rip, cs, rflags, rsp, ss;
};

#define MAIN_STACK_BYTES 16384
#define IST_STACKS 4

/* One CPU's stacks; the guard pages are not mapped. */
struct cpu_stacks {
    uint8_t guard[4096];
    uint8_t main[MAIN_STACK_BYTES];
    struct {
        uint8_t guard[4096];
        uint8_t stack[4096];
    } ist[IST_STACKS];
};

extern struct cpu_stacks boot_stacks;

#define GDT_ENTRIES 5

struct PACKED tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t iomap;
};

/* What a CPU has for itself; its GS base points here. */
struct cpu_arch {
    struct percpu percpu; /* first */
    struct cpu_stacks *stacks;
    uint64_t stack_top;    /* of the main stack */
    struct cpu_arch *next; /* in the list of those that CPUs to come will take */
    uint32_t wanted_id;    /* cold boot: APIC id that the firmware names */
    bool arrived;          /* the CPU is on its way to cpu_main() */
    uint64_t timer_from;   /* TSC when the APIC timer was started to be measured */
    uint64_t gdt[GDT_ENTRIES] ALIGNED(16);
    struct tss tss ALIGNED(16);
};

_Static_assert(sizeof(struct cpu_arch) <= PAGE_SIZE, "one page each");

extern struct cpu_arch boot_cpu;

static inline struct cpu_arch *this_arch(void)
{
    return (struct cpu_arch *)this_cpu();
}

/* This CPU's GS base, GDT, TSS and IDT: traps_init() and, on all others, first of all. */
void traps_cpu_init(struct cpu_arch *cpu);

/* True for an address in one of this CPU's stacks. */
bool cpu_owns_stack(uint64_t va);

/* `vector` of a frame: the exceptions, and two for all external interrupts. */
#define TRAP_INTERRUPT 32
#define TRAP_SPURIOUS 33
#define TRAP_COUNT 34

void trap_handler(struct trap_frame *f);

/* core/panic.c: molt is ending. */
bool panic_in_progress(void);
/* An exception of molt's own. */
NORETURN void panic_trap(const struct trap_frame *f, const char *name, uint64_t fault_va);

#endif
