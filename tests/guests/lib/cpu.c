/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptor tables, exceptions and CPU features of the 64-bit payloads; their C entry.
 */
#include "lib/cpu.h"

#include "lib/bootinfo.h"
#include "lib/clock.h"
#include "lib/lib.h"
#include "lib/x86.h"

#define IST_FAULT 1
#define TRAP_STACK_BYTES 16384U
#define USER_GATE_VECTOR 0x80U
#define DESC_TSS 0x89U
#define DESC_LDT 0x82U

extern const uintptr_t trap_entries[256];
extern uintptr_t fault_frame;
extern char user_gate[];
_Noreturn void fault_resume(void);
void trap_handle(struct trap_frame *frame);

struct fault last_fault;
bool (*trap_hook)(struct trap_frame *frame);
struct idt_gate idt[256] __attribute__((aligned(16)));
uint64_t gdt[GDT_ENTRIES] __attribute__((aligned(16))) = {
    0,
    0x00af9b000000ffff, /* SEL_CODE */
    0x00cf93000000ffff, /* SEL_DATA */
    0x00cffb000000ffff, /* SEL_USER_CODE32 */
    0x00cff3000000ffff, /* SEL_USER_DATA */
    0x00affb000000ffff, /* SEL_USER_CODE */
    0,
    0, /* SEL_TSS */
    0,
    0,                  /* SEL_LDT */
    0x00cf13000000ffff, /* SEL_ABSENT */
};
static uint64_t ldt[2] __attribute__((aligned(16))) = {0x00cf93000000ffff, 0};
static struct tss tss __attribute__((aligned(16)));
static char trap_stack[TRAP_STACK_BYTES] __attribute__((aligned(16)));
static char ist_stack[TRAP_STACK_BYTES] __attribute__((aligned(16)));
struct user_stack {
    char bytes[TRAP_STACK_BYTES];
};
extern struct user_stack user_stack;
struct user_stack user_stack __attribute__((aligned(16)));
__asm__(".globl user_stack_top\n.set user_stack_top, user_stack + 16384");

static uint64_t xcr0;

void trap_handle(struct trap_frame *frame)
{
    if (trap_hook != NULL && trap_hook(frame)) {
        return;
    }
    last_fault.vector = frame->vector;
    last_fault.error = frame->error;
    last_fault.rip = frame->rip;
    last_fault.cs = frame->cs;
    last_fault.rflags = frame->rflags;
    last_fault.cr2 = read_cr2();
    last_fault.dr6 = read_dr6();
    if (fault_frame != 0) {
        fault_resume();
    }
    print("trap: rip=%" P64 "x cs=%" P64 "x rflags=%" P64 "x rsp=%" P64 "x cr2=%" P64 "x\n",
          frame->rip, frame->cs, frame->rflags, frame->rsp, last_fault.cr2);
    print("trap: rax=%" P64 "x rbx=%" P64 "x rcx=%" P64 "x rdx=%" P64 "x rsi=%" P64 "x rdi=%" P64
          "x\n",
          frame->rax, frame->rbx, frame->rcx, frame->rdx, frame->rsi, frame->rdi);
    damage("trap", "unexpected vector %" P64 "u, error 0x%" P64 "x, at 0x%" P64 "x", frame->vector,
           frame->error, frame->rip);
}

static void set_gate(struct idt_gate *g, uintptr_t entry, uint8_t type, uint8_t ist)
{
    g->offset_low = (uint16_t)entry;
    g->offset_mid = (uint16_t)(entry >> 16);
    g->offset_high = (uint32_t)(entry >> 32);
    g->selector = SEL_CODE;
    g->ist = ist;
    g->type = type;
}

void idt_set(unsigned int vector, uintptr_t entry, uint8_t type, uint8_t ist)
{
    set_gate(&idt[vector], entry, type, ist);
}

static void set_system_descriptor(uint64_t *table, unsigned int selector, uintptr_t base,
                                  uint32_t limit, uint32_t type)
{
    uint64_t b = base;

    table[selector / 8] = (limit & 0xffffU) | (b & 0xffffffU) << 16 | (uint64_t)type << 40 |
                          (b >> 24 & 0xffU) << 56;
    table[selector / 8 + 1] = b >> 32;
}

