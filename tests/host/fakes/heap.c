/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small heap for host tests: see heap.h.
 */
#include "fakes/heap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/lu.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "public/lu_abi.h"

struct heap_page {
    struct heap_page *next;
    void *va;
    enum frame_state state;
};

bool heap_has_crc32 = true;
jmp_buf heap_panic_jmp;
bool heap_panic_armed;

static struct heap_page *pages;
static long allocs_left = -1;

void heap_fail_after(long n)
{
    allocs_left = n;
}

size_t heap_in_use(void)
{
    size_t n = 0;

    for (const struct heap_page *p = pages; p != NULL; p = p->next) {
        n++;
    }
    return n;
}

size_t heap_in_use_as(enum frame_state state)
{
    size_t n = 0;

    for (const struct heap_page *p = pages; p != NULL; p = p->next) {
        n += p->state == state;
    }
    return n;
}

bool heap_is(mfn_t mfn, enum frame_state state)
{
    for (const struct heap_page *p = pages; p != NULL; p = p->next) {
        if (p->va == mfn_to_va(mfn)) {
            return p->state == state;
        }
    }
    return false;
}

mfn_t buddy_alloc(unsigned int order, enum frame_state state, uint16_t owner)
{
    struct heap_page *p;

    (void)owner;
    BUG_ON(order != 0);
    if (allocs_left == 0) {
        return INVALID_MFN;
    }
    if (allocs_left > 0) {
        allocs_left--;
    }
    p = malloc(sizeof(*p));
    if (p == NULL || posix_memalign(&p->va, PAGE_SIZE, PAGE_SIZE) != 0) {
        abort();
    }
    memset(p->va, 0xa5, PAGE_SIZE); /* contents are undefined */
    p->state = state;
    p->next = pages;
    pages = p;
    return va_to_mfn(p->va);
}

void buddy_free(mfn_t mfn, unsigned int order)
{
    BUG_ON(order != 0);
    for (struct heap_page **link = &pages; *link != NULL; link = &(*link)->next) {
        struct heap_page *p = *link;

        if (p->va == mfn_to_va(mfn)) {
            *link = p->next;
            free(p->va);
            free(p);
            return;
        }
    }
    panic("buddy_free: 0x%llx is not allocated", (unsigned long long)mfn.v);
}

void *mfn_to_va(mfn_t mfn)
{
    return (void *)(uintptr_t)mfn_to_pa(mfn);
}

mfn_t va_to_mfn(const void *va)
{
    return pa_to_mfn((uintptr_t)va);
}

uint32_t lu_stream_newest(void)
{
    return LU_STREAM_VERSION;
}

bool cpu_has_crc32(void)
{
    return heap_has_crc32;
}

void panic(const char *fmt, ...)
{
    va_list args;

    if (heap_panic_armed) {
        longjmp(heap_panic_jmp, 1);
    }
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}
