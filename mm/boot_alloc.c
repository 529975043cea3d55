/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boot allocator and image pool: the memory of one arena.
 *
 * boot_alloc() moves a cursor through the arena. What alignment and bad frames make it step over,
 * and every page that comes back to the pool, becomes a run: a list node written into the first
 * page of the run itself. The part above the cursor is never touched before it is handed out.
 *
 * Lock: pool_lock, the innermost of mm/.  Host test: tests/host/test_boot_alloc.c
 * Invariant: no bad frame is ever in a run or handed out.
 */
#include "hv/boot_alloc.h"

#include "hv/buddy.h"
#include "hv/fault.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/spinlock.h"
#include "hv/string.h"

/* Free pages that lie side by side; the node lives in the first of them. */
struct run {
    LAYOUT(struct run *next;, uint64_t pages;)
};

static struct {
    LAYOUT(paddr_t start; paddr_t end;, paddr_t next; bad_range_fn bad; struct run *runs;)
    uint64_t run_pages;
    uint64_t used;
    bool zeroed; /* what lies above `next` reads as zero */
    bool finished;
} arena;

static struct spinlock pool_lock;

static void run_add(paddr_t start, paddr_t end)
{
    struct run *run = pa_to_va(start);

    run->pages = (end - start) >> PAGE_SHIFT;
    run->next = arena.runs;
    arena.runs = run;
    arena.run_pages += run->pages;
}

/* Makes runs of the good pages in [start, end), which the cursor steps over. */
static void keep_skipped(paddr_t start, paddr_t end)
{
    paddr_t pos = align_up(start, PAGE_SIZE);
    paddr_t run_start = pos;

    for (; pos + PAGE_SIZE <= end; pos += PAGE_SIZE) {
        if (arena.bad(pos, pos + PAGE_SIZE) != 0) {
            if (run_start < pos) {
                run_add(run_start, pos);
            }
            run_start = pos + PAGE_SIZE;
        }
    }
    if (run_start < pos) {
        run_add(run_start, pos);
    }
}

/* Moves the cursor over `bytes` good bytes; 0 when the arena has no such place left. */
static paddr_t cursor_take(uint64_t bytes, uint64_t align)
{
    paddr_t pos = arena.next;

    for (;;) {
        if (pos > UINT64_MAX - align) {
            return 0;
        }
        pos = align_up(pos, align);
        if (pos > arena.end || bytes > arena.end - pos) {
            return 0;
        }
        paddr_t behind_bad = arena.bad(pos, pos + bytes);
        if (behind_bad == 0) {
            break;
        }
        BUG_ON(behind_bad <= pos);
        pos = behind_bad;
    }
    keep_skipped(arena.next, pos);
    arena.next = pos + bytes;
    if (!arena.zeroed) {
        memset(pa_to_va(pos), 0, bytes);
    }
    return pos;
}

void boot_alloc_init(paddr_t start, paddr_t end, bool zeroed, bad_range_fn bad)
{
    spin_lock_init(&pool_lock);
    memset(&arena, 0, sizeof(arena));
    BUG_ON(start == 0 || start > end);
    arena.start = start;
    arena.next = start;
    arena.end = align_down(end, PAGE_SIZE);
    arena.zeroed = zeroed;
    arena.bad = bad;
}

void *boot_alloc(size_t bytes, size_t align)
{
    BUG_ON(arena.finished || align == 0 || (align & (align - 1)) != 0);
    if (FAULT_FAILS()) {
        return NULL;
    }
    spin_lock(&pool_lock);
    paddr_t pos = bytes > 0 ? cursor_take(bytes, align) : 0;
    spin_unlock(&pool_lock);
    return pos != 0 ? pa_to_va(pos) : NULL;
}

void boot_alloc_finish(void)
{
    arena.finished = true;
}

uint64_t boot_alloc_left(void)
{
    spin_lock(&pool_lock);
    uint64_t left = arena.end - MIN(arena.next, arena.end) + arena.run_pages * PAGE_SIZE;
    spin_unlock(&pool_lock);
    return left;
}

