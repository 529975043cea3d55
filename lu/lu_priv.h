/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Live update: what the files of lu/ share.
 */
#ifndef LU_PRIV_H
#define LU_PRIV_H

#include "hv/breadcrumb.h"
#include "hv/compiler.h"
#include "hv/crypto.h"
#include "hv/frametable.h"
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

/* What the next slice of a load does. */
enum lu_load_step {
    LU_LOAD_FORGET, /* the image before, and what was prepared for it */
    LU_LOAD_HASH,
    LU_LOAD_SEAL, /* and puts the image in its place */
    LU_LOAD_PREPARE,
};

/* An image that is being loaded, slice by slice (lu/load.c). */
struct lu_pending {
    LAYOUT(bool valid; struct lu_source source; enum lu_load_step step;
           void *copy; /* of a domain's pages; NULL: a module */
           const uint8_t *elf; uint64_t bytes;
           , struct kimage_info info; struct sha256 hash; uint64_t hashed;
           uint64_t number;      /* of the load: no two have the same */
           uint64_t generation;) /* of domains, when the preparation began */
};

/* Where the work after an update stands (lu/finish.c). */
enum lu_finish {
    LU_FINISH_DONE,
    LU_FINISH_BACK, /* until every runnable vCPU has run again after a failed update */
    LU_FINISH_BACK_TIMELINE,
    LU_FINISH_COMMIT, /* until every runnable vCPU has run */
    LU_FINISH_TIMELINE,
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
           int last_result; char reason[LU_REASON_MAX]; uint32_t code;
           uint64_t needed; /* HC_LU_R_SPACE: bytes of an arena */
           struct lu_loaded loaded; struct lu_pending pending;
           ,
           bool exec_requested; bool timeline; /* the word is on the command line */
           enum lu_others others;
           struct vcpu *exec_caller; uint64_t loaded_tsc;
           /* from the update that made this image run */
           bool update_boot; struct lu_breadcrumb breadcrumb; uint64_t booted_tsc;
           uint64_t adopted_tsc; struct lu_phases phases; char from_version[32];
           char from_build_id[48];
           bool virtualized; /* vCPUs ran under the image before */
           bool cpus_late; /* of those that it parked not all have come: see lu_check_cpus() */
           uint32_t from_stream_version; enum lu_finish finish;
           void *stream; uint64_t stream_pages; uint64_t finish_cursor;
           /* the way back */
           struct lu_way_back back; /* new image: who came before, while it may be gone back to */
           uint32_t watch; /* HC_LU_WATCH_* of the next update */
           uint64_t backs; uint64_t back_blackout; struct lu_failure failure;
           /* the flight recorder's memory (lu/recorder_ref.c); and what the stream says of it */
           struct lu_recorder_ref recorder; struct lu_recorder_ref recorder_claimed;
           uint64_t failed_stop; uint64_t back_tsc; /* when this image was itself again */)
};

extern struct lu_state lu;

/* lu/others.c. Stop: all other CPUs out of their guests and waiting; 0, or after limit_ms -EBUSY
 * with *why (some may wait already: go on). Park: they leave this image until the next one lets
 * them in, or this one lets them return. */
MUST_CHECK int others_stop(uint64_t limit_ms, const char **why);
void others_go_on(void);
/* 0; -EBUSY: some are parked perhaps, all come back by others_return(). */
MUST_CHECK int others_park(void);
void others_return(void);
/* Notes when this CPU's guests were held up; the first of all CPUs' such times. Host TSC. */
void others_note_stop(void);
uint64_t others_first_stop(void);

/* lu/load.c: 0, or -EBUSY with *why: a CPU of the image before may still be in the idle arena. */
MUST_CHECK int lu_check_cpus(char why[LU_REASON_MAX]);

/* lu/load.c: drops a loaded image and everything made for it. */
void lu_unload(void);

/* ---- the seal: lu/seal.c ---- */

/* `p->info` and `p->elf` are there. Slice: some more bytes; true when all are in. */
void seal_hash_begin(struct lu_pending *p);
bool seal_hash_slice(struct lu_pending *p);
/* Hash (which is complete), signature, counter and features, in this order. 0, or -E* with
 * *fault. Lets go of hv_lock while it looks at a signature: by then *p may be another load. */
MUST_CHECK int seal_check(struct lu_pending *p, struct kimage_fault *fault);
/* Can the image take over what domains and this machine use now? 0, or -EPROTO with *fault. */
MUST_CHECK int seal_features(const struct kimage_info *info, struct kimage_fault *fault);

/* End of the highest RAM, for sizes. */
paddr_t lu_ram_end(void);

/* lu/update.c: while guests run, the tables of the jump and the part of the stream that can be
 * written and checked ahead. Slice: true when all is there, and domains are as they were; what has
 * been made before a change is dropped and made anew. Forget: drops it all; its slice: some of it,
 * true when nothing is left. */
bool update_prepare_slice(void);
void update_prepare(void); /* in one piece */
bool update_forget_slice(void);
void update_forget(void);
/* A slice of that when an update is asked for and waits for it; false: there is nothing to do. */
bool update_work(void);
/* The stream that is being written, NULL when there is none. */
const struct stream_writer *update_stream(void);

/* lu/features.c: LU_FEATURE_* that the domains here use now. O(vCPUs). */
uint64_t features_in_use(void);

