/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What arch/x86_64/ offers to core/main.c, panic.c and the backends: the machine below the seam.
 */
#ifndef ASM_MACHINE_H
#define ASM_MACHINE_H

#include "hv/compiler.h"
#include "hv/e820.h"
#include "hv/types.h"

#define DIRECT_VA 0xffff800000000000UL
#define DIRECT_VA_END 0xffffc00000000000UL
#define VMAP_VA 0xffffc00000000000UL
#define VMAP_PAGES (UINT64_C(64) << 18) /* 64 GiB */

/* Linker symbols: addresses at IMAGE_VA. */
extern char __image_start[], __text_start[], __text_end[], __rodata_end[], __data_end[];
extern char __bss_end[], __image_end[], __build_id_start[], __build_id_end[];

/* Physical address that this image was loaded at, and of any object inside it. */
extern paddr_t image_pa;
paddr_t image_va_to_pa(const void *p);

static inline void *pa_to_direct(paddr_t pa)
{
    return (void *)(DIRECT_VA + pa);
}

/* This CPU: descriptor tables and exception stacks (early: before anything else can fault), then
 * control registers and feature checks. */
void traps_init(void);
void cpu_init(void);

/* The final page tables: RAM in the direct map without the image's text and rodata, the image with
 * W^X, guard pages below stacks, vmap space; nothing else, nothing at 0. 0 or -ENOMEM. */
MUST_CHECK int paging_init(const struct e820 *map);

/* TSC frequency: measured once at cold boot against the PIT, then carried. */
uint64_t tsc_calibrate_khz(void);

/* Polled host console. */
void serial_init(void);

/* From the early tables (everything below 4 GiB identity mapped): to a copy of ourselves. */
NORETURN void kexec_jump_early(paddr_t entry_pa, paddr_t info_pa);

/* Features switched on for guests: XCR0 bits and the size of an XSAVE image. */
extern uint64_t host_xcr0;
extern uint32_t host_xsave_bytes;

#endif
