/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a vCPU state can be loaded: a stream is not trusted.
 *
 * The rules of SDM volume 3, "Checks on the Guest State Area", that hold in every mode. What passes
 * here and is still refused by VM entry stops that domain (HVM_EXIT_BAD_STATE), never the host.
 *
 * Host test: tests/host/test_state_check.c
 */
#include "hv/exit.h"

#include "hv/errno.h"
#include "hv/event.h"
#include "hw/vmx.h"
#include "hw/x86.h"

#define RFLAGS_KNOWN 0x003f7fd7UL
#define PDPTE_RESERVED (BITS(8, 5) | BITS(2, 1))
#define LIMIT_LOW 0xfffU
#define LIMIT_HIGH 0xfff00000U

/* 48-bit linear addresses: guests have no 5-level paging. */
static bool is_canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

static bool is_high_clear(uint64_t value)
{
    return value >> 32 == 0;
}

uint64_t guest_pdpte(uint64_t entry)
{
    uint64_t reserved = BITS(63, guest_maxphyaddr()) | PDPTE_RESERVED;

    return (entry & PTE_P) && !(entry & reserved) ? entry : 0;
}

static bool control_registers_good(const struct vcpu_state *s)
{
    bool long_mode = (s->cr0 & CR0_PG) && (s->efer & EFER_LME);
    uint64_t above_memory = BITS(63, guest_maxphyaddr());

    if (!is_high_clear(s->cr0) || (s->cr0 & (CR0_PG | CR0_PE)) == CR0_PG ||
        (s->cr0 & (CR0_NW | CR0_CD)) == CR0_NW) {
        return false;
    }
    if ((s->cr4 & ~guest_cr4_allowed()) || (s->efer & ~(guest_efer_allowed() | EFER_LMA)) ||
        long_mode != !!(s->efer & EFER_LMA)) {
        return false;
    }
    if ((long_mode && !(s->cr4 & CR4_PAE)) || (!long_mode && (s->cr4 & CR4_PCIDE)) ||
        (s->cr3 & above_memory)) {
        return false;
    }
    for (size_t i = 0; guest_pae_paging(s->cr0, s->cr4, s->efer) && i < ARRAY_SIZE(s->pdpte); i++) {
        if ((s->pdpte[i] & PTE_P) && guest_pdpte(s->pdpte[i]) == 0) {
            return false;
        }
    }
    return true;
}

static bool pat_good(uint64_t pat)
{
    for (unsigned int shift = 0; shift < 64; shift += 8) {
        uint64_t type = pat >> shift & 0xff;

        if (type > 7 || type == 2 || type == 3) {
            return false;
        }
    }
    return true;
}

/* Access rights and limit of one segment. */
static bool segment_good(const struct segment_reg *seg, enum segment which)
{
    uint32_t type = seg->access & AR_TYPE;

    if (seg->access & SEG_UNUSABLE) {
        return which != SEG_CS && which != SEG_TR;
    }
    if ((seg->access & AR_RESERVED) || !(seg->access & AR_P)) {
        return false;
    }
    if (((seg->limit & LIMIT_LOW) != LIMIT_LOW && (seg->access & AR_G)) ||
        ((seg->limit & LIMIT_HIGH) && !(seg->access & AR_G))) {
        return false;
    }
    switch (which) {
    case SEG_TR:
        return !(seg->access & AR_S) && (type == AR_TYPE_TSS_BUSY || type == AR_TYPE_TSS16_BUSY);
    case SEG_LDTR:
        return !(seg->access & AR_S) && type == AR_TYPE_LDT;
    default:
        return (seg->access & AR_S) && (type & AR_TYPE_ACCESSED);
    }
}

static bool segment_base_good(const struct segment_reg *seg, enum segment which)
{
    switch (which) {
    case SEG_FS:
    case SEG_GS:
    case SEG_TR:
        return is_canonical(seg->base);
    case SEG_LDTR:
        return (seg->access & SEG_UNUSABLE) || is_canonical(seg->base);
    case SEG_CS:
        return is_high_clear(seg->base);
    default:
        return (seg->access & SEG_UNUSABLE) || is_high_clear(seg->base);
    }
}

static bool segments_good(const struct vcpu_state *s)
{
    for (unsigned int i = 0; i < SEG_COUNT; i++) {
        if (!segment_good(&s->seg[i], (enum segment)i) ||
            !segment_base_good(&s->seg[i], (enum segment)i)) {
            return false;
        }
    }
    return is_canonical(s->gdtr.base) && is_canonical(s->idtr.base) && s->gdtr.limit <= 0xffff &&
           s->idtr.limit <= 0xffff;
}

static bool run_state_good(const struct vcpu_state *s)
{
    const struct guest_event event = {
        .info = s->event,
        .error_code = s->event_error,
        .length = s->event_length,
    };
    bool code64 = (s->efer & EFER_LMA) && (s->seg[SEG_CS].access & AR_L);
    uint32_t blocking = INTR_BLOCK_STI | INTR_BLOCK_MOV_SS;

    if ((s->rflags & ~RFLAGS_KNOWN) || (!code64 && !is_high_clear(s->rip))) {
        return false;
    }
    if ((s->rflags & RFLAGS_VM) && ((s->efer & EFER_LMA) || !(s->cr0 & CR0_PE))) {
        return false;
    }
    if ((s->interruptibility & ~(blocking | INTR_BLOCK_NMI)) ||
        (s->interruptibility & blocking) == blocking ||
        ((s->interruptibility & INTR_BLOCK_STI) && !(s->rflags & RFLAGS_IF))) {
        return false;
    }
    if (s->pending_debug &
        ~(PENDING_DEBUG_TRAPS | PENDING_DEBUG_ENABLED | PENDING_DEBUG_BS | PENDING_DEBUG_RTM)) {
        return false;
    }
    if (!event_valid(&event)) {
        return false;
    }
    bool extint = (s->event & EVENT_VALID) &&
                  (s->event >> INTR_INFO_TYPE_SHIFT & INTR_INFO_TYPE_MASK) == EVENT_TYPE_EXTINT;
    return !extint || (s->rflags & RFLAGS_IF);
}

int guest_state_check(const struct vcpu_state *s)
{
    if (!control_registers_good(s) || !segments_good(s) || !run_state_good(s) ||
        !pat_good(s->pat) || !is_high_clear(s->dr7) || !is_high_clear(s->sysenter_cs) ||
        !is_canonical(s->sysenter_esp) || !is_canonical(s->sysenter_eip)) {
        return -EINVAL;
    }
    return 0;
}