/* lu/own_check.c: the reader's check over what was just written, and that all preserved frames are
 * in it, once. Ahead: while guests run, a slice of it over the whole records that there are, true
 * when all have been checked; from the first one on again if there has been an audit. To be called
 * before each further slice of records, and until it is true. Then in the pause, of the rest and
 * as a whole: 0, or -E* with *why, of what was found ahead as well. Forget: the stream goes, or a
 * fault came in the middle of it; before the next one. */
void own_check_begin(const struct stream_writer *w);
bool own_check_ahead(const struct stream_writer *w);
MUST_CHECK int own_check(const struct stream_writer *w, const char **why);
void own_check_forget(void);

/* ---- lu/recorder_ref.c ---- */

/* Notes which memory the handover page names as the flight recorder's, if any. */
void recorder_find_early(const struct lu_handover *page);
/* The same in an update boot, on the early tables: appends to it at once where they reach it. */
void recorder_enter(const struct lu_handover *page);
/* The stream names it: claimed. Then, when all of the stream is good: nothing else is it. */
void recorder_claimed(mfn_t start, mfn_t end);
void recorder_adopt(void);
/* Names it in the handover page; or, before an image that does not know it, no more. */
void recorder_name(bool known);

/* ---- records: lu/save.c ---- */

/* Ahead of the pause: begins the stream, with what never changes; then a slice of what guests
 * cannot change while they run, false when there is no more. Not when it is outdated. */
void save_begin(struct stream_writer *w, uint32_t version);
bool save_slice(struct stream_writer *w);
/* True when domains or their memory have changed since the beginning. */
bool save_outdated(void);
/* Inside the pause: the rest, and END. 0 or -ENOMEM. */
MUST_CHECK int save_finish(struct stream_writer *w);

/* ---- records: lu/restore_check.c, lu/restore.c ---- */

/* What becomes of the frames that the stream gives to a domain, to a module or to the flight
 * recorder (OWNER_NONE). */
struct frame_keeper {
    /* May [start, end) be that, and the owner's? 0, -ENOMEM, or another error: no. On the new side
     * they are claimed at once: so nothing can be given twice. */
    int (*take)(mfn_t start, mfn_t end, enum frame_state state, uint16_t owner);
    /* The same for a domain's extents, which are good by themselves: how many were taken, and why
     * not the next one. */
    size_t (*take_extents)(const struct lu_extent *e, size_t nr, uint16_t owner, int *rc);
    /* Takes that back; NULL when take() changes nothing. */
    void (*drop)(mfn_t start, mfn_t end);
};

extern const struct frame_keeper adopt_keeper; /* new side (lu/adopt.c) */

/* The check of the whole stream, before anything is changed. Runs on the old side as well. 0, and
 * then all frames are taken; or -EPROTO (unknown mandatory record), -EBADMSG or -ENOMEM with *why,
 * and then none is. */
MUST_CHECK int restore_check(struct stream_reader *r, const struct frame_keeper *keeper,
                             const char **why);

/* False for a type that came with a later version than the stream's: unknown there. */
bool restore_knows(const struct stream_reader *r, uint32_t type);

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

/* Maps the stream's pages side by side. `list_crc`: the list's checksum, compared before any page
 * is visited or mapped; NULL when it is not known. `visit_page` is called for every list and stream
 * page (may be NULL). 0, or an error with *why. */
MUST_CHECK int stream_map(paddr_t list_pa, uint64_t pages, const uint32_t *list_crc,
                          bool (*usable)(mfn_t mfn), int (*visit_page)(mfn_t mfn), void **out,
                          const char **why);

/* ---- lu/audit_gate.c: the audit inside updates; all do nothing while audit= is off ---- */

/* Guests stand, the deadline does not run yet: audit, and digests of all domains. 0, or -EBADMSG
 * with *why. Slow. */
MUST_CHECK int audit_gate_before(const char **why);
/* By how much the pause may be longer then: TSC cycles. */
uint64_t audit_gate_allowance(void);
/* The domain's DIGEST record. */
void save_digest(struct stream_writer *w, const struct domain *d);
/* All domains are there: are they what the stream's DIGEST records say? 0; -EBADMSG with *why. */
MUST_CHECK int audit_gate_adopted(struct stream_reader *r, const char **why);
/* This image is back: is everything as audit_gate_before() found it? Says so if it is not. */
void audit_gate_back(void);
/* Everything that follows an update is done. */
void audit_gate_report(void);

/* The stream that this image was made of; until its pages are freed. */
struct stream_reader *adopted_stream(void);

/* ---- lu/timeline.c: all do nothing without the word `timeline` ---- */

/* Looks for the word. Slow: not in the pause. */
void timeline_prepare(void);
/* A vCPU stands: notes since when. */
void timeline_note_stop(struct vcpu *v);
/* The STOPS record. */
void save_stops(struct stream_writer *w);
/* The guests run: takes over what STOPS says. */
void timeline_adopt(struct stream_reader *r);
/* Prints some lines, *cursor being 0 at first; true when all are printed. When guests had
 * stopped, and the next image failed (0: it has not). Host TSC. */
bool timeline_slice(uint64_t *cursor, uint64_t stop, uint64_t failed);

/* ---- lu/finish.c ---- */

void finish_begin(void);
/* The old image is back, by what lu.failure tells; failed_stop: when its guests had stopped. */
void finish_begin_back(void);
/* Cold boot: only the idle arena has to be scrubbed. */
void finish_begin_cold(void);

/* Takes the phases of the update that made this image run; the first vCPU has run. */
void finish_measure(void);

#endif
