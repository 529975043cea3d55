/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking a guest's page tables. Host test: tests/host/test_guest_walk.c
 */
#include "hv/guest_walk.h"

#include "hv/context.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/hvm.h"
#include "hv/printk.h"
#include "hv/string.h"
#include "hw/x86.h"

#define PF_PRESENT 1U
#define PF_WRITE 2U
#define PF_USER 4U
#define PF_RESERVED 8U
#define PF_FETCH 16U
#define LEVELS_MAX 4
#define LOW32 0xffffffffUL
#define RETRIES 8 /* a table that changes all the time */

/* One kind of paging: bits of the address that each level takes, from the top. */
struct paging {
    int levels;
    unsigned int entry_bytes;
    unsigned int index_bits[LEVELS_MAX];
};

static const struct paging paging_4level = {4, 8, {9, 9, 9, 9}};
static const struct paging paging_pae = {3, 8, {2, 9, 9}};
static const struct paging paging_32bit = {2, 4, {10, 10}};

struct walk {
    struct vcpu *v;
    const struct paging *paging;
    uint64_t cr0, cr4, efer;
    enum guest_access access;
    bool user;
    /* what the entries say */
    uint64_t entry_pa[LEVELS_MAX], entry[LEVELS_MAX];
    int level;          /* of the leaf */
    unsigned int shift; /* bits of the offset in its page */
    bool writable, user_page, no_execute;
};

static const struct paging *paging_of(const struct walk *w)
{
    if (w->efer & EFER_LMA) {
        return &paging_4level;
    }
    return (w->cr4 & CR4_PAE) ? &paging_pae : &paging_32bit;
}

/* The CPU holds the four PDPTEs of PAE paging; they have no rights and no accessed bit. */
static bool is_pdpte(const struct walk *w, int level)
{
    return w->paging == &paging_pae && level == 0;
}

/* A leaf above the last level: PDPT and page directory; in 32-bit paging only with CR4.PSE. */
static bool is_leaf(const struct walk *w, int level, uint64_t entry)
{
    if (level == w->paging->levels - 1) {
        return true;
    }
    if (!(entry & PTE_PS) || is_pdpte(w, level)) {
        return false;
    }
    return w->paging == &paging_32bit ? (w->cr4 & CR4_PSE) != 0 : level != 0;
}

/* Bits that must be 0 in a present entry. SDM volume 3, "32-Bit Paging", "PAE Paging", "4-Level
 * Paging and 5-Level Paging": the tables of entry formats. */
static uint64_t reserved_bits(const struct walk *w, int level, bool leaf, unsigned int shift)
{
    bool large = leaf && level != w->paging->levels - 1;
    unsigned int width = guest_maxphyaddr();
    uint64_t bits;

    if (w->paging == &paging_32bit) {
        /* PSE-36: bits 20:13 hold address bits 39:32, as far as there are such addresses */
        width = guest_has_pse36() ? MIN(width, 40U) : 32;
        return large ? BIT(21) | (BITS(20, 13) & ~(BIT(width - 19) - 1)) : 0;
    }
    bits = BITS(51, width);
    if (!(w->efer & EFER_NXE)) {
        bits |= PTE_NX;
    }
    if (w->paging == &paging_pae) {
        bits |= BITS(62, 52);
    }
    if (large) {
        bits |= BITS(shift - 1, 13);
    }
    if (w->paging == &paging_4level &&
        (level == 0 || (leaf && level == 1 && !guest_has_1g_pages()))) {
        bits |= PTE_PS;
    }
    return bits;
}

/* Does the access fault with the rights of all levels together? SDM volume 3, "Determination of
 * Access Rights". */
static bool forbidden(const struct walk *w)
{
    bool ac = hvm->reg_get(w->v, HVM_REG_RFLAGS) & RFLAGS_AC;

    if (w->user && !w->user_page) {
        return true;
    }
    if (w->access == GUEST_FETCH) {
        return w->no_execute || (!w->user && w->user_page && (w->cr4 & CR4_SMEP));
    }
    if (!w->user && w->user_page && (w->cr4 & CR4_SMAP) && !ac) {
        return true;
    }
    return w->access == GUEST_WRITE && !w->writable && (w->user || (w->cr0 & CR0_WP));
}

