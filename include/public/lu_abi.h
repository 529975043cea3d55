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

#define LU_NOTE_TAKES_CPUS 1U /* flags: the image takes over parked CPUs (struct lu_park) */

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

struct lu_handover {
    uint64_t magic;   /* LU_HANDOVER_MAGIC */
    uint32_t version; /* 1 */
    uint32_t stage;   /* LU_STAGE_* */
    struct lu_breadcrumb breadcrumb;
    struct lu_stamps stamps;
    struct lu_park park;
    uint64_t reserved[20]; /* the way back: re-entry point and tables */
};

/* ---- MFN list: a chain of pages that name the stream's pages --------------------------------- */

#define LU_MFN_LIST_ENTRIES 511U

struct lu_mfn_list_page {
    uint64_t next_pa;                   /* next list page, 0 in the last */
    uint64_t mfns[LU_MFN_LIST_ENTRIES]; /* unused ones are 0 */
};

/* ---- Stream ---------------------------------------------------------------------------------- */

#define LU_STREAM_MAGIC UINT64_C(0x315352544d746c6d) /* "mltMTRS1" */
#define LU_STREAM_VERSION 1U
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

struct lu_rec_end {
    uint32_t crc; /* CRC-32C over every byte of the stream before this field's record header */
    uint32_t reserved;
};

_Static_assert(sizeof(struct lu_note) == 48, "lu_note");
_Static_assert(sizeof(struct lu_breadcrumb) == 40, "lu_breadcrumb");
_Static_assert(sizeof(struct lu_handover) == 240, "lu_handover");
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
_Static_assert(sizeof(struct lu_rec_end) == 8, "lu_rec_end");

#endif
