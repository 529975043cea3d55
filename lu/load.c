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
#include "hv/fault.h"
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
#define REQUIRED_PER_RUN 96U /* of fresh memory, in leaves that may be half empty */

int lu_refuse(int rc, uint32_t code, char why[LU_REASON_MAX], const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    (void)fmt_vstr(why, LU_REASON_MAX, fmt, args);
    va_end(args);
    str_copy(lu.reason, sizeof(lu.reason), why);
    lu.last_result = rc;
    lu.code = code;
    lu.needed = 0;
    lu.refused++;
    printk("lu: refused: %s (code %u)", why, code);
    return rc;
}

int lu_check_cpus(char why[LU_REASON_MAX])
{
    return !lu.cpus_late
               ? 0
               : lu_refuse(-EBUSY, HC_LU_R_CPU, why, "a CPU has not come after the last update");
}

uint64_t lu_required(void)
{
    uint64_t bytes = REQUIRED_FIXED + frametable_bytes(lu_ram_end()) + paging_bytes(lu_ram_end());

    for_each_domain(d) {
        bytes += REQUIRED_PER_DOMAIN + d->nr_vcpus * REQUIRED_PER_VCPU +
                 d->extents.nr * REQUIRED_PER_EXTENT + d->fresh.nr * REQUIRED_PER_RUN;
    }
    bytes += cpus_bytes(cpus_expected - 1);
    return bytes + frametable_split_preserved() * PAGE_SIZE * 2;
}

void lu_next_frames(uint64_t *image, uint64_t *stream)
{
    const struct stream_writer *w = update_stream();
    uint64_t pages = w != NULL ? w->pages : 0;

    *image = lu.loaded.list.pages;
    *stream = pages + (pages + LU_MFN_LIST_ENTRIES - 1) / LU_MFN_LIST_ENTRIES;
}

static void zero_pages(paddr_t start, uint64_t bytes)
{
    frames_zero(pa_to_mfn(start), align_up(bytes, PAGE_SIZE) >> PAGE_SHIFT);
}

void lu_unload(void)
{
    reloc_free(&lu.loaded.list);
    update_forget();
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
           (word.len >= 6 && strncmp(word.s, "fault=", 6) == 0) ||
           (word.len >= 9 && strncmp(word.s, "boot_tsc=", 9) == 0);
}

