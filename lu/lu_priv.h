/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Live update: what the files of lu/ share.
 */
#ifndef LU_PRIV_H
#define LU_PRIV_H

#include "hv/breadcrumb.h"
#include "hv/compiler.h"
#include "hv/kimage.h"
#include "hv/lu.h"
#include "hv/mb2.h"
#include "hv/reloc.h"
#include "hv/stream.h"
#include "public/lu_abi.h"

struct vcpu;

/* An image that is loaded and may be jumped to (lu/load.c). */
struct lu_loaded {
    LAYOUT(bool valid; struct kimage_info info; paddr_t dest_pa; paddr_t info_pa; uint64_t nonce;,
           uint32_t stream_version; struct reloc_list list;
           bool direct; /* it stands in the idle arena already */
           uint64_t image_bytes; uint64_t info_bytes;)
};

/* Where the work after an update stands (lu/finish.c). */
enum lu_finish {
    LU_FINISH_DONE,
    LU_FINISH_COMMIT, /* until every runnable vCPU has run */
    LU_FINISH_HEAP,
    LU_FINISH_STREAM,
    LU_FINISH_SCRUB,
    LU_FINISH_REPORT,
};

/* What the first CPU wants of the others. */
enum lu_others {
    LU_OTHERS_RUN,
    LU_OTHERS_STOP, /* vCPUs unloaded, waiting outside hv_lock for one of the others */
    LU_OTHERS_PARK,
};

struct lu_phases {
    uint64_t blackout, save, jump, boot, adopt, resume; /* TSC cycles */
};

struct lu_state {
    LAYOUT(struct boot_info boot; struct lu_region region; unsigned int arena; uint64_t entry_tsc;
           struct lu_handover *handover; uint64_t updates; uint64_t refused; uint64_t attempts;
           int last_result; char reason[LU_REASON_MAX]; struct lu_loaded loaded;
           ,
           bool exec_requested; enum lu_others others;
           struct vcpu *exec_caller; uint64_t loaded_tsc;
           /* from the update that made this image run */
           bool update_boot; struct lu_breadcrumb breadcrumb; uint64_t booted_tsc;
           uint64_t adopted_tsc; struct lu_phases phases; char from_version[32];
           char from_build_id[48]; enum lu_finish finish; void *stream; uint64_t stream_pages;
           uint64_t finish_cursor;)
};

extern struct lu_state lu;

/* lu/others.c. Stop: all other CPUs out of their guests and waiting; 0, or -EBUSY with *why (some
 * may wait already: go on). Park: they leave this image for good. */
MUST_CHECK int others_stop(const char **why);
void others_go_on(void);
void others_park(void);
/* Notes when this CPU's guests were held up; the first of all CPUs' such times. Host TSC. */
void others_note_stop(void);
uint64_t others_first_stop(void);

/* lu/load.c: drops a loaded image and everything made for it. */
void lu_unload(void);

/* End of the highest RAM, for sizes. */
paddr_t lu_ram_end(void);

/* lu/update.c: starts the stream and the tables of the jump while guests run; drops them. */
void update_prepare(void);
void update_forget(void);

/* ---- records: lu/save.c ---- */

/* Ahead of the pause: everything that guests cannot change while they run. */
void save_prepare(struct stream_writer *w, uint32_t version);
/* True when domains or their memory have changed since. */
bool save_outdated(void);
/* Inside the pause: the rest, and END. 0 or -ENOMEM. */
MUST_CHECK int save_finish(struct stream_writer *w);

/* ---- records: lu/restore_check.c, lu/restore.c ---- */

/* What becomes of the frames that the stream gives to a domain or (OWNER_NONE) to a module. */
struct frame_keeper {
    /* May [start, end) be the owner's? 0, -ENOMEM, or another error: no. On the new side they are
     * claimed for him at once: so nothing can be given twice. */
    int (*take)(mfn_t start, mfn_t end, uint16_t owner);
    /* Takes that back; NULL when take() changes nothing. */
    void (*drop)(mfn_t start, mfn_t end);
};

extern const struct frame_keeper adopt_keeper; /* new side (lu/adopt.c) */

/* The check of the whole stream, before anything is changed. Runs on the old side as well. 0, and
 * then all frames are taken; or -EPROTO (unknown mandatory record), -EBADMSG or -ENOMEM with *why,
 * and then none is. */
MUST_CHECK int restore_check(struct stream_reader *r, const struct frame_keeper *keeper,
                             const char **why);

/* HOST and HOST_STATE records into lu and tsc_khz. Only after restore_check(). */
void restore_host(struct stream_reader *r);

/* Makes domains of what restore_check() has taken for them, loads their vCPUs. 0, or an error with
 * *why: then nothing can be kept. */
MUST_CHECK int restore_apply(struct stream_reader *r, const char **why);

/* ---- lu/vcpu_record.c ---- */

struct vcpu_state;
void vcpu_to_record(struct vcpu *v, const struct vcpu_state *s, struct lu_rec_vcpu *rec);
void vcpu_from_record(const struct lu_rec_vcpu *rec, struct vcpu_state *s);
#define LU_VCPU_MSRS_MAX 16
size_t msrs_to_record(const struct vcpu_state *s, struct lu_msr out[LU_VCPU_MSRS_MAX]);
/* 0, or -EINVAL for an MSR that this image does not know. */
MUST_CHECK int msr_from_record(const struct lu_msr *msr, struct vcpu_state *s);

/* ---- lu/irq_record.c ---- */

struct vlapic;
struct vioapic;
void lapic_to_record(const struct vlapic *a, struct lu_rec_lapic *rec);
void lapic_from_record(const struct lu_rec_lapic *rec, struct vlapic *a);
void ioapic_to_record(const struct vioapic *io, struct lu_rec_ioapic *rec);
void ioapic_from_record(const struct lu_rec_ioapic *rec, struct vioapic *io);

/* ---- stream in memory: lu/stream_map.c ---- */

/* Maps the stream's pages side by side. `visit_page` is called for every list and stream page (may
 * be NULL). 0, or an error with *why. */
MUST_CHECK int stream_map(paddr_t list_pa, uint64_t pages, bool (*usable)(mfn_t mfn),
                          int (*visit_page)(mfn_t mfn), void **out, const char **why);

/* ---- lu/finish.c ---- */

void finish_begin(void);
/* Cold boot: only the idle arena has to be scrubbed. */
void finish_begin_cold(void);

/* Takes the phases of the update that made this image run; the first vCPU has run. */
void finish_measure(void);

#endif
