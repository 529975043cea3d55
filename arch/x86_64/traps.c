/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptor tables, exceptions, interrupts.
 *
 * Every exception runs on a stack of its own (interrupt stack table): double fault, NMI and machine
 * check each on one, all others on a fourth. Guard pages below the stacks are unmapped by
 * paging_init(). SDM volume 3, "Interrupt Stack Table", "Task Management in 64-bit Mode".
 */
#include "asm/traps.h"

#include "asm/cpu.h"
#include "asm/machine.h"
#include "hv/printk.h"
#include "hw/x86.h"

#define SEL_CODE 0x08
#define SEL_DATA 0x10
#define SEL_TSS 0x18
#define GDT_CODE64 0x00af9b000000ffffUL
#define GDT_DATA 0x00cf93000000ffffUL
#define VECTORS 256U
#define GATE_INTERRUPT 0x8e00U /* present, DPL 0, 64-bit interrupt gate */
#define TSS_AVAILABLE 0x89UL

struct idt_gate {
    uint16_t offset_low;
    uint16_t selector;
    uint16_t ist_type; /* IST number, then type and P */
    uint16_t offset_mid;
    uint32_t offset_high;
    uint32_t reserved;
};

struct cpu_stacks boot_stacks ALIGNED(4096);
__asm__(".globl boot_stack_top\n.set boot_stack_top, boot_stacks + 4096 + 16384");
_Static_assert(offsetof(struct cpu_stacks, main) == 4096 && MAIN_STACK_BYTES == 16384,
               "boot_stack_top is the end of boot_stacks.main");

struct cpu_arch boot_cpu ALIGNED(16);

static struct idt_gate idt[VECTORS] ALIGNED(16); /* of all CPUs */

extern const uint64_t isr_table[TRAP_COUNT];
void gdt_load(const struct descriptor_ptr *ptr, uint16_t tr);
extern char rdmsr_safe_insn[], rdmsr_safe_fault[], wrmsr_safe_insn[], wrmsr_safe_fault[];

static const char *const names[EXC_COUNT] = {
    "divide error (#DE)",
    "debug (#DB)",
    "NMI",
    "breakpoint (#BP)",
    "overflow (#OF)",
    "bound range (#BR)",
    "invalid opcode (#UD)",
    "no FPU (#NM)",
    "double fault (#DF)",
    "coprocessor overrun",
    "invalid TSS (#TS)",
    "segment not present (#NP)",
    "stack fault (#SS)",
    "protection (#GP)",
    "page fault (#PF)",
    "reserved",
    "x87 error (#MF)",
    "alignment (#AC)",
    "machine check (#MC)",
    "SIMD error (#XM)",
    "virtualization (#VE)",
    "control (#CP)",
};

static uint64_t stack_top(uint8_t *stack, size_t size)
{
    return (uint64_t)(uintptr_t)(stack + size);
}

static unsigned int vector_ist(unsigned int vector)
{
    switch (vector) {
    case EXC_DF:
        return 1;
    case EXC_NMI:
        return 2;
    case EXC_MC:
        return 3;
    default:
        return vector < EXC_COUNT ? 4
                                  : 0; /* interrupts come in cpu_halt() only: its stack will do */
    }
}

static uint64_t vector_entry(unsigned int vector)
{
    if (vector < EXC_COUNT) {
        return isr_table[vector];
    }
    return isr_table[vector == VECTOR_SPURIOUS ? TRAP_SPURIOUS : TRAP_INTERRUPT];
}

void traps_cpu_init(struct cpu_arch *cpu)
{
    struct tss *tss = &cpu->tss;
    struct descriptor_ptr ptr;
    uint64_t base = (uint64_t)(uintptr_t)tss;

    cpu->percpu.self = &cpu->percpu;
    wrmsr(MSR_GS_BASE, (uint64_t)(uintptr_t)cpu);
    for (unsigned int i = 0; i < IST_STACKS; i++) {
        tss->ist[i] = stack_top(cpu->stacks->ist[i].stack, sizeof(cpu->stacks->ist[i].stack));
    }
    tss->rsp[0] = stack_top(cpu->stacks->main, sizeof(cpu->stacks->main));
    tss->iomap = sizeof(*tss);

    cpu->gdt[SEL_CODE / 8] = GDT_CODE64;
    cpu->gdt[SEL_DATA / 8] = GDT_DATA;
    cpu->gdt[SEL_TSS / 8] = (sizeof(*tss) - 1) | (base & 0xffffff) << 16 | TSS_AVAILABLE << 40 |
                            (base >> 24 & 0xff) << 56;
    cpu->gdt[SEL_TSS / 8 + 1] = base >> 32;
    ptr = (struct descriptor_ptr){sizeof(cpu->gdt) - 1, (uint64_t)(uintptr_t)cpu->gdt};
    gdt_load(&ptr, SEL_TSS);
    ptr = (struct descriptor_ptr){sizeof(idt) - 1, (uint64_t)(uintptr_t)idt};
    __asm__ volatile("lidt %0" ::"m"(ptr));
}

void traps_init(void)
{
    for (unsigned int i = 0; i < VECTORS; i++) {
        uint64_t entry = vector_entry(i);

        idt[i] = (struct idt_gate){
            .offset_low = (uint16_t)entry,
            .selector = SEL_CODE,
            .ist_type = (uint16_t)(GATE_INTERRUPT | vector_ist(i)),
            .offset_mid = (uint16_t)(entry >> 16),
            .offset_high = (uint32_t)(entry >> 32),
        };
    }
    boot_cpu.stacks = &boot_stacks;
    traps_cpu_init(&boot_cpu);
}

bool cpu_owns_stack(uint64_t va)
{
    const struct cpu_stacks *stacks = this_arch()->stacks;

    return va >= (uintptr_t)stacks && va < (uintptr_t)(stacks + 1) && va % 8 == 0;
}

/* A #GP at a fault-safe instruction continues at its fixup. */
static bool fix_up(struct trap_frame *f)
{
    if (f->vector != EXC_GP) {
        return false;
    }
    if (f->rip == (uint64_t)(uintptr_t)rdmsr_safe_insn) {
        f->rip = (uint64_t)(uintptr_t)rdmsr_safe_fault;
        return true;
    }
    if (f->rip == (uint64_t)(uintptr_t)wrmsr_safe_insn) {
        f->rip = (uint64_t)(uintptr_t)wrmsr_safe_fault;
        return true;
    }
    return false;
}

void trap_handler(struct trap_frame *f)
{
    if (f->vector >= EXC_COUNT) {
        apic_handled(f->vector == TRAP_SPURIOUS ? VECTOR_SPURIOUS : VECTOR_KICK);
        return;
    }
    if (fix_up(f)) {
        return;
    }
    if (f->vector == EXC_NMI) {
        if (panic_in_progress()) {
            cpu_halt_forever(); /* apic_stop_others() */
        }
        printk("NMI at rip=%016llx: ignored", (unsigned long long)f->rip);
        return;
    }
    panic_trap(f, f->vector < EXC_COUNT && names[f->vector] != NULL ? names[f->vector] : "trap",
               read_cr2());
}
