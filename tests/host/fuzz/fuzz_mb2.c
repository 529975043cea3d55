/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: any bytes as multiboot2 information; what is accepted is walked, built again, and
 * asked for a region.
 */
#include <stdlib.h>
#include <string.h>

#include "fakes/mb2_block.h"
#include "hv/cmdline.h"
#include "hv/region.h"
#include "seed.h"

size_t seed_make(uint8_t *data, size_t max, unsigned int choice)
{
    static const struct e820_range ranges[] = {
        {0, 0x9fc00, E820_RAM}, {0x100000, 0x10000000, E820_RAM}, {0xfffc0000, 0x100000000, 2}};
    static const char *const lines[] = {"liveupdate=16M badpage=1,3000-3010", "quiet",
                                        "liveupdate=8M@64M badpage=0x4001", ""};
    static struct mb2_block b;

    block_begin(&b);
    block_string(&b, 1, lines[choice % 4]);
    block_string(&b, 2, "loader");
    if (choice % 3 != 0) {
        block_module(&b, 0x200000, 0x280001, "one");
        block_module(&b, 0x300000, 0x400000, "");
    }
    block_mmap(&b, ranges, 3, choice % 2 * 8);
    block_tag(&b, 14, "RSD PTR 12345678901", 20);
    block_end(&b);
    if (b.used > max) {
        return 0;
    }
    memcpy(data, b.bytes, b.used);
    return b.used;
}

/* libFuzzer's buffer ends where the input ends, for ASan too. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct boot_info info;
    struct boot_info again;
    struct lu_region region;
    struct mb2_module m;
    const char *why;
    size_t need;
    uint8_t *built;

    if (mb2_parse(data, size, &info, &why) != 0) {
        return 0;
    }
    for (size_t i = 0; i < info.nr_modules; i++) {
        if (!mb2_module(&info, i, &m) || m.start >= m.end || strlen(m.cmdline) > size) {
            abort();
        }
    }
    for (size_t i = 0; i < info.mmap_entries; i++) {
        struct e820_range r = mb2_mmap(&info, i);

        if (r.start > r.end) {
            abort();
        }
    }
    need = mb2_build(NULL, 0, &info, info.cmdline, true);
    built = malloc(need);
    if (built == NULL || mb2_build(built, need, &info, info.cmdline, true) != need ||
        mb2_parse(built, need, &again, &why) != 0 || again.nr_modules != info.nr_modules ||
        again.mmap_entries != info.mmap_entries || strcmp(again.cmdline, info.cmdline) != 0 ||
        strcmp(again.loader, info.loader) != 0) {
        abort();
    }
    free(built);
    if (region_find(&info, 0x10000, 0x100000, 0x180000, &region, &why) == 0) {
        if (region.base < MIB(1) || region.size < REGION_MIN ||
            region.base + region.size > GIB(4) || region.base % REGION_ALIGN != 0) {
            abort();
        }
        (void)region_fit(info.cmdline, region.base, region.base + region.size, MIB(1));
    }
    return 0;
}
