/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the flight recorder lies: found, made, and handed from image to image.
 *
 * Its memory is preserved, and the handover page names it twice over: for the next image, which
 * appends before it has read the stream, and for a cold boot after a reset, since RAM outlives
 * that. The stream's RECORDER record is what makes the frames the next image's own.
 * Host test: tests/host/test_recorder_ref.c
 */
#include "lu_priv.h"

#include "hv/buddy.h"
#include "hv/crc32c.h"
#include "hv/printk.h"
#include "hv/recorder.h"
#include "hv/seam.h"
#include "hv/string.h"

#define EARLY_END GIB(4) /* what the early tables map */

static unsigned int found; /* entries of earlier boots */

static uint64_t ref_check(const struct lu_recorder_ref *r)
{
    return crc32c(0, r, offsetof(struct lu_recorder_ref, check));
}

static void *memory_of(const struct lu_recorder_ref *r)
{
    return mfn_to_va(pa_to_mfn(r->pa));
}

static void forget(void)
{
    recorder_detach();
    lu.recorder = (struct lu_recorder_ref){0, 0, 0};
}

void recorder_find_early(const struct lu_handover *page)
{
    struct lu_recorder_ref r = page->recorder;

    forget();
    if (r.pa != 0 && r.check == ref_check(&r) && recorder_size_ok(r.bytes) &&
        is_aligned(r.pa, r.bytes)) {
        lu.recorder = r;
    }
}

void recorder_enter(const struct lu_handover *page)
{
    recorder_find_early(page);
    if (lu.recorder.pa != 0 && lu.recorder.pa <= EARLY_END - lu.recorder.bytes) {
        (void)!recorder_attach(memory_of(&lu.recorder), lu.recorder.bytes);
    }
}

void recorder_name(bool known)
{
    static const struct lu_recorder_ref none;

    lu.recorder.check = ref_check(&lu.recorder);
    lu.handover->recorder = known && recorder_attached() ? lu.recorder : none;
}

/* ---- cold boot ---- */

static int claim(paddr_t pa, uint64_t bytes)
{
    return frametable_claim(pa_to_mfn(pa), (unsigned int)__builtin_ctzll(bytes >> PAGE_SHIFT),
                            FRAME_RECORDER, OWNER_NONE);
}

/* The ring of an earlier boot: RAM has survived there, and the loader has put nothing onto it. */
static bool go_on(void)
{
    const struct lu_recorder_ref *r = &lu.recorder;

    if (r->pa == 0 || claim(r->pa, r->bytes) != 0) {
        return false;
    }
    if (!recorder_attach(memory_of(r), r->bytes)) {
        frametable_unclaim(pa_to_mfn(r->pa), (unsigned int)__builtin_ctzll(r->bytes >> PAGE_SHIFT));
        return false;
    }
    return true;
}

/*
 * A free place below 4 GiB, and best right below the region: boot loaders work their way down from
 * the top of memory and up from the bottom, so RAM there is likely to outlive a reset.
 */
static paddr_t claim_place(void)
{
    paddr_t at;

    for (at = lu.region.base; at > MIB(1); at -= RECORDER_BYTES) {
        if (claim(at - RECORDER_BYTES, RECORDER_BYTES) == 0) {
            return at - RECORDER_BYTES;
        }
    }
    for (at = lu.region.base + lu.region.size; at < EARLY_END; at += RECORDER_BYTES) {
        if (claim(at, RECORDER_BYTES) == 0) {
            return at;
        }
    }
    return 0;
}

static void create(paddr_t pa)
{
    lu.recorder = (struct lu_recorder_ref){.pa = pa, .bytes = RECORDER_BYTES};
    recorder_create(memory_of(&lu.recorder), RECORDER_BYTES);
}

void recorder_cold_start(uint64_t boot_tsc)
{
    found = 0;
    if (!go_on()) {
        paddr_t pa = claim_place();

        forget();
        if (pa != 0) {
            create(pa);
        }
    }
    if (recorder_attached()) {
        found = recorder_new_boot(boot_tsc);
    }
    recorder_name(true);
}

/* The last line, if any, in which the boot before this one panicked. */
static bool find_panic(struct lu_log_entry *out)
{
    static const char start[] = "panic: cpu=";
    struct lu_log_entry e;
    uint64_t from = 0;
    bool any = false;

    while (recorder_read(&from, &e)) {
        if (e.boot + 1 == recorder_boot() && e.length >= sizeof(start) - 1 &&
            memcmp(e.text, start, sizeof(start) - 1) == 0) {
            *out = e;
            any = true;
        }
    }
    return any;
}

void recorder_report(void)
{
    char line[RECORDER_LINE_MAX];
    struct lu_log_entry e;

    if (found != 0) {
        printk("recorder: %u entries of earlier boots", found);
    }
    if (find_panic(&e)) {
        printk("recorder: the last boot: %.*s", (int)recorder_format(&e, line), line);
    }
}

/* ---- update boot ---- */

void recorder_claimed(mfn_t start, mfn_t end)
{
    lu.recorder_claimed.pa = mfn_to_pa(start);
    lu.recorder_claimed.bytes = mfn_to_pa(end) - mfn_to_pa(start);
}

void recorder_adopt(void)
{
    const struct lu_recorder_ref *now = &lu.recorder_claimed;

    if (now->bytes == 0) { /* whatever the page says, this memory is not the recorder's */
        forget();
    } else if (!recorder_attached() || lu.recorder.pa != now->pa ||
               lu.recorder.bytes != now->bytes) {
        lu.recorder = *now;
        if (!recorder_attach(memory_of(now), now->bytes)) {
            recorder_create(memory_of(now), now->bytes);
        }
    }
    recorder_name(true);
}

/* Firmware and boot loaders use what is below 1 MiB at every reset. */
static mfn_t alloc_block(void)
{
    mfn_t low[MIB(1) / RECORDER_BYTES];
    unsigned int nr = 0;
    mfn_t mfn;

    for (;;) {
        mfn = buddy_alloc(RECORDER_ORDER, FRAME_RECORDER, OWNER_NONE);
        if (!mfn_valid(mfn) || mfn_to_pa(mfn) >= MIB(1)) {
            break;
        }
        low[nr++] = mfn;
    }
    while (nr > 0) {
        buddy_free(low[--nr], RECORDER_ORDER);
    }
    return mfn;
}

void recorder_make(void)
{
    mfn_t mfn;

    if (recorder_attached()) {
        return;
    }
    mfn = alloc_block();
    if (mfn_valid(mfn)) {
        create(mfn_to_pa(mfn));
        recorder_name(true);
        printk("recorder: a new one at 0x%llx", (unsigned long long)lu.recorder.pa);
    } else {
        printk("recorder: none, out of memory");
    }
}
