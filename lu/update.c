/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The update, old side: from lu_request_exec() to the jump, and back when the next image fails.
 *
 *   update_prepare_slice()           guests run: stream begun, tables of the jump made
 *   lu_request_exec() guests run     someone asks
 *   update_work()     guests run     domains have changed since: the same again
 *   lu_poll()         between guests stop all CPUs, save, check, breadcrumb, park them, jump
 *       attempt()                    ... the part that may be left anywhere, by a fault, by a hang,
 *                                    or by the next image when it fails
 *     cancel()                       refused before the jump
 *     come_back()                    the attempt was left
 *
 * Everything can be taken back until the next image says that it has adopted all (commit 1).
 */
#include "lu_priv.h"

#include "hv/cmdline.h"
#include "hv/console.h"
#include "hv/context.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/fault.h"
#include "hv/hvm.h"
#include "hv/irq.h"
#include "hv/percpu.h"
#include "hv/phase.h"
#include "hv/printk.h"
#include "hv/recorder.h"
#include "hv/sched.h"
#include "hv/seam.h"
#include "hv/smp.h"
#include "hv/string.h"
#include "hv/time.h"
#include "hv/watchdog.h"
#include "hv/way_back.h"

#define DEADLINE_DEFAULT_MS 1000U
/* CPUs stop at their next exit: not a matter of lu_deadline=. But who gives the new image longer
 * because the machine is slow means them as well. */
#define STOP_LIMIT_MS 1000U

static struct stream_writer writer;
static enum {
    STREAM_NONE,
    STREAM_DROPPED,  /* being freed */
    STREAM_BEGUN,    /* being written ahead */
    STREAM_PREPARED, /* up to what the pause writes */
} stream_stage;
static uint64_t limit_ms; /* lu_deadline=; 0: no limit */

bool update_forget_slice(void)
{
    if (stream_stage == STREAM_NONE) {
        return true;
    }
    stream_stage = STREAM_DROPPED;
    own_check_forget();
    if (stream_free_slice(&writer)) {
        stream_stage = STREAM_NONE;
    }
    return stream_stage == STREAM_NONE;
}

void update_forget(void)
{
    while (!update_forget_slice()) {
    }
}

const struct stream_writer *update_stream(void)
{
    return stream_stage != STREAM_NONE ? &writer : NULL;
}

static uint64_t read_limit(void)
{
    struct str_span v;
    uint64_t ms;

    if (!cmdline_get(lu.boot.cmdline, "lu_deadline", &v) || parse_size(v, &ms) != 0) {
        ms = DEADLINE_DEFAULT_MS;
    }
    return ms;
}

/* What has been checked ahead is as good as in the pause: an audit does not matter any more. */
static bool is_prepared(void)
{
    return stream_stage == STREAM_PREPARED && !save_outdated();
}

static void prepare_begin(void)
{
    FAULT_POINT("old.prepare.before");
    limit_ms = read_limit();
    kexec_prepare();
    timeline_prepare();
    lu.watch = cpus_expected > 1            ? HC_LU_WATCH_CPU
               : watchdog_prepare(&lu.boot) ? HC_LU_WATCH_TIMER
                                            : HC_LU_WATCH_NONE;
    save_begin(&writer, lu.loaded.stream_version);
    own_check_begin(&writer);
    stream_stage = STREAM_BEGUN;
}

/* Checks what there is, or writes some more. */
static void prepare_more(void)
{
    if (own_check_ahead(&writer) && !save_slice(&writer)) {
        stream_stage = STREAM_PREPARED;
        FAULT_POINT("old.prepare.after");
    }
}

bool update_prepare_slice(void)
{
    if (is_prepared()) {
        return true;
    }
    if (stream_stage == STREAM_BEGUN && !save_outdated()) {
        prepare_more();
    } else if (update_forget_slice()) {
        prepare_begin();
    }
    return is_prepared();
}

