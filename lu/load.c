/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading the next image: checks, placing, boot information, everything that can stand before the
 * pause.
 */
#include "lu_priv.h"

#include "hv/boot_alloc.h"
#include "hv/buddy.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/frametable.h"
#include "hv/guest_pages.h"
#include "hv/modules.h"
#include "hv/percpu.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hv/smp.h"
#include "hv/string.h"
#include "hv/vmap.h"

/* Arena that the next image takes for each object, generously: another layout, slab rounding. */
#define REQUIRED_FIXED KIB(512)
#define REQUIRED_PER_DOMAIN KIB(28) /* its output for readers included */
#define REQUIRED_PER_VCPU KIB(32)
#define REQUIRED_PER_EXTENT 64U

int lu_refuse(int rc, char why[LU_REASON_MAX], const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    (void)fmt_vstr(why, LU_REASON_MAX, fmt, args);
    va_end(args);
    str_copy(lu.reason, sizeof(lu.reason), why);
    lu.last_result = rc;
    lu.refused++;
    printk("lu: refused: %s", why);
    return rc;
}

uint64_t lu_required(void)
{
    uint64_t bytes = REQUIRED_FIXED + frametable_bytes(lu_ram_end()) + paging_bytes(lu_ram_end());

    for_each_domain(d) {
        bytes += REQUIRED_PER_DOMAIN + d->nr_vcpus * REQUIRED_PER_VCPU +
                 d->extents.nr * REQUIRED_PER_EXTENT;
    }
    bytes += cpus_bytes(cpus_expected - 1);
    return bytes + frametable_split_preserved() * PAGE_SIZE * 2;
}

static void zero_pages(paddr_t start, uint64_t bytes)
{
    frames_zero(pa_to_mfn(start), align_up(bytes, PAGE_SIZE) >> PAGE_SHIFT);
}

void lu_unload(void)
{
    if (lu.loaded.valid) {
        reloc_free(&lu.loaded.list);
        update_forget();
    }
    if (lu.loaded.direct) { /* the next image takes what it does not fill itself for zeroed */
        zero_pages(lu.loaded.dest_pa, lu.loaded.image_bytes);
        zero_pages(lu.loaded.info_pa, lu.loaded.info_bytes);
    }
    lu.loaded = (struct lu_loaded){.valid = false};
}

/* ---- command line and boot information of the next image ---- */

static bool replaced(struct str_span word)
{
    return (word.len >= 11 && strncmp(word.s, "liveupdate=", 11) == 0) ||
           (word.len >= 9 && strncmp(word.s, "lu_nonce=", 9) == 0) ||
           (word.len >= 9 && strncmp(word.s, "boot_tsc=", 9) == 0);
}

/* Ours without the words that change, and those with new values. NULL: out of memory. */
static char *next_cmdline(uint64_t nonce)
{
    const char *cursor = lu.boot.cmdline;
    size_t cap = strlen(cursor) + 128, len = 0;
    struct str_span word;
    char *line = kzalloc(cap);

    if (line == NULL) {
        return NULL;
    }
    while (cmdline_word(&cursor, &word)) {
        if (!replaced(word)) {
            memcpy(line + len, word.s, word.len);
            len += word.len;
            line[len++] = ' ';
        }
    }
    fmt_str(line + len, cap - len, "liveupdate=0x%llx@0x%llx lu_nonce=0x%016llx",
            (unsigned long long)lu.region.size, (unsigned long long)lu.region.base,
            (unsigned long long)nonce);
    return line;
}

/* Bytes to their place in the idle arena: at once, or by the relocator. */
static int put_bytes(paddr_t dest_pa, const uint8_t *data, size_t len, bool direct)
{
    if (direct) {
        memcpy(mfn_to_va(pa_to_mfn(dest_pa)), data, len);
        return 0;
    }
    for (size_t at = 0; at < len; at += PAGE_SIZE) {
        mfn_t mfn = buddy_alloc(ORDER_4K, FRAME_IMAGE, OWNER_NONE);
        size_t n = MIN(len - at, PAGE_SIZE);
        uint8_t *page;

        if (!mfn_valid(mfn)) {
            return -ENOMEM;
        }
        page = mfn_to_va(mfn);
        memcpy(page, data + at, n);
        memset(page + n, 0, PAGE_SIZE - n);
        reloc_copy(&lu.loaded.list, dest_pa + at, mfn_to_pa(mfn));
    }
    return lu.loaded.list.error;
}

/* ---- placing ---- */

/* Where image and boot information go in the idle arena; checks that all fits. */
static int choose_places(const struct kimage_info *info, size_t info_bytes, char why[LU_REASON_MAX])
{
    paddr_t start = region_arena_start(&lu.region, 1 - lu.arena);
    paddr_t end = region_arena_end(&lu.region, 1 - lu.arena);
    uint64_t image = align_up(info->mem_size, PAGE_SIZE);
    uint64_t have = end - start;
    uint64_t rest = info_bytes + lu_required();

    if (info->mem_size > have || image > have || rest > have - image) {
        return lu_refuse(-ENOSPC, why,
                         "does not fit: image %llu KiB and %llu KiB for it to run, arena %llu KiB",
                         (unsigned long long)(info->mem_size >> 10),
                         (unsigned long long)(rest >> 10), (unsigned long long)(have >> 10));
    }
    lu.loaded.dest_pa = region_fit(lu.boot.cmdline, start, end, image);
    if (lu.loaded.dest_pa != 0) {
        lu.loaded.info_pa = region_fit(lu.boot.cmdline, lu.loaded.dest_pa + image, end, info_bytes);
    }
    if (lu.loaded.dest_pa == 0 || lu.loaded.info_pa == 0) {
        return lu_refuse(-ENOSPC, why, "does not fit: bad pages leave no run of %llu KiB",
                         (unsigned long long)(image >> 10));
    }
    lu.loaded.image_bytes = info->mem_size;
    lu.loaded.info_bytes = info_bytes;
    return 0;
}

