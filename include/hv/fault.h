/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Places where a test image can be made to fail.
 *
 * A release image has none of this: the macros are empty there, and a check of its symbols says so.
 * In a test image (MOLT_FAULTS) a point that was armed panics, hangs, raises an exception, spoils
 * data or resets the machine; core/fault.c has the kinds, docs/TESTING.md the list.
 *
 * Names: "old.save.before" is in the image that is replaced, "new.sched.after" in the one that
 * comes; ".before" and ".after" belong together.
 */
#ifndef HV_FAULT_H
#define HV_FAULT_H

#include "hv/compiler.h"
#include "hv/types.h"

/* What data faults spoil. */
enum fault_memory {
    FAULT_STREAM,   /* the first page of an MFN list */
    FAULT_HANDOVER, /* the handover page */
    FAULT_IMAGE,    /* the next image where it stands */
    FAULT_LIST,     /* the first page of the relocation list */
    FAULT_MEMORIES
};

/* What all images of a run share, and points in assembly read: it stands in the part of the BIOS
 * data area that is for programs to talk to each other. */
#define FAULT_SHARED_PA 0x4f0U
struct fault_shared {
    uint32_t armed; /* FAULT_ASM_MAGIC, number of the point << 8, number of the kind; or not */
    uint32_t fired;
    uint64_t allocations;
};
#define FAULT_ASM_MAGIC 0x464c0000U

enum fault_asm_point {
    FAULT_ASM_RELOCATE, /* relocator: nothing is done yet */
    FAULT_ASM_LEAVE,    /* relocator: everything is in its place */
    FAULT_ASM_ENTER,    /* relocator: its last instructions, in 32-bit mode */
    FAULT_ASM_ENTRY32,
    FAULT_ASM_ENTRY64,
    FAULT_ASM_POINTS
};
enum fault_asm_kind { FAULT_ASM_UD, FAULT_ASM_HANG, FAULT_ASM_HALT, FAULT_ASM_KINDS };

#ifdef MOLT_FAULTS

struct vcpu;

/* Arms what the boot information's command line says: the first thing in hv_main(). */
void fault_init(const void *mb2_info);
/* May not return. Any stage, from fault_init() on. */
void fault_point(const char *name);
/* True: the allocation at hand is to fail. */
bool fault_fails(void);
/* Where data is that may be spoiled from now on. */
void fault_memory(enum fault_memory what, void *at, uint64_t bytes);
/* The word for the next image's command line and a space, or ""; once. */
const char *fault_take_word(void);
/* HC_FAULT_* */
int64_t fault_call(struct vcpu *v);

#define FAULT_INIT(mb2_info) fault_init(mb2_info)
#define FAULT_POINT(name) fault_point(name)
#define FAULT_FAILS() fault_fails()
#define FAULT_MEMORY(what, at, bytes) fault_memory(what, at, bytes)
#define FAULT_TAKE_WORD() fault_take_word()
#define FAULT_CALLS                                                        \
    {HC_FAULT_ARM, true, fault_call}, {HC_FAULT_STATUS, true, fault_call}, \
        {HC_FAULT_DIGEST, true, fault_call},

#else

#define FAULT_INIT(mb2_info) ((void)0)
#define FAULT_POINT(name) ((void)0)
#define FAULT_FAILS() false
#define FAULT_MEMORY(what, at, bytes) ((void)0)
#define FAULT_TAKE_WORD() ""
#define FAULT_CALLS

#endif
#endif