void update_prepare(void)
{
    while (!update_prepare_slice()) {
    }
}

/* Asked for, and what has to be finished before is: the set of domains does not change any more. */
static bool exec_may_come(void)
{
    return lu.exec_requested && !lu_busy() && !domain_reaping();
}

bool update_work(void)
{
    if (is_prepared() || !exec_may_come()) {
        return false;
    }
    (void)update_prepare_slice();
    return true;
}

int lu_request_exec(struct vcpu *caller, char why[LU_REASON_MAX])
{
    struct kimage_fault fault;
    int rc;

    if (!lu.loaded.valid) {
        return lu_refuse(-ENOENT, HC_LU_R_NO_IMAGE, why, "no image is loaded");
    }
    if (lu.exec_requested) {
        return lu_refuse(-EBUSY, HC_LU_R_BUSY, why, "an update is under way");
    }
    rc = seal_features(&lu.loaded.info, &fault); /* what is in use may be more than at the load */
    if (rc != 0) {
        return lu_refuse(rc, fault.code, why, "%s", fault.text);
    }
    FAULT_POINT("old.request");
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
    return lu.others != LU_OTHERS_RUN ||
           (exec_may_come() && is_prepared() && this_cpu() == cpu_list && guests_had_a_turn());
}

bool lu_requested(void)
{
    return lu.exec_requested;
}

/* Everything up to the point of no return. 0: the relocation list is complete. */
static int save_all(uint64_t stop, const char **why)
{
    struct reloc_list *list = &lu.loaded.list;
    int rc;

    phase = "update: save";
    recorder_step("old: save");
    FAULT_POINT("old.save.before");
    for_each_domain(d) {
        for_each_vcpu(d, v) {
            if (v->signals != 0) {
                irq_take_signals(v);
            }
        }
    }
    update_prepare(); /* nothing is left of that, as a rule */
    *why = "out of memory for the stream";
    rc = save_finish(&writer);
    if (rc != 0) {
        return rc;
    }
    phase = "update: check";
    recorder_step("old: check");
    FAULT_MEMORY(FAULT_STREAM, pa_to_va(writer.list_pa), PAGE_SIZE);
    FAULT_POINT("old.check.before");
    rc = own_check(&writer, why);
    if (rc != 0) {
        return rc;
    }
    phase = "update: breadcrumb";
    recorder_step("old: breadcrumb");
    FAULT_POINT("old.breadcrumb.before");
    *why = "out of memory for the relocation list";
    breadcrumb_reset(lu.handover);
    recorder_name(writer.version >= 2); /* as the stream does */
    lu.handover->stamps.stop = stop;
    rc = breadcrumb_emit(list, lu.region.base, writer.list_pa, writer.pages, lu.loaded.nonce);
    return rc == 0 ? reloc_done(list) : rc;
}

/* The update did not take place: whoever asked learns why. */
static void failed(struct vcpu *caller, int rc, uint32_t code, const char *why)
{
    console_pause_end();
    recorder_name(true);
    lu.refused++;
    lu.last_result = rc;
    lu.code = code;
    lu.needed = 0;
    str_copy(lu.reason, sizeof(lu.reason), why);
    if (caller != NULL) {
        hypercall_result(caller, rc);
    }
    phase = "run";
}

/* Before the jump: all is as before, the image stays loaded. */
static void cancel(struct vcpu *caller, int rc, uint32_t code, const char *why,
                   const struct reloc_list *mark)
{
    failed(caller, rc, code, why);
    printk("update n=%llu refused reason=\"%s\"", (unsigned long long)lu.attempts, why);
    reloc_truncate(&lu.loaded.list, mark);
    update_forget();
    for_each_domain(d) {
        for_each_vcpu(d, v) {
            if (!v->running) {
                vcpu_unload(v); /* saving has loaded some */
            }
        }
    }
    others_go_on();
}

