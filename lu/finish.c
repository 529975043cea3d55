/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After the pause: what the new image does in slices while the guests run.
 *
 * Commit 2, the heap, the stream's pages, scrubbing of the old arena, the report. Then the arena is
 * idle again and the next update can be placed there.
 */
#include "lu_priv.h"

#include "hv/buddy.h"
#include "hv/domain.h"
#include "hv/frametable.h"
#include "hv/hvm.h"
#include "hv/machine.h"
#include "hv/memory.h"
#include "hv/percpu.h"
#include "hv/phase.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/smp.h"
#include "hv/string.h"
#include "hv/vmap.h"

#define HEAP_BLOCKS_PER_SLICE 256U
#define STREAM_PAGES_PER_SLICE 64U
#define SCRUB_PAGES_PER_SLICE 256U

void finish_begin(void)
{
    lu.finish = LU_FINISH_COMMIT;
    lu.finish_cursor = 0;
    phase = "run";
}

void finish_begin_cold(void)
{
    lu.finish = LU_FINISH_SCRUB;
    lu.finish_cursor = 0;
}

bool lu_busy(void)
{
    return lu.finish != LU_FINISH_DONE;
}

/* Every vCPU that can run has run under this image. */
static bool guests_have_run(void)
{
    if (hvm == NULL) {
        return true;
    }
    for_each_domain(d) {
        for_each_vcpu(d, v) {
            if (d->state == DOMAIN_RUNNING && v->run_state == VCPU_RUNNABLE && !v->entered) {
                return false;
            }
        }
    }
    return true;
}

void finish_measure(void)
{
    const struct lu_stamps *s = &lu.handover->stamps;
    uint64_t resumed = 0; /* the last of the CPUs that had a guest to go on with */

    for_each_cpu(cpu) {
        resumed = cpu->resumed ? MAX(resumed, cpu->first_entry_tsc) : resumed;
    }
    if (resumed == 0) { /* nobody to run */
        resumed = lu.adopted_tsc;
    }
    lu.phases = (struct lu_phases){
        .blackout = resumed - s->stop,
        .save = s->saved - s->stop,
        .jump = lu.entry_tsc - s->saved,
        .boot = lu.booted_tsc - lu.entry_tsc,
        .adopt = lu.adopted_tsc - lu.booted_tsc,
        .resume = resumed - lu.adopted_tsc,
    };
}

static void commit(void)
{
    const struct lu_phases *p = &lu.phases;

    finish_measure();
    lu.handover->stage = LU_STAGE_RUNNING;
    breadcrumb_clear(lu.handover);
#define ULL(x) ((unsigned long long)(x))
    printk("update n=%llu ok from=%s/%.12s to=%s/%.12s blackout=%llu save=%llu jump=%llu "
           "boot=%llu adopt=%llu resume=%llu",
           ULL(lu.attempts), lu.from_version, lu.from_build_id, lu_version, lu_build_id(),
           ULL(p->blackout), ULL(p->save), ULL(p->jump), ULL(p->boot), ULL(p->adopt),
           ULL(p->resume));
#undef ULL
    cpus_report(nr_cpus);
}

static bool free_stream_list(void)
{
    struct lu_mfn_list_page *page;
    paddr_t next = lu.breadcrumb.mfn_list_pa;

    while (next != 0) {
        mfn_t mfn = pa_to_mfn(next);

        page = mfn_to_va(mfn);
        next = page->next_pa;
        buddy_free(mfn, ORDER_4K);
    }
    vunmap(lu.stream);
    lu.stream = NULL;
    return true;
}

/* The stream's pages, then the list's; true when all are back in the heap. */
static bool free_stream_slice(void)
{
    uint64_t end = MIN(lu.finish_cursor + STREAM_PAGES_PER_SLICE, lu.stream_pages);

    for (; lu.finish_cursor < end; lu.finish_cursor++) {
        buddy_free(vmap_get(lu.stream, lu.finish_cursor), ORDER_4K);
    }
    return lu.finish_cursor == lu.stream_pages && free_stream_list();
}

static bool scrub_slice(void)
{
    paddr_t start = region_arena_start(&lu.region, 1 - lu.arena);
    uint64_t pages = (region_arena_end(&lu.region, 1 - lu.arena) - start) >> PAGE_SHIFT;
    uint64_t n = MIN(pages - lu.finish_cursor, SCRUB_PAGES_PER_SLICE);

    for (uint64_t i = 0; i < n; i++) {
        mfn_t mfn = mfn_from((start >> PAGE_SHIFT) + lu.finish_cursor + i);

        if (frametable_get(mfn).state != FRAME_BAD) { /* those are not touched by anyone */
            frames_zero(mfn, 1);
        }
    }
    lu.finish_cursor += n;
    return lu.finish_cursor == pages;
}

static void next_step(bool done, enum lu_finish next)
{
    if (done) {
        lu.finish = next;
        lu.finish_cursor = 0;
    }
}

bool lu_work(void)
{
    switch (lu.finish) {
    case LU_FINISH_DONE:
        return false;
    case LU_FINISH_COMMIT:
        if (!guests_have_run() || nr_cpus < cpus_expected) {
            return false;
        }
        commit();
        next_step(true, LU_FINISH_HEAP);
        break;
    case LU_FINISH_HEAP:
        next_step(buddy_open_step(HEAP_BLOCKS_PER_SLICE), LU_FINISH_STREAM);
        break;
    case LU_FINISH_STREAM:
        next_step(free_stream_slice(), LU_FINISH_SCRUB);
        break;
    case LU_FINISH_SCRUB:
        next_step(scrub_slice(), lu.update_boot ? LU_FINISH_REPORT : LU_FINISH_DONE);
        break;
    case LU_FINISH_REPORT:
        memory_account();
        machine_report_digests();
        next_step(true, LU_FINISH_DONE);
        break;
    }
    return true;
}
