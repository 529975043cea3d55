/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hv_main(): the whole order of a boot, cold or by update, one step a line.
 */
#include "hv/main.h"
#include "asm/machine.h"
#include "hv/boot_alloc.h"
#include "hv/buddy.h"
#include "hv/cmdline.h"
#include "hv/console.h"
#include "hv/domctl.h"
#include "hv/guest_load.h"
#include "hv/hvm.h"
#include "hv/lock.h"
#include "hv/lu.h"
#include "hv/machine.h"
#include "hv/mb2.h"
#include "hv/memory.h"
#include "hv/modules.h"
#include "hv/percpu.h"
#include "hv/phase.h"
#include "hv/place.h"
#include "hv/printk.h"
#include "hv/sched.h"
#include "hv/seam.h"
#include "hv/smp.h"
#include "hv/selftest.h"
#include "hv/time.h"
#include "hv/vmap.h"
#include "hv/wallclock.h"

uint64_t tsc_khz;

static const char *bad_cmdline; /* NULL: no bad page in the arena */

static paddr_t bad_in_arena(paddr_t start, paddr_t end)
{
    return bad_cmdline != NULL ? cmdline_bad_in_range(bad_cmdline, start, end) : 0;
}

/* The arena behind image and boot information, for boot_alloc(). */
static void arena_init(const struct boot_info *info, paddr_t info_pa,
                       const struct lu_region *region, unsigned int arena)
{
    paddr_t image_end = image_va_to_pa(__image_end);
    paddr_t end = region_arena_end(region, arena);
    paddr_t start = MAX(image_end, align_up(info_pa + info->size, PAGE_SIZE));

    if (info_pa < region_arena_start(region, arena) || start >= end) {
        panic("boot: the boot information is not in the image's arena");
    }
    bad_cmdline = cmdline_bad_in_range(info->cmdline, start, end) != 0 ? info->cmdline : NULL;
    boot_alloc_init(start, end, lu_update_boot(), bad_in_arena);
}

/* When the boot loader entered the image that copied itself here. */
static uint64_t first_entry(const char *cmdline, uint64_t entry_tsc)
{
    struct str_span v;
    uint64_t tsc;

    return cmdline_get(cmdline, "boot_tsc", &v) && parse_size(v, &tsc) == 0 ? tsc : entry_tsc;
}

/* focus=NAME: who gets the keyboard at first; molt's own console otherwise. */
static void give_focus(const char *cmdline)
{
    struct str_span name;
    struct domain *d;

    if (cmdline_get(cmdline, "focus", &name)) {
        d = domctl_find(name.s, name.len);
        if (d != NULL) {
            console_set_focus(d->id);
        } else {
            printk("console: focus=%.*s: no such domain", (int)name.len, name.s);
        }
    }
}

/* Those that have been started come out of hv_lock now; an update finds all of them in cpu_list. */
static void let_cpus_in(void)
{
    hv_unlock();
    while (__atomic_load_n(&nr_cpus, __ATOMIC_ACQUIRE) < cpus_expected) {
        cpu_pause();
    }
    hv_lock();
}

static void cold_start(const struct boot_info *info)
{
    modules_claim(info);
    while (!buddy_open_step(~0U)) {
    }
    phase = "boot: virtualization";
    tsc_khz = tsc_calibrate_khz();
    wallclock_init();
    hvm_init();
    sched_init(info->cmdline);
    cpus_expected = 1 + cpus_start(info);
    machine_init(info->cmdline);
    phase = "boot: guests";
    guests_create(info);
    modules_keep_images(info);
    if (!memory_account()) {
        panic("memory: frames are lost");
    }
    machine_report_digests();
}

static void update_start(const struct boot_info *info)
{
    lu_check();
    machine_init(info->cmdline);
    hvm_init();
    sched_init(info->cmdline);
    lu_adopt();
}

void hv_main(uint32_t magic, uint32_t info_pa, uint64_t entry_tsc, uint32_t loaded_pa)
{
    struct boot_info info;
    struct lu_region region;
    unsigned int arena;
    const char *why = "";

    (void)magic; /* checked by boot/entry.asm */
    image_pa = loaded_pa;
    traps_init();
    cpu_init();
    hv_lock();
    cpu_join();
    serial_init();
    if (mb2_parse(pa_to_direct(info_pa), MB2_INFO_MAX, &info, &why) != 0) {
        panic("boot: %s", why);
    }
    arena = place_image(&info, info_pa, entry_tsc, &region);
    lu_init(&info, &region, arena, entry_tsc);

    phase = "boot: memory";
    arena_init(&info, info_pa, &region, arena);
    memory_init(&info, &region);
    if (paging_init(&memory_map) != 0 || vmap_init() != 0) {
        panic("memory: the arena is too small for page tables; give a larger liveupdate=");
    }
    boot_alloc_finish();
    apic_init(info.cmdline);
    if (!lu_update_boot()) {
        printk("molt %s/%.12s", lu_version, lu_build_id());
        printk("command line: %s", info.cmdline);
        printk("liveupdate: region 0x%llx-0x%llx (%llu MiB), arena %c",
               (unsigned long long)region.base, (unsigned long long)(region.base + region.size),
               (unsigned long long)(region.size >> 20), 'A' + (int)arena);
        cold_start(&info);
        machine_booted(first_entry(info.cmdline, entry_tsc));
        give_focus(info.cmdline);
        let_cpus_in();
    } else {
        update_start(&info);
    }
    phase = "run";
    selftest_run(info.cmdline);
    sched_loop();
}
