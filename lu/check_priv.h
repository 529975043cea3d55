/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The check of the stream: what its files share.
 */
#ifndef LU_CHECK_PRIV_H
#define LU_CHECK_PRIV_H

#include "lu_priv.h"

#include "hv/frametable.h"
#include "hv/vcpu.h"

/* Frame numbers of 52-bit addresses (SDM, "Physical Address Space"). */
#define FRAME_LIMIT BIT(52 - PAGE_SHIFT)

/* What the check remembers of a domain. */
struct seen_domain {
    uint16_t id;
    bool state, vuart, ioapic, clock, output, digest, fresh;
    uint32_t line_length;
    uint32_t vcpus_expected, vcpus;
    uint64_t extents_expected, extents;
    uint64_t frames_expected, frames;
    uint64_t next_gfn; /* extents are sorted */
    char name[32];
};

struct checker {
    struct seen_domain *domains;
    size_t nr, capacity;
    uint32_t version; /* of the stream */
    bool host, host_state, console, edit, cpus, recorder, stops;
    bool vcpu_open, msrs, xsave, lapic, clock,
        signals; /* the last vCPU: what belongs to it may follow */
    uint16_t vcpu_domain, vcpu;
    struct vcpu_state state; /* its registers, from VCPU and MSRS */
    const struct frame_keeper *keeper;
    uint64_t taken; /* times that keeper->take() was successful */
    const char **why;
};

/*
 * The check in steps: begin, some records, more records, end; and in any case forget. Records: from
 * where the reader stands. 0, -EPROTO, -EBADMSG or -ENOMEM with *why.
 */
void checker_begin(struct checker *c, const struct frame_keeper *keeper, const char **why);
MUST_CHECK int checker_records(struct checker *c, struct stream_reader *r);
MUST_CHECK int checker_end(struct checker *c);
void checker_forget(struct checker *c);

/* -EBADMSG, and why. */
int check_bad(struct checker *c, const char *why);
struct seen_domain *check_find(struct checker *c, uint16_t id);
/* A record that belongs to a vCPU names the one just before it. */
bool check_last_vcpu(const struct checker *c, uint16_t domain, uint16_t vcpu);

/* [start, end) through the keeper: 0, -ENOMEM, or -EBADMSG and why. */
int check_take(struct checker *c, mfn_t start, mfn_t end, enum frame_state state, uint16_t owner,
               const char *why);

/* Records of devices and of the console (lu/check_devices.c): 0 or -EBADMSG. */
int check_vuart(struct checker *c, const struct stream_item *item);
int check_output(struct checker *c, const struct stream_item *item);
int check_lapic(struct checker *c, const struct stream_item *item);
int check_ioapic(struct checker *c, const struct stream_item *item);
int check_clock(struct checker *c, const struct stream_item *item);
int check_vcpu_clock(struct checker *c, const struct stream_item *item);
int check_signals(struct checker *c, const struct stream_item *item);
int check_console(struct checker *c, const struct stream_item *item);
int check_edit(struct checker *c, const struct stream_item *item);

/* Records of the machine (lu/check_machine.c): the same, or -ENOMEM. */
int check_cpus(struct checker *c, const struct stream_item *item);
int check_recorder(struct checker *c, const struct stream_item *item);
int check_digest(struct checker *c, const struct stream_item *item);
int check_stops(struct checker *c, const struct stream_item *item);
int check_fresh(struct checker *c, const struct stream_item *item);

#endif
