/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RAM that a payload may use: what the loader reports less the image (and the modules).
 *
 * Without a memory map and under molt, memory beyond 3 GiB is known from HC_INFO alone.
 */
#include "lib/bootinfo.h"
#include "lib/lib.h"
#include "lib/molt.h"

#define MIB ((uint64_t)0x100000)
#define GIB ((uint64_t)0x40000000)

struct mem_range ram_free[BOOT_MAX_RAM * 2];
unsigned int ram_free_count;

static void add(uint64_t start, uint64_t end)
{
    start = (start + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
    end &= ~(uint64_t)(PAGE_SIZE - 1);
#ifndef __x86_64__
    end = end < 4 * GIB ? end : 4 * GIB - PAGE_SIZE;
#endif
    if (start < end && ram_free_count < ARRAY_SIZE(ram_free)) {
        ram_free[ram_free_count].start = start;
        ram_free[ram_free_count].end = end;
        ram_free_count++;
    }
}

static void subtract(uint64_t start, uint64_t end)
{
    unsigned int n = ram_free_count;

    start &= ~(uint64_t)(PAGE_SIZE - 1);
    end = (end + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
    for (unsigned int i = 0; i < n; i++) {
        struct mem_range *r = &ram_free[i];
        uint64_t old_end = r->end;

        if (end <= r->start || start >= r->end) {
            continue;
        }
        r->end = start > r->start ? start : r->start;
        add(end, old_end);
    }
}

void ram_init(bool keep_modules)
{
    ram_free_count = 0;
    for (unsigned int i = 0; i < boot.ram_count; i++) {
        add(boot.ram[i].start, boot.ram[i].end);
    }
    if (!boot.has_map && molt_present()) {
        struct hc_info info;

        if (molt_info(&info) == 0 && info.memory_bytes > 3 * GIB) {
            add(4 * GIB, GIB + info.memory_bytes);
        }
    }
    subtract((uintptr_t)__image_start, (uintptr_t)__image_end);
    for (unsigned int i = 0; keep_modules && i < boot.module_count; i++) {
        subtract(boot.modules[i].mem.start, boot.modules[i].mem.end);
    }
}

void *ram_alloc(size_t pages)
{
    uint64_t bytes = (uint64_t)pages * PAGE_SIZE;

    for (unsigned int i = 0; i < ram_free_count; i++) {
        struct mem_range *r = &ram_free[i];

        if (r->start >= MIB && r->start < 3 * GIB && r->end - r->start >= bytes) {
            void *p = (void *)(uintptr_t)r->start;

            r->start += bytes;
            return memset(p, 0, (size_t)bytes);
        }
    }
    print("FAIL: ram: no %u free pages in a row\n", (unsigned int)pages);
    guest_exit(2);
}

uint64_t ram_free_pages(void)
{
    uint64_t pages = 0;

    for (unsigned int i = 0; i < ram_free_count; i++) {
        pages += (ram_free[i].end - ram_free[i].start) / PAGE_SIZE;
    }
    return pages;
}
