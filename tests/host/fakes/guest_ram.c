/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fake memory of a domain: see guest_ram.h.
 */
#include "fakes/guest_ram.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "hv/errno.h"
#include "hv/hvm.h"
#include "hv/slab.h"
#include "hw/x86.h"

uint64_t guest_cr4_allowed(void);
uint64_t guest_efer_allowed(void);
unsigned int guest_maxphyaddr(void);

#define LOW_END GIB(3)
#define HIGH_START GIB(4)

static uint8_t *ram;
static long allocs_left = -1, objects;

void guest_ram_init(struct domain *d, uint64_t bytes)
{
    if (ram != NULL) {
        munmap(ram, GUEST_RAM_MAX);
    }
    ram = mmap(NULL, GUEST_RAM_MAX, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ram == MAP_FAILED) {
        perror("guest_ram: mmap");
        abort();
    }
    memset(d, 0, sizeof(*d));
    d->id = 1;
    d->memory_bytes = bytes;
}

static bool inside(const struct domain *d, uint64_t gpa, uint64_t len)
{
    uint64_t low = MIN(d->memory_bytes, LOW_END);
    uint64_t end;

    if (__builtin_add_overflow(gpa, len, &end)) {
        return false;
    }
    return len == 0 || end <= low ||
           (gpa >= HIGH_START && end <= HIGH_START + (d->memory_bytes - low));
}

int domain_read(struct domain *d, uint64_t gpa, void *buf, uint64_t len)
{
    if (!inside(d, gpa, len)) {
        return -EFAULT;
    }
    if (len != 0) {
        memcpy(buf, ram + gpa, len);
    }
    return 0;
}

int domain_write(struct domain *d, uint64_t gpa, const void *buf, uint64_t len)
{
    if (!inside(d, gpa, len)) {
        return -EFAULT;
    }
    if (len != 0) {
        memcpy(ram + gpa, buf, len);
    }
    return 0;
}

void *guest_ram(const struct domain *d, uint64_t gpa, uint64_t len)
{
    if (!inside(d, gpa, len)) {
        fprintf(stderr, "guest_ram: 0x%llx+0x%llx\n", (unsigned long long)gpa,
                (unsigned long long)len);
        abort();
    }
    return ram + gpa;
}

void guest_ram_fail_alloc_after(long n)
{
    allocs_left = n;
}

long guest_ram_objects(void)
{
    return objects;
}

void *kzalloc(size_t bytes)
{
    if (allocs_left == 0) {
        return NULL;
    }
    allocs_left -= allocs_left > 0 ? 1 : 0;
    objects++;
    return calloc(1, bytes);
}

void kfree(void *p)
{
    objects -= p != NULL ? 1 : 0;
    free(p);
}

void vcpu_state_reset(struct vcpu_state *s)
{
    memset(s, 0, sizeof(*s));
    s->rflags = RFLAGS_FIXED;
    s->dr6 = DR6_INIT;
    s->dr7 = DR7_INIT;
    s->pat = PAT_RESET;
    s->xcr0 = XCR0_X87;
    s->gdtr.limit = s->idtr.limit = 0xffff;
}

uint64_t guest_cr4_allowed(void)
{
    return CR4_PAE | CR4_PSE | CR4_PGE;
}

unsigned int guest_maxphyaddr(void)
{
    return 46;
}

uint64_t guest_efer_allowed(void)
{
    return EFER_SCE | EFER_LME | EFER_LMA;
}
