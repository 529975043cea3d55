/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The update, new side: from the breadcrumb to commit 1.
 */
#include "lu_priv.h"

#include "hv/buddy.h"
#include "hv/cmdline.h"
#include "hv/e820.h"
#include "hv/frametable.h"
#include "hv/memory.h"
#include "hv/percpu.h"
#include "hv/phase.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/smp.h"
#include "hv/string.h"

struct lu_state lu;

static struct stream_reader reader;

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

void lu_init(const struct boot_info *info, const struct lu_region *region, unsigned int arena,
             uint64_t entry_tsc)
{
    uint64_t nonce = nonce_of(info->cmdline);
    const char *why = "";

    lu.boot = *info;
    lu.region = *region;
    lu.arena = arena;
    lu.entry_tsc = entry_tsc;
    lu.handover = mfn_to_va(pa_to_mfn(region->base));
    if (nonce != 0 && breadcrumb_find(lu.handover, nonce, &lu.breadcrumb, &why) == 0) {
        lu.update_boot = true;
        lu.handover->stage = LU_STAGE_BOOTED;
        return;
    }
    if (nonce != 0) { /* the previous image wanted an update; nothing of it can be found */
        panic("lu: no breadcrumb: %s", why);
    }
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
static int claim_frames(mfn_t start, mfn_t end, uint16_t owner)
{
    if (owner == OWNER_NONE) {
        return frametable_claim_range(start, end, FRAME_MODULE, OWNER_NONE);
    }
    return frametable_claim(start, (unsigned int)__builtin_ctzll(end.v - start.v), FRAME_GUEST,
                            owner);
}

static void unclaim_frames(mfn_t start, mfn_t end)
{
    while (start.v < end.v) {
        struct frame_info f = frametable_get(start);

        frametable_unclaim(f.head, f.order);
        start.v = f.head.v + BIT(f.order);
    }
}

const struct frame_keeper adopt_keeper = {claim_frames, unclaim_frames};

void lu_check(void)
{
    const char *why = "";
    int rc;

    phase = "adopt: stream";
    lu.booted_tsc = tsc_read();
    lu.stream_pages = lu.breadcrumb.stream_pages;
    rc = stream_map(lu.breadcrumb.mfn_list_pa, lu.stream_pages, stream_frame_ok, claim_stream_page,
                    &lu.stream, &why);
    if (rc == 0) {
        rc = stream_open(&reader, lu.stream, lu.stream_pages * PAGE_SIZE, &why);
    }
    if (rc == 0) {
        rc = restore_check(&reader, &adopt_keeper, &why);
    }
    if (rc != 0) {
        panic("lu: stream refused: %s (%d)", why, rc);
    }
    restore_host(&reader);
}

void lu_adopt(void)
{
    const char *why = "";
    int rc;

    phase = "adopt: CPUs";
    cpus_expected = 1 + lu.handover->park.parked;
    if (cpus_prepare(&lu.handover->park) != 0) {
        panic("lu: out of memory for %u CPUs", cpus_expected);
    }
    phase = "adopt: domains";
    rc = restore_apply(&reader, &why);
    if (rc != 0) {
        panic("lu: adoption failed: %s (%d)", why, rc);
    }
    cpus_release(&lu.handover->park);
    lu.handover->stage = LU_STAGE_ADOPTED;
    lu.adopted_tsc = tsc_read();
    finish_begin();
}
