/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parser of multiboot 1 and multiboot 2 information, and of the command line.
 *
 * Copies everything it wants: the loader's memory counts as free afterwards.
 */
#include "lib/bootinfo.h"

#include "lib/lib.h"

#define MB1_MAGIC 0x2badb002U
#define MB1_MEMORY 0x1U
#define MB1_CMDLINE 0x4U
#define MB1_MODULES 0x8U
#define MB1_MMAP 0x40U
#define MB2_MAGIC 0x36d76289U
#define MB2_TAG_END 0U
#define MB2_TAG_CMDLINE 1U
#define MB2_TAG_MODULE 3U
#define MB2_TAG_MEMORY 4U
#define MB2_TAG_MMAP 6U
#define MMAP_RAM 1U
#define KIB 1024U
#define MIB 0x100000U

struct mb1_info {
    uint32_t flags;
    uint32_t mem_lower;
    uint32_t mem_upper;
    uint32_t boot_device;
    uint32_t cmdline;
    uint32_t mods_count;
    uint32_t mods_addr;
    uint32_t syms[4];
    uint32_t mmap_length;
    uint32_t mmap_addr;
};

struct mb1_module {
    uint32_t start;
    uint32_t end;
    uint32_t string;
    uint32_t reserved;
};

struct __attribute__((packed)) mb1_mmap {
    uint32_t size; /* of what follows */
    uint64_t base;
    uint64_t length;
    uint32_t type;
};

struct mb2_tag {
    uint32_t type;
    uint32_t size;
    uint32_t data[];
};

struct mb2_mmap {
    uint64_t base;
    uint64_t length;
    uint32_t type;
    uint32_t reserved;
};

struct boot_info boot;

static const void *phys(uint32_t address)
{
    return (const void *)(uintptr_t)address;
}

static void add_ram(uint64_t start, uint64_t length)
{
    if (length != 0 && boot.ram_count < BOOT_MAX_RAM) {
        boot.ram[boot.ram_count].start = start;
        boot.ram[boot.ram_count].end = start + length;
        boot.ram_count++;
    }
}

static void add_module(uint32_t start, uint32_t end, const char *name)
{
    if (boot.module_count < BOOT_MAX_MODULES) {
        struct boot_module *m = &boot.modules[boot.module_count++];

        m->mem.start = start;
        m->mem.end = end;
        str_copy(m->name, name, sizeof(m->name));
    }
}

static void parse_mb1(const struct mb1_info *info)
{
    if ((info->flags & MB1_CMDLINE) != 0) {
        str_copy(boot.cmdline, phys(info->cmdline), sizeof(boot.cmdline));
    }
    if ((info->flags & MB1_MODULES) != 0) {
        const struct mb1_module *m = phys(info->mods_addr);

        for (uint32_t i = 0; i < info->mods_count; i++) {
            add_module(m[i].start, m[i].end, m[i].string != 0 ? phys(m[i].string) : "");
        }
    }
    if ((info->flags & MB1_MMAP) != 0) {
        for (uint32_t at = 0; at < info->mmap_length;) {
            struct mb1_mmap entry;

            memcpy(&entry, phys(info->mmap_addr + at), sizeof(entry));
            if (entry.type == MMAP_RAM) {
                boot.has_map = true;
                add_ram(entry.base, entry.length);
            }
            at += entry.size + (uint32_t)sizeof(entry.size);
        }
    }
    if (!boot.has_map && (info->flags & MB1_MEMORY) != 0) {
        add_ram(0, (uint64_t)info->mem_lower * KIB);
        add_ram(MIB, (uint64_t)info->mem_upper * KIB);
    }
}

static void parse_mb2_mmap(const struct mb2_tag *tag)
{
    uint32_t entry_size = tag->data[0];

    for (uint32_t at = 16; at + entry_size <= tag->size; at += entry_size) {
        struct mb2_mmap entry;

        memcpy(&entry, (const char *)tag + at, sizeof(entry));
        if (entry.type == MMAP_RAM) {
            boot.has_map = true;
            add_ram(entry.base, entry.length);
        }
    }
}

static void parse_mb2(uint32_t info)
{
    const uint32_t *total = phys(info);
    uint32_t lower_kib = 0;
    uint32_t upper_kib = 0;

    for (uint32_t at = 8; at + 8 <= *total;) {
        const struct mb2_tag *tag = phys(info + at);

        if (tag->type == MB2_TAG_END || tag->size < 8) {
            break;
        }
        if (tag->type == MB2_TAG_CMDLINE) {
            str_copy(boot.cmdline, (const char *)tag->data, sizeof(boot.cmdline));
        } else if (tag->type == MB2_TAG_MODULE) {
            add_module(tag->data[0], tag->data[1], (const char *)&tag->data[2]);
        } else if (tag->type == MB2_TAG_MEMORY) {
            lower_kib = tag->data[0];
            upper_kib = tag->data[1];
        } else if (tag->type == MB2_TAG_MMAP) {
            parse_mb2_mmap(tag);
        }
        at += (tag->size + 7U) & ~7U;
    }
    if (!boot.has_map) {
        add_ram(0, (uint64_t)lower_kib * KIB);
        add_ram(MIB, (uint64_t)upper_kib * KIB);
    }
}

void boot_parse(uint32_t magic, uint32_t info)
{
    if (magic == MB1_MAGIC) {
        boot.protocol = 1;
        parse_mb1(phys(info));
    } else if (magic == MB2_MAGIC) {
        boot.protocol = 2;
        parse_mb2(info);
    } else {
        print("boot: magic 0x%x is of no known protocol\n", magic);
        guest_exit(2);
    }
}

/* The text after "key=" at the start of a word, or NULL. */
static const char *find(const char *key)
{
    size_t n = strlen(key);

    for (const char *s = boot.cmdline; *s != '\0'; s++) {
        if ((s == boot.cmdline || s[-1] == ' ') && strncmp(s, key, n) == 0 && s[n] == '=') {
            return s + n + 1;
        }
    }
    return NULL;
}

uint64_t cmdline_number(const char *key, uint64_t fallback)
{
    const char *s = find(key);
    uint64_t value = 0;

    if (s == NULL) {
        return fallback;
    }
    if (s[0] == '0' && s[1] == 'x') {
        for (s += 2;; s++) {
            if (*s >= '0' && *s <= '9') {
                value = value << 4 | (uint64_t)(*s - '0');
            } else if (*s >= 'a' && *s <= 'f') {
                value = value << 4 | (uint64_t)(*s - 'a' + 10);
            } else {
                return value;
            }
        }
    }
    for (; *s >= '0' && *s <= '9'; s++) {
        value = value * 10 + (uint64_t)(*s - '0');
    }
    return value;
}

bool cmdline_text(const char *key, char *buf, size_t size, const char *fallback)
{
    const char *s = find(key);
    size_t i;

    if (s == NULL) {
        str_copy(buf, fallback, size);
        return false;
    }
    for (i = 0; i + 1 < size && s[i] != '\0' && s[i] != ' '; i++) {
        buf[i] = s[i];
    }
    buf[i] = '\0';
    return true;
}
