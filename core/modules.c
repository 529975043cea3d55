/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boot modules and the kept update images.
 *
 * Owns: image_modules. The frames of an image stay where the boot loader put them, over all
 * updates; guests' modules are copied into guest memory and their frames freed.
 */
#include "hv/modules.h"

#include "hv/buddy.h"
#include "hv/errno.h"
#include "hv/frametable.h"
#include "hv/printk.h"
#include "hv/slab.h"
#include "hv/string.h"

struct image_module *image_modules;

bool module_is(const char *cmdline, const char *kind)
{
    struct str_span word;
    const char *cursor = cmdline;

    return cmdline_word(&cursor, &word) && span_eq(word, kind);
}

static mfn_t end_mfn(paddr_t end)
{
    return pa_to_mfn(align_up(end, PAGE_SIZE));
}

/* A module that the boot loader put on bad pages: the other frames of it. 0 or -EBUSY. */
static int claim_around_bad(mfn_t start, mfn_t end)
{
    for (; start.v < end.v; start.v++) {
        if (frametable_get(start).state != FRAME_BAD &&
            frametable_claim(start, ORDER_4K, FRAME_MODULE, OWNER_NONE) != 0) {
            return -EBUSY;
        }
    }
    return 0;
}

void modules_claim(const struct boot_info *info)
{
    struct mb2_module m;

    for (size_t i = 0; mb2_module(info, i, &m); i++) {
        mfn_t start = pa_to_mfn(m.start), end = end_mfn(m.end);

        if (frametable_claim_range(start, end, FRAME_MODULE, OWNER_NONE) == 0) {
            continue;
        }
        if (claim_around_bad(start, end) != 0) {
            panic("multiboot2: module %zu at 0x%llx-0x%llx: its memory is taken or no RAM", i,
                  (unsigned long long)m.start, (unsigned long long)m.end);
        }
        printk("modules: module %zu lies on a bad page: it may be damaged", i);
    }
}

/* Not on bad pages, which would not be there for the next image. */
static bool is_whole(mfn_t start, mfn_t end)
{
    while (start.v < end.v) {
        struct frame_info f = frametable_get(start);

        if (f.state != FRAME_MODULE) {
            return false;
        }
        start.v = f.head.v + BIT(f.order);
    }
    return true;
}

static void free_frames(mfn_t start, mfn_t end)
{
    while (start.v < end.v) {
        struct frame_info f = frametable_get(start);

        if (f.state == FRAME_MODULE) {
            buddy_free(f.head, f.order);
        }
        start.v = f.head.v + BIT(f.order);
    }
}

int modules_add_image(paddr_t start, uint64_t bytes, const char *cmdline, size_t len)
{
    struct image_module **link = &image_modules;
    struct image_module *m = kzalloc(sizeof(*m));
    char *copy = kzalloc(len + 1);

    if (m == NULL || copy == NULL) {
        kfree(m);
        kfree(copy);
        return -ENOMEM;
    }
    memcpy(copy, cmdline, len);
    m->start = start;
    m->bytes = bytes;
    m->cmdline = copy;
    while (*link != NULL) {
        link = &(*link)->next;
    }
    *link = m;
    return 0;
}

void modules_keep_images(const struct boot_info *info)
{
    struct mb2_module m;

    for (size_t i = 0; mb2_module(info, i, &m); i++) {
        bool keep = module_is(m.cmdline, "image");

        if (keep && !is_whole(pa_to_mfn(m.start), end_mfn(m.end))) {
            printk("modules: image module %zu lies on a bad page: it is dropped", i);
            keep = false;
        }
        if (keep && modules_add_image(m.start, m.end - m.start, m.cmdline, strlen(m.cmdline))) {
            printk("modules: out of memory, image module %zu is dropped", i);
            keep = false;
        }
        if (!keep) {
            free_frames(pa_to_mfn(m.start), end_mfn(m.end));
        }
    }
}

struct image_module *modules_image(unsigned int index)
{
    struct image_module *m = image_modules;

    while (m != NULL && index-- > 0) {
        m = m->next;
    }
    return m;
}

unsigned int modules_images(void)
{
    unsigned int n = 0;

    for (struct image_module *m = image_modules; m != NULL; m = m->next) {
        n++;
    }
    return n;
}
