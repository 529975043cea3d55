/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Live-update handover: the contract between an image and the one that replaces it.
 *
 * This file is an ABI. Released values and layouts never change; a change is a new stream version.
 * Little-endian, naturally aligned, reserved fields zero. docs/LU_ABI.md explains it.
 */
#ifndef PUBLIC_LU_ABI_H
#define PUBLIC_LU_ABI_H

#include <stdint.h>

/* ---- ELF note of an image: name "molt", type LU_NOTE_TYPE ------------------------------------ */

#define LU_NOTE_NAME "molt"
#define LU_NOTE_TYPE 1U
#define LU_NOTE_MACHINE_X86_64 0x8664U

struct lu_note {
    uint32_t machine;    /* LU_NOTE_MACHINE_X86_64 */
    uint32_t stream_min; /* stream versions that the image reads, both included */
    uint32_t stream_max;
    uint32_t flags;   /* LU_NOTE_* */
    char version[32]; /* NUL-terminated */
};

/* flags */
#define LU_NOTE_TAKES_CPUS 1U /* the image takes over parked CPUs (struct lu_park) */
#define LU_NOTE_WAY_BACK 2U   /* it knows the way back (struct lu_way_back) */

/*
 * A second note: what the image asks for and vouches for. `sha256` is over the whole file with the
 * fields sha256 and signature taken as zeros; `signature` is ECDSA P-256 over that hash, r then s,
 * 32 bytes big-endian each, all zeros when the image is not signed.
 */
#define LU_NOTE_SEAL_TYPE 2U

struct lu_note_seal {
    uint64_t features; /* LU_FEATURE_*: what of a guest's the image can take over */
    uint64_t counter;  /* anti-rollback: grows with releases that must not be gone back behind */
    uint8_t sha256[32];
    uint8_t signature[64];
};

/* What domains use and not every image can take over. */
#define LU_FEATURE_VMX UINT64_C(1)     /* vCPUs run by VMX */
#define LU_FEATURE_SVM UINT64_C(2)     /* vCPUs run by SVM */
#define LU_FEATURE_VCPUS UINT64_C(4)   /* a domain with several vCPUs */
#define LU_FEATURE_STATES UINT64_C(8)  /* domains that are new or paused */
#define LU_FEATURE_X2APIC UINT64_C(16) /* a vCPU's APIC in x2APIC mode */
#define LU_FEATURE_CLOCK UINT64_C(32)  /* a KVM-compatible clock that is on */
#define LU_FEATURE_FRESH UINT64_C(64)  /* memory that is zeroed when it is touched */

/* ---- Handover page: the first page of the region --------------------------------------------- */

#define LU_HANDOVER_MAGIC UINT64_C(0x31726576444e4148)   /* "HANDver1" */
#define LU_BREADCRUMB_MAGIC UINT64_C(0x426d75726354444c) /* "LDTcrumB" */

/* Left by the relocator as its last act, magic last. */
struct lu_breadcrumb {
    uint64_t magic;
    uint64_t mfn_list_pa;  /* first page of the MFN list */
    uint64_t stream_pages; /* pages of the stream */
    uint64_t nonce;        /* equals lu_nonce= on the new image's command line */
    uint64_t check;        /* CRC-32C over the three fields before, in order */
};

/* Host TSC at the old image's steps. */
struct lu_stamps {
    uint64_t stop;  /* the last vCPU left guest mode */
    uint64_t saved; /* the stream is sealed and checked */
};

/* lu_handover.stage: how far the new image has come */
#define LU_STAGE_NONE 0U
#define LU_STAGE_JUMPED 1U
#define LU_STAGE_BOOTED 2U
#define LU_STAGE_ADOPTED 3U /* commit 1 */
#define LU_STAGE_RUNNING 4U /* commit 2 */

