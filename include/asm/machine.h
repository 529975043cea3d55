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

/* The first CPU: descriptor tables and exception stacks (early: before anything else can fault),
 * then control registers and feature checks. */
void traps_init(void);
void cpu_init(void);
/* Control registers and XCR0 of any other CPU. */
void cpu_init_other(void);

/* The final page tables: RAM in the direct map without the image's text and rodata, the image with
 * W^X, guard pages below stacks, vmap space; nothing else, nothing at 0. 0 or -ENOMEM. */
MUST_CHECK int paging_init(const struct e820 *map);

/* CR3 of the final page tables. */
paddr_t paging_cr3(void);

/* Tables of the jump, made anew: all of molt's own, the direct map identically too, and the page at
 * code_pa executable there. Returns their CR3. */
paddr_t paging_jump_tables(paddr_t code_pa);

/* For the other CPUs' entry and for coming back (boot/entry.asm, jump.asm): CR3 to go on with. */
extern paddr_t ap_cr3;

/* One page of device registers, uncached, for good. NULL: out of memory. */
void *map_registers(paddr_t pa);

/* ---- local APIC of the host (apic.c) ---- */

/* External interrupts: everything is taken and acknowledged, two mean something. */
#define VECTOR_KICK 0xf0U
#define VECTOR_TIMER 0xf1U
#define VECTOR_SPURIOUS 0xffU

/* Chooses x2APIC or xAPIC (apic=) and sets up this CPU's; after paging and vmap. */
void apic_init(const char *cmdline);
/* The same on another CPU: false when its APIC cannot be used as the first one's is. */
MUST_CHECK bool apic_init_other(void);
uint32_t apic_id(void);
const char *apic_mode_name(void);
/* False: no APIC, or none that this id can be reached with. */
bool apic_reaches(uint32_t id);
void apic_send_init(uint32_t id);
void apic_send_sipi(uint32_t id, uint8_t page);
/* Stops all other CPUs that run this image (panic). */
void apic_stop_others(void);
/* This CPU's timer interrupts when the host TSC reaches until_tsc, or a little earlier. False: that
 * time is over, or the timer cannot be used yet. */
MUST_CHECK bool apic_timer_arm(uint64_t until_tsc);
void apic_timer_disarm(void);
/* An external interrupt was taken: by the IDT, or acknowledged by a VM exit. */
void apic_handled(uint32_t vector);

/* ---- I/O APICs of the host (ioapic.c) ---- */

/* Masks the pins of an I/O APIC, but for those that raise SMIs. False: out of memory. */
MUST_CHECK bool ioapic_mask_all(paddr_t pa);
/* The registers, mapped for good; NULL: out of memory. */
volatile uint8_t *ioapic_map(paddr_t pa);
unsigned int ioapic_pins(volatile uint8_t *ioapic);
/* `entry` as in the redirection table. */
void ioapic_write_pin(volatile uint8_t *ioapic, unsigned int pin, uint64_t entry);

/* An NMI has come (trap_handler()): true when it is the watchdog's (watchdog.c). */
bool watchdog_nmi(void);

/* ---- any physical memory (physical.c) ---- */

/* Copies it; false where the CPU has no such address, or out of memory for a mapping. After the
 * last one physical_done() unmaps what is still mapped. hv_lock held. */
MUST_CHECK bool physical_read(paddr_t pa, void *to, size_t bytes);
void physical_done(void);

/* TSC frequency: measured once at cold boot against the PIT, then carried. */
uint64_t tsc_calibrate_khz(void);

/* Polled host console. */
void serial_init(void);

/* The tail of cpu_park(): into the parking loop of the jump's page. */
NORETURN void kexec_park(paddr_t park_pa);

/* From the early tables (everything below 4 GiB identity mapped): to a copy of ourselves. */
NORETURN void kexec_jump_early(paddr_t entry_pa, paddr_t info_pa);

#define XSAVE_BYTES_MIN 576U /* legacy region and header */

/* Features switched on for guests: XCR0 bits and the size of an XSAVE image. Without XSAVE the
 * image is what FXSAVE keeps, with a header. */
extern bool host_has_xsave;
extern uint64_t host_xcr0;
extern uint32_t host_xsave_bytes;

#endif
