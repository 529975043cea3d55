/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host page tables: direct map of RAM, the image, vmap space; and the tables of the jump.
 *
 * W^X: text is read-execute, rodata read-only, everything else read-write and not executable. The
 * direct map does not show the image's text and rodata, so they have no writable alias. Nothing is
 * mapped in the lower half, address 0 included. SDM volume 3, "4-Level Paging".
 */
#include "asm/machine.h"

#include "asm/cpu.h"
#include "asm/traps.h"
#include "hv/boot_alloc.h"
#include "hv/errno.h"
#include "hv/seam.h"
#include "hv/smp.h"
#include "hv/string.h"
#include "hv/vmap.h"
#include "hw/cpuid.h"
#include "hw/x86.h"
#include "public/lu_abi.h"

#define ENTRIES 512U
#define LEVEL_PT 1U
#define LEVEL_PD 2U
#define LEVEL_PDPT 3U
#define LEVEL_PML4 4U
#define UPPER_HALF (ENTRIES / 2)
#define TABLE_FLAGS (PTE_P | PTE_W | PTE_A)
#define DATA_FLAGS (PTE_P | PTE_W | PTE_A | PTE_D | PTE_G | PTE_NX)
#define JUMP_FLAGS (PTE_P | PTE_W | PTE_A | PTE_D)

paddr_t image_pa;

static uint64_t pml4[ENTRIES] ALIGNED(4096);
static bool gib_leaves;

/* The jump's own tables, ready without allocation: identity map and the page of the relocator. */
static uint64_t jump_pml4[ENTRIES] ALIGNED(4096);
static uint64_t jump_pdpt[ENTRIES] ALIGNED(4096);
static uint64_t jump_pd[ENTRIES] ALIGNED(4096);
static uint64_t jump_pt[ENTRIES] ALIGNED(4096);

paddr_t image_va_to_pa(const void *p)
{
    return image_pa + ((uintptr_t)p - (uintptr_t)__image_start);
}

void *mfn_to_va(mfn_t mfn)
{
    return pa_to_direct(mfn_to_pa(mfn));
}

mfn_t va_to_mfn(const void *va)
{
    return pa_to_mfn((uintptr_t)va - DIRECT_VA);
}

uintptr_t vmap_base(void)
{
    return VMAP_VA;
}

size_t vmap_pages(void)
{
    return VMAP_PAGES;
}

static unsigned int level_shift(unsigned int level)
{
    return PAGE_SHIFT + 9 * (level - 1);
}

static unsigned int level_index(uintptr_t va, unsigned int level)
{
    return (unsigned int)(va >> level_shift(level)) & (ENTRIES - 1);
}

static uint64_t *entry_table(uint64_t entry)
{
    return pa_to_direct(entry & PTE_ADDR);
}

/* Replaces a leaf of `level` by a table of leaves one level below, same rights. */
static int split_leaf(uint64_t *entry, unsigned int level)
{
    uint64_t step = UINT64_C(1) << level_shift(level - 1);
    uint64_t leaf = *entry & ~(level - 1 == LEVEL_PT ? PTE_PS : 0);
    uint64_t *table = pool_alloc();

    if (table == NULL) {
        return -ENOMEM;
    }
    for (unsigned int i = 0; i < ENTRIES; i++) {
        table[i] = leaf + i * step;
    }
    *entry = mfn_to_pa(va_to_mfn(table)) | TABLE_FLAGS;
    return 0;
}

/*
 * The entry for va at `level`, with the tables above it made and larger leaves split when `create`;
 * NULL when there is none (or out of memory).
 */
static uint64_t *walk(uintptr_t va, unsigned int level, bool create)
{
    uint64_t *table = pml4;

    for (unsigned int l = LEVEL_PML4; l > level; l--) {
        uint64_t *entry = &table[level_index(va, l)];

        if (!(*entry & PTE_P)) {
            void *page = create ? pool_alloc() : NULL;

            if (page == NULL) {
                return NULL;
            }
            *entry = mfn_to_pa(va_to_mfn(page)) | TABLE_FLAGS;
        } else if (l < LEVEL_PML4 && (*entry & PTE_PS)) {
            if (!create || split_leaf(entry, l) != 0) {
                return NULL;
            }
        }
        table = entry_table(*entry);
    }
    return &table[level_index(va, level)];
}

static int map_leaf(uintptr_t va, paddr_t pa, unsigned int level, uint64_t flags)
{
    uint64_t *entry = walk(va, level, true);

    if (entry == NULL) {
        return -ENOMEM;
    }
    *entry = pa | flags | (level > LEVEL_PT ? PTE_PS : 0);
    return 0;
}