/*
 * CPUs other than the one that jumps. Each adds 1 to `parked` when it executes nothing of the old
 * image's but the loop below, and reads nothing else of it: it polls `entry_pa` until that is not
 * 0, and then enters the new image there, as the multiboot2 entry does (32-bit protected mode, flat
 * segments, paging and interrupts off, no stack), with EAX = LU_PARK_MAGIC and EBX = the physical
 * address of this structure. The loop lies in the old image's arena: the new image leaves that
 * alone until all CPUs have entered.
 */
#define LU_PARK_MAGIC 0x6b726170U /* "park" */

struct lu_park {
    uint32_t parked;   /* CPUs that wait */
    uint32_t entry_pa; /* written by the new image, 0 before */
};

/*
 * The way back. When there is one, the new image is entered with ESI = LU_BACK_MAGIC and EDI = the
 * physical address of the handover page, ESP the end of a small stack, and an interrupt table that
 * takes every exception of 32-bit code back, and an NMI when the deadline has passed.
 *
 * Until commit 1 the new image returns to the old one when it cannot go on: it writes
 * struct lu_failure, turns virtualization off and enters `entry_pa` on the CPU that it was entered
 * on, in the state of the multiboot2 entry, with EBX = the physical address of the handover page.
 * It has changed nothing outside its arena and the handover page, and released no parked CPU.
 * Written twice, so that one flipped bit spoils one copy only. Images that do not know it leave it
 * alone; it is zeros when the image before them did not.
 */
#define LU_BACK_MAGIC 0x6b636162U                      /* "back" */
#define LU_WAY_BACK_MAGIC UINT64_C(0x6b63616279617721) /* "!wayback" */

struct lu_way_back {
    uint64_t magic;        /* LU_WAY_BACK_MAGIC */
    uint64_t nonce;        /* equals the breadcrumb's */
    uint64_t deadline_tsc; /* host TSC: no commit 1 by then is a hang; an NMI tells. 0: no limit */
    uint32_t entry_pa;     /* of the old image */
    uint32_t cpus;         /* what lu_park.parked has to be */
    uint32_t list_crc;     /* CRC-32C over the pages of the MFN list, in the order of the chain */
    uint32_t flags;        /* LU_BACK_* */
    uint64_t check;        /* CRC-32C over the fields before, in order */
};

/* flags: NMIs come from channel 0 of the PIT. Who takes an early one starts the next period (0x34
 * to port 0x43, twice 0 to port 0x40); who needs them no more stops it (0x3a to port 0x43, then 1
 * and 0 to port 0x40), and takes one more that may come at once. */
#define LU_BACK_TIMER 1U

/* Why the new image gave up: left for the old one. */
struct lu_failure {
    uint32_t kind;   /* LU_FAIL_* */
    uint32_t vector; /* LU_FAIL_EXCEPTION */
    uint64_t tsc;
    uint64_t rip;
    char phase[32]; /* NUL-terminated, as is the next */
    char reason[160];
};

#define LU_FAIL_NONE 0U /* nothing was said: a fault before the new image could */
#define LU_FAIL_PANIC 1U
#define LU_FAIL_EXCEPTION 2U
#define LU_FAIL_REFUSED 3U /* stream, memory or CPU are not what the new image can take */
#define LU_FAIL_DEADLINE 4U

/* The flight recorder (hv/recorder.h): where it lies, to be found after a reset too. */
struct lu_recorder_ref {
    uint64_t pa; /* 0: there is none */
    uint64_t bytes;
    uint64_t check; /* CRC-32C over the fields before */
};

struct lu_handover {
    uint64_t magic;   /* LU_HANDOVER_MAGIC */
    uint32_t version; /* 1 */
    uint32_t stage;   /* LU_STAGE_* */
    struct lu_breadcrumb breadcrumb;
    struct lu_stamps stamps;
    struct lu_park park;
    struct lu_way_back back[2]; /* the same twice */
    struct lu_recorder_ref recorder;
    uint32_t park_check; /* ~park.entry_pa: written before it, or a flipped bit would be an entry */
    uint32_t reserved1;
    uint64_t reserved[4];
    struct lu_failure failure;
};

/* ---- Flight recorder: a ring that all images of a machine append to -------------------------- */

