/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boot information, multiboot 1 or 2, copied out of the loader's memory; and the RAM it leaves.
 */
#ifndef GUEST_BOOTINFO_H
#define GUEST_BOOTINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BOOT_MAX_RAM 16
#define BOOT_MAX_MODULES 8

struct mem_range {
    uint64_t start; /* bytes, [start, end) */
    uint64_t end;
};

struct boot_module {
    struct mem_range mem;
    char name[64];
};

struct boot_info {
    unsigned int protocol; /* 1 or 2 */
    bool has_map;          /* ram[] comes from a memory map */
    char cmdline[512];
    unsigned int ram_count;
    struct mem_range ram[BOOT_MAX_RAM];
    unsigned int module_count;
    struct boot_module modules[BOOT_MAX_MODULES];
};

extern struct boot_info boot;

/* Fills boot; exits with code 2 when magic is of neither protocol. */
void boot_parse(uint32_t magic, uint32_t info);

/* key=NUMBER on the command line (decimal, or hexadecimal after 0x), else fallback. */
uint64_t cmdline_number(const char *key, uint64_t fallback);
/* key=TEXT on the command line; false, and buf is fallback, when it is not there. */
bool cmdline_text(const char *key, char *buf, size_t size, const char *fallback);

/* ---- ram.c ---- */
extern struct mem_range ram_free[BOOT_MAX_RAM * 2];
extern unsigned int ram_free_count;

/* Whole pages of RAM that neither the image nor (when keep_modules) a module uses. */
void ram_init(bool keep_modules);
/* Takes pages, contiguous, above 1 MiB and below 3 GiB, and clears them; exits with 2 if none. */
void *ram_alloc(size_t pages);
uint64_t ram_free_pages(void);

#endif