static int place_info(const char *cmdline, bool direct)
{
    size_t bytes = mb2_build(NULL, 0, &lu.boot, cmdline, false);
    uint8_t *block = kzalloc(bytes);
    int rc = -ENOMEM;

    if (block != NULL) {
        (void)mb2_build(block, bytes, &lu.boot, cmdline, false);
        rc = put_bytes(lu.loaded.info_pa, block, bytes, direct);
    }
    kfree(block);
    return rc;
}

/* A checked image and what goes with it into the idle arena. */
static int place(const struct kimage_info *info, const void *elf, char why[LU_REASON_MAX])
{
    /* The idle arena is free once the work after the last update is done; until then the old
     * image stays whole there, and the relocator has to do the copying. */
    bool direct = !lu_busy();
    struct lu_loaded *l = &lu.loaded;
    char *cmdline;
    int rc;

    l->nonce = random_u64() | 1; /* 0 means none */
    cmdline = next_cmdline(l->nonce);
    if (cmdline == NULL) {
        return lu_refuse(-ENOMEM, why, "out of memory for the command line");
    }
    rc = choose_places(info, mb2_build(NULL, 0, &lu.boot, cmdline, false), why);
    if (rc != 0) {
        goto out;
    }
    reloc_init(&l->list);
    l->direct = direct;
    rc = kimage_place(info, elf, l->dest_pa, direct, &l->list);
    if (rc == 0) {
        rc = place_info(cmdline, direct);
    }
    if (rc != 0) {
        reloc_free(&l->list);
        (void)lu_refuse(rc, why, "out of memory for the image");
    }
out:
    kfree(cmdline);
    return rc;
}

static int load(const void *elf, uint64_t len, char why[LU_REASON_MAX])
{
    struct kimage_info info;
    const char *reason = "";
    int rc;

    if (lu.exec_requested) {
        return lu_refuse(-EBUSY, why, "an update is under way");
    }
    lu_unload();
    rc = kimage_parse(elf, len, &info, &reason);
    if (rc == 0 && cpus_expected > 1 && !(info.flags & LU_NOTE_TAKES_CPUS)) {
        rc = -EPROTO;
        reason = "image: does not take over the other CPUs";
    }
    if (rc != 0) {
        return lu_refuse(rc, why, "%s", reason);
    }
    rc = place(&info, elf, why);
    if (rc != 0) {
        lu_unload();
        return rc;
    }
    lu.loaded.info = info;
    lu.loaded.stream_version = MIN(info.stream_max, LU_STREAM_VERSION);
    lu.loaded.valid = true;
    lu.last_result = 0;
    lu.reason[0] = '\0';
    update_prepare();
    lu.loaded_tsc = tsc_read();
    printk("lu: loaded %s/%.12s at 0x%llx, %llu KiB", info.version, info.build_id,
           (unsigned long long)lu.loaded.dest_pa, (unsigned long long)(info.mem_size >> 10));
    return 0;
}

/* ---- sources ---- */

/* First image module that is not what runs now. Damaged ones are passed over. */
static struct image_module *other_image(void)
{
    for (struct image_module *m = image_modules; m != NULL; m = m->next) {
        struct kimage_info info;
        const char *reason;

        if (kimage_parse(pa_to_va(m->start), m->bytes, &info, &reason) == 0 &&
            strcmp(info.build_id, lu_build_id()) != 0) {
            return m;
        }
    }
    return NULL;
}

int lu_load_module(unsigned int index, char why[LU_REASON_MAX])
{
    struct image_module *m = index == LU_MODULE_OTHER ? other_image() : modules_image(index);

    if (m == NULL) {
        return lu_refuse(-ENOENT, why, "no such image module");
    }
    return load(pa_to_va(m->start), m->bytes, why);
}

int lu_load_pages(struct domain *d, uint64_t list_gpa, uint64_t pages, uint64_t bytes,
                  char why[LU_REASON_MAX])
{
    const struct guest_pages p = {list_gpa, pages, bytes};
    int rc = guest_pages_check(d, &p);
    void *copy = NULL;

    if (rc == -E2BIG) {
        return lu_refuse(rc, why, "page list: %llu pages are more than the domain has",
                         (unsigned long long)pages);
    }
    if (rc != 0) {
        return lu_refuse(rc, why, "page list: %llu bytes in %llu pages", (unsigned long long)bytes,
                         (unsigned long long)pages);
    }
    rc = guest_pages_copy(d, &p, &copy); /* nobody changes it while it is checked */
    if (rc == 0) {
        rc = load(copy, bytes, why);
        vfree(copy);
        return rc;
    }
    return lu_refuse(rc, why,
                     rc == -ENOMEM ? "out of memory to copy the image"
                                   : "page list: an entry is outside the domain's memory");
}