static uint64_t root_of(const struct walk *w)
{
    uint64_t cr3 = hvm->reg_get(w->v, HVM_REG_CR3) & PTE_ADDR;

    return w->paging == &paging_32bit ? cr3 & LOW32 : cr3;
}

static int read_entry(struct walk *w, int level, uint64_t table, uint64_t index)
{
    if (is_pdpte(w, level)) {
        w->entry[level] = hvm->reg_get(w->v, (enum hvm_reg)(HVM_REG_PDPTE0 + index));
        return 0;
    }
    w->entry_pa[level] = table + index * w->paging->entry_bytes;
    return domain_read_entry(w->v->domain, w->entry_pa[level], w->paging->entry_bytes,
                             &w->entry[level]);
}

/* Down to the leaf. 0; -EFAULT with the bits of the error code that tell why. */
static int descend(struct walk *w, uint64_t linear, uint32_t *pf_error)
{
    uint64_t table = root_of(w);

    w->writable = w->user_page = true;
    w->no_execute = false;
    w->shift = w->paging == &paging_4level ? 48 : 32;
    for (w->level = 0;; w->level++) {
        unsigned int bits = w->paging->index_bits[w->level];
        uint64_t entry;
        bool leaf;

        w->shift -= bits;
        if (read_entry(w, w->level, table, linear >> w->shift & (BIT(bits) - 1)) != 0 ||
            !(w->entry[w->level] & PTE_P)) {
            return -EFAULT;
        }
        entry = w->entry[w->level];
        leaf = is_leaf(w, w->level, entry);
        /* PDPTEs were checked as they were loaded. */
        if (!is_pdpte(w, w->level)) {
            if (entry & reserved_bits(w, w->level, leaf, w->shift)) {
                *pf_error = PF_PRESENT | PF_RESERVED;
                return -EFAULT;
            }
            w->writable &= (entry & PTE_W) != 0;
            w->user_page &= (entry & PTE_U) != 0;
            w->no_execute |= (entry & PTE_NX) != 0;
        }
        if (leaf) {
            break;
        }
        table = entry & PTE_ADDR;
    }
    *pf_error = PF_PRESENT;
    return forbidden(w) ? -EFAULT : 0;
}

/* Sets A (and D) where they are not. -EBUSY: an entry is not any more what it was. */
static int mark(const struct walk *w)
{
    for (int i = w->paging == &paging_pae ? 1 : 0; i <= w->level; i++) {
        bool dirties = i == w->level && w->access == GUEST_WRITE;
        uint64_t wanted = w->entry[i] | PTE_A | (dirties ? PTE_D : 0);

        if (wanted != w->entry[i]) {
            int rc = domain_swap_entry(w->v->domain, w->entry_pa[i], w->paging->entry_bytes,
                                       w->entry[i], wanted);

            if (rc != 0) {
                return rc;
            }
        }
    }
    return 0;
}

static uint64_t leaf_address(const struct walk *w, uint64_t linear)
{
    uint64_t entry = w->entry[w->level];
    uint64_t pa = entry & PTE_ADDR & ~(BIT(w->shift) - 1);

    if (w->paging == &paging_32bit && w->shift == 22) {
        pa |= (entry & BITS(20, 13)) << 19; /* PSE-36 */
    }
    return pa | (linear & (BIT(w->shift) - 1));
}

static uint32_t access_bits(const struct walk *w)
{
    bool tells_fetches = (w->cr4 & CR4_SMEP) || ((w->cr4 & CR4_PAE) && (w->efer & EFER_NXE));

    return (w->access == GUEST_WRITE ? PF_WRITE : 0) | (w->user ? PF_USER : 0) |
           (w->access == GUEST_FETCH && tells_fetches ? PF_FETCH : 0);
}