int vmap_pt_map(uintptr_t va, mfn_t mfn)
{
    int rc = map_leaf(va, mfn_to_pa(mfn), LEVEL_PT, DATA_FLAGS);

    if (rc == 0) {
        invlpg(va);
    }
    return rc;
}

void vmap_pt_unmap(uintptr_t va)
{
    uint64_t *entry = walk(va, LEVEL_PT, false);

    if (entry != NULL) {
        *entry = 0;
        invlpg(va);
    }
}

mfn_t vmap_pt_get(uintptr_t va)
{
    uint64_t *entry = walk(va, LEVEL_PT, false);

    if (entry == NULL || !(*entry & PTE_P)) {
        return INVALID_MFN;
    }
    return pa_to_mfn(*entry & PTE_ADDR);
}

/* RAM in the largest leaves; every 2 MiB that holds any RAM is mapped as a whole (what else is in
 * there keeps the memory type that the firmware's MTRRs give it). */
static int map_ram(const struct e820 *map)
{
    uint64_t gib = UINT64_C(1) << level_shift(LEVEL_PDPT);
    uint64_t mib2 = UINT64_C(1) << level_shift(LEVEL_PD);
    paddr_t done = 0;

    for (size_t i = 0; i < map->nr; i++) {
        paddr_t pa = align_down(map->ranges[i].start, mib2);
        paddr_t end = align_up(map->ranges[i].end, mib2);

        if (map->ranges[i].type != E820_RAM) {
            continue;
        }
        end = MIN(end, DIRECT_VA_END - DIRECT_VA);
        for (pa = MAX(pa, done); pa < end;) {
            bool big = gib_leaves && is_aligned(pa, gib) && end - pa >= gib;
            int rc = map_leaf(DIRECT_VA + pa, pa, big ? LEVEL_PDPT : LEVEL_PD, DATA_FLAGS);

            if (rc != 0) {
                return rc;
            }
            pa += big ? gib : mib2;
        }
        done = MAX(done, end);
    }
    return 0;
}

static bool is_guard_page(uintptr_t va)
{
    if (va == (uintptr_t)boot_stacks.guard) {
        return true;
    }
    for (unsigned int i = 0; i < IST_STACKS; i++) {
        if (va == (uintptr_t)boot_stacks.ist[i].guard) {
            return true;
        }
    }
    return false;
}

static int map_image(void)
{
    for (uintptr_t va = (uintptr_t)__image_start; va < (uintptr_t)__image_end; va += PAGE_SIZE) {
        paddr_t pa = image_va_to_pa((const void *)va);
        uint64_t flags;
        int rc;

        if (va < (uintptr_t)__text_end) {
            flags = PTE_P | PTE_A | PTE_G;
        } else if (va < (uintptr_t)__rodata_end) {
            flags = PTE_P | PTE_A | PTE_G | PTE_NX;
        } else if (is_guard_page(va)) {
            continue;
        } else {
            flags = DATA_FLAGS;
        }
        rc = map_leaf(va, pa, LEVEL_PT, flags);
        if (rc != 0) {
            return rc;
        }
        if (va < (uintptr_t)__rodata_end) {
            uint64_t *alias = walk(DIRECT_VA + pa, LEVEL_PT, true);

            if (alias == NULL) {
                return -ENOMEM;
            }
            *alias = 0;
        }
    }
    return 0;
}

uint64_t paging_bytes(paddr_t ram_end)
{
    /* Direct map with 2 MiB leaves at worst, plus the image's and vmap's first tables. */
    return (align_up(ram_end, GIB(1)) >> 30) * PAGE_SIZE + ((ram_end >> 39) + 16) * PAGE_SIZE;
}

int paging_init(const struct e820 *map)
{
    int rc;

    gib_leaves = cpuid(0x80000001, 0).edx & CPUID_81_EDX_PDPE1GB;
    rc = map_ram(map);
    if (rc == 0) {
        rc = map_image();
    }
    if (rc != 0) {
        return rc;
    }
    write_cr3(paging_cr3());
    tlb_flush(); /* global entries of the early tables go too */
    return 0;
}

paddr_t paging_cr3(void)
{
    return image_va_to_pa(pml4);
}

void *map_registers(paddr_t pa)
{
    void *area = vmap_reserve(1);

    if (area == NULL || map_leaf((uintptr_t)area, align_down(pa, PAGE_SIZE), LEVEL_PT,
                                 DATA_FLAGS | PTE_PCD | PTE_PWT) != 0) {
        return NULL;
    }
    return area;
}

