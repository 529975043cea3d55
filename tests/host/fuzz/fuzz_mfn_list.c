/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: a good MFN list with edits, and a checksum or none.
 *
 * Input: struct head, then struct edit after struct edit, each of which puts a value of some kind
 * into one entry. The mutator knows that form. What the walk says is compared with a model that
 * looks at the list in the plainest way; and with a wrong checksum nothing may be visited.
 */
#include <stdlib.h>
#include <string.h>

#include "hv/errno.h"
#include "hv/seam.h"
#include "hv/stream.h"

#define LISTS_MAX 5U
#define EDITS_MAX 24U
#define FRAMES 4096U  /* of RAM: list pages first, the rest zeros */
#define UNUSABLE 777U /* one of them */

struct head {
    uint16_t pages; /* in the list */
    uint16_t said;  /* by the breadcrumb: more than `pages` by so many, modulo 2^16 */
    uint8_t crc;    /* CRC_* */
    uint8_t reserved[3];
};

enum { CRC_NONE, CRC_RIGHT, CRC_BEFORE, CRC_WRONG, CRC_KINDS };

struct edit {
    uint8_t list;
    uint8_t kind; /* VALUE_* */
    uint16_t at;  /* entry, 0: next_pa */
    uint32_t value;
};

enum { VALUE_PLAIN, VALUE_LIST, VALUE_PAGE, VALUE_HIGH, VALUE_FLIP, VALUE_ODD, VALUE_KINDS };

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct lu_mfn_list_page *ram; /* FRAMES */

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

/* ---- the mutator ---- */

static void random_edit(struct edit *e, unsigned int *seed)
{
    *e = (struct edit){
        .list = (uint8_t)rand_r(seed),
        .kind = (uint8_t)rand_r(seed),
        .at = (uint16_t)(rand_r(seed) % 4 == 0 ? 0 : rand_r(seed)),
        .value = (uint32_t)rand_r(seed),
    };
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    struct head head = {.pages = (uint16_t)(1 + rand_r(&seed) % 1600)};
    size_t nr = size < sizeof(head) ? 0 : (size - sizeof(head)) / sizeof(struct edit);
    struct edit edits[EDITS_MAX + 1] = {{0}};
    size_t at = sizeof(head);

    if (max_size < sizeof(head) + (EDITS_MAX + 1) * sizeof(edits[0])) {
        return LLVMFuzzerMutate(data, size, max_size);
    }
    nr = nr > EDITS_MAX ? EDITS_MAX : nr;
    if (size >= sizeof(head)) {
        memcpy(&head, data, sizeof(head));
        memcpy(edits, data + sizeof(head), nr * sizeof(edits[0]));
    }
    switch (rand_r(&seed) % 8) {
    case 0: /* one less */
        if (nr > 0) {
            edits[(size_t)rand_r(&seed) % nr] = edits[nr - 1];
            nr--;
        }
        break;
    case 1:
        head.crc = (uint8_t)rand_r(&seed);
        break;
    case 2:
        head.said = (uint16_t)(rand_r(&seed) % 2 == 0 ? rand_r(&seed) : rand_r(&seed) % 5 - 2);
        break;
    case 3:
        head.pages = (uint16_t)(rand_r(&seed) % 4 * (int)LU_MFN_LIST_ENTRIES + rand_r(&seed) % 5);
        break;
    case 4:
        if (nr > 0) {
            (void)LLVMFuzzerMutate((uint8_t *)&edits[(size_t)rand_r(&seed) % nr], sizeof(edits[0]),
                                   sizeof(edits[0]));
        }
        break;
    default: /* one more */
        random_edit(&edits[nr], &seed);
        nr += nr < EDITS_MAX ? 1 : 0;
        break;
    }
    memcpy(data, &head, sizeof(head));
    memcpy(data + at, edits, nr * sizeof(edits[0]));
    return at + nr * sizeof(edits[0]);
}

/* ---- the list ---- */

static uint64_t frame(size_t i)
{
    return va_to_mfn(&ram[i]).v;
}

static paddr_t list_pa(size_t i)
{
    return frame(i) << PAGE_SHIFT;
}

static void make_lists(uint64_t pages)
{
    size_t nr = (pages + LU_MFN_LIST_ENTRIES - 1) / LU_MFN_LIST_ENTRIES;
    void *p;

    if (ram == NULL) {
        must(posix_memalign(&p, PAGE_SIZE, FRAMES * PAGE_SIZE) == 0);
        memset(p, 0, FRAMES * PAGE_SIZE);
        ram = p;
    }
    memset(ram, 0, LISTS_MAX * PAGE_SIZE);
    for (uint64_t i = 0; i < pages; i++) {
        ram[i / LU_MFN_LIST_ENTRIES].mfns[i % LU_MFN_LIST_ENTRIES] = frame(1024 + i);
    }
    for (size_t i = 0; i + 1 < nr; i++) {
        ram[i].next_pa = list_pa(i + 1);
    }
}