/* How long the pause may take, host TSC; 0: for ever. */
static uint64_t deadline(void)
{
    return limit_ms != 0 ? tsc_read() + ms_to_tsc(limit_ms) + audit_gate_allowance() : 0;
}

static void begin_way_back(void)
{
    uint64_t until = deadline();

    if (until != 0 && lu.watch == HC_LU_WATCH_TIMER) {
        watchdog_arm();
    }
    way_back_begin(lu.handover, lu.region.base, until);
}

static void end_way_back(void)
{
    way_back_close();
    watchdog_stop();
    nmi_allow(); /* the next image may have hung, and an NMI have ended that */
}

static void offer_way_back(void)
{
    bool watched = lu.loaded.info.flags & LU_NOTE_WAY_BACK;
    const struct lu_way_back block = {
        .nonce = lu.loaded.nonce,
        .cpus = nr_cpus - 1,
        .list_crc = mfn_list_crc(writer.list_pa),
        .flags = watched && lu.watch == HC_LU_WATCH_TIMER ? LU_BACK_TIMER : 0,
    };

    if (!watched) { /* it would not know what an NMI means */
        watchdog_stop();
    }
    watchdog_restart(); /* on the way to the next image's interrupt table nothing takes one */
    way_back_offer(&block, watched);
}

/* What becomes of an update. */
struct attempt {
    uint64_t stop; /* host TSC: since when guests stand */
    bool jumped;
    int rc; /* refused, all is as before; with why and code */
    uint32_t code;
    const char *why;
};

/* The pause. Returns when the update is refused; else the next image comes. Wherever it fails, it
 * is left (escape_call()). */
static void attempt(void *arg)
{
    struct attempt *a = arg;

    FAULT_POINT("old.pause.before");
    a->rc = save_all(a->stop, &a->why);
    a->code = a->rc == -ENOMEM ? HC_LU_R_MEMORY : HC_LU_R_OWN_STREAM;
    FAULT_POINT("old.pause.after");
    if (a->rc != 0) {
        return;
    }
    phase = "update: jump";
    recorder_step("old: jump");
    lu.handover->stamps.saved = tsc_read();
    FAULT_POINT("old.off.before");
    if (hvm != NULL) {
        hvm->cpu_off();
    }
    FAULT_POINT("old.offer.before");
    offer_way_back(); /* with the deadline that a parked CPU watches */
    FAULT_POINT("old.park.before");
    if (others_park() != 0) {
        way_back_refuse("a CPU does not park");
    }
    FAULT_MEMORY(FAULT_LIST, pa_to_va(lu.loaded.list.head_pa), PAGE_SIZE);
    FAULT_POINT("old.jump");
    a->jumped = true;
    kexec_jump(lu.loaded.list.head_pa, lu.loaded.dest_pa + lu.loaded.info.entry, lu.loaded.info_pa);
}

/* What whoever failed has left of itself; if it was the next image, as untrusted as this image's
 * breadcrumb would be to it. */
static const char *failure(bool jumped, uint32_t *code)
{
    static const struct {
        uint32_t code;
        const char *text;
    } kinds[] = {
        [LU_FAIL_NONE] = {HC_LU_R_BACK_SILENT, "a fault before it could tell"},
        [LU_FAIL_PANIC] = {HC_LU_R_BACK_PANIC, "panic"},
        [LU_FAIL_EXCEPTION] = {HC_LU_R_BACK_EXCEPTION, "exception"},
        [LU_FAIL_REFUSED] = {HC_LU_R_BACK_REFUSED, "refused"},
        [LU_FAIL_DEADLINE] = {HC_LU_R_BACK_DEADLINE, "deadline passed"},
    };
    static char text[LU_REASON_MAX];
    struct lu_failure *f = &lu.failure;
    const char *what = "the new image failed";

    *f = lu.handover->failure;
    f->phase[sizeof(f->phase) - 1] = '\0';
    f->reason[sizeof(f->reason) - 1] = '\0';
    f->kind = f->kind < ARRAY_SIZE(kinds) ? f->kind : LU_FAIL_NONE;
    *code = kinds[f->kind].code;
    if (!jumped) {
        *code = HC_LU_R_PAUSE;
        what = "this image failed in the pause";
    } else if (lu.handover->stage == LU_STAGE_NONE) { /* not even the end of the relocation list */
        *code = HC_LU_R_BACK_RELOCATOR;
        what = "the new image was not reached";
    }
    fmt_str(text, sizeof(text), "%s: %s%s%s", what, kinds[f->kind].text,
            f->reason[0] != '\0' ? ": " : "", f->reason);
    return text;
}

