/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The update, new side: from the breadcrumb to commit 1.
 */
#include "lu_priv.h"

#include "hv/buddy.h"
#include "hv/cmdline.h"
#include "hv/e820.h"
#include "hv/fault.h"
#include "hv/frametable.h"
#include "hv/hvm.h"
#include "hv/memory.h"
#include "hv/percpu.h"
#include "hv/phase.h"
#include "hv/printk.h"
#include "hv/recorder.h"
#include "hv/seam.h"
#include "hv/smp.h"
#include "hv/string.h"
#include "hv/watchdog.h"
#include "hv/way_back.h"

struct lu_state lu;

static struct stream_reader reader;

struct stream_reader *adopted_stream(void)
{
    return &reader;
}

paddr_t lu_ram_end(void)
{
    return e820_ram_end(&memory_map);
}

static uint64_t nonce_of(const char *cmdline)
{
    struct str_span v;
    uint64_t nonce = 0;

    if (!cmdline_get(cmdline, "lu_nonce", &v) || parse_size(v, &nonce) != 0) {
        return 0;
    }
    return nonce;
}

void lu_entered(paddr_t handover_pa)
{
    if (!way_back_find(handover_pa, &lu.back)) {
        return;
    }
    recorder_enter(mfn_to_va(pa_to_mfn(handover_pa)));
    if (lu.back.flags & LU_BACK_TIMER) {
        watchdog_take_over();
    }
}

/* A boot loader's boot says when it began: nothing that RAM still holds is about this boot. */
static bool cold(const char *cmdline)
{
    struct str_span v;

    return cmdline_get(cmdline, "boot_tsc", &v) || nonce_of(cmdline) == 0;
}

/* What a reset has left in the page where an earlier boot handed over; "": nothing. */
static char old_handover[LU_REASON_MAX];

static const char *stage_name(uint32_t stage)
{
    static const char *const names[] = {
        [LU_STAGE_NONE] = "none",       [LU_STAGE_JUMPED] = "jumped",
        [LU_STAGE_BOOTED] = "booted",   [LU_STAGE_ADOPTED] = "adopted",
        [LU_STAGE_RUNNING] = "running",
    };

    return stage < ARRAY_SIZE(names) ? names[stage] : "unknown";
}

static void note_old_handover(const struct lu_handover *page, const char *cmdline)
{
    const char *why = "this boot has no lu_nonce=";
    struct lu_breadcrumb b;

    old_handover[0] = '\0';
    if (page->magic != LU_HANDOVER_MAGIC) {
        return;
    }
    if (page->breadcrumb.magic == 0) {
        fmt_str(old_handover, sizeof(old_handover), "stage %s, no breadcrumb",
                stage_name(page->stage));
        return;
    }
    if (nonce_of(cmdline) != 0 && breadcrumb_find(page, nonce_of(cmdline), &b, &why) == 0) {
        why = "it is of an earlier boot";
    }
    fmt_str(old_handover, sizeof(old_handover), "stage %s, breadcrumb not taken (%s)",
            stage_name(page->stage), why);
}

void lu_report_cold(void)
{
    if (old_handover[0] != '\0') {
        printk("lu: handover page of an earlier boot: %s", old_handover);
    }
    if (nonce_of(lu.boot.cmdline) != 0) {
        printk("lu: lu_nonce= is for images to write: ignored");
    }
}

/* Where the update has left its breadcrumb, or back. */
static void find_breadcrumb(const char *cmdline)
{
    const char *why = "";

    if (way_back_open() && lu.back.nonce != nonce_of(cmdline)) {
        way_back_refuse("lu_nonce= is not this update's");
    }
    if (breadcrumb_find(lu.handover, nonce_of(cmdline), &lu.breadcrumb, &why) != 0) {
        way_back_refuse("%s", why);
    }
    recorder_step("new: breadcrumb found");
    lu.update_boot = true;
    lu.handover->stage = LU_STAGE_BOOTED;
}

void lu_init(const struct boot_info *info, const struct lu_region *region, unsigned int arena,
             uint64_t entry_tsc)
{
    lu.boot = *info;
    lu.region = *region;
    lu.arena = arena;
    lu.entry_tsc = entry_tsc;
    lu.handover = mfn_to_va(pa_to_mfn(region->base));
    FAULT_MEMORY(FAULT_HANDOVER, lu.handover, PAGE_SIZE);
    FAULT_POINT("new.init.before");
    if (way_back_open() || !cold(info->cmdline)) {
        find_breadcrumb(info->cmdline);
        return;
    }
    note_old_handover(lu.handover, info->cmdline);
    recorder_find_early(lu.handover);
    memset(lu.handover, 0, PAGE_SIZE);
    finish_begin_cold();
}

