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

/* ---- boot ---- */

/* Once the region is known; `entry_tsc`: when this image was entered. */
void lu_init(const struct boot_info *info, const struct lu_region *region, unsigned int arena,
             uint64_t entry_tsc);

/* True when a breadcrumb with this boot's nonce is there: an update boot. */
bool lu_update_boot(void);

/* Maps and checks the stream; sets what is needed first (TSC frequency). Panics on a bad stream:
 * with `why` (the way back comes here). Update boot only, after vmap_init(). */
void lu_check(void);

/* Claims the ownership of all preserved frames in one pass and makes the domains. Commit 1. */
void lu_adopt(void);

/* ---- an update ---- */

/* A load or update is refused: keeps the reason, counts and prints it. Returns rc. */
PRINTF(3, 4) int lu_refuse(int rc, char why[LU_REASON_MAX], const char *fmt, ...);

/* 0, or -E* with the reason in why (also kept for lu_status and printed). The image replaces one
 * that is loaded already. */
MUST_CHECK int lu_load_module(unsigned int index, char why[LU_REASON_MAX]);
MUST_CHECK int lu_load_pages(struct domain *d, uint64_t list_gpa, uint64_t pages, uint64_t bytes,
                             char why[LU_REASON_MAX]);

/* Asks for the jump at the next boundary; `caller`'s RAX is 0 under the new image, -E* when the
 * update is refused. NULL: the console. 0; -ENOENT nothing loaded; -EBUSY. */
MUST_CHECK int lu_request_exec(struct vcpu *caller, char why[LU_REASON_MAX]);

bool lu_requested(void); /* a jump is asked for, and will come or be refused */
/* The vCPU is no more: nobody learns what comes of its request. */
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

/* Arena bytes that the next image needs for the current domains, besides its own size. */
uint64_t lu_required(void);

#endif
