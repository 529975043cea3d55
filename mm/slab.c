/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slab allocator: small objects out of pool pages.
 *
 * A slab is one page: a header of 64 bytes, then objects of one class. The classes are the largest
 * sizes (multiples of 64, and 32) of which a given number fit behind the header, so that no class
 * wastes half a page as powers of two would: two objects of 1984 bytes, not one of 2048. kfree()
 * finds the header by rounding the address down; larger objects are known by lying in vmap space.
 *
 * Owns: partial lists and slab headers.  Lock: slab_lock.  Host test: tests/host/test_slab.c
 * Invariant: a slab is in its class's list exactly while it has free objects; empty ones are freed.
 */
#include "hv/slab.h"

#include "hv/boot_alloc.h"
#include "hv/fault.h"
#include "hv/compiler.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/spinlock.h"
#include "hv/string.h"
#include "hv/vmap.h"

#define SLAB_MAGIC 0x62616c73U
#define SLAB_HEADER 64U

/* Objects per slab: 126 63 31 21 15 12 10 9 7 5 4 3 2 1. */
static const uint16_t class_bytes[] = {32,  64,  128, 192, 256,  320,  384,
                                       448, 576, 768, 960, 1344, 1984, 4032};

#define NR_CLASSES ARRAY_SIZE(class_bytes)
#define LARGEST_CLASS 4032U

struct slab {
    LAYOUT(struct slab *next; struct slab *prev;, void *free; uint32_t magic; uint16_t used;)
    uint8_t class;
    uint8_t fresh; /* objects never handed out yet, at the end of the page */
};

_Static_assert(sizeof(struct slab) <= SLAB_HEADER, "the header fits before the first object");
_Static_assert(SLAB_HEADER + LARGEST_CLASS == PAGE_SIZE, "one object fills a slab");

static struct slab *partial[NR_CLASSES];
static struct spinlock slab_lock;

static unsigned int capacity(unsigned int class)
{
    return LARGEST_CLASS / class_bytes[class];
}

static unsigned int class_of(size_t bytes)
{
    unsigned int class = 0;

    while (class_bytes[class] < bytes) {
        class++;
    }
    return class;
}

static void partial_add(struct slab *slab)
{
    slab->prev = NULL;
    slab->next = partial[slab->class];
    if (slab->next != NULL) {
        slab->next->prev = slab;
    }
    partial[slab->class] = slab;
}

static void partial_del(struct slab *slab)
{
    if (slab->prev != NULL) {
        slab->prev->next = slab->next;
    } else {
        partial[slab->class] = slab->next;
    }
    if (slab->next != NULL) {
        slab->next->prev = slab->prev;
    }
}

static bool in_vmap_space(const void *p)
{
    return (uintptr_t)p - vmap_base() < vmap_pages() * PAGE_SIZE;
}

static void *slab_take_locked(struct slab *slab)
{
    void *object = slab->free;

    if (object != NULL) {
        slab->free = *(void **)object;
    } else {
        slab->fresh--;
        object = (char *)slab + SLAB_HEADER +
                 (capacity(slab->class) - 1U - slab->fresh) * class_bytes[slab->class];
    }
    slab->used++;
    if (slab->used == capacity(slab->class)) {
        partial_del(slab);
    }
    return object;
}

/* A page for a class, or NULL. Called without slab_lock: it may be a long way to a page. */
static struct slab *slab_new(unsigned int class)
{
    struct slab *slab = pool_alloc();

    if (slab != NULL) {
        slab->magic = SLAB_MAGIC;
        slab->class = (uint8_t)class;
        slab->fresh = (uint8_t)capacity(class);
    }
    return slab;
}

void slab_init(void)
{
    spin_lock_init(&slab_lock);
    memset(partial, 0, sizeof(partial));
}

void *kzalloc(size_t bytes)
{
    if (bytes == 0 || FAULT_FAILS()) {
        return NULL;
    }
    if (bytes > LARGEST_CLASS) {
        return vmalloc(bytes);
    }
    unsigned int class = class_of(bytes);
    spin_lock(&slab_lock);
    if (partial[class] == NULL) {
        spin_unlock(&slab_lock);
        struct slab *slab = slab_new(class);
        if (slab == NULL) {
            return NULL;
        }
        spin_lock(&slab_lock);
        partial_add(slab);
    }
    void *object = slab_take_locked(partial[class]);
    spin_unlock(&slab_lock);
    memset(object, 0, class_bytes[class]);
    return object;
}

void kfree(void *p)
{
    if (p == NULL) {
        return;
    }
    if (in_vmap_space(p)) {
        vfree(p);
        return;
    }
    size_t offset = (uintptr_t)p & (PAGE_SIZE - 1);
    struct slab *slab = (struct slab *)(void *)((char *)p - offset);
    BUG_ON(offset < SLAB_HEADER || slab->magic != SLAB_MAGIC || slab->class >= NR_CLASSES);
    BUG_ON((offset - SLAB_HEADER) % class_bytes[slab->class] != 0);

    spin_lock(&slab_lock);
    BUG_ON(slab->used == 0 || slab->free == p);
    if (slab->used == capacity(slab->class)) {
        partial_add(slab);
    }
    slab->used--;
    *(void **)p = slab->free;
    slab->free = p;
    bool empty = slab->used == 0;
    if (empty) {
        partial_del(slab);
        slab->magic = 0;
    }
    spin_unlock(&slab_lock);
    if (empty) {
        pool_free(slab);
    }
}

bool slab_busy(void)
{
    return spin_is_locked(&slab_lock);
}