static void fill_idt(struct idt_gate gates[256])
{
    for (unsigned int i = 0; i < 256; i++) {
        bool own_stack = i == VEC_NMI || i == VEC_DF || i == VEC_MC;

        set_gate(&gates[i], trap_entries[i], GATE_INTERRUPT, own_stack ? IST_FAULT : 0);
    }
}

static void fill_tss(struct tss *t, uint64_t *its_gdt, char *trap_end, char *ist_end)
{
    t->rsp[0] = (uintptr_t)trap_end;
    t->ist[IST_FAULT - 1] = (uintptr_t)ist_end;
    t->io_map = sizeof(*t);
    set_system_descriptor(its_gdt, SEL_TSS, (uintptr_t)t, sizeof(*t) - 1, DESC_TSS);
}

static void load_tables(uint64_t *its_gdt, struct idt_gate *its_idt)
{
    struct table_ptr gdtr = {sizeof(gdt) - 1, (uintptr_t)its_gdt};
    struct table_ptr idtr = {sizeof(idt) - 1, (uintptr_t)its_idt};

    set_system_descriptor(its_gdt, SEL_LDT, (uintptr_t)ldt, sizeof(ldt) - 1, DESC_LDT);
    __asm__ volatile("lgdt %0\n\t"
                     "lidt %1\n\t"
                     "pushq %2\n\t"
                     "leaq 1f(%%rip), %%rax\n\t"
                     "pushq %%rax\n\t"
                     "lretq\n"
                     "1:\n\t"
                     "ltr %w3\n\t"
                     "lldt %w4"
                     :
                     : "m"(gdtr), "m"(idtr), "i"(SEL_CODE), "r"(SEL_TSS), "r"(SEL_LDT)
                     : "rax", "memory");
}

static void enable_features(void)
{
    struct cpuid_regs one = cpuid(1, 0);
    struct cpuid_regs seven = {0, 0, 0, 0};
    uint64_t cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;

    if (cpuid(0, 0).eax >= 7) {
        seven = cpuid(7, 0);
    }
    if ((one.ecx & CPUID1_ECX_XSAVE) != 0) {
        cr4 |= CR4_OSXSAVE;
    }
    if ((seven.ecx & CPUID7_ECX_PKU) != 0) {
        cr4 |= CR4_PKE;
    }
    write_cr0(CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE);
    write_cr4(cr4);
    __asm__ volatile("fninit");
    if ((cr4 & CR4_OSXSAVE) != 0) {
        struct cpuid_regs d = cpuid(0xd, 0);
        uint64_t can = (uint64_t)d.edx << 32 | d.eax;

        xcr0 = can & (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_PKRU);
        if ((can & XCR0_AVX512) == XCR0_AVX512 && (seven.ebx & CPUID7_EBX_AVX512F) != 0) {
            xcr0 |= XCR0_AVX512;
        }
        xsetbv(0, xcr0);
    }
}

uint64_t cpu_xcr0(void)
{
    return xcr0;
}

void cpu_init(void)
{
    fill_idt(idt);
    idt_set(USER_GATE_VECTOR, (uintptr_t)user_gate, GATE_USER_INTERRUPT, 0);
    fill_tss(&tss, gdt, trap_stack + sizeof(trap_stack), ist_stack + sizeof(ist_stack));
    load_tables(gdt, idt);
    enable_features();
}

void cpu_init_other(struct cpu_tables *tables, char *trap_end, char *ist_end)
{
    memcpy(tables->gdt, gdt, sizeof(tables->gdt));
    fill_idt(tables->idt);
    fill_tss(&tables->tss, tables->gdt, trap_end, ist_end);
    load_tables(tables->gdt, tables->idt);
    enable_features();
}

_Noreturn void guest_entry(uint32_t magic, uint32_t info)
{
    int code;

    console_init();
    cpu_init();
    boot_parse(magic, info);
    clock_init();
    code = guest_main();
    guest_exit((uint32_t)code);
}
