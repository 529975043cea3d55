/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory patterns over all free RAM.
 */
#include "lib/mempat.h"

#include "lib/bootinfo.h"
#include "lib/clock.h"

#define MAGIC 0x4547415054534554U
#define STEP 0x9e3779b97f4a7c15U
#define BODY_WORDS ((PAGE_SIZE - sizeof(struct header)) / sizeof(uint64_t))

struct header {
    uint64_t magic;
    uint64_t page;
    uint64_t generation;
    uint64_t seed;
    uint64_t check;
    uint64_t spare[3];
};

struct page {
    struct header head;
    uint64_t body[BODY_WORDS];
};

_Static_assert(sizeof(struct page) == PAGE_SIZE, "a page");

struct area mempat_area = {"memory", 0};
static uint64_t seed;
static uint64_t generation; /* of the pages behind the cursor; 0: never written */
static unsigned int cursor_range;
static uint64_t cursor_page;

static uint64_t base_of(uint64_t page, uint64_t gen)
{
    return mix64(mix64(seed + page) ^ gen * STEP);
}

static void fill_header(struct header *h, uint64_t page, uint64_t gen, uint64_t base)
{
    h->magic = MAGIC;
    h->page = page;
    h->generation = gen;
    h->seed = seed;
    h->check = mix64(base ^ MAGIC);
    h->spare[0] = ~page;
    h->spare[1] = ~gen;
    h->spare[2] = base;
}

/* The page is not what it should be: says what it is instead. */
static _Noreturn void wrong_page(const struct page *p, const struct header *want)
{
    const struct header *h = &p->head;
    const uint64_t *words = (const uint64_t *)p;
    uint64_t any = 0;
    const char *what = "damaged header";

    for (unsigned int i = 0; i < PAGE_SIZE / sizeof(uint64_t); i++) {
        any |= words[i];
    }
    if (any == 0) {
        what = "page is all zeroes";
    } else if (h->magic == MAGIC && h->seed != seed && h->check == want->check) {
        what = "header of another seed";
    } else if (h->magic == MAGIC && h->spare[0] == ~h->page && h->page != want->page) {
        what = "another page lies here";
    } else if (h->magic == MAGIC && h->spare[1] == ~h->generation &&
               h->generation != want->generation) {
        what = "stale page";
    }
    damage("memory",
           "page 0x%" P64 "x: %s: expected page 0x%" P64 "x generation %" P64 "u seed 0x%" P64
           "x, got magic 0x%" P64 "x page 0x%" P64 "x generation %" P64 "u seed 0x%" P64 "x",
           want->page, what, want->page, want->generation, want->seed, h->magic, h->page,
           h->generation, h->seed);
}

static void verify_header(const struct page *p, uint64_t page, uint64_t gen, uint64_t base)
{
    struct header want;

    fill_header(&want, page, gen, base);
    if (memcmp(&p->head, &want, sizeof(want)) != 0) {
        wrong_page(p, &want);
    }
}

static _Noreturn void wrong_word(uint64_t page, unsigned int i, uint64_t want, uint64_t got)
{
    damage("memory", "page 0x%" P64 "x offset 0x%x: expected 0x%" P64 "x, got 0x%" P64 "x", page,
           (unsigned int)(sizeof(struct header) + i * sizeof(uint64_t)), want, got);
}

static void verify_page(uint64_t page, uint64_t gen)
{
    const struct page *p = (const struct page *)(uintptr_t)(page * PAGE_SIZE);
    uint64_t word = base_of(page, gen);

    verify_header(p, page, gen, word);
    for (unsigned int i = 0; i < BODY_WORDS; i++, word += STEP) {
        uint64_t got = *(const volatile uint64_t *)&p->body[i];

        if (got != word) {
            wrong_word(page, i, word, got);
        }
    }
    mempat_area.checks++;
}

static void rewrite_page(uint64_t page, uint64_t gen)
{
    struct page *p = (struct page *)(uintptr_t)(page * PAGE_SIZE);
    uint64_t old = base_of(page, gen);
    uint64_t new = base_of(page, gen + 1);
    uint64_t base = new;

    if (gen == 0) {
        for (unsigned int i = 0; i < BODY_WORDS; i++, new += STEP) {
            p->body[i] = new;
        }
    } else {
        verify_header(p, page, gen, old);
        for (unsigned int i = 0; i < BODY_WORDS; i++, old += STEP, new += STEP) {
            uint64_t got = *(volatile uint64_t *)&p->body[i];

            if (got != old) {
                wrong_word(page, i, old, got);
            }
            *(volatile uint64_t *)&p->body[i] = new;
        }
        mempat_area.checks++;
    }
    fill_header(&p->head, page, gen + 1, base);
}

void mempat_init(uint64_t new_seed)
{
    seed = new_seed;
    generation = 0;
    cursor_range = 0;
    cursor_page = ram_free[0].start / PAGE_SIZE;
}

uint64_t mempat_pages(void)
{
    return ram_free_pages();
}

uint64_t mempat_passes(void)
{
    return generation;
}

void mempat_step(unsigned int pages)
{
    for (; pages != 0; pages--) {
        while (cursor_page * PAGE_SIZE >= ram_free[cursor_range].end) {
            cursor_range++;
            if (cursor_range == ram_free_count) {
                cursor_range = 0;
                generation++;
            }
            cursor_page = ram_free[cursor_range].start / PAGE_SIZE;
        }
        rewrite_page(cursor_page, generation);
        cursor_page++;
        clock_check();
    }
}

void mempat_verify_all(void (*each)(void))
{
    for (unsigned int r = 0; r < ram_free_count; r++) {
        for (uint64_t page = ram_free[r].start / PAGE_SIZE; page < ram_free[r].end / PAGE_SIZE;
             page++) {
            bool ahead = r < cursor_range || (r == cursor_range && page < cursor_page);
            uint64_t gen = generation + (ahead ? 1 : 0);

            if (gen != 0) {
                verify_page(page, gen);
            }
            clock_check();
            if (each != NULL) {
                each();
            }
        }
    }
}