int guest_walk(struct vcpu *v, uint64_t linear, enum guest_access access, bool user, uint64_t *gpa,
               uint32_t *pf_error)
{
    struct walk w = {.v = v,
                     .cr0 = hvm->reg_get(v, HVM_REG_CR0),
                     .cr4 = hvm->reg_get(v, HVM_REG_CR4),
                     .efer = hvm->reg_get(v, HVM_REG_EFER),
                     .access = access,
                     .user = user};
    uint32_t why = 0;
    int rc = -EBUSY;

    *pf_error = access_bits(&w);
    if (!(w.cr0 & CR0_PG)) {
        *gpa = linear & LOW32;
        return 0;
    }
    w.paging = paging_of(&w);
    for (int i = 0; rc == -EBUSY && i < RETRIES; i++) {
        why = 0;
        rc = descend(&w, linear, &why);
        if (rc == 0) {
            rc = mark(&w);
        }
    }
    if (rc != 0) { /* also of a table that never stands still: as if it had been without A */
        *pf_error |= rc == -EBUSY ? 0 : why;
        return -EFAULT;
    }
    *gpa = leaf_address(&w, linear);
    return 0;
}

static bool canonical(uint64_t va)
{
    return (uint64_t)((int64_t)(va << 16) >> 16) == va;
}

int guest_span_find(struct vcpu *v, uint64_t linear, enum guest_access access, bool user,
                    size_t len, struct guest_span *span)
{
    size_t first = MIN(len, PAGE_SIZE - linear % PAGE_SIZE);

    BUG_ON(len == 0 || len > GUEST_SPAN_MAX);
    span->bytes[0] = first;
    span->bytes[1] = len - first;
    for (unsigned int i = 0; i < 2 && span->bytes[i] != 0; i++) {
        uint64_t at = i == 0 ? linear : linear + first;
        uint32_t error;

        if (!canonical(at)) {
            guest_fault_code(v, EXC_GP, 0);
            return -EFAULT;
        }
        if (guest_walk(v, at, access, user, &span->gpa[i], &error) != 0) {
            context_set_cr2(&v->ctx, at);
            guest_fault_code(v, EXC_PF, error);
            return -EFAULT;
        }
    }
    return 0;
}

static int outside(struct vcpu *v, uint64_t gpa)
{
    domain_stop(v->domain, "operand at guest-physical 0x%llx outside its memory",
                (unsigned long long)gpa);
    return -EFAULT;
}

int guest_span_read(struct vcpu *v, const struct guest_span *span, void *to)
{
    uint8_t *bytes = to;

    for (unsigned int i = 0; i < 2; bytes += span->bytes[i], i++) {
        if (span->bytes[i] != 0 &&
            domain_read(v->domain, span->gpa[i], bytes, span->bytes[i]) != 0) {
            return outside(v, span->gpa[i]);
        }
    }
    return 0;
}

int guest_span_write(struct vcpu *v, const struct guest_span *span, const void *from)
{
    const uint8_t *bytes = from;

    for (unsigned int i = 0; i < 2; bytes += span->bytes[i], i++) {
        if (span->bytes[i] != 0 &&
            domain_write(v->domain, span->gpa[i], bytes, span->bytes[i]) != 0) {
            return outside(v, span->gpa[i]);
        }
    }
    return 0;
}

void guest_insn_fetch(struct vcpu *v, const struct hvm_exit *exit, struct guest_insn *out)
{
    uint64_t linear = hvm->reg_get(v, HVM_REG_CS_BASE) + exit->rip;

    *out = (struct guest_insn){.n = exit->nr_bytes};
    if (exit->nr_bytes != 0) {
        memcpy(out->bytes, exit->bytes, exit->nr_bytes);
        return;
    }
    while (out->n < INSN_MAX) {
        uint64_t gpa, at = linear + out->n;
        size_t run;

        at = exit->code64 ? at : (uint32_t)at;
        run = MIN(INSN_MAX - out->n, PAGE_SIZE - at % PAGE_SIZE);
        if (guest_walk(v, at, GUEST_FETCH, exit->cpl == 3, &gpa, &out->error) != 0) {
            out->faulted = true;
            out->linear = at;
            break;
        }
        if (domain_read(v->domain, gpa, out->bytes + out->n, run) != 0) {
            break;
        }
        out->n += run;
    }
}