/*
 * lu_recorder_ref.bytes, a power of two, in slots of LU_LOG_SLOT bytes: first the header, then
 * `slots` entries. Entry N of all ever written lies in entry slot N % slots. Who appends adds to
 * `next`, atomically, and has the numbers from its old value on; then it writes each entry: number
 * 0, the other fields, the number last. An entry counts when its checksum fits and its number
 * belongs in that slot; so nothing half-written or older is taken for one. A cold boot that goes on
 * with a ring takes `next` and `boot` from its entries: what the header says of them may be older.
 */
#define LU_LOG_MAGIC UINT64_C(0x31676f4c746c6f6d) /* "moltLog1" */
#define LU_LOG_VERSION 1U
#define LU_LOG_SLOT 128U
#define LU_LOG_TEXT 100U

struct lu_log_header {
    uint64_t magic; /* LU_LOG_MAGIC */
    uint32_t version;
    uint32_t slots;
    uint64_t check;    /* CRC-32C over the fields before */
    uint64_t next;     /* number of the next entry; the first is 1 */
    uint64_t boot_tsc; /* host TSC when this cold boot began */
    uint32_t boot;     /* which cold boot this is, the ring's first is 1 */
    uint32_t reserved;
    uint64_t reserved2[10];
};

struct lu_log_entry {
    uint64_t number;
    uint64_t tsc;  /* host TSC */
    uint32_t boot; /* as in the header, then */
    uint16_t cpu;
    uint8_t flags;  /* LU_LOG_* */
    uint8_t length; /* bytes of text, no terminator */
    char text[LU_LOG_TEXT];
    uint32_t crc; /* CRC-32C over the fields before */
};

#define LU_LOG_STEP 1U /* a step of an update or boot, by its name; else a line of text */
#define LU_LOG_MORE 2U /* goes on with the line of the entry before */

/* ---- MFN list: a chain of pages that name the stream's pages --------------------------------- */

#define LU_MFN_LIST_ENTRIES 511U

struct lu_mfn_list_page {
    uint64_t next_pa;                   /* next list page, 0 in the last */
    uint64_t mfns[LU_MFN_LIST_ENTRIES]; /* unused ones are 0 */
};

/* ---- Stream ---------------------------------------------------------------------------------- */

#define LU_STREAM_MAGIC UINT64_C(0x315352544d746c6d) /* "mltMTRS1" */
#define LU_STREAM_VERSION 2U
#define LU_STREAM_VERSION_MIN 1U

struct lu_stream_header {
    uint64_t magic;
    uint32_t version;
    uint32_t reserved;
};

struct lu_record {
    uint32_t type;
    uint32_t length; /* of the payload, without the zero padding to 8 */
};

#define LU_REC_OPTIONAL 0x80000000U

