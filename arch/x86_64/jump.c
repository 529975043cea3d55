/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jump: into the next image, into the parking loop, and both ways back.
 *
 *   old image                                              new image
 *   escape_call -> ... -> kexec_jump -> relocator -------> entry32
 *   escape_call <- jump_back <- back_entry32 <------------ kexec_go_back
 *              <-- jump_back <- escape, from anywhere between
 *
 * The relocator's page (relocator.asm) holds code, a stack, and what it has to know: where the old
 * image is entered again, and until when the new one has time.
 */
#include "hv/seam.h"

#include "asm/cpu.h"
#include "asm/machine.h"
#include "asm/traps.h"
#include "hv/percpu.h"
#include "hv/string.h"
#include "hw/x86.h"
#include "public/lu_abi.h"

/* As relocator.asm has it. */
struct relocator_data {
    uint64_t deadline;   /* host TSC */
    uint32_t back_entry; /* physical; 0: there is no way back */
    uint32_t handover;   /* physical */
    uint32_t apic_id;    /* of the CPU that jumps */
    uint32_t timer;      /* NMIs come from the PIT */
    uint32_t checked;    /* lu_handover.park_check has to fit */
    uint32_t reserved;
};

extern char relocator_start[], relocator_entry[], relocator_park[], relocator_end[];
extern char relocator_data[], relocator_idt[], relocator_fault[], relocator_nmi[];
extern char relocator_fault_data[], relocator_nmi_data[];

/* Of back_entry32 from the image's start: a plain number made by the linker. */
extern char __back_entry_offset[];
extern uint64_t early_pml4[];

bool escape_from(void (*fn)(void *), void *arg);
NORETURN void jump_back(void);

static uint8_t relocator_page[PAGE_SIZE] ALIGNED(4096);
static paddr_t jump_cr3;

/* A list that does nothing, for jumps without one. */
static uint64_t empty_list = 6; /* RELOC_DONE */

typedef void (*park_fn)(uint64_t park_pa, uint64_t magic, uint64_t cr3) NORETURN;
typedef void (*relocator_fn)(uint64_t list_pa, uint64_t entry_pa, uint64_t info_pa,
                             uint64_t cr3) NORETURN;

/* Address of a label of the relocator in the copy at code_pa. */
static uintptr_t in_copy(paddr_t code_pa, const char *label)
{
    return (uintptr_t)(code_pa + (uint64_t)(label - relocator_start));
}

/* The same in the page here. */
static void *in_page(const char *label)
{
    return relocator_page + (label - relocator_start);
}

/* 32-bit interrupt gate: present, DPL 0, selector 8. SDM volume 3, "IDT Descriptors". */
static uint64_t gate32(uintptr_t to)
{
    return (to & 0xffff) | UINT64_C(8) << 16 | UINT64_C(0x8e00) << 32 | (to >> 16 & 0xffff) << 48;
}

static void fill_page(const struct relocator_data *data)
{
    paddr_t pa = image_va_to_pa(relocator_page);
    uint32_t data_pa = (uint32_t)in_copy(pa, relocator_data);
    uint64_t *idt = in_page(relocator_idt);

    memcpy(relocator_page, relocator_start, (size_t)(relocator_end - relocator_start));
    memcpy(in_page(relocator_data), data, sizeof(*data));
    memcpy(in_page(relocator_fault_data), &data_pa, sizeof(data_pa));
    memcpy(in_page(relocator_nmi_data), &data_pa, sizeof(data_pa));
    for (unsigned int i = 0; i < 32; i++) {
        idt[i] = gate32(in_copy(pa, i == EXC_NMI ? relocator_nmi : relocator_fault));
    }
}

void kexec_prepare(void)
{
    const struct relocator_data none = {.deadline = UINT64_MAX};

    fill_page(&none);
    jump_cr3 = paging_jump_tables(image_va_to_pa(relocator_page));
}

static void switch_to_jump_tables(paddr_t cr3)
{
    write_cr4(read_cr4() & ~(CR4_PGE | CR4_SMEP));
    write_cr3(cr3);
}

static NORETURN void enter_relocator(paddr_t list_pa, paddr_t entry_pa, paddr_t info_pa,
                                     paddr_t cr3)
{
    relocator_fn fn = (relocator_fn)in_copy(image_va_to_pa(relocator_page), relocator_entry);

    switch_to_jump_tables(cr3);
    fn(list_pa, entry_pa, info_pa, cr3);
}

/* ---- the old image ---- */

paddr_t kexec_back_entry(void)
{
    return image_pa + (uintptr_t)__back_entry_offset;
}

void kexec_set_way_back(paddr_t handover_pa, const struct lu_way_back *block, bool known)
{
    struct relocator_data data = {
        .deadline = block->deadline_tsc != 0 ? block->deadline_tsc : UINT64_MAX,
        .back_entry = block->entry_pa,
        .handover = (uint32_t)handover_pa,
        .apic_id = this_cpu()->apic_id,
        .timer = block->flags & LU_BACK_TIMER,
        .checked = known,
    };

    memcpy(in_page(relocator_data), &data, sizeof(data));
}

void kexec_jump(paddr_t list_pa, paddr_t entry_pa, paddr_t info_pa)
{
    enter_relocator(list_pa, entry_pa, info_pa, jump_cr3);
}

bool escape_call(void (*fn)(void *), void *arg)
{
    ap_cr3 = paging_cr3();
    if (escape_from(fn, arg)) {
        return true;
    }
    /* The same CPU, and perhaps nothing of it as it was. */
    traps_cpu_init(&boot_cpu);
    cpu_init_other();
    (void)!apic_init_other(); /* it could be used before */
    return false;
}

void escape_now(void)
{
    jump_back();
}

void kexec_park(paddr_t park_pa)
{
    park_fn fn = (park_fn)in_copy(image_va_to_pa(relocator_page), relocator_park);

    switch_to_jump_tables(jump_cr3);
    fn(park_pa, LU_PARK_MAGIC, jump_cr3);
}

/* ---- the new image, and the one that a boot loader put anywhere ---- */

void kexec_go_back(paddr_t entry_pa, paddr_t handover_pa)
{
    write_cr3(image_va_to_pa(early_pml4)); /* the final tables map nothing identically */
    kexec_jump_early(entry_pa, handover_pa);
}

void kexec_jump_early(paddr_t entry_pa, paddr_t info_pa)
{
    const struct relocator_data none = {.deadline = UINT64_MAX};

    fill_page(&none);
    enter_relocator(image_va_to_pa(&empty_list), entry_pa, info_pa, read_cr3());
}
