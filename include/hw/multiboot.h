/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multiboot 1 and 2: magic numbers and structures of both specifications.
 */
#ifndef HW_MULTIBOOT_H
#define HW_MULTIBOOT_H

#include <stdint.h>

#define MB1_HEADER_MAGIC 0x1badb002U
#define MB1_HEADER_LIMIT 8192U
#define MB1_BOOT_MAGIC 0x2badb002U
#define MB1_INFO_MEMORY 0x001U
#define MB1_INFO_CMDLINE 0x004U
#define MB1_INFO_MODS 0x008U
#define MB1_INFO_MMAP 0x040U
#define MB1_INFO_LOADER 0x200U

#define MB2_HEADER_MAGIC 0xe85250d6U
#define MB2_HEADER_LIMIT 32768U
#define MB2_TAG_END 0U
#define MB2_TAG_CMDLINE 1U
#define MB2_TAG_LOADER 2U
#define MB2_TAG_MODULE 3U
#define MB2_TAG_MEMINFO 4U
#define MB2_TAG_MMAP 6U
#define MB2_TAG_EFI32_SYSTEM_TABLE 11U
#define MB2_TAG_EFI64_SYSTEM_TABLE 12U
#define MB2_TAG_ACPI_OLD 14U
#define MB2_TAG_ACPI_NEW 15U
#define MB2_TAG_EFI_MMAP 17U
#define MB2_BOOT_MAGIC 0x36d76289U

#define MB_MEMORY_RESERVED 2U

struct mb1_info {
    uint32_t flags;
    uint32_t mem_lower; /* KiB */
    uint32_t mem_upper; /* KiB above 1 MiB */
    uint32_t boot_device;
    uint32_t cmdline;
    uint32_t mods_count;
    uint32_t mods_addr;
    uint32_t syms[4];
    uint32_t mmap_length;
    uint32_t mmap_addr;
    uint32_t drives_length;
    uint32_t drives_addr;
    uint32_t config_table;
    uint32_t boot_loader_name;
    uint32_t apm_table;
};

struct mb1_module {
    uint32_t start;
    uint32_t end;
    uint32_t cmdline;
    uint32_t reserved;
};

struct mb1_mmap {
    uint32_t size; /* of the rest */
    uint64_t base;
    uint64_t length;
    uint32_t type;
} __attribute__((packed));

struct mb2_mmap_entry {
    uint64_t base;
    uint64_t length;
    uint32_t type;
    uint32_t reserved;
};

#endif