static void apply(const struct edit *e)
{
    struct lu_mfn_list_page *page = &ram[e->list % LISTS_MAX];
    size_t at = e->at % (LU_MFN_LIST_ENTRIES + 1);
    uint64_t *entry = at == 0 ? &page->next_pa : &page->mfns[at - 1];
    uint64_t shift = at == 0 ? PAGE_SHIFT : 0; /* frames there, addresses here */

    switch (e->kind % VALUE_KINDS) {
    case VALUE_PLAIN:
        *entry = e->value % 3;
        break;
    case VALUE_LIST:
        *entry = list_pa(e->value % LISTS_MAX) >> (PAGE_SHIFT - shift);
        break;
    case VALUE_PAGE:
        *entry = frame(e->value % FRAMES) << shift;
        break;
    case VALUE_HIGH:
        *entry = UINT64_C(1) << e->value % 64;
        break;
    case VALUE_FLIP:
        *entry ^= UINT64_C(1) << e->value % 64;
        break;
    default:
        *entry += e->value % 5000;
        break;
    }
}

/* ---- the walk ---- */

static bool usable(mfn_t mfn)
{
    return mfn.v >= frame(0) && mfn.v < frame(FRAMES) && mfn.v != frame(UNUSABLE);
}

static bool usable_list(paddr_t pa)
{
    return pa % PAGE_SIZE == 0 && usable(pa_to_mfn(pa));
}

struct seen {
    uint64_t pages, lists;
    uint64_t sum;
};

static int visit(void *ctx, mfn_t mfn, uint64_t index, bool is_list)
{
    struct seen *seen = ctx;

    must(usable(mfn));
    must(index == (is_list ? seen->lists : seen->pages));
    if (is_list) {
        seen->lists++;
        return 0;
    }
    seen->sum = seen->sum * 31 + mfn.v;
    seen->pages++;
    return 0;
}

/* As the ABI says it. */
static bool model(uint64_t pages, struct seen *seen)
{
    paddr_t pa = list_pa(0);

    *seen = (struct seen){0};
    for (uint64_t left = pages; left > 0;) {
        const struct lu_mfn_list_page *page;

        if (!usable_list(pa)) {
            return false;
        }
        page = (const void *)(uintptr_t)pa;
        for (size_t i = 0; i < LU_MFN_LIST_ENTRIES; i++) {
            uint64_t mfn = page->mfns[i];

            if (left == 0 ? mfn != 0 : mfn == 0 || mfn >> 40 != 0 || !usable(mfn_from(mfn))) {
                return false;
            }
            if (left > 0) {
                seen->sum = seen->sum * 31 + mfn;
                seen->pages++;
                left--;
            }
        }
        seen->lists++;
        pa = page->next_pa;
    }
    return pages > 0 && pa == 0;
}

/* CRC-32C along the chain, as far as a reader could follow it. */
static uint32_t crc_now(uint64_t pages)
{
    uint64_t nr = (pages + LU_MFN_LIST_ENTRIES - 1) / LU_MFN_LIST_ENTRIES;
    uint64_t way[LISTS_MAX + 1];
    paddr_t pa = list_pa(0);

    for (uint64_t i = 0; i < nr && i < LISTS_MAX; i++) { /* one that ends */
        way[i] = pa;
        if (!usable_list(pa)) {
            return 0;
        }
        pa = ((const struct lu_mfn_list_page *)(uintptr_t)pa)->next_pa;
        for (uint64_t k = 0; k <= i; k++) {
            if (pa == way[k]) {
                return 0;
            }
        }
        if (pa == 0) {
            return mfn_list_crc(list_pa(0));
        }
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct head head;
    struct edit edits[EDITS_MAX];
    size_t nr;
    uint64_t pages, said;
    uint32_t crc, before;
    const char *why = NULL;
    struct seen seen = {0}, want;
    int rc;

    if (size < sizeof(head)) {
        return 0;
    }
    memcpy(&head, data, sizeof(head));
    nr = (size - sizeof(head)) / sizeof(edits[0]);
    nr = nr > EDITS_MAX ? EDITS_MAX : nr;
    memcpy(edits, data + sizeof(head), nr * sizeof(edits[0]));
    pages = head.pages % ((LISTS_MAX - 1) * LU_MFN_LIST_ENTRIES);
    said = (uint16_t)(pages + head.said);
    make_lists(pages);
    before = mfn_list_crc(list_pa(0));
    for (size_t i = 0; i < nr; i++) {
        apply(&edits[i]);
    }
    crc = crc_now(said);
    if (head.crc % CRC_KINDS == CRC_BEFORE) {
        crc = before;
    } else if (head.crc % CRC_KINDS == CRC_WRONG) {
        crc ^= 1U << head.crc % 32;
    }
    rc = mfn_list_walk(list_pa(0), said, head.crc % CRC_KINDS == CRC_NONE ? NULL : &crc, usable,
                       visit, &seen, &why);
    must(rc == 0 || (why != NULL && why[0] != '\0'));
    must(rc != -EBADMSG || (seen.lists == 0 && seen.pages == 0));
    if (!model(said, &want)) {
        must(rc != 0);
    } else if (head.crc % CRC_KINDS == CRC_NONE || crc == mfn_list_crc(list_pa(0))) {
        must(rc == 0 && memcmp(&seen, &want, sizeof(seen)) == 0);
    } else {
        must(rc == -EBADMSG);
    }
    return 0;
}