bool lu_update_boot(void)
{
    return lu.update_boot;
}

/* A frame that may hold the stream: RAM outside the region. What else it could be (bad, named
 * twice) the frametable tells when it is claimed. */
static bool stream_frame_ok(mfn_t mfn)
{
    paddr_t pa = mfn_to_pa(mfn);

    return e820_is_ram(&memory_map, pa, pa + PAGE_SIZE) &&
           !ranges_overlap(pa, pa + PAGE_SIZE, lu.region.base, lu.region.base + lu.region.size);
}

static int claim_stream_page(mfn_t mfn)
{
    return frametable_claim(mfn, ORDER_4K, FRAME_STREAM, OWNER_NONE);
}

/* RAM, outside the region, not bad, not taken: the frametable knows it all. */
static int claim_frames(mfn_t start, mfn_t end, enum frame_state state, uint16_t owner)
{
    if (state == FRAME_RECORDER) {
        recorder_claimed(start, end);
    }
    if (state == FRAME_MODULE) { /* of any size */
        return frametable_claim_range(start, end, state, owner);
    }
    return frametable_claim(start, (unsigned int)__builtin_ctzll(end.v - start.v), state, owner);
}

static void unclaim_frames(mfn_t start, mfn_t end)
{
    while (start.v < end.v) {
        struct frame_info f = frametable_get(start);

        frametable_unclaim(f.head, f.order);
        start.v = f.head.v + BIT(f.order);
    }
}

const struct frame_keeper adopt_keeper = {claim_frames, frametable_claim_extents, unclaim_frames};

/* As many as wait, if that is right; CPUS of the stream has to agree. */
static void count_cpus(void)
{
    cpus_expected = 1 + lu.handover->park.parked;
    if (way_back_open() && lu.handover->park.parked != lu.back.cpus) {
        way_back_refuse("%u CPUs are parked, not %u", lu.handover->park.parked, lu.back.cpus);
    }
}

void lu_check(void)
{
    const char *why = "";
    int rc;

    phase = "adopt: stream";
    recorder_step("new: stream");
    lu.booted_tsc = tsc_read();
    lu.stream_pages = lu.breadcrumb.stream_pages;
    count_cpus();
    FAULT_POINT("new.map.before");
    rc = stream_map(lu.breadcrumb.mfn_list_pa, lu.stream_pages,
                    way_back_open() ? &lu.back.list_crc : NULL, stream_frame_ok, claim_stream_page,
                    &lu.stream, &why);
    FAULT_POINT("new.map.after");
    if (rc == 0) {
        rc = stream_open(&reader, lu.stream, lu.stream_pages * PAGE_SIZE, &why);
    }
    FAULT_POINT("new.open.after");
    if (rc == 0) {
        rc = restore_check(&reader, &adopt_keeper, &why);
    }
    FAULT_POINT("new.check.after");
    if (rc != 0) {
        way_back_refuse("stream: %s (%d)", why, rc);
    }
    recorder_adopt();
    restore_host(&reader);
    FAULT_POINT("new.host.after");
}

/* Everything is adopted: the old image is not gone back to any more. */
static void commit_1(void)
{
    way_back_close();
    if (lu.back.flags & LU_BACK_TIMER) {
        watchdog_stop();
    }
    /* Release: what was adopted is complete for whoever reads the stage after a crash. */
    __atomic_store_n(&lu.handover->stage, LU_STAGE_ADOPTED, __ATOMIC_RELEASE);
}

void lu_adopt(void)
{
    const char *why = "";
    int rc;

    if (lu.virtualized && hvm == NULL) { /* the CPU can; it has not worked */
        way_back_refuse("virtualization cannot be turned on: vCPUs would not run");
    }
    phase = "adopt: CPUs";
    recorder_step("new: adoption");
    FAULT_POINT("new.cpus.before");
    if (cpus_prepare(&lu.handover->park) != 0) {
        way_back_refuse("out of memory for %u CPUs", cpus_expected);
    }
    FAULT_POINT("new.cpus.after");
    phase = "adopt: domains";
    rc = restore_apply(&reader, &why);
    if (rc != 0) {
        way_back_refuse("adoption: %s (%d)", why, rc);
    }
    rc = audit_gate_adopted(&reader, &why);
    if (rc != 0) {
        way_back_refuse("%s", why);
    }
    FAULT_POINT("new.commit1.before");
    FAULT_POINT("new.takeover.after");
    commit_1();
    recorder_step("new: commit 1");
    FAULT_POINT("new.commit1.after");
    cpus_release(lu.handover);
    FAULT_POINT("new.release.after");
    lu.adopted_tsc = tsc_read();
    finish_begin();
}
