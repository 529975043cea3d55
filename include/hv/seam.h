/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seam between pure code (mm/, lu/, dev/, most of core/) and the machine.
 *
 * The hypervisor implements these in arch/x86_64/; host tests link tests/host/fakes/ instead.
 */
#ifndef HV_SEAM_H
#define HV_SEAM_H

#include "hv/compiler.h"
#include "hv/types.h"

/* Address of a RAM frame in the direct map. Any frame of usable RAM, from paging_init() on. Runs of
 * frames that lie side by side in RAM are side by side here too. */
void *mfn_to_va(mfn_t mfn);

/* A byte of RAM by its physical address. */
static inline void *pa_to_va(paddr_t pa)
{
    return (uint8_t *)mfn_to_va(pa_to_mfn(pa)) + pa % PAGE_SIZE;
}

/* Can all of these bytes be read? Any address, any stage, no locks: for whoever does not believe a
 * pointer. Before paging_init() nothing is known to be. */
bool memory_mapped(const void *p, size_t bytes);

/* The frame behind an address of the direct map (not of vmap space or of the image). */
mfn_t va_to_mfn(const void *va);

/* Maps or unmaps one 4 KiB page of vmap space, read-write, never executable. vmap_pt_map() returns
 * 0 or -ENOMEM (no page for a table). Both flush the local TLB entry. */
MUST_CHECK int vmap_pt_map(uintptr_t va, mfn_t mfn);
void vmap_pt_unmap(uintptr_t va);

/* The frame behind a page of vmap space, INVALID_MFN when nothing is mapped there. */
mfn_t vmap_pt_get(uintptr_t va);

/* vmap space: [vmap_base(), vmap_base() + vmap_pages() * PAGE_SIZE). */
uintptr_t vmap_base(void);
size_t vmap_pages(void);

/* Host CPUID, cached values or by instruction. */
struct cpuid_values {
    uint32_t eax, ebx, ecx, edx;
};
struct cpuid_values host_cpuid(uint32_t leaf, uint32_t subleaf);

/* XCR0 bits that the host has switched on for guests. */
uint64_t host_guest_xcr0(void);
/* Bytes of a standard-format XSAVE image with all of them. */
uint32_t host_xsave_size(void);

/* Host serial port, never waiting: room for how many bytes now; a byte out (only when there is
 * room); a byte in, or -1. */
unsigned int serial_room(void);
void serial_put(uint8_t byte);
int serial_get(void);
/* Everything has left the port. */
bool serial_idle(void);

/* Tables and code of the jump, ready; may be called again. Then the jump itself, interrupts off and
 * virtualization off: obeys the relocation list at list_pa and enters the next image. Physical
 * addresses; entry and information below 4 GiB. */
void kexec_prepare(void);
NORETURN void kexec_jump(paddr_t list_pa, paddr_t entry_pa, paddr_t info_pa);

/* Between the two: the next image may come back, as the block says that it is given; `known`: it
 * knows the way back, and how CPUs are let in that check. */
struct lu_way_back;
void kexec_set_way_back(paddr_t handover_pa, const struct lu_way_back *block, bool known);
/* Where this image is entered then, as lu_way_back.entry_pa. */
paddr_t kexec_back_entry(void);

/*
 * Calls fn(arg), on the first CPU; true when it returned. False when it was left for good: by
 * escape_now(), from any depth and from exception handlers, or by the next image entering
 * kexec_back_entry(). Then control registers, descriptor tables and APIC are as molt has them.
 * Virtualization has to be off when it is left.
 */
MUST_CHECK bool escape_call(void (*fn)(void *arg), void *arg);
NORETURN void escape_now(void);

/* NMIs come again: a CPU that has left an NMI's handler otherwise than by IRET takes no other one.
 * Whoever calls this has no use any more for those that wait. */
void nmi_allow(void);

/* In the next image: back to the one before, at its entry_pa. Virtualization off. */
NORETURN void kexec_go_back(paddr_t entry_pa, paddr_t handover_pa);

/* Arena bytes for an image's own page tables with RAM up to ram_end. */
uint64_t paging_bytes(paddr_t ram_end);

/* Stops the machine: port 0xf4 (QEMU isa-debug-exit: 0 ok, 1 not), "Shutdown" to port 0x8900
 * (Bochs), else HLT for ever. */
NORETURN void machine_off(bool ok);

/* Resets the machine as its reset button does: firmware and boot loader come again, memory stays as
 * it is where they leave it alone. Needs no heap, no locks and no stack to speak of; any stage. */
NORETURN void machine_reset(void);

/* A short wait, kind to the other hyper-thread. */
void cpu_pause(void);

/* Clears frames that lie side by side. */
void frames_zero(mfn_t mfn, uint64_t frames);

/* Host time-stamp counter, unserialized. */
uint64_t tsc_read(void);

/* True when the CPU has the CRC32 instruction (SSE4.2). */
bool cpu_has_crc32(void);

/* One random-enough number (nonces, not keys). */
uint64_t random_u64(void);

#endif