/* Types. Never reused. The order below is the order in the stream. */
/* Written ahead of the pause, guests running: */
#define LU_REC_HOST 1U    /* struct lu_rec_host, exactly one, first */
#define LU_REC_MODULE 2U  /* struct lu_rec_module + command line */
#define LU_REC_DOMAIN 3U  /* struct lu_rec_domain */
#define LU_REC_EXTENTS 4U /* struct lu_rec_extents + extents, sorted by gfn over all its records */
/* Written inside the pause: */
#define LU_REC_HOST_STATE 5U   /* struct lu_rec_host_state, exactly one */
#define LU_REC_DOMAIN_STATE 6U /* struct lu_rec_domain_state, one a domain */
#define LU_REC_VUART 7U        /* struct lu_rec_vuart + bytes of the unfinished output line */
#define LU_REC_VCPU 8U         /* struct lu_rec_vcpu */
#define LU_REC_MSRS 9U         /* struct lu_rec_msrs + pairs, after its vCPU */
#define LU_REC_XSAVE 10U       /* struct lu_rec_xsave + standard-format image, after its vCPU */
#define LU_REC_CONSOLE (LU_REC_OPTIONAL | 11U) /* struct lu_rec_console + bytes not yet printed */
#define LU_REC_END 12U                         /* struct lu_rec_end, mandatory, last */
#define LU_REC_LAPIC 13U      /* struct lu_rec_lapic, after its vCPU; without it: as after RESET */
#define LU_REC_IOAPIC 14U     /* struct lu_rec_ioapic; without it: as after RESET */
#define LU_REC_CLOCK 15U      /* struct lu_rec_clock: a domain's time */
#define LU_REC_VCPU_CLOCK 16U /* struct lu_rec_vcpu_clock, after its vCPU */
#define LU_REC_SIGNALS 17U    /* struct lu_rec_signals, after its vCPU; without it: none wait */
/* Output of a domain's COM1 for readers (HC_CONSOLE_READ): struct lu_rec_output + bytes */
#define LU_REC_OUTPUT (LU_REC_OPTIONAL | 18U)
#define LU_REC_EDIT (LU_REC_OPTIONAL | 19U) /* struct lu_rec_edit + what is typed at the console */
/* Since version 2: */
#define LU_REC_CPUS 20U                         /* struct lu_rec_cpus, exactly one, in the pause */
#define LU_REC_RECORDER (LU_REC_OPTIONAL | 21U) /* struct lu_rec_recorder, at most one */
#define LU_REC_DIGEST (LU_REC_OPTIONAL | 22U)   /* struct lu_rec_digest, at most one a domain */
#define LU_REC_STOPS (LU_REC_OPTIONAL | 23U)    /* any number of struct lu_stop, at most one */
/* struct lu_rec_fresh + runs, sorted; at most one a domain, in the pause; without it: none */
#define LU_REC_FRESH 24U

struct lu_rec_host {
    uint64_t tsc_khz;
    char version[32];  /* of the writer, NUL-terminated */
    char build_id[48]; /* lower-case hex, NUL-terminated */
};

struct lu_rec_host_state {
    uint64_t updates;  /* successful ones before this */
    uint64_t refused;  /* refused or failed loads and updates */
    uint64_t attempts; /* updates tried, this one included: the n of the log line */
    uint64_t flags;    /* LU_HOST_* */
};

#define LU_HOST_SHUTDOWN 1U /* the run is ending: domains have been asked to finish */

struct lu_rec_module {
    uint64_t start_pa; /* bytes; frames are whole, [start & ~4095, align_up(start + bytes)) */
    uint64_t bytes;
    uint32_t cmdline_length; /* bytes behind the structure, no terminator */
    uint32_t reserved;
};

struct lu_rec_domain {
    uint16_t id;
    uint16_t flags;        /* LU_DOMAIN_* */
    uint32_t vcpus;        /* LU_REC_VCPU records to follow */
    uint64_t memory_bytes; /* equals the sum of its extents */
    uint64_t extents;      /* extents to follow */
    char name[32];         /* NUL-terminated, not empty */
};

struct lu_rec_domain_state {
    uint16_t domain;
    uint16_t reserved;
    uint32_t state;     /* LU_DOMAIN_RUNNING ... */
    uint32_t exit_code; /* of LU_DOMAIN_EXITED, else 0 */
    uint32_t reserved2;
};

#define LU_DOMAIN_CONTROL 1U /* flags */

#define LU_DOMAIN_RUNNING 1U
#define LU_DOMAIN_EXITED 2U  /* wrote its exit code */
#define LU_DOMAIN_STOPPED 3U /* stopped by molt after a fault */
#define LU_DOMAIN_PAUSED 4U  /* not scheduled until it is resumed */
#define LU_DOMAIN_NEW 5U     /* created, not started */

struct lu_rec_extents {
    uint16_t domain;
    uint16_t reserved[3];
};

struct lu_extent {
    uint64_t gfn;
    uint64_t mfn;
    uint32_t order;
    uint32_t flags;
};