/*
 * The attempt was left. Guest memory and everything of this image's own is as it was; the next
 * image is gone, its arena may be full of what it did, and the stream tells of a past.
 */
static void come_back(struct vcpu *caller, const struct attempt *a)
{
    uint32_t code;
    const char *why = failure(a->jumped, &code);

    end_way_back();
    recorder_step("old: back");
    FAULT_POINT("old.back.before");
    breadcrumb_clear(lu.handover);
    lu.handover->stage = LU_STAGE_NONE;
    lu.failed_stop = a->stop;
    lu.back_tsc = tsc_read();
    if (hvm != NULL && hvm->cpu_on() != 0) {
        panic("lu: back from a failed update, but %s cannot be turned on again", hvm->name);
    }
    others_return();
    failed(caller, -ECANCELED, code, why);
    lu.backs++;
    own_check_forget();
    lu_unload();
    audit_gate_back();
    FAULT_POINT("old.back.after");
    finish_begin_back();
}

/* Held up from here on like the others. */
static void wake_caller(struct vcpu *caller)
{
    if (caller != NULL && caller->run_state == VCPU_SLEEPING && caller->wake_tsc == UINT64_MAX) {
        caller->run_state = VCPU_RUNNABLE;
        caller->wake_tsc = 0;
    }
}

/* Refused before the pause: guests have run since the request, and use something now that the next
 * image cannot take over; or the idle arena, waited for, does not become free. */
static bool overtaken(void)
{
    char why[LU_REASON_MAX];
    struct kimage_fault fault;
    int rc = lu_check_cpus(why);

    if (rc == 0) {
        rc = seal_features(&lu.loaded.info, &fault);
        if (rc == 0) {
            return false;
        }
        (void)lu_refuse(rc, fault.code, why, "%s", fault.text);
    }
    if (lu.exec_caller != NULL) {
        hypercall_result(lu.exec_caller, rc);
    }
    lu.exec_requested = false;
    lu.exec_caller = NULL;
    return true;
}

void lu_poll(void)
{
    struct attempt a = {.code = HC_LU_R_CPU, .why = ""};
    struct reloc_list mark;
    struct vcpu *caller;

    if (!lu_due()) {
        return;
    }
    wake_caller(lu.exec_caller);
    if (overtaken()) {
        return;
    }
    lu.attempts++;
    others_note_stop();
    recorder_step("old: stop");
    console_pause_begin();
    FAULT_POINT("old.stop.before");
    /* Without hv_lock for a while: the request keeps loads out. */
    a.rc = others_stop(MAX(limit_ms, STOP_LIMIT_MS), &a.why);
    caller = lu.exec_caller;
    mark = lu.loaded.list;
    lu.exec_requested = false;
    lu.exec_caller = NULL;
    a.stop = others_first_stop();
    if (a.rc == 0) {
        a.code = HC_LU_R_AUDIT;
        a.rc = audit_gate_before(&a.why);
    }
    if (a.rc == 0) {
        context_unload(); /* a fault that is survived would change a guest's CR2 */
        begin_way_back();
        if (!escape_call(attempt, &a)) {
            come_back(caller, &a);
            return;
        }
        end_way_back();
    }
    cancel(caller, a.rc, a.code, a.why, &mark);
}
