/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The update, old side: from lu_request_exec() to the jump.
 *
 *   update_prepare()  guests run     stream begun, tables of the jump made
 *   lu_request_exec() guests run     someone asks
 *   lu_poll()         between guests stop all CPUs, save, check, breadcrumb, park them, jump
 *
 * Until the jump everything can be taken back: a failure prints its reason and the guests go on.
 */
#include "lu_priv.h"

#include "hv/console.h"
#include "hv/context.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/frametable.h"
#include "hv/hvm.h"
#include "hv/irq.h"
#include "hv/percpu.h"
#include "hv/phase.h"
#include "hv/printk.h"
#include "hv/sched.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hv/smp.h"
#include "hv/vmap.h"

static struct stream_writer writer;
static bool prepared;

void update_forget(void)
{
    if (prepared) {
        stream_free(&writer);
        prepared = false;
    }
}

void update_prepare(void)
{
    update_forget();
    kexec_prepare();
    save_prepare(&writer, lu.loaded.stream_version);
    prepared = true;
}

int lu_request_exec(struct vcpu *caller, char why[LU_REASON_MAX])
{
    if (!lu.loaded.valid) {
        return lu_refuse(-ENOENT, why, "no image is loaded");
    }
    if (lu.exec_requested) {
        return lu_refuse(-EBUSY, why, "an update is under way");
    }
    lu.exec_requested = true;
    lu.exec_caller = caller;
    domain_settle();      /* half-done calls of guests begin anew under the next image */
    if (caller != NULL) { /* until the idle arena is free and all CPUs have stopped */
        sched_sleep(caller, UINT64_MAX);
    }
    if (this_cpu() != cpu_list) {
        cpu_kick(cpu_list);
    }
    return 0;
}

/* Loading took its time between two guests: they run once more before the pause begins. */
static bool guests_had_a_turn(void)
{
    for_each_cpu(cpu) {
        if (cpu->last_exit_tsc > lu.loaded_tsc) {
            return true;
        }
    }
    return sched_idle();
}

bool lu_due(void)
{
    return lu.others != LU_OTHERS_RUN || (lu.exec_requested && !lu_busy() && !domain_reaping() &&
                                          this_cpu() == cpu_list && guests_had_a_turn());
}

bool lu_requested(void)
{
    return lu.exec_requested;
}

void lu_forget_caller(const struct vcpu *v)
{
    if (lu.exec_caller == v) {
        lu.exec_caller = NULL;
    }
}

static bool usable(mfn_t mfn)
{
    return frametable_get(mfn).state == FRAME_STREAM;
}

/* What the stream names of preserved memory: frames, and a hash table of the blocks' first ones. */
static struct {
    uint64_t guest_frames, module_frames;
    uint64_t *slots; /* mfn + 1, 0: empty; never more than half full */
    unsigned int bits;
    uint64_t left;
} named;

static int named_init(void)
{
    uint64_t extents = 0;

    for_each_domain(d) {
        extents += d->extents.nr;
    }
    named.guest_frames = 0;
    named.module_frames = 0;
    named.left = extents;
    named.bits = 1;
    while (BIT(named.bits) < 2 * extents) {
        named.bits++;
    }
    named.slots = kzalloc(sizeof(*named.slots) << named.bits);
    return named.slots != NULL ? 0 : -ENOMEM;
}

/* False when the block was named before. */
static bool named_add(mfn_t mfn)
{
    uint64_t at = (mfn.v * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - named.bits);

    if (named.left == 0) {
        return false;
    }
    for (; named.slots[at] != 0; at = (at + 1) & (BIT(named.bits) - 1)) {
        if (named.slots[at] == mfn.v + 1) {
            return false;
        }
    }
    named.slots[at] = mfn.v + 1;
    named.left--;
    return true;
}

/* The old side knows whose each frame is. */
static int check_frames(mfn_t start, mfn_t end, uint16_t owner)
{
    struct frame_info f = frametable_get(start);

    if (owner == OWNER_NONE) {
        for (mfn_t at = start; at.v < end.v; at.v = f.head.v + BIT(f.order)) {
            f = frametable_get(at);
            if (f.state != FRAME_MODULE) {
                return -EINVAL;
            }
        }
        named.module_frames += end.v - start.v;
        return 0;
    }
    named.guest_frames += end.v - start.v;
    return f.state == FRAME_GUEST && f.owner == owner && f.head.v == start.v &&
                   BIT(f.order) == end.v - start.v && named_add(start)
               ? 0
               : -EINVAL;
}

