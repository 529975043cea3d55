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
#include "hv/fault.h"
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
#include "hv/time.h"
#include "hv/vmap.h"

#define HEAP_BLOCKS_PER_SLICE 256U
#define STREAM_PAGES_PER_SLICE 64U
#define SCRUB_PAGES_PER_SLICE 256U
#define CPUS_COME_MS 5000U /* since the adoption */

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

void finish_begin_back(void)
{
    for_each_cpu(cpu) {
        cpu->first_entry_tsc = 0;
        cpu->resumed = false;
    }
    for_each_domain(d) {
        for_each_vcpu(d, v) {
            timeline_note_stop(v);
            v->entered = false;
            v->entered_tsc = 0;
            v->held = v->run_state == VCPU_RUNNABLE;
        }
    }
    lu.finish = LU_FINISH_BACK;
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

/* All that were parked are here, or are not waited for any longer. Who is missing may still be in
 * the loop in the idle arena, which stays as it is then: no update. */
static bool cpus_are_settled(void)
{
    if (nr_cpus >= cpus_expected) {
        return true;
    }
    if (tsc_read() - lu.adopted_tsc < ms_to_tsc(CPUS_COME_MS)) {
        return false;
    }
    lu.cpus_late = true;
    printk("lu: %u of %u CPUs have come within %u ms: no further update until all have", nr_cpus,
           cpus_expected, CPUS_COME_MS);
    return true;
}

/* True: they have come after all. */
static bool latecomers(void)
{
    if (!lu.cpus_late || nr_cpus < cpus_expected) {
        return false;
    }
    lu.cpus_late = false;
    cpus_report(nr_cpus);
    return true;
}

/* When the last CPU ran a guest again while others were held up; `otherwise` when none were. */
static uint64_t resumed_tsc(uint64_t otherwise)
{
    uint64_t resumed = 0;

    for_each_cpu(cpu) {
        resumed = cpu->resumed ? MAX(resumed, cpu->first_entry_tsc) : resumed;
    }
    return resumed != 0 ? resumed : otherwise;
}

void finish_measure(void)
{
    const struct lu_stamps *s = &lu.handover->stamps;
    uint64_t resumed = resumed_tsc(lu.adopted_tsc);

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
    printk("update n=%llu ok from=%s/%.12s to=%s/%.12s stream=%u blackout=%llu save=%llu "
           "jump=%llu boot=%llu adopt=%llu resume=%llu",
           ULL(lu.attempts), lu.from_version, lu.from_build_id, lu_version, lu_build_id(),
           lu.from_stream_version, ULL(p->blackout), ULL(p->save), ULL(p->jump), ULL(p->boot),
           ULL(p->adopt), ULL(p->resume));
#undef ULL
    cpus_report(nr_cpus);
}

/* The guests run again under the image that they ran under before. */
static void report_back(void)
{
    lu.back_blackout = resumed_tsc(lu.back_tsc) - lu.failed_stop;
    printk("update n=%llu back code=%u phase=\"%s\" rip=%016llx blackout=%llu reason=\"%s\"",
           (unsigned long long)lu.attempts, lu.code, lu.failure.phase,
           (unsigned long long)lu.failure.rip, (unsigned long long)lu.back_blackout, lu.reason);
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

        /* Bad ones are not touched by anyone, and most of an arena was never written to. */
        if (frametable_get(mfn).state != FRAME_BAD && !mem_is_zero(mfn_to_va(mfn), PAGE_SIZE)) {
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
        if (!latecomers()) {
            return update_work();
        }
        next_step(true, LU_FINISH_SCRUB);
        break;
    case LU_FINISH_BACK:
        if (!guests_have_run()) {
            return false;
        }
        report_back();
        next_step(true, LU_FINISH_BACK_TIMELINE);
        break;
    case LU_FINISH_BACK_TIMELINE:
        next_step(timeline_slice(&lu.finish_cursor, lu.failed_stop, lu.failure.tsc),
                  LU_FINISH_SCRUB);
        break;
    case LU_FINISH_COMMIT:
        if (!guests_have_run() || !cpus_are_settled()) {
            return false;
        }
        FAULT_POINT("new.commit2.before");
        commit();
        FAULT_POINT("new.commit2.after");
        timeline_adopt(adopted_stream());
        next_step(true, LU_FINISH_TIMELINE);
        break;
    case LU_FINISH_TIMELINE:
        next_step(timeline_slice(&lu.finish_cursor, lu.handover->stamps.stop, 0), LU_FINISH_HEAP);
        break;
    case LU_FINISH_HEAP:
        FAULT_POINT("new.finish.heap");
        next_step(buddy_open_step(HEAP_BLOCKS_PER_SLICE), LU_FINISH_STREAM);
        if (lu.finish == LU_FINISH_STREAM) {
            recorder_make();
        }
        break;
    case LU_FINISH_STREAM:
        FAULT_POINT("new.finish.stream");
        next_step(free_stream_slice(), LU_FINISH_SCRUB);
        break;
    case LU_FINISH_SCRUB:
        FAULT_POINT("new.finish.scrub");
        next_step(lu.cpus_late || scrub_slice(),
                  lu.updates != 0 || lu.backs != 0 ? LU_FINISH_REPORT : LU_FINISH_DONE);
        break;
    case LU_FINISH_REPORT:
        FAULT_POINT("new.finish.report");
        memory_account();
        machine_report_digests();
        audit_gate_report();
        next_step(true, LU_FINISH_DONE);
        break;
    }
    return true;
}