/* A page of the first run: its last one, so that the node stays where it is until the end. */
static void *run_take_page(void)
{
    struct run *run = arena.runs;

    if (run == NULL) {
        return NULL;
    }
    char *page = (char *)run + (run->pages - 1) * PAGE_SIZE;
    run->pages--;
    arena.run_pages--;
    if (run->pages == 0) {
        arena.runs = run->next;
    }
    memset(page, 0, PAGE_SIZE);
    return page;
}

void *pool_alloc_arena(void)
{
    spin_lock(&pool_lock);
    void *page = run_take_page();
    if (page == NULL) {
        paddr_t pos = cursor_take(PAGE_SIZE, PAGE_SIZE);
        page = pos != 0 ? pa_to_va(pos) : NULL;
    }
    spin_unlock(&pool_lock);
    return page;
}

bool pool_free_arena(void *page)
{
    paddr_t pa = mfn_to_pa(va_to_mfn(page));

    if (pa < arena.start || pa >= arena.end) {
        return false;
    }
    spin_lock(&pool_lock);
    BUG_ON(pa >= arena.next);
    run_add(pa, pa + PAGE_SIZE);
    spin_unlock(&pool_lock);
    return true;
}

void *pool_alloc(void)
{
    if (FAULT_FAILS()) {
        return NULL;
    }
    void *page = pool_alloc_arena();

    if (page == NULL && arena.finished) {
        mfn_t mfn = buddy_alloc(ORDER_4K, FRAME_IMAGE, OWNER_NONE);

        if (mfn_valid(mfn)) {
            page = mfn_to_va(mfn);
            memset(page, 0, PAGE_SIZE);
        }
    }
    if (page != NULL) {
        __atomic_fetch_add(&arena.used, 1, __ATOMIC_RELAXED);
    }
    return page;
}

void pool_free(void *page)
{
    BUG_ON(page == NULL || !is_aligned((uintptr_t)page, PAGE_SIZE));
    __atomic_fetch_sub(&arena.used, 1, __ATOMIC_RELAXED);
    if (!pool_free_arena(page)) {
        buddy_free(va_to_mfn(page), ORDER_4K);
    }
}

uint64_t pool_used(void)
{
    return __atomic_load_n(&arena.used, __ATOMIC_RELAXED);
}

bool pool_busy(void)
{
    return spin_is_locked(&pool_lock);
}

bool boot_alloc_holds(mfn_t mfn)
{
    paddr_t pa = mfn_to_pa(mfn);

    spin_lock(&pool_lock);
    bool holds = pa >= arena.start && pa < arena.next;
    spin_unlock(&pool_lock);
    return holds;
}

/* Ends: each run is checked before it is looked into, and there are so many pages at most. */
static const char *check_runs(void)
{
    uint64_t left = (arena.next - arena.start) >> PAGE_SHIFT, pages = 0;

    for (const struct run *run = arena.runs; run != NULL; run = run->next) {
        paddr_t offset = (uintptr_t)run - (uintptr_t)pa_to_va(arena.start);

        if (offset >= arena.next - arena.start || !is_aligned((uintptr_t)run, PAGE_SIZE)) {
            return "a free run is not in it";
        }
        if (run->pages == 0 || run->pages > left ||
            run->pages > (arena.next - arena.start - offset) >> PAGE_SHIFT) {
            return "a free run is too long";
        }
        left -= run->pages;
        pages += run->pages;
    }
    return pages == arena.run_pages ? NULL : "free runs are not as long as counted";
}

const char *boot_alloc_check(paddr_t start, paddr_t end)
{
    const char *why = "not within the running image's arena";

    spin_lock(&pool_lock);
    if (start <= arena.start && arena.start <= arena.next && arena.next <= arena.end &&
        arena.end <= end) {
        why = check_runs();
    }
    spin_unlock(&pool_lock);
    return why;
}
