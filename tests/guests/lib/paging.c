/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Page tables of the 64-bit payloads beyond what start.asm made.
 */
#include "lib/bootinfo.h"
#include "lib/cpu.h"
#include "lib/lib.h"
#include "lib/x86.h"

#define TABLE_FLAGS (PTE_P | PTE_W | PTE_U)
#define LARGE_BYTES ((uint64_t)0x200000)
#define GIB ((uint64_t)0x40000000)
#define FIRST_GIB 4U
#define LAST_GIB 512U

typedef uint64_t table_t[512];

extern table_t boot_pml4;
extern table_t boot_pdpt;

static table_t other_pml4 __attribute__((aligned(4096)));
static table_t window_pdpt[2] __attribute__((aligned(4096)));
static table_t window_pd[2] __attribute__((aligned(4096)));
static table_t window_pt[2] __attribute__((aligned(4096)));

static bool in_ram(uint64_t start, uint64_t end)
{
    for (unsigned int i = 0; i < ram_free_count; i++) {
        if (ram_free[i].start < end && start < ram_free[i].end) {
            return true;
        }
    }
    return false;
}

void paging_init(void)
{
    unsigned int slot = WINDOW_VA >> 39;

    for (unsigned int g = FIRST_GIB; g < LAST_GIB; g++) {
        uint64_t *pd;

        if (!in_ram(g * GIB, (g + 1) * GIB)) {
            continue;
        }
        pd = ram_alloc(1);
        for (unsigned int i = 0; i < 512; i++) {
            pd[i] = (g * GIB + i * LARGE_BYTES) | TABLE_FLAGS | PTE_PS;
        }
        boot_pdpt[g] = (uintptr_t)pd | TABLE_FLAGS;
    }
    memcpy(other_pml4, boot_pml4, sizeof(other_pml4));
    for (unsigned int root = 0; root < 2; root++) {
        window_pd[root][0] = (uintptr_t)window_pt[root] | TABLE_FLAGS;
        window_pdpt[root][0] = (uintptr_t)window_pd[root] | TABLE_FLAGS;
    }
    boot_pml4[slot] = (uintptr_t)window_pdpt[0] | TABLE_FLAGS;
    other_pml4[slot] = (uintptr_t)window_pdpt[1] | TABLE_FLAGS;
    write_cr3(paging_root(0));
}

uint64_t paging_root(unsigned int root)
{
    return root == 0 ? (uintptr_t)boot_pml4 : (uintptr_t)other_pml4;
}

void window_set(unsigned int root, unsigned int page, uint64_t pte)
{
    window_pt[root][page] = pte;
    __asm__ volatile("invlpg (%0)" ::"r"(WINDOW_VA + page * PAGE_SIZE) : "memory");
}
