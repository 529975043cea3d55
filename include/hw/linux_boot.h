/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux kernel images and boot parameters: "The Linux/x86 Boot Protocol", "The real-mode kernel
 * header", and "Zero Page".
 */
#ifndef HW_LINUX_BOOT_H
#define HW_LINUX_BOOT_H

#include <stdint.h>

/* The setup header: at LINUX_HEADER of the file and of the zero page alike. Its end is told by the
 * jump in it: LINUX_HEADER_MAGIC_AT + the byte at LINUX_HEADER_JUMP. */
#define LINUX_HEADER 0x1f1U
#define LINUX_HEADER_JUMP 0x201U
#define LINUX_HEADER_MAGIC_AT 0x202U
#define LINUX_HEADER_LIMIT 0x290U /* of the zero page: what follows is not the header's */
#define LINUX_SECTOR 512U
#define LINUX_SETUP_SECTS_DEFAULT 4U /* what 0 stands for */

#define LINUX_BOOT_FLAG 0xaa55U
#define LINUX_MAGIC 0x53726448U   /* "HdrS" */
#define LINUX_VERSION_MIN 0x020cU /* xloadflags */
#define LINUX_LOADFLAG_HIGH 0x01U
#define LINUX_XLF_KERNEL_64 0x0001U
#define LINUX_LOADER_OTHER 0xffU /* type_of_loader without a number of its own */
#define LINUX_VID_NORMAL 0xffffU
#define LINUX_ENTRY_64 0x200U /* from the start of the protected-mode part */
#define LINUX_BOOT_CS 0x10
#define LINUX_BOOT_DS 0x18

/* Of the zero page. */
#define LINUX_ZP_BYTES 4096U
#define LINUX_ZP_ACPI_RSDP 0x070U
#define LINUX_ZP_E820_ENTRIES 0x1e8U
#define LINUX_ZP_E820_TABLE 0x2d0U
#define LINUX_ZP_E820_MAX 128U

struct linux_setup_header {
    uint8_t setup_sects;
    uint16_t root_flags;
    uint32_t syssize; /* 16-byte units */
    uint16_t ram_size;
    uint16_t vid_mode;
    uint16_t root_dev;
    uint16_t boot_flag;
    uint16_t jump;
    uint32_t header;
    uint16_t version;
    uint32_t realmode_swtch;
    uint16_t start_sys_seg;
    uint16_t kernel_version;
    uint8_t type_of_loader;
    uint8_t loadflags;
    uint16_t setup_move_size;
    uint32_t code32_start;
    uint32_t ramdisk_image;
    uint32_t ramdisk_size;
    uint32_t bootsect_kludge;
    uint16_t heap_end_ptr;
    uint8_t ext_loader_ver;
    uint8_t ext_loader_type;
    uint32_t cmd_line_ptr;
    uint32_t initrd_addr_max; /* last byte that an initrd may have */
    uint32_t kernel_alignment;
    uint8_t relocatable_kernel;
    uint8_t min_alignment;
    uint16_t xloadflags;
    uint32_t cmdline_size; /* without the terminating zero */
    uint32_t hardware_subarch;
    uint64_t hardware_subarch_data;
    uint32_t payload_offset;
    uint32_t payload_length;
    uint64_t setup_data;
    uint64_t pref_address;
    uint32_t init_size;
    uint32_t handover_offset;
} __attribute__((packed));

_Static_assert(__builtin_offsetof(struct linux_setup_header, boot_flag) + LINUX_HEADER == 0x1fe,
               "boot_flag");
_Static_assert(__builtin_offsetof(struct linux_setup_header, header) + LINUX_HEADER ==
                   LINUX_HEADER_MAGIC_AT,
               "header");
_Static_assert(__builtin_offsetof(struct linux_setup_header, cmd_line_ptr) + LINUX_HEADER == 0x228,
               "cmd_line_ptr");
_Static_assert(__builtin_offsetof(struct linux_setup_header, setup_data) + LINUX_HEADER == 0x250,
               "setup_data");
_Static_assert(sizeof(struct linux_setup_header) + LINUX_HEADER == 0x268, "setup header");

struct linux_e820_entry {
    uint64_t start;
    uint64_t bytes;
    uint32_t type;
} __attribute__((packed));

#endif
