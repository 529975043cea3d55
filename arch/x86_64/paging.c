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

/* n entries of one table. By fours, because this is what the pause costs for each GiB of RAM. */
static void fill_leaves(uint64_t *entry, uint64_t leaf, uint64_t step, uint64_t n)
{
    for (; n >= 4; n -= 4, entry += 4) {
        entry[0] = leaf;
        entry[1] = leaf += step;
        entry[2] = leaf += step;
        entry[3] = leaf += step;
        leaf += step;
    }
    for (; n > 0; n--, leaf += step) {
        *entry++ = leaf;
    }
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
    fill_leaves(table, leaf, step, ENTRIES);
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

static bool page_mapped(uintptr_t va)
{
    const uint64_t *table = pml4;

    for (unsigned int l = LEVEL_PML4;; l--) {
        uint64_t entry = table[level_index(va, l)];

        if (!(entry & PTE_P)) {
            return false;
        }
        if (l == LEVEL_PT || (l < LEVEL_PML4 && (entry & PTE_PS))) {
            return true;
        }
        table = entry_table(entry);
    }
}

bool memory_mapped(const void *p, size_t bytes)
{
    uintptr_t va = (uintptr_t)p, last;

    if (bytes == 0 || va < DIRECT_VA || __builtin_add_overflow(va, bytes - 1, &last)) {
        return false; /* the lower half is empty, and what lies between is no address */
    }
    for (uintptr_t page = va >> PAGE_SHIFT; page <= last >> PAGE_SHIFT; page++) {
        if (!page_mapped(page << PAGE_SHIFT)) {
            return false;
        }
    }
    return true;
}

/* n leaves of `level` side by side from va on, the first being `leaf`; 0: none there. */
static int map_run(uintptr_t va, uint64_t leaf, unsigned int level, uint64_t n)
{
    unsigned int shift = level_shift(level);
    uint64_t step = leaf != 0 ? BIT(shift) : 0;

    while (n > 0) {
        uint64_t *entry = walk(va, level, true);
        uint64_t here = MIN(ENTRIES - level_index(va, level), n);

        if (entry == NULL) {
            return -ENOMEM;
        }
        fill_leaves(entry, leaf, step, here);
        leaf += here * step;
        va += here << shift;
        n -= here;
    }
    return 0;
}

/* Maps [pa, end) of the direct map in leaves of `level`, to which both are aligned. */
static int map_direct(paddr_t pa, paddr_t end, unsigned int level)
{
    return map_run(DIRECT_VA + pa, pa | DATA_FLAGS | PTE_PS, level,
                   (end - pa) >> level_shift(level));
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
        pa = MAX(pa, done);
        if (pa >= end) {
            continue;
        }
        done = end;
        paddr_t gib_start = gib_leaves ? MIN(align_up(pa, gib), end) : end;
        paddr_t gib_end = MAX(align_down(end, gib), gib_start);

        if (map_direct(pa, gib_start, LEVEL_PD) != 0 ||
            map_direct(gib_start, gib_end, LEVEL_PDPT) != 0 ||
            map_direct(gib_end, end, LEVEL_PD) != 0) {
            return -ENOMEM;
        }
    }
    return 0;
}

static int map_image_pages(const char *start, const char *end, uint64_t flags)
{
    return map_run((uintptr_t)start, image_va_to_pa(start) | flags, LEVEL_PT,
                   (uint64_t)(end - start) >> PAGE_SHIFT);
}

static int unmap_guard_page(const uint8_t *page)
{
    return map_run((uintptr_t)page, 0, LEVEL_PT, 1);
}

static int map_image(void)
{
    int rc = map_image_pages(__image_start, __text_end, PTE_P | PTE_A | PTE_G);

    if (rc == 0) {
        rc = map_image_pages(__text_end, __rodata_end, PTE_P | PTE_A | PTE_G | PTE_NX);
    }
    if (rc == 0) {
        rc = map_image_pages(__rodata_end, __image_end, DATA_FLAGS);
    }
    if (rc == 0) {
        rc = unmap_guard_page(boot_stacks.guard);
    }
    for (unsigned int i = 0; rc == 0 && i < IST_STACKS; i++) {
        rc = unmap_guard_page(boot_stacks.ist[i].guard);
    }
    if (rc == 0) { /* no writable alias */
        rc = map_run(DIRECT_VA + image_pa, 0, LEVEL_PT,
                     (uint64_t)(__rodata_end - __image_start) >> PAGE_SHIFT);
    }
    return rc;
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

/* ---- tables of the jump ---- */

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

paddr_t paging_jump_tables(paddr_t code_pa)
{
    unsigned int direct = level_index(DIRECT_VA, LEVEL_PML4);
    unsigned int slots = (unsigned int)((DIRECT_VA_END - DIRECT_VA) >> level_shift(LEVEL_PML4));
    unsigned int i;

    memcpy(&jump_pml4[UPPER_HALF], &pml4[UPPER_HALF], PAGE_SIZE / 2);
    memcpy(jump_pml4, &pml4[direct], slots * sizeof(pml4[0]));

    memcpy(jump_pdpt, entry_table(pml4[direct]), PAGE_SIZE);
    jump_pml4[0] = image_va_to_pa(jump_pdpt) | TABLE_FLAGS;
    i = level_index(code_pa, LEVEL_PDPT);
    open_entry(jump_pdpt[i], LEVEL_PDPT, jump_pd);
    jump_pdpt[i] = image_va_to_pa(jump_pd) | TABLE_FLAGS;
    i = level_index(code_pa, LEVEL_PD);
    open_entry(jump_pd[i], LEVEL_PD, jump_pt);
    jump_pd[i] = image_va_to_pa(jump_pt) | TABLE_FLAGS;
    jump_pt[level_index(code_pa, LEVEL_PT)] = code_pa | JUMP_FLAGS;
    return image_va_to_pa(jump_pml4);
}
