/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptor tables, exceptions, page tables and ring 3 of the 64-bit payloads.
 */
#ifndef GUEST_CPU_H
#define GUEST_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEL_CODE 0x08U
#define SEL_DATA 0x10U
#define SEL_USER_CODE32 0x1bU
#define SEL_USER_DATA 0x23U
#define SEL_USER_CODE 0x2bU
#define SEL_TSS 0x30U
#define SEL_LDT 0x40U
#define SEL_ABSENT 0x50U   /* data, not present */
#define SEL_LDT_DATA 0x04U /* first entry of the LDT: data */
#define GDT_ENTRIES 11
#define STAR_SELECTORS ((uint64_t)0x001b0008 << 32)

#define ERR_IDT 0x2U /* selector error codes: an IDT entry */
#define PF_PRESENT 0x1U
#define PF_WRITE 0x2U
#define PF_USER 0x4U
#define PF_RESERVED 0x8U
#define PF_FETCH 0x10U

struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
    uint64_t rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

struct fault {
    uint64_t vector;
    uint64_t error;
    uint64_t rip;
    uint64_t cs;
    uint64_t rflags;
    uint64_t cr2;
    uint64_t dr6;
};

/* Of the last exception that trap_hook did not take. */
extern struct fault last_fault;
/* Sees every exception first; true: taken, resume the interrupted code. */
extern bool (*trap_hook)(struct trap_frame *frame);

struct idt_gate {
    uint16_t offset_low;
    uint16_t selector;
    uint8_t ist;
    uint8_t type;
    uint16_t offset_mid;
    uint32_t offset_high;
    uint32_t reserved;
};

#define GATE_INTERRUPT 0x8eU
#define GATE_USER_INTERRUPT 0xeeU
#define GATE_ABSENT 0x0eU

struct __attribute__((packed)) tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map;
};

/* Of the first CPU. */
extern struct idt_gate idt[256];
extern uint64_t gdt[GDT_ENTRIES];

/* Of any other. */
struct cpu_tables {
    uint64_t gdt[GDT_ENTRIES];
    struct idt_gate idt[256] __attribute__((aligned(16)));
    struct tss tss __attribute__((aligned(16)));
};

/* GDT, IDT, TSS, LDT, CR0, CR4 and XCR0 with every FPU feature that CPUID shows. */
void cpu_init(void);
/* The same on another CPU; the stacks (their ends) are for entries from ring 3, and for NMI, #DF
 * and #MC. */
void cpu_init_other(struct cpu_tables *tables, char *trap_end, char *ist_end);
/* XCR0 as cpu_init() left it, 0 without XSAVE. */
uint64_t cpu_xcr0(void);
void idt_set(unsigned int vector, uintptr_t entry, uint8_t type, uint8_t ist);

/* ---- traps.asm ---- */
bool fault_call(void (*fn)(void *), void *arg);
uint64_t user_call(uint64_t (*fn)(uint64_t), uint64_t arg);

/* ---- paging.c ---- */
/*
 * Everything is mapped one to one. Beside it there is a window of 4 KiB pages for experiments, with
 * different contents under the two roots (both otherwise the same).
 */
#define WINDOW_VA ((uint64_t)0x8000000000)
#define WINDOW_PAGES 512
#define UNMAPPED_VA ((uint64_t)0x10000000000)
#define PTE_P BIT64(0)
#define PTE_W BIT64(1)
#define PTE_U BIT64(2)
#define PTE_PS BIT64(7)
#define PTE_NX BIT64(63)

/* Maps the RAM above 4 GiB too; needs ram_init() for the tables. Loads root 0. */
void paging_init(void);
uint64_t paging_root(unsigned int root);
/* Sets a window entry of root 0 or 1 and invalidates it. */
void window_set(unsigned int root, unsigned int page, uint64_t pte);

#endif
