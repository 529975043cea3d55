/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hypercalls: the contract between molt and its guests.
 *
 * Call: VMCALL at CPL 0 with the number in RAX and arguments in RBX, RCX, RDX, RSI (32-bit guests:
 * EAX, EBX, ...). The result comes back in RAX, negative HC_E* on failure (sign-extended to the
 * guest's operand size); no other register changes. Every address is a guest-physical byte address;
 * a structure may cross pages. Numbers and layouts never change once released; docs/HYPERCALLS.md
 * explains each call.
 */
#ifndef PUBLIC_HYPERCALL_H
#define PUBLIC_HYPERCALL_H

#include <stdint.h>

/* CPUID: leaf base holds the highest leaf in EAX and "MoltMoltMolt" in EBX, ECX, EDX. */
#define HC_CPUID_BASE 0x40000000U
#define HC_CPUID_TIMING 0x40000010U /* EAX: TSC frequency in kHz */
#define HC_CPUID_SIG_EBX 0x746c6f4dU
#define HC_CPUID_SIG_ECX 0x746c6f4dU
#define HC_CPUID_SIG_EDX 0x746c6f4dU

/* Numbers. 0 to 15: any guest. 16 and up: the control domain only (others get HC_EPERM). */
#define HC_INFO 0       /* RBX: address of struct hc_info, RCX: its size */
#define HC_SLEEP 1      /* RBX: microseconds; returns 0 when they have passed */
#define HC_YIELD 2      /* give up the rest of the time slice */
#define HC_LU_REGION 16 /* RBX: address of struct hc_lu_region, RCX: its size */
#define HC_LU_LOAD 17   /* RBX: address of struct hc_lu_load, RCX: its size */
#define HC_LU_EXEC 18   /* replaces the image; returns 0 under the new one */
#define HC_LU_STATUS 19 /* RBX: address of struct hc_lu_status, RCX: its size */
#define HC_LU_AUDIT 20  /* RBX: address of struct hc_audit, RCX: its size; HC_EBADMSG: see there */
#define HC_LU_LOG 21    /* RBX: address of struct hc_log, RCX: its size; bytes */

/* Domains. Arguments that a call does not name are ignored. */
#define HC_DOM_LIST 32    /* RBX: array of struct hc_domain, RCX: its bytes, RDX: first id; count */
#define HC_DOM_CREATE 33  /* RBX: address of struct hc_dom_create, RCX: its size; the new id */
#define HC_DOM_MEMORY 34  /* RBX: id, RCX: bytes to add, a multiple of 4096; new domains only */
#define HC_DOM_LOAD 35    /* RBX: address of struct hc_dom_load, RCX: its size; new domains only */
#define HC_DOM_START 36   /* RBX: id; a new domain that was loaded */
#define HC_DOM_PAUSE 37   /* RBX: id */
#define HC_DOM_RESUME 38  /* RBX: id */
#define HC_DOM_DESTROY 39 /* RBX: id; never the caller's own */
#define HC_DOM_STATS 40   /* RBX: address of struct hc_dom_stats, RCX: its size, RDX: id */
#define HC_CONSOLE_READ 41  /* RBX: address of struct hc_console, RCX: its size, RDX: id; bytes */
#define HC_CONSOLE_WRITE 42 /* the same; bytes that fitted */

/*
 * The door: the same calls for a program of the control domain that may use the port (ioperm() or
 * iopl(): the guest's kernel lets root only), at any privilege level. IN EAX, DX from HC_DOOR_PORT
 * with the number in RAX and the arguments in RBX, RCX, RSI (for RDX) and RDI (for RSI); the result
 * comes back in EAX. Other domains, other sizes and other instructions find nothing at that port.
 */
#define HC_DOOR_PORT 0x6d6cU

/* Results: the usual errno values, negative in RAX. */
#define HC_EPERM 1
#define HC_ENOENT 2
#define HC_E2BIG 7
#define HC_ENOEXEC 8
#define HC_ENOMEM 12
#define HC_EFAULT 14
#define HC_EBUSY 16
#define HC_EEXIST 17
#define HC_EINVAL 22
#define HC_ENOSPC 28
#define HC_ENOSYS 38
#define HC_EPROTO 71
#define HC_EBADMSG 74
#define HC_ECANCELED 125 /* HC_LU_EXEC: the new image failed, the old one is back */

/* hc_info.flags */
#define HC_INFO_CONTROL 1U  /* the caller is the control domain */
#define HC_INFO_SHUTDOWN 2U /* the run is ending: finish checking, then write the exit code */

/*
 * All output structures: molt writes min(RCX, its own size) bytes, so a caller built for an older
 * layout keeps working. Strings are NUL-terminated.
 */
struct hc_info {
    char version[32];      /* of the running image */
    char build_id[48];     /* lower-case hex */
    uint32_t domain_id;    /* the caller's */
    uint32_t flags;        /* HC_INFO_* */
    uint64_t updates;      /* successful updates since cold boot */
    uint64_t tsc_khz;      /* guest TSC frequency */
    uint64_t memory_bytes; /* the caller's memory */
};

struct hc_lu_region {
    uint64_t base; /* bytes, physical, as are the rest */
    uint64_t size;
    uint64_t arena_base[2];
    uint64_t arena_size[2];
    uint32_t active; /* index of the arena that the running image lives in */
    uint32_t reserved;
    uint64_t required; /* arena bytes that the next image would need now (besides its own size) */
};

/* hc_lu_load.source */
#define HC_LU_SOURCE_MODULE 0U /* a multiboot2 image module, by index */
#define HC_LU_SOURCE_PAGES 1U  /* the caller's memory, by list of pages */
/* hc_lu_load.module: the first image module whose build id is not the running one */
#define HC_LU_MODULE_OTHER 0xffffffffU

struct hc_lu_load {
    uint32_t source;
    uint32_t module; /* HC_LU_SOURCE_MODULE: index, or HC_LU_MODULE_OTHER */
    uint64_t list;   /* HC_LU_SOURCE_PAGES: address of an array of u64 page frame numbers (GFNs) */
    uint64_t pages;  /* entries in the list */
    uint64_t bytes;  /* length of the image: at most pages * 4096, more than (pages - 1) * 4096 */
};

/* hc_lu_status.state */
#define HC_LU_IDLE 0U   /* no image is loaded */
#define HC_LU_LOADED 1U /* lu_exec may be called */

struct hc_lu_status {
    uint32_t state;      /* HC_LU_* */
    int32_t last_result; /* of the last lu_load or lu_exec: 0 or -HC_E* */
    uint64_t updates;    /* successful updates since cold boot */
    uint64_t refused;    /* refused or failed loads and updates since cold boot */
    uint64_t blackout;   /* of the last successful update: TSC cycles without guests */
    uint64_t phase_save; /* its parts, TSC cycles */
    uint64_t phase_jump;
    uint64_t phase_boot;
    uint64_t phase_adopt;
    uint64_t phase_resume;
    uint32_t modules; /* image modules known */
    uint32_t reserved;
    char loaded_version[32];
    char loaded_build_id[48];
    char reason[128]; /* why the last load or update was refused or failed; "" if it was not */
    uint32_t code;    /* the same as HC_LU_R_*, 0 if it was not */
    uint32_t watch;   /* HC_LU_WATCH_*: who notices a new image that hangs */
    uint64_t needed;  /* HC_LU_R_SPACE: bytes that an arena would need, else 0 */
    uint64_t backs;   /* updates that failed and came back to this image; in `refused` too */
    uint64_t back_blackout;  /* of the last of these: TSC cycles without guests */
    uint32_t stream_version; /* of the last successful update, 0 before one */
    uint32_t busy;           /* 1: the work after the last update, or the boot, is not finished */
};

/* hc_lu_status.code: numbers are never reused */
#define HC_LU_R_NONE 0U
#define HC_LU_R_NO_IMAGE 1U    /* nothing loaded, no such module */
#define HC_LU_R_BUSY 2U        /* an update is under way */
#define HC_LU_R_MEMORY 3U      /* out of memory */
#define HC_LU_R_PAGES 4U       /* the list of pages */
#define HC_LU_R_MALFORMED 5U   /* not an image: ELF, segments, entry, build id */
#define HC_LU_R_NOTE 6U        /* no note of molt's, or a broken one */
#define HC_LU_R_MACHINE 7U     /* for another machine */
#define HC_LU_R_STREAM 8U      /* no stream version in common */
#define HC_LU_R_SPACE 9U       /* does not fit in the arena: `needed` */
#define HC_LU_R_FEATURE 10U    /* lacks something that a guest, or this machine, uses */
#define HC_LU_R_HASH 11U       /* SHA-256 differs: corrupted */
#define HC_LU_R_SIGNATURE 12U  /* not signed with the key that molt was given */
#define HC_LU_R_ROLLBACK 13U   /* older than the anti-rollback counter */
#define HC_LU_R_CPU 14U        /* a CPU does not stop, or has not come after the last update */
#define HC_LU_R_OWN_STREAM 15U /* the stream just written does not pass its own check */
#define HC_LU_R_AUDIT 16U      /* the audit found a mismatch */
#define HC_LU_R_ARGUMENTS 17U  /* the arguments of HC_LU_LOAD */
#define HC_LU_R_PAUSE 18U      /* the running image itself failed in the pause, and went on */
/* The new image ran, and came back: */
#define HC_LU_R_BACK_SILENT 32U /* a fault before it could say why */
#define HC_LU_R_BACK_PANIC 33U
#define HC_LU_R_BACK_EXCEPTION 34U
#define HC_LU_R_BACK_REFUSED 35U
#define HC_LU_R_BACK_DEADLINE 36U  /* it hung */
#define HC_LU_R_BACK_RELOCATOR 37U /* it was never entered */

#define HC_LU_WATCH_NONE 0U
#define HC_LU_WATCH_CPU 1U   /* a parked CPU of the old image */
#define HC_LU_WATCH_TIMER 2U /* non-maskable interrupts of the PIT */

/* Frametable, extents, nested tables, free lists and region, compared with each other. */
struct hc_audit {
    uint64_t frames;     /* that were looked at */
    uint64_t mismatches; /* 0: everything agrees; then HC_LU_AUDIT returns 0 */
    uint64_t mfn;        /* of the first one, and what both sides say */
    char text[160];
};

/* HC_LU_LOG: lines of the flight recorder, oldest first, each ending in a newline. */
struct hc_log {
    uint64_t from;   /* in and out: the first line's number, then the next one's; 0: all there is */
    uint64_t buffer; /* address */
    uint64_t bytes;  /* of the buffer: whole lines only, 256 hold any */
};

/* hc_domain.state */
#define HC_DOM_NEW 0U /* created, not started */
#define HC_DOM_RUNNING 1U
#define HC_DOM_PAUSED 2U
#define HC_DOM_EXITED 3U  /* wrote its exit code, powered off or rebooted */
#define HC_DOM_STOPPED 4U /* by molt, after a fault */
#define HC_DOM_DYING 5U   /* destroyed; its memory is being given back */

/* hc_domain.flags */
#define HC_DOM_CONTROL 1U

struct hc_domain {
    uint32_t id;
    uint32_t state; /* HC_DOM_* */
    uint32_t flags;
    uint32_t vcpus;
    uint64_t memory_bytes;
    uint32_t exit_code; /* of HC_DOM_EXITED */
    uint32_t reserved;
    char name[32];
};

struct hc_dom_create {
    char name[32];  /* NUL-terminated, not empty, not in use */
    uint32_t vcpus; /* 1 to 255 */
    uint32_t flags; /* 0 */
};

/* A payload (Linux bzImage, PVH, multiboot1 or 2 ELF) and at most one module (for Linux: initrd),
 * both in the caller's memory, by lists of pages as in hc_lu_load. */
struct hc_dom_load {
    uint32_t id;
    uint32_t reserved;
    uint64_t list; /* the payload */
    uint64_t pages;
    uint64_t bytes;
    uint64_t module_list; /* the module: module_bytes 0 when there is none */
    uint64_t module_pages;
    uint64_t module_bytes;
    uint64_t cmdline; /* address, cmdline_bytes without terminator */
    uint64_t cmdline_bytes;
};

#define HC_EXIT_KINDS 24U
#define HC_ORDERS 19U /* 4 KiB to 1 GiB */

struct hc_dom_stats {
    uint64_t run_cycles;           /* TSC cycles that its vCPUs ran, exits included */
    uint64_t exits[HC_EXIT_KINDS]; /* by kind: see exit_names */
    char exit_names[HC_EXIT_KINDS][16];
    uint64_t extents[HC_ORDERS]; /* extents of 4096 << order bytes */
    uint64_t console_bytes;      /* written to COM1 */
};

/* HC_CONSOLE_READ: bytes of the domain's COM1 output from position `at` on (counted since it was
 * created); positions no longer kept are skipped. HC_CONSOLE_WRITE: bytes to its COM1 input. */
struct hc_console {
    uint64_t at;     /* READ: in and out: position of the first byte, then behind the last */
    uint64_t buffer; /* address */
    uint64_t bytes;  /* of the buffer */
};

_Static_assert(sizeof(struct hc_domain) == 64, "hc_domain layout");
_Static_assert(sizeof(struct hc_dom_create) == 40, "hc_dom_create layout");
_Static_assert(sizeof(struct hc_dom_load) == 72, "hc_dom_load layout");
_Static_assert(sizeof(struct hc_dom_stats) == 744, "hc_dom_stats layout");
_Static_assert(sizeof(struct hc_console) == 24, "hc_console layout");
_Static_assert(sizeof(struct hc_info) == 112, "hc_info layout");
_Static_assert(sizeof(struct hc_lu_region) == 64, "hc_lu_region layout");
_Static_assert(sizeof(struct hc_lu_load) == 32, "hc_lu_load layout");
_Static_assert(sizeof(struct hc_lu_status) == 328, "hc_lu_status layout");
_Static_assert(sizeof(struct hc_audit) == 184, "hc_audit layout");
_Static_assert(sizeof(struct hc_log) == 24, "hc_log layout");

#endif
