/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fakes for what fakes/machine.c leaves out of hv/seam.h, and for small services of core/: serial
 * port, CPUID, the jump, the end of the machine, identity of the image, machine_*().
 *
 * The stand-ins for functions of core/ are weak: link core/'s own file and it is used instead.
 */
#ifndef FAKES_SEAM_H
#define FAKES_SEAM_H

#include <setjmp.h>

#include "hv/seam.h"
#include "hv/types.h"

/* Everything below back to its start. */
void fake_seam_reset(void);

/* ---- CPUID ---- */

/* What host_cpuid() answers for a leaf; all others get the default, zero after a reset. */
void fake_cpuid_set(uint32_t leaf, uint32_t subleaf, struct cpuid_values values);
void fake_cpuid_default(struct cpuid_values values);

/* ---- memory ---- */

/* A byte that memory_mapped() does not find, NULL for none; nor what a process cannot have. */
extern const void *fake_unmapped;

/* ---- serial port ---- */

/* Bytes that the port still takes; negative: any number. */
extern long fake_serial_left;
/* Bytes taken at a time at most. */
extern unsigned int fake_serial_fifo;
/* Types bytes; serial_get() hands them out one by one. */
void fake_serial_type(const char *keys, size_t len);
/* What was put since the reset or fake_serial_clear(), terminated. */
const char *fake_serial_out(void);
size_t fake_serial_out_len(void);
void fake_serial_clear(void);

/* ---- no return ---- */

/* FAKE_ENDS(statement): true when the statement ended in machine_off(), machine_reset(), or in a
 * jump into another image or back, which come out here; outside of it they abort. */
extern jmp_buf fake_end_jmp;
extern bool fake_end_armed;
#define FAKE_ENDS(statement)              \
    __extension__({                       \
        volatile bool fake_ended_ = true; \
        fake_end_armed = true;            \
        if (setjmp(fake_end_jmp) == 0) {  \
            statement;                    \
            fake_ended_ = false;          \
        }                                 \
        fake_end_armed = false;           \
        fake_ended_;                      \
    })

#define FAKE_BACK_ENTRY 0x123000U /* kexec_back_entry() */

extern struct fake_end {
    unsigned int offs, resets, jumps, prepares, escapes, backs, nmi_allowed; /* calls */
    bool ok;                                                                 /* of machine_off() */
    paddr_t list_pa, entry_pa, info_pa; /* of kexec_jump(); entry: go_back() too */
    paddr_t handover_pa;                /* of kexec_set_way_back() or kexec_go_back() */
    uint64_t deadline_tsc;              /* of kexec_set_way_back() */
    /* What the next image does before it goes back: then escape_call() does. */
    void (*comes_back)(void);
} fake_end;

/* ---- identity and machine ---- */

extern const char *fake_build_id;   /* what lu_build_id() says */
extern uint32_t fake_stream_newest; /* lu_stream_newest() */
extern uint64_t fake_features;      /* lu_features() */
extern bool fake_shutdown;          /* machine_request_shutdown() was called */
extern unsigned int fake_ended_domains;
extern void (*fake_poll)(void); /* called by machine_poll(), may be NULL */

#endif