/* 16550 on COM1, as its registers read. */
struct lu_rec_vuart {
    uint16_t domain;
    uint8_t ier;
    uint8_t lcr;
    uint8_t mcr;
    uint8_t scr;
    uint8_t fcr;
    uint8_t lsr_errors; /* LSR bits 1 to 4 */
    uint16_t divisor;
    uint8_t rx_count;   /* bytes waiting in rx[] */
    uint8_t flags;      /* LU_VUART_* */
    uint32_t tx_length; /* bytes behind the structure: the line without its end */
    uint8_t rx[16];
};

#define LU_VUART_TX_EVENT 1U /* the transmitter ran empty and nobody has read IIR since */

/* Segment register as SDM "Guest Register State": selector, base, limit, access rights. */
struct lu_segment {
    uint16_t selector;
    uint16_t reserved;
    uint32_t limit;
    uint64_t base;
    uint32_t access; /* bits 7:0, 15:12 as in a descriptor's second word >> 8; bit 16 unusable */
    uint32_t reserved2;
};

struct lu_table {
    uint64_t base;
    uint32_t limit;
    uint32_t reserved;
};

#define LU_VCPU_RUNNING 0U
#define LU_VCPU_HALTED 1U
#define LU_VCPU_SHUTDOWN 2U
#define LU_VCPU_WAIT_SIPI 3U

/* lu_rec_vcpu.event: an event whose delivery was interrupted or is due, as SDM "Event
 * Injection". */
#define LU_EVENT_VALID 0x80000000U
#define LU_EVENT_ERROR_CODE 0x800U

struct lu_rec_vcpu {
    uint16_t domain;
    uint16_t vcpu;
    uint32_t activity; /* LU_VCPU_* */
    uint64_t gpr[16];  /* rax rcx rdx rbx rsp rbp rsi rdi r8 ... r15 */
    uint64_t rip;
    uint64_t rflags;
    uint64_t cr0;
    uint64_t cr2;
    uint64_t cr3;
    uint64_t cr4;
    uint64_t cr8;
    uint64_t xcr0;
    uint64_t efer;
    uint64_t dr[4];
    uint64_t dr6;
    uint64_t dr7;
    uint64_t pdpte[4];             /* the loaded ones, in PAE paging */
    struct lu_segment segments[8]; /* es cs ss ds fs gs ldtr tr */
    struct lu_table gdtr;
    struct lu_table idtr;
    uint32_t interruptibility; /* bit 0 STI, 1 MOV SS, 3 NMI blocking */
    uint32_t event;            /* LU_EVENT_VALID | type << 8 | vector, error-code bit 11 */
    uint32_t event_error;
    uint32_t event_length; /* instruction length for software events */
    uint64_t pending_debug;
    uint64_t tsc_offset; /* guest TSC = host TSC + offset */
    uint64_t wake_tsc;   /* host TSC at which HC_SLEEP ends, 0 when awake */
};

struct lu_rec_msrs {
    uint16_t domain;
    uint16_t vcpu;
    uint32_t count;
};

struct lu_msr {
    uint32_t index;
    uint32_t reserved;
    uint64_t value;
};

struct lu_rec_xsave {
    uint16_t domain;
    uint16_t vcpu;
    uint32_t bytes;    /* of the image behind the structure */
    uint64_t features; /* XCR0 under which the image was written */
};

/* Registers as the guest reads them; bitmaps as 8 x 32 bits, vector 0 first. */
struct lu_rec_lapic {
    uint16_t domain;
    uint16_t vcpu;
    uint32_t id;
    uint64_t apic_base;
    uint32_t tpr;
    uint32_t svr;
    uint32_t ldr;
    uint32_t dfr;
    uint32_t esr;
    uint32_t esr_pending; /* errors since ESR was written last */
    uint32_t lvt[6];      /* timer, thermal, performance, LINT0, LINT1, error */
    uint64_t icr;
    uint32_t irr[8];
    uint32_t isr[8];
    uint32_t tmr[8];
    uint32_t timer_initial;
    uint32_t timer_divide;
    uint64_t timer_start;  /* guest TSC when the count began */
    uint64_t tsc_deadline; /* 0: disarmed */
    uint32_t tsc_per_tick; /* guest TSC cycles of one undivided timer tick */
    uint32_t reserved;
};

