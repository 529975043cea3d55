/* SPDX-License-Identifier: Apache-2.0 */
/*
 * molt images in a guest's memory.
 */
#include "lib/image.h"

#include "lib/bootinfo.h"
#include "lib/lib.h"

#define NOTE_HEADER 12U
#define GNU_BUILD_ID 3U
#define SCRIBBLE 0xcc

static uint8_t *pool;
static uint64_t pool_pages;
static uint64_t *order;
static uint64_t *list;

struct elf64_header *image_header(const struct image *image)
{
    return (struct elf64_header *)(void *)image->data;
}

struct elf64_segment *image_segment(const struct image *image, unsigned int index)
{
    const struct elf64_header *h = image_header(image);

    return (struct elf64_segment *)(void *)(image->data + h->phoff +
                                            (uint64_t)index * h->phentsize);
}

static bool is_elf64(const struct image *image)
{
    const struct elf64_header *h = image_header(image);

    return image->bytes > sizeof(*h) && memcmp(h->ident, "\177ELF\2\1", 6) == 0 &&
           h->phentsize == sizeof(struct elf64_segment) && h->phoff < image->bytes &&
           h->phnum * sizeof(struct elf64_segment) <= image->bytes - h->phoff;
}

static uint32_t align4(uint32_t n)
{
    return (n + 3U) & ~3U;
}

bool image_note(const struct image *image, const char *name, uint32_t type, char **name_at,
                void **desc, uint32_t *desc_bytes)
{
    if (!is_elf64(image)) {
        return false;
    }
    for (unsigned int i = 0; i < image_header(image)->phnum; i++) {
        const struct elf64_segment *s = image_segment(image, i);
        uint64_t at = s->offset;
        uint64_t end = s->offset + s->filesz;

        if (s->type != ELF_PT_NOTE || end > image->bytes) {
            continue;
        }
        while (at + NOTE_HEADER <= end) {
            uint32_t head[3]; /* name size, descriptor size, type */
            uint64_t next;

            memcpy(head, image->data + at, sizeof(head));
            next = at + NOTE_HEADER + align4(head[0]) + align4(head[1]);
            if (next > end) {
                break;
            }
            if (head[2] == type && head[0] == strlen(name) + 1 &&
                memcmp(image->data + at + NOTE_HEADER, name, head[0]) == 0) {
                *name_at = (char *)image->data + at + NOTE_HEADER;
                *desc = image->data + at + NOTE_HEADER + align4(head[0]);
                *desc_bytes = head[1];
                return true;
            }
            at = next;
        }
    }
    return false;
}

bool image_build_id(const struct image *image, char *hex)
{
    char *name;
    void *desc;
    uint32_t n;
    size_t len = 0;

    hex[0] = '\0';
    if (!image_note(image, "GNU", GNU_BUILD_ID, &name, &desc, &n)) {
        return false;
    }
    for (uint32_t i = 0; i < n && len + 2 < BUILD_ID_CHARS; i++) {
        len += str_format(hex + len, BUILD_ID_CHARS - len, "%02x", ((const uint8_t *)desc)[i]);
    }
    return true;
}

bool image_other(const char *running, struct image *image)
{
    for (unsigned int i = 0; i < boot.module_count; i++) {
        const struct mem_range *m = &boot.modules[i].mem;
        char id[BUILD_ID_CHARS];

        image->data = (uint8_t *)(uintptr_t)m->start;
        image->bytes = m->end - m->start;
        if (image_build_id(image, id) && strcmp(id, running) != 0) {
            return true;
        }
    }
    return false;
}

void image_pages_init(uint64_t bytes)
{
    uint64_t pages = (bytes + PAGE_SIZE - 1) / PAGE_SIZE;

    pool_pages = pages * 2;
    pool = ram_alloc(pool_pages);
    order = ram_alloc((pool_pages * sizeof(*order) + PAGE_SIZE - 1) / PAGE_SIZE);
    list = ram_alloc((pool_pages * sizeof(*list) + PAGE_SIZE - 1) / PAGE_SIZE);
}

void image_scatter(const struct image *image, uint64_t *random, struct hc_lu_load *load)
{
    uint64_t pages = (image->bytes + PAGE_SIZE - 1) / PAGE_SIZE;

    for (uint64_t i = 0; i < pool_pages; i++) {
        uint64_t j = rand64(random) % (i + 1);

        order[i] = order[j];
        order[j] = i;
    }
    for (uint64_t i = 0; i < pages; i++) {
        uint8_t *page = pool + order[i] * PAGE_SIZE;
        uint64_t rest = image->bytes - i * PAGE_SIZE;

        memset(page, SCRIBBLE, PAGE_SIZE);
        memcpy(page, image->data + i * PAGE_SIZE, rest < PAGE_SIZE ? rest : PAGE_SIZE);
        list[i] = (uintptr_t)page / PAGE_SIZE;
    }
    memset(load, 0, sizeof(*load));
    load->source = HC_LU_SOURCE_PAGES;
    load->list = (uintptr_t)list;
    load->pages = pages;
    load->bytes = image->bytes;
}

uint64_t *image_page_list(void)
{
    return list;
}

void image_pages_scribble(void)
{
    memset(pool, SCRIBBLE, pool_pages * PAGE_SIZE);
}
