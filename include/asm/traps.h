/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exception frames and stacks.
 */
#ifndef ASM_TRAPS_H
#define ASM_TRAPS_H

#include "hv/compiler.h"
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

void trap_handler(struct trap_frame *f);

/* core/panic.c: an exception of molt's own. */
NORETURN void panic_trap(const struct trap_frame *f, const char *name, uint64_t fault_va);

#endif