struct lu_rec_ioapic {
    uint16_t domain;
    uint16_t reserved[3];
    uint32_t select;
    uint32_t id;
    uint64_t redirection[24];
    uint32_t lines; /* level of each pin */
    uint32_t reserved2;
};

/* KVM-compatible clock: where the domain's time starts, and the MSRs that guests wrote. */
struct lu_rec_clock {
    uint16_t domain;
    uint16_t reserved;
    uint32_t wall_nsec;
    uint64_t wall_sec; /* time of day at time 0, seconds since 1970 */
    uint64_t base_tsc; /* host TSC at time 0 */
    uint64_t wall_msr;
};

struct lu_rec_vcpu_clock {
    uint16_t domain;
    uint16_t vcpu;
    uint32_t reserved;
    uint64_t system_time_msr;
};

/* What waits for a vCPU besides interrupts: an NMI that was not yet taken. */
struct lu_rec_signals {
    uint16_t domain;
    uint16_t vcpu;
    uint32_t signals; /* LU_SIGNAL_* */
};

#define LU_SIGNAL_NMI 1U

struct lu_rec_output {
    uint16_t domain;
    uint16_t shown;  /* bytes of VUART's unfinished line that the console has shown already */
    uint32_t length; /* bytes behind the structure: the last ones written, at most 16384 */
    uint64_t total;  /* bytes ever written, these included */
};

/* A line that is being typed at the console of the hypervisor itself. */
struct lu_rec_edit {
    uint32_t length; /* bytes behind the structure, at most 200 */
    uint32_t flags;  /* LU_EDIT_* */
};

#define LU_EDIT_ESCAPE 1U /* Ctrl-A was typed last */

struct lu_rec_console {
    uint16_t focus; /* domain that has the keyboard, 0xffff: molt itself */
    uint16_t reserved;
    uint32_t length; /* bytes behind the structure */
};

/* The machine that the guests have been running on. */
struct lu_rec_cpus {
    uint32_t cpus;     /* of the host, the one that jumps included */
    uint32_t flags;    /* LU_CPUS_* */
    uint64_t features; /* LU_FEATURE_* in use: a reader that lacks one refuses */
};

#define LU_CPUS_VIRTUALIZED 1U /* vCPUs run; without it domains own memory only */

/* The flight recorder's memory: preserved. */
struct lu_rec_recorder {
    uint64_t pa;    /* naturally aligned */
    uint64_t bytes; /* a power of two, at least 4096 */
};

/* What the writer's audit found: the reader's own has to find the same. */
struct lu_rec_digest {
    uint16_t domain;
    uint16_t flags;       /* LU_DIGEST_* */
    uint32_t extents_crc; /* CRC-32C over the domain's struct lu_extent, sorted by gfn */
    uint32_t memory_crc;  /* CRC-32C over its memory, in the order of gfn; 0 without the flag */
    uint32_t reserved;
};

#define LU_DIGEST_MEMORY 1U

/* When a CPU or a vCPU stopped: for people, nothing depends on it. */
struct lu_stop {
    uint16_t domain;  /* LU_STOP_CPU: the CPU itself */
    uint16_t vcpu;    /* 0 then */
    uint32_t apic_id; /* of that CPU; of the one on which the vCPU was last, or LU_STOP_NO_CPU */
    uint64_t tsc;     /* host TSC; 0: not known */
};

#define LU_STOP_CPU 0U
#define LU_STOP_NO_CPU 0xffffffffU

/* Memory whose contents mean nothing: whoever touches a unit of it first finds zeros. */
struct lu_rec_fresh {
    uint16_t domain;
    uint16_t reserved[3];
    /* struct lu_fresh_run runs[] */
};

#define LU_FRESH_UNIT 512U /* frames: 2 MiB */

struct lu_fresh_run {
    uint64_t gfn;    /* a multiple of LU_FRESH_UNIT */
    uint64_t frames; /* the same, not 0 */
};

