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
#include "hv/way_back.h"
#include "hw/x86.h"

#define SEL_CODE 0x08UL
#define SEL_DATA 0x10
#define SEL_TSS 0x18
#define GDT_CODE64 0x00af9b000000ffffUL
#define GDT_DATA 0x00cf93000000ffffUL
#define VECTORS 256U
#define GATE_INTERRUPT 0x8e00UL /* present, DPL 0, 64-bit interrupt gate */
#define TSS_AVAILABLE 0x89UL

struct idt_gate {
    uint64_t low; /* offset 0-15, selector, IST number, type and P, offset 16-31 */
    uint64_t high;
};

struct cpu_stacks boot_stacks ALIGNED(4096);
__asm__(".globl boot_stack_top\n.set boot_stack_top, boot_stacks + 4096 + 16384");
_Static_assert(offsetof(struct cpu_stacks, main) == 4096 && MAIN_STACK_BYTES == 16384,
               "boot_stack_top is the end of boot_stacks.main");

/* entry.asm makes it this_cpu(), before there is a table of exceptions. */
struct cpu_arch boot_cpu ALIGNED(16) = {.percpu.self = &boot_cpu.percpu};

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

static unsigned int exception_ist(unsigned int vector)
{
    switch (vector) {
    case EXC_DF:
        return 1;
    case EXC_NMI:
        return 2;
    case EXC_MC:
        return 3;
    default:
        return 4;
    }
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

static struct idt_gate gate_to(uint64_t entry, unsigned int ist)
{
    return (struct idt_gate){
        .low = (entry & 0xffff) | SEL_CODE << 16 | (GATE_INTERRUPT | ist) << 32 |
               (entry >> 16 & 0xffff) << 48,
        .high = entry >> 32,
    };
}

/* Interrupts come in cpu_halt() only: its stack will do. */
void traps_init(void)
{
    struct idt_gate interrupt = gate_to(isr_table[TRAP_INTERRUPT], 0);

    for (unsigned int i = 0; i < EXC_COUNT; i++) {
        idt[i] = gate_to(isr_table[i], exception_ist(i));
    }
    for (unsigned int i = EXC_COUNT; i < VECTORS; i++) {
        idt[i] = interrupt;
    }
    idt[VECTOR_SPURIOUS] = gate_to(isr_table[TRAP_SPURIOUS], 0);
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
        if (way_back_late()) {
            way_back_take(LU_FAIL_DEADLINE, EXC_NMI, f->rip, "");
        }
        if (!watchdog_nmi() && !way_back_open()) {
            printk("NMI at rip=%016llx: ignored", (unsigned long long)f->rip);
        }
        return;
    }
    panic_trap(f, f->vector < EXC_COUNT && names[f->vector] != NULL ? names[f->vector] : "trap",
               read_cr2());
}
