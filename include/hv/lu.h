/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Live update: load an image, replace ourselves by it, and, in the new image, take over.
 *
 *   old image: lu_load_*() .. lu_request_exec() .. lu_poll() -> jump
 *   new image: lu_adopt() .. guests run .. lu_work() until everything is tidy
 *
 * hv_lock held everywhere. The first CPU saves and jumps; the others stop, and park when it does.
 */
#ifndef HV_LU_H
#define HV_LU_H

#include "hv/compiler.h"
#include "hv/region.h"
#include "hv/types.h"
#include "public/hypercall.h"

#define LU_REASON_MAX 128
#define LU_MODULE_OTHER HC_LU_MODULE_OTHER

struct domain;
struct vcpu;

/* ---- identity of this image ---- */

extern const char lu_version[];
const char *lu_build_id(void); /* lower-case hex */

/* The newest stream version that it reads and writes. */
uint32_t lu_stream_newest(void);
/* LU_FEATURE_*: what of a guest's it can take over. */
uint64_t lu_features(void);

/* ---- boot ---- */

/* First of all: handover_pa is what the entry code was given (0: nothing). When it is what an older
 * image leaves, the way back is open from here to commit 1, and every panic goes there. */
void lu_entered(paddr_t handover_pa);

/* Once the region is known; `entry_tsc`: when this image was entered. */
void lu_init(const struct boot_info *info, const struct lu_region *region, unsigned int arena,
             uint64_t entry_tsc);

/* Cold boot, when the console is up: prints what lu_init() has seen of an earlier boot. */
void lu_report_cold(void);

/* True when this image was entered by another one and its breadcrumb is there: an update boot. */
bool lu_update_boot(void);

/* Says what is asked of images before they are loaded: lu_key=, lu_counter=. Cold boot. */
void lu_report_policy(void);

/* Maps and checks the stream; sets what is needed first (TSC frequency). A bad stream goes the way
 * back. Update boot only, after vmap_init(). */
void lu_check(void);

/* Claims the ownership of all preserved frames in one pass and makes the domains. Commit 1. */
void lu_adopt(void);

/* Cold boot, before the heap opens and after everything else has claimed its frames: goes on with
 * the flight recorder of an earlier boot that RAM still holds, or makes one. boot_tsc: when the
 * boot loader entered molt. */
void recorder_cold_start(uint64_t boot_tsc);

/* What it tells of the boots before this one. */
void recorder_report(void);

/* Makes a flight recorder anywhere, once the heap is open, unless there is one. */
void recorder_make(void);

/* ---- an update ---- */

/* A load or update is refused: keeps the reason and its `code` (HC_LU_R_*), counts and prints it.
 * Returns rc. */
PRINTF(4, 5) int lu_refuse(int rc, uint32_t code, char why[LU_REASON_MAX], const char *fmt, ...);

/* Where an image comes from. */
struct lu_source {
    struct domain *domain; /* whose pages they are; NULL: an image module */
    uint32_t module;       /* its index, or LU_MODULE_OTHER */
    uint64_t list_gpa, pages, bytes;
};

/* A slice is done, and the same call goes on; what another one has begun is forgotten. */
#define LU_AGAIN 1

/* 0, LU_AGAIN, or -E* with the reason in why (also kept for lu_status and printed). The image
 * replaces one that is loaded already. Guests wait for a slice: 4 KiB of hashing, or 512 extents
 * written and checked; one of them puts the image into its place. Lets go of hv_lock for the two
 * million cycles of a signature. */
MUST_CHECK int lu_load_slice(const struct lu_source *source, char why[LU_REASON_MAX]);
/* A module in one piece: where guests are not to be thought of. */
MUST_CHECK int lu_load_module(uint32_t index, char why[LU_REASON_MAX]);

/* Asks for the jump at the next boundary; `caller`'s RAX is 0 under the new image, -E* when the
 * update is refused. NULL: the console. 0; -ENOENT nothing loaded; -EBUSY. */
MUST_CHECK int lu_request_exec(struct vcpu *caller, char why[LU_REASON_MAX]);

bool lu_requested(void); /* a jump is asked for, and will come or be refused */
/* The vCPU is no more: nobody learns what comes of its request, nor goes on with its load. */
void lu_forget_caller(const struct vcpu *v);
bool lu_due(void);  /* a jump is asked for: vCPUs shall stop */
void lu_poll(void); /* between guests: jumps when due; returns when not, or when refused */

/* The same on the other CPUs: stops when the first one asks for it, and comes back when the update
 * is refused. */
void lu_stop_here(void);

/* One slice of what follows an update (heap, scrubbing, reports). True when there was something. */
bool lu_work(void);

/* ---- state ---- */

bool lu_busy(void);        /* the last update's work is not finished */
uint64_t lu_updates(void); /* successful ones since cold boot */
void lu_get_status(struct hc_lu_status *out);
void lu_get_region(struct hc_lu_region *out);

/* Frames of the heap that the next image waits in, staged, and those of the stream for it. Both 0
 * when nothing is loaded. */
void lu_next_frames(uint64_t *image, uint64_t *stream);

/* Arena bytes that the next image needs for the current domains, besides its own size. */
uint64_t lu_required(void);

#endif
