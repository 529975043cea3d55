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
#include "hv/fault.h"
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
    while (!buddy_open_step(~0U)) {
    }
    recorder_make();
    phase = "boot: virtualization";
    tsc_khz = tsc_calibrate_khz();
    wallclock_init();
    hvm_init(info->cmdline);
    sched_init(info->cmdline);
    cpus_expected = 1 + cpus_start(info);
    machine_init(info->cmdline);
    lu_report_policy();
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
    FAULT_POINT("new.machine.before");
    machine_init(info->cmdline);
    FAULT_POINT("new.hvm.before");
    hvm_init(info->cmdline);
    FAULT_POINT("new.hvm.after");
    sched_init(info->cmdline);
    FAULT_POINT("new.sched.after");
    lu_adopt();
}

void hv_main(uint32_t info_pa, uint64_t entry_tsc, uint32_t loaded_pa, uint32_t handover_pa)
{
    struct boot_info info;
    struct lu_region region;
    unsigned int arena;
    const char *why = "";

    image_pa = loaded_pa;
    FAULT_INIT(pa_to_direct(info_pa));
    lu_entered(handover_pa);
    FAULT_POINT("new.takeover.before");
    FAULT_POINT("new.traps.before");
    traps_init();
    FAULT_POINT("new.traps.after");
    FAULT_POINT("new.cpu.before");
    cpu_init();
    FAULT_POINT("new.cpu.after");
    hv_lock();
    cpu_join();
    serial_init();
    FAULT_POINT("new.information.before");
    if (mb2_parse(pa_to_direct(info_pa), MB2_INFO_MAX, &info, &why) != 0) {
        panic("boot: %s", why);
    }
    cmdline_learn(info.cmdline);
    FAULT_POINT("new.place.before");
    arena = place_image(&info, info_pa, entry_tsc, &region);
    FAULT_POINT("new.place.after");
    lu_init(&info, &region, arena, entry_tsc);
    FAULT_POINT("new.init.after");

    phase = "boot: memory";
    arena_init(&info, info_pa, &region, arena);
    FAULT_POINT("new.memory.before");
    memory_init(&info, &region);
    FAULT_POINT("new.paging.before");
    if (paging_init(&memory_map) != 0 || vmap_init() != 0) {
        panic("memory: the arena is too small for page tables; give a larger liveupdate=");
    }
    FAULT_POINT("new.paging.after");
    boot_alloc_finish();
    FAULT_POINT("new.apic.before");
    apic_init(info.cmdline);
    FAULT_POINT("new.apic.after");
    if (!lu_update_boot()) {
        modules_claim(&info);
        recorder_cold_start(first_entry(info.cmdline, entry_tsc));
        printk("molt %s/%.12s", lu_version, lu_build_id());
        printk("command line: %s", info.cmdline);
        printk("liveupdate: region 0x%llx-0x%llx (%llu MiB), arena %c",
               (unsigned long long)region.base, (unsigned long long)(region.base + region.size),
               (unsigned long long)(region.size >> 20), 'A' + (int)arena);
        lu_report_cold();
        recorder_report();
        cold_start(&info);
        machine_booted(first_entry(info.cmdline, entry_tsc));
        give_focus(info.cmdline);
        let_cpus_in();
    } else {
        update_start(&info);
    }
    FAULT_POINT("new.loop.before");
    phase = "run";
    selftest_run(&info);
    sched_loop();
}