struct lu_rec_end {
    uint32_t crc; /* CRC-32C over every byte of the stream before this field's record header */
    uint32_t reserved;
};

_Static_assert(sizeof(struct lu_note) == 48, "lu_note");
_Static_assert(sizeof(struct lu_breadcrumb) == 40, "lu_breadcrumb");
_Static_assert(sizeof(struct lu_note_seal) == 112, "lu_note_seal");
_Static_assert(sizeof(struct lu_way_back) == 48, "lu_way_back");
_Static_assert(sizeof(struct lu_failure) == 216, "lu_failure");
_Static_assert(sizeof(struct lu_recorder_ref) == 24, "lu_recorder_ref");
_Static_assert(sizeof(struct lu_handover) == 456, "lu_handover");
_Static_assert(sizeof(struct lu_log_header) == 128, "lu_log_header");
_Static_assert(sizeof(struct lu_log_entry) == 128, "lu_log_entry");
_Static_assert(sizeof(struct lu_mfn_list_page) == 4096, "lu_mfn_list_page");
_Static_assert(sizeof(struct lu_stream_header) == 16, "lu_stream_header");
_Static_assert(sizeof(struct lu_record) == 8, "lu_record");
_Static_assert(sizeof(struct lu_rec_host) == 88, "lu_rec_host");
_Static_assert(sizeof(struct lu_rec_host_state) == 32, "lu_rec_host_state");
_Static_assert(sizeof(struct lu_rec_module) == 24, "lu_rec_module");
_Static_assert(sizeof(struct lu_rec_domain) == 56, "lu_rec_domain");
_Static_assert(sizeof(struct lu_rec_domain_state) == 16, "lu_rec_domain_state");
_Static_assert(sizeof(struct lu_rec_extents) == 8, "lu_rec_extents");
_Static_assert(sizeof(struct lu_extent) == 24, "lu_extent");
_Static_assert(sizeof(struct lu_rec_vuart) == 32, "lu_rec_vuart");
_Static_assert(sizeof(struct lu_segment) == 24, "lu_segment");
_Static_assert(sizeof(struct lu_table) == 16, "lu_table");
_Static_assert(sizeof(struct lu_rec_vcpu) == 552, "lu_rec_vcpu");
_Static_assert(sizeof(struct lu_rec_msrs) == 8, "lu_rec_msrs");
_Static_assert(sizeof(struct lu_msr) == 16, "lu_msr");
_Static_assert(sizeof(struct lu_rec_xsave) == 16, "lu_rec_xsave");
_Static_assert(sizeof(struct lu_rec_lapic) == 200, "lu_rec_lapic");
_Static_assert(sizeof(struct lu_rec_ioapic) == 216, "lu_rec_ioapic");
_Static_assert(sizeof(struct lu_rec_clock) == 32, "lu_rec_clock");
_Static_assert(sizeof(struct lu_rec_vcpu_clock) == 16, "lu_rec_vcpu_clock");
_Static_assert(sizeof(struct lu_rec_signals) == 8, "lu_rec_signals");
_Static_assert(sizeof(struct lu_rec_output) == 16, "lu_rec_output");
_Static_assert(sizeof(struct lu_rec_edit) == 8, "lu_rec_edit");
_Static_assert(sizeof(struct lu_rec_console) == 8, "lu_rec_console");
_Static_assert(sizeof(struct lu_rec_cpus) == 16, "lu_rec_cpus");
_Static_assert(sizeof(struct lu_rec_recorder) == 16, "lu_rec_recorder");
_Static_assert(sizeof(struct lu_rec_digest) == 16, "lu_rec_digest");
_Static_assert(sizeof(struct lu_stop) == 16, "lu_stop");
_Static_assert(sizeof(struct lu_rec_fresh) == 8, "lu_rec_fresh");
_Static_assert(sizeof(struct lu_fresh_run) == 16, "lu_fresh_run");
_Static_assert(sizeof(struct lu_rec_end) == 8, "lu_rec_end");

#endif