void tlb_flush(void)
{
    uint64_t cr4 = read_cr4();

    write_cr4(cr4 & ~CR4_PGE); /* SDM volume 3, "Operations that Invalidate TLBs" */
    write_cr4(cr4);
}

/* ---- the jump ---- */

extern char relocator_start[], relocator_entry[], relocator_park[], relocator_end[];

static uint8_t relocator_page[PAGE_SIZE] ALIGNED(4096);

/* A list that does nothing, for the early jump. */
static uint64_t empty_list = 6; /* RELOC_DONE */

typedef void (*park_fn)(uint64_t park_pa, uint64_t magic, uint64_t cr3) NORETURN;
typedef void (*relocator_fn)(uint64_t list_pa, uint64_t entry_pa, uint64_t info_pa,
                             uint64_t cr3) NORETURN;

/* Copies `table`'s entry for pa, one level down, into `below`: its table's entries, or a leaf's
 * pieces. */
static void open_entry(uint64_t entry, unsigned int level, uint64_t *below)
{
    uint64_t step = UINT64_C(1) << level_shift(level - 1);

    if (entry & PTE_PS) {
        for (unsigned int i = 0; i < ENTRIES; i++) {
            below[i] = (entry & ~(level - 1 == LEVEL_PT ? PTE_PS : 0)) + i * step;
        }
    } else if (entry & PTE_P) {
        memcpy(below, entry_table(entry), PAGE_SIZE);
    } else {
        memset(below, 0, PAGE_SIZE);
    }
}

void kexec_prepare(void)
{
    unsigned int direct = level_index(DIRECT_VA, LEVEL_PML4);
    unsigned int slots = (unsigned int)((DIRECT_VA_END - DIRECT_VA) >> level_shift(LEVEL_PML4));
    paddr_t pa = image_va_to_pa(relocator_page);
    unsigned int i;

    memcpy(relocator_page, relocator_start, (size_t)(relocator_end - relocator_start));
    memcpy(&jump_pml4[UPPER_HALF], &pml4[UPPER_HALF], PAGE_SIZE / 2);
    memcpy(jump_pml4, &pml4[direct], slots * sizeof(pml4[0]));

    memcpy(jump_pdpt, entry_table(pml4[direct]), PAGE_SIZE);
    jump_pml4[0] = image_va_to_pa(jump_pdpt) | TABLE_FLAGS;
    i = level_index(pa, LEVEL_PDPT);
    open_entry(jump_pdpt[i], LEVEL_PDPT, jump_pd);
    jump_pdpt[i] = image_va_to_pa(jump_pd) | TABLE_FLAGS;
    i = level_index(pa, LEVEL_PD);
    open_entry(jump_pd[i], LEVEL_PD, jump_pt);
    jump_pd[i] = image_va_to_pa(jump_pt) | TABLE_FLAGS;
    jump_pt[level_index(pa, LEVEL_PT)] = pa | JUMP_FLAGS;
}

/* Address of a label of the relocator in the copy at code_pa. */
static uintptr_t in_copy(paddr_t code_pa, const char *label)
{
    return (uintptr_t)(code_pa + (uint64_t)(label - relocator_start));
}

static void switch_to_jump_tables(paddr_t cr3)
{
    write_cr4(read_cr4() & ~(CR4_PGE | CR4_SMEP));
    write_cr3(cr3);
}

static NORETURN void enter_relocator(paddr_t code_pa, paddr_t list_pa, paddr_t entry_pa,
                                     paddr_t info_pa, paddr_t cr3)
{
    relocator_fn fn = (relocator_fn)in_copy(code_pa, relocator_entry);

    switch_to_jump_tables(cr3);
    fn(list_pa, entry_pa, info_pa, cr3);
}

void kexec_jump(paddr_t list_pa, paddr_t entry_pa, paddr_t info_pa)
{
    enter_relocator(image_va_to_pa(relocator_page), list_pa, entry_pa, info_pa,
                    image_va_to_pa(jump_pml4));
}

void kexec_park(paddr_t park_pa)
{
    park_fn fn = (park_fn)in_copy(image_va_to_pa(relocator_page), relocator_park);
    paddr_t cr3 = image_va_to_pa(jump_pml4);

    switch_to_jump_tables(cr3);
    fn(park_pa, LU_PARK_MAGIC, cr3);
}

void kexec_jump_early(paddr_t entry_pa, paddr_t info_pa)
{
    memcpy(relocator_page, relocator_start, (size_t)(relocator_end - relocator_start));
    enter_relocator(image_va_to_pa(relocator_page), image_va_to_pa(&empty_list), entry_pa, info_pa,
                    read_cr3());
}
