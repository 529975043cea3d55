/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 32-bit payload's CPU: descriptor tables, exceptions, and state held live over a window.
 */
#ifndef GUEST_CPU32_H
#define GUEST_CPU32_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/lib.h"

#define SEL32_CODE 0x08U
#define SEL32_DATA 0x10U
#define SEL32_TSS 0x18U
#define SEL32_LDT 0x20U
#define SEL32_FS 0x28U
#define SEL32_GS 0x30U
#define GDT32_ENTRIES 7

extern uint64_t gdt32[GDT32_ENTRIES];

/* Tables, CR0, CR4. */
void cpu32_init(void);
uint64_t descriptor32(uint32_t base, uint32_t limit, uint8_t type, uint8_t flags);
/* Reads the word at FS:offset or GS:offset; false, with the vector, if that faulted. */
bool read_fs(uint32_t offset, uint32_t *value, uint32_t *vector);
bool read_gs(uint32_t offset, uint32_t *value, uint32_t *vector);
/* Number of #DB so far, with the DR6 bits that they had since the last call. */
uint32_t debug_hits(void);

/* ---- regs32.asm ---- */
#define REGS32_COUNT 9
#define REGS32_EAX 0
#define REGS32_ECX 1
#define REGS32_EBX 3
#define REGS32_EFLAGS 8
extern uint32_t regs32_in[REGS32_COUNT];
extern uint32_t regs32_out[REGS32_COUNT];
void regs32_spin(void);
void regs32_vmcall(void);

/* ---- state32.c ---- */
extern struct area regs32_area, segments32_area, fpu32_area, msr32_area, control32_area,
    debug32_area, tables32_area;

void state32_init(void);
/* New values in every register; compare; as lib/cpustate.h. */
void state32_begin(uint64_t *random);
void state32_check(void);
void state32_fire(void);
/* General registers over a spin loop, and over HC_INFO when molt is there. */
void state32_regs(uint64_t *random, uint32_t iterations);
/* Segments only: a cheap check for any moment. */
void state32_check_segments(void);

#endif