static const struct frame_keeper own_keeper = {check_frames, NULL};

/* The stream against what is running: every preserved frame is named, and named once. */
static int check_records(struct stream_reader *reader, const char **why)
{
    int rc = named_init();

    *why = "out of memory to check the stream";
    if (rc != 0) {
        return rc;
    }
    rc = restore_check(reader, &own_keeper, why);
    if (rc == 0 && (named.guest_frames != frametable_count(FRAME_GUEST) ||
                    named.module_frames != frametable_count(FRAME_MODULE))) {
        *why = "not all preserved frames are in the stream";
        rc = -EBADMSG;
    }
    kfree(named.slots);
    return rc;
}

/* The reader's own check over what was just written. */
static int check_own_stream(const char **why)
{
    struct stream_reader reader;
    void *area;
    int rc = stream_map(writer.list_pa, writer.pages, usable, NULL, &area, why);

    if (rc != 0) {
        return rc;
    }
    rc = stream_open(&reader, area, writer.pages * PAGE_SIZE, why);
    if (rc == 0) {
        rc = check_records(&reader, why);
    }
    vunmap(area);
    return rc;
}

/* Everything up to the point of no return. 0: the relocation list is complete. */
static int save_all(uint64_t stop, const char **why)
{
    struct reloc_list *list = &lu.loaded.list;
    int rc;

    phase = "update: save";
    context_unload();
    for_each_domain(d) {
        for_each_vcpu(d, v) {
            if (v->signals != 0) {
                irq_take_signals(v);
            }
        }
    }
    if (!prepared || save_outdated()) {
        update_prepare();
    }
    *why = "out of memory for the stream";
    rc = save_finish(&writer);
    if (rc != 0) {
        return rc;
    }
    phase = "update: check";
    rc = check_own_stream(why);
    if (rc != 0) {
        return rc;
    }
    phase = "update: breadcrumb";
    *why = "out of memory for the relocation list";
    breadcrumb_reset(lu.handover);
    lu.handover->stamps.stop = stop;
    rc = breadcrumb_emit(list, lu.region.base, writer.list_pa, writer.pages, lu.loaded.nonce);
    return rc == 0 ? reloc_done(list) : rc;
}

/* The update did not take place: as before it, and whoever asked learns why. */
static void cancel(struct vcpu *caller, int rc, const char *why, const struct reloc_list *mark)
{
    console_pause_end();
    lu.refused++;
    lu.last_result = rc;
    fmt_str(lu.reason, sizeof(lu.reason), "%s", why);
    printk("update n=%llu refused reason=\"%s\"", (unsigned long long)lu.attempts, why);
    reloc_truncate(&lu.loaded.list, mark);
    update_forget();
    if (caller != NULL) {
        hypercall_result(caller, rc);
    }
    for_each_domain(d) {
        for_each_vcpu(d, v) {
            if (!v->running) {
                vcpu_unload(v); /* saving has loaded some */
            }
        }
    }
    others_go_on();
    phase = "run";
}

/* Held up from here on like the others. */
static void wake_caller(struct vcpu *caller)
{
    if (caller != NULL && caller->run_state == VCPU_SLEEPING && caller->wake_tsc == UINT64_MAX) {
        caller->run_state = VCPU_RUNNABLE;
        caller->wake_tsc = 0;
    }
}

void lu_poll(void)
{
    struct reloc_list mark;
    struct vcpu *caller;
    const char *why = "";
    int rc;

    if (!lu_due()) {
        return;
    }
    wake_caller(lu.exec_caller);
    lu.attempts++;
    others_note_stop();
    console_pause_begin();
    rc = others_stop(&why); /* without hv_lock for a while: the request keeps loads out */
    caller = lu.exec_caller;
    mark = lu.loaded.list;
    lu.exec_requested = false;
    lu.exec_caller = NULL;
    if (rc == 0) {
        rc = save_all(others_first_stop(), &why);
    }
    if (rc != 0) {
        cancel(caller, rc, why, &mark);
        return;
    }
    phase = "update: jump";
    lu.handover->stamps.saved = tsc_read();
    if (hvm != NULL) {
        hvm->cpu_off();
    }
    others_park();
    kexec_jump(lu.loaded.list.head_pa, lu.loaded.dest_pa + lu.loaded.info.entry, lu.loaded.info_pa);
}