/* Ours without the words that change, and those with new values. NULL: out of memory. */
static char *next_cmdline(uint64_t nonce)
{
    const char *cursor = lu.boot.cmdline;
    size_t cap = strlen(cursor) + 256, len = 0;
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
    fmt_str(line + len, cap - len, "%sliveupdate=0x%llx@0x%llx lu_nonce=0x%016llx",
            FAULT_TAKE_WORD(), (unsigned long long)lu.region.size,
            (unsigned long long)lu.region.base, (unsigned long long)nonce);
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

/* `needed` bytes would do. */
static int no_space(const char *what, uint64_t image, uint64_t rest, uint64_t have, uint64_t needed,
                    char why[LU_REASON_MAX])
{
    uint64_t size = region_size_for(needed);
    char ask[32] = "no region is so large";

    if (size != 0) {
        fmt_str(ask, sizeof(ask), "liveupdate=%lluM", (unsigned long long)(size >> 20));
    }
    (void)lu_refuse(-ENOSPC, HC_LU_R_SPACE, why,
                    "%s: image %llu KiB and %llu KiB to run, arena %llu KiB; needs %s", what,
                    (unsigned long long)(image >> 10), (unsigned long long)(rest >> 10),
                    (unsigned long long)(have >> 10), ask);
    lu.needed = needed;
    return -ENOSPC;
}

/* Where image and boot information go in the idle arena; checks that all fits. */
static int choose_places(const struct kimage_info *info, size_t info_bytes, char why[LU_REASON_MAX])
{
    paddr_t start = region_arena_start(&lu.region, 1 - lu.arena);
    paddr_t end = region_arena_end(&lu.region, 1 - lu.arena);
    uint64_t image = align_up(info->mem_size, PAGE_SIZE);
    uint64_t have = end - start;
    uint64_t rest = info_bytes + lu_required();
    uint64_t needed;

    if (__builtin_add_overflow(image, rest, &needed) || info->mem_size > image) {
        needed = UINT64_MAX;
    }
    if (needed > have) {
        return no_space("does not fit", image, rest, have, needed, why);
    }
    lu.loaded.dest_pa = region_fit(lu.boot.cmdline, start, end, image);
    if (lu.loaded.dest_pa != 0) {
        lu.loaded.info_pa = region_fit(lu.boot.cmdline, lu.loaded.dest_pa + image, end, info_bytes);
    }
    if (lu.loaded.dest_pa == 0 || lu.loaded.info_pa == 0) {
        return no_space("bad pages leave no room", image, rest, have, have + image + info_bytes,
                        why);
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
    bool direct = !lu_busy() && !lu.cpus_late;
    struct lu_loaded *l = &lu.loaded;
    char *cmdline;
    int rc;

    l->nonce = random_u64() | 1; /* 0 means none */
    cmdline = next_cmdline(l->nonce);
    if (cmdline == NULL) {
        return lu_refuse(-ENOMEM, HC_LU_R_MEMORY, why, "out of memory for the command line");
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
        (void)lu_refuse(rc, HC_LU_R_MEMORY, why, "out of memory for the image");
    }
out:
    kfree(cmdline);
    return rc;
}

/* The image is good. */
static int keep(const struct lu_pending *p, char why[LU_REASON_MAX])
{
    int rc = place(&p->info, p->elf, why);

    if (rc != 0) {
        lu_unload();
        return rc;
    }
    lu.loaded.info = p->info;
    lu.loaded.stream_version = MIN(p->info.stream_max, lu_stream_newest());
    return 0;
}

/* It is in its place, and may be jumped to from here on. */
static void loaded(void)
{
    const struct kimage_info *info = &lu.loaded.info;

    lu.loaded.valid = true;
    lu.last_result = 0;
    lu.code = HC_LU_R_NONE;
    lu.needed = 0;
    lu.reason[0] = '\0';
    lu.loaded_tsc = tsc_read();
    FAULT_MEMORY(FAULT_IMAGE, pa_to_va(lu.loaded.dest_pa), info->mem_size);
    FAULT_POINT("old.load.after");
    printk("lu: loaded %s/%.12s at 0x%llx, %llu KiB", info->version, info->build_id,
           (unsigned long long)lu.loaded.dest_pa, (unsigned long long)(info->mem_size >> 10));
}

/* ---- sources ---- */

/* First image module that is not what runs now. Damaged ones are passed over. */
static struct image_module *other_image(void)
{
    for (struct image_module *m = image_modules; m != NULL; m = m->next) {
        struct kimage_info info;
        struct kimage_fault fault;

        if (kimage_parse(pa_to_va(m->start), m->bytes, &info, &fault) == 0 &&
            strcmp(info.build_id, lu_build_id()) != 0) {
            return m;
        }
    }
    return NULL;
}

static int open_module(uint32_t index, struct lu_pending *p, char why[LU_REASON_MAX])
{
    struct image_module *m = index == LU_MODULE_OTHER ? other_image() : modules_image(index);

    if (m == NULL) {
        return lu_refuse(-ENOENT, HC_LU_R_NO_IMAGE, why, "no such image module");
    }
    p->elf = pa_to_va(m->start);
    p->bytes = m->bytes;
    return 0;
}

/* A copy: nobody changes it while it is checked. */
static int open_pages(const struct lu_source *s, struct lu_pending *p, char why[LU_REASON_MAX])
{
    const struct guest_pages pages = {s->list_gpa, s->pages, s->bytes};
    int rc = guest_pages_check(s->domain, &pages);

    if (rc == -E2BIG) {
        return lu_refuse(rc, HC_LU_R_PAGES, why,
                         "page list: %llu pages are more than the domain has",
                         (unsigned long long)s->pages);
    }
    if (rc != 0) {
        return lu_refuse(rc, HC_LU_R_PAGES, why, "page list: %llu bytes in %llu pages",
                         (unsigned long long)s->bytes, (unsigned long long)s->pages);
    }
    rc = guest_pages_copy(s->domain, &pages, &p->copy);
    if (rc == -ENOMEM) {
        return lu_refuse(rc, HC_LU_R_MEMORY, why, "out of memory to copy the image");
    }
    if (rc != 0) {
        return lu_refuse(rc, HC_LU_R_PAGES, why,
                         "page list: an entry is outside the domain's memory");
    }
    p->elf = p->copy;
    p->bytes = s->bytes;
    return 0;
}

/* ---- slices ---- */

static uint64_t loads; /* begun so far */

/* While a load goes on no image is loaded: what there is has been made for this one. */
static void forget_pending(void)
{
    if (lu.pending.valid && !lu.loaded.valid) {
        lu_unload();
    }
    vfree(lu.pending.copy);
    lu.pending = (struct lu_pending){.valid = false};
}

void lu_forget_caller(const struct vcpu *v)
{
    if (lu.exec_caller == v) {
        lu.exec_caller = NULL;
    }
    if (lu.pending.source.domain == v->domain) {
        forget_pending();
    }
}

static bool goes_on_with(const struct lu_source *s)
{
    const struct lu_source *p = &lu.pending.source;

    return lu.pending.valid && p->domain == s->domain && p->module == s->module &&
           p->list_gpa == s->list_gpa && p->pages == s->pages && p->bytes == s->bytes;
}

static int begin(const struct lu_source *s, char why[LU_REASON_MAX])
{
    struct lu_pending *p = &lu.pending;
    int rc;

    forget_pending();
    rc = s->domain != NULL ? open_pages(s, p, why) : open_module(s->module, p, why);
    if (rc != 0) {
        return rc;
    }
    FAULT_POINT("old.load.before");
    lu.loaded.valid = false;
    p->source = *s;
    p->number = ++loads;
    p->valid = true;
    p->step = LU_LOAD_FORGET;
    return 0;
}

/* The steps: 0, LU_AGAIN, or -E* and the load has failed. */

static int parse(struct lu_pending *p, char why[LU_REASON_MAX])
{
    struct kimage_fault fault;
    int rc;

    lu_unload();
    rc = kimage_parse(p->elf, p->bytes, &p->info, &fault);
    if (rc != 0) {
        return lu_refuse(rc, fault.code, why, "%s", fault.text);
    }
    seal_hash_begin(p);
    p->step = LU_LOAD_HASH;
    return LU_AGAIN;
}

static int hash(struct lu_pending *p)
{
    if (seal_hash_slice(p)) {
        p->step = LU_LOAD_SEAL;
    }
    return LU_AGAIN;
}

static int judge(struct lu_pending *p, char why[LU_REASON_MAX])
{
    uint64_t load = p->number;
    struct kimage_fault fault;
    int rc = seal_check(p, &fault);

    if (p->number != load || p->step != LU_LOAD_SEAL) {
        return LU_AGAIN; /* somebody else goes on with it, or has begun anew */
    }
    rc = rc != 0 ? lu_refuse(rc, fault.code, why, "%s", fault.text) : keep(p, why);
    if (rc != 0) {
        return rc;
    }
    p->generation = domain_generation;
    p->step = LU_LOAD_PREPARE;
    return LU_AGAIN;
}

/* When domains change meanwhile, all is done again, and once is enough: when the update is asked
 * for, and they change no more. */
static int prepare(struct lu_pending *p)
{
    if (p->generation == domain_generation && !update_prepare_slice()) {
        return LU_AGAIN;
    }
    loaded();
    return 0;
}

static int next_slice(struct lu_pending *p, char why[LU_REASON_MAX])
{
    switch (p->step) {
    case LU_LOAD_FORGET:
        return update_forget_slice() ? parse(p, why) : LU_AGAIN;
    case LU_LOAD_HASH:
        return hash(p);
    case LU_LOAD_SEAL:
        return judge(p, why);
    default:
        return prepare(p);
    }
}

int lu_load_slice(const struct lu_source *source, char why[LU_REASON_MAX])
{
    int rc;

    if (lu.exec_requested) {
        return lu_refuse(-EBUSY, HC_LU_R_BUSY, why, "an update is under way");
    }
    if (!goes_on_with(source)) {
        rc = lu_check_cpus(why);
        rc = rc != 0 ? rc : begin(source, why);
        if (rc != 0) {
            return rc;
        }
    }
    rc = next_slice(&lu.pending, why);
    if (rc != LU_AGAIN) {
        forget_pending();
    }
    return rc;
}

int lu_load_module(uint32_t index, char why[LU_REASON_MAX])
{
    const struct lu_source source = {.module = index};
    int rc;

    do {
        rc = lu_load_slice(&source, why);
    } while (rc == LU_AGAIN);
    return rc;
}
