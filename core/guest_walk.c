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
#include "hv/string.h"
#include "hw/x86.h"

#define PF_PRESENT 1U
#define PF_WRITE 2U
#define PF_USER 4U
#define LEVELS_MAX 4
#define PDPTE_ADDR 0x000fffffffffffe0UL
#define LOW32 0xffffffffUL
#define ACCESS_MAX 8U

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
    uint64_t cr0, cr4;
    bool write, user;
};

static const struct paging *paging_of(struct vcpu *v, uint64_t cr4)
{
    if (hvm->reg_get(v, HVM_REG_EFER) & EFER_LMA) {
        return &paging_4level;
    }
    return (cr4 & CR4_PAE) ? &paging_pae : &paging_32bit;
}

/* A leaf above the last level: PDPT and page directory; in 32-bit paging only with CR4.PSE. */
static bool is_leaf(const struct walk *w, int level, uint64_t entry)
{
    if (level == w->paging->levels - 1) {
        return true;
    }
    if (!(entry & PTE_PS)) {
        return false;
    }
    return w->paging == &paging_32bit ? (w->cr4 & CR4_PSE) != 0 : level != 0;
}

/* Does the access fault with the rights of all levels together? */
static bool forbidden(const struct walk *w, bool writable, bool user_page)
{
    bool ac = hvm->reg_get(w->v, HVM_REG_RFLAGS) & RFLAGS_AC;

    if (w->user && !user_page) {
        return true;
    }
    if (!w->user && user_page && (w->cr4 & CR4_SMAP) && !ac) {
        return true;
    }
    return w->write && !writable && (w->user || (w->cr0 & CR0_WP));
}

/* Sets A (and D) of an entry that does not have them. */
static void mark(const struct walk *w, uint64_t entry_pa, uint64_t entry, bool leaf)
{
    uint64_t wanted = entry | PTE_A | (leaf && w->write ? PTE_D : 0);

    if (wanted != entry) {
        (void)!domain_write(w->v->domain, entry_pa, &wanted, w->paging->entry_bytes);
    }
}

int guest_walk(struct vcpu *v, uint64_t linear, bool write, bool user, uint64_t *gpa,
               uint32_t *pf_error)
{
    struct walk w = {.v = v,
                     .cr0 = hvm->reg_get(v, HVM_REG_CR0),
                     .cr4 = hvm->reg_get(v, HVM_REG_CR4),
                     .write = write,
                     .user = user};
    uint64_t entry_pa[LEVELS_MAX], entry[LEVELS_MAX];
    uint64_t table = hvm->reg_get(v, HVM_REG_CR3);
    bool writable = true, user_page = true;
    unsigned int shift;
    int level = 0;

    *pf_error = (write ? PF_WRITE : 0) | (user ? PF_USER : 0);
    if (!(w.cr0 & CR0_PG)) {
        *gpa = linear & LOW32;
        return 0;
    }
    w.paging = paging_of(v, w.cr4);
    table &= w.paging == &paging_pae ? PDPTE_ADDR & LOW32 : PTE_ADDR;
    shift = w.paging == &paging_4level ? 48 : 32;
    for (;; level++) {
        bool pdpte = w.paging == &paging_pae && level == 0; /* has no rights and no A bit */

        shift -= w.paging->index_bits[level];
        entry_pa[level] = table + (linear >> shift & (BIT(w.paging->index_bits[level]) - 1)) *
                                      w.paging->entry_bytes;
        entry[level] = 0;
        if (domain_read(v->domain, entry_pa[level], &entry[level], w.paging->entry_bytes) != 0 ||
            !(entry[level] & PTE_P)) {
            return -EFAULT;
        }
        writable &= pdpte || (entry[level] & PTE_W);
        user_page &= pdpte || (entry[level] & PTE_U);
        if (is_leaf(&w, level, entry[level])) {
            break;
        }
        table = entry[level] & PTE_ADDR;
    }
    *pf_error |= PF_PRESENT;
    if (forbidden(&w, writable, user_page)) {
        return -EFAULT;
    }
    for (int i = w.paging == &paging_pae ? 1 : 0; i <= level; i++) {
        mark(&w, entry_pa[i], entry[i], i == level);
    }
    *gpa = (entry[level] & PTE_ADDR & ~(BIT(shift) - 1)) | (linear & (BIT(shift) - 1));
    return 0;
}

static bool canonical(uint64_t va)
{
    return (uint64_t)((int64_t)(va << 16) >> 16) == va;
}

/* Guest-physical addresses of len bytes; raises the guest's fault when one is not to be had. */
static int translate(struct vcpu *v, uint64_t linear, bool write, bool user, size_t len,
                     uint64_t gpa[ACCESS_MAX])
{
    uint32_t error;

    for (size_t i = 0; i < len; i++) {
        if (!canonical(linear + i)) {
            guest_fault_code(v, EXC_GP, 0);
            return -EFAULT;
        }
        if (guest_walk(v, linear + i, write, user, &gpa[i], &error) != 0) {
            context_set_cr2(&v->ctx, linear + i);
            guest_fault_code(v, EXC_PF, error);
            return -EFAULT;
        }
    }
    return 0;
}

int guest_linear_check(struct vcpu *v, uint64_t linear, bool write, bool user, size_t len)
{
    uint64_t gpa[ACCESS_MAX];

    return len <= ACCESS_MAX ? translate(v, linear, write, user, len, gpa) : -EFAULT;
}

int guest_linear_read(struct vcpu *v, uint64_t linear, bool user, void *to, size_t len)
{
    uint64_t gpa[ACCESS_MAX];
    uint8_t bytes[ACCESS_MAX];

    if (len > ACCESS_MAX || translate(v, linear, false, user, len, gpa) != 0) {
        return -EFAULT;
    }
    for (size_t i = 0; i < len; i++) {
        if (domain_read(v->domain, gpa[i], &bytes[i], 1) != 0) {
            domain_stop(v->domain, "reads guest-physical 0x%llx outside its memory",
                        (unsigned long long)gpa[i]);
            return -EFAULT;
        }
    }
    memcpy(to, bytes, len);
    return 0;
}

int guest_linear_write(struct vcpu *v, uint64_t linear, bool user, const void *from, size_t len)
{
    uint64_t gpa[ACCESS_MAX];

    if (len > ACCESS_MAX || translate(v, linear, true, user, len, gpa) != 0) {
        return -EFAULT;
    }
    for (size_t i = 0; i < len; i++) {
        if (domain_write(v->domain, gpa[i], (const uint8_t *)from + i, 1) != 0) {
            domain_stop(v->domain, "writes guest-physical 0x%llx outside its memory",
                        (unsigned long long)gpa[i]);
            return -EFAULT;
        }
    }
    return 0;
}
