/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way back: what the two images tell each other, and who may take it when.
 *
 * Host test: tests/host/test_way_back.c
 */
#include "hv/way_back.h"

#include "hv/crc32c.h"
#include "hv/hvm.h"
#include "hv/memory.h"
#include "hv/percpu.h"
#include "hv/phase.h"
#include "hv/printk.h"
#include "hv/recorder.h"
#include "hv/seam.h"
#include "hv/string.h"
#include "hv/watchdog.h"

static enum {
    CLOSED,
    LEAVING, /* the old image, in the pause */
    ENTERED, /* the new one, before commit 1 */
} way;

static struct lu_way_back back; /* unless CLOSED */
static struct lu_handover *handover;
static paddr_t handover_pa;
static bool taken; /* what is done to go back may fail as well */

static uint64_t back_check(const struct lu_way_back *b)
{
    return crc32c(0, b, offsetof(struct lu_way_back, check));
}

void way_back_begin(struct lu_handover *page, paddr_t page_pa, uint64_t deadline_tsc)
{
    memset(&page->failure, 0, sizeof(page->failure));
    back = (struct lu_way_back){.deadline_tsc = deadline_tsc};
    handover = page;
    handover_pa = page_pa;
    taken = false;
    way = LEAVING;
}

void way_back_offer(const struct lu_way_back *block, bool watched)
{
    uint64_t deadline = back.deadline_tsc;
    struct lu_way_back b = *block;

    b.magic = LU_WAY_BACK_MAGIC;
    b.deadline_tsc = watched ? deadline : 0;
    b.entry_pa = (uint32_t)kexec_back_entry();
    b.check = back_check(&b);
    for (size_t i = 0; i < ARRAY_SIZE(handover->back); i++) {
        handover->back[i] = b;
    }
    kexec_set_way_back(handover_pa, &b, watched);
}

static bool good(const struct lu_way_back *b)
{
    return b->magic == LU_WAY_BACK_MAGIC && b->check == back_check(b) && b->nonce != 0 &&
           b->entry_pa != 0;
}

bool way_back_find(paddr_t pa, struct lu_way_back *out)
{
    struct lu_handover *page;

    if (pa == 0 || !is_aligned(pa, PAGE_SIZE)) {
        return false;
    }
    page = mfn_to_va(pa_to_mfn(pa));
    for (size_t i = 0; i < ARRAY_SIZE(page->back); i++) {
        back = page->back[i]; /* one flipped bit spoils one of them */
        if (good(&back)) {
            handover = page;
            handover_pa = pa;
            taken = false;
            way = ENTERED;
            *out = back;
            return true;
        }
    }
    return false;
}

bool way_back_open(void)
{
    return way != CLOSED;
}

void way_back_close(void)
{
    way = CLOSED;
}

bool way_back_late(void)
{
    return way != CLOSED && back.deadline_tsc != 0 && tsc_read() > back.deadline_tsc;
}

static void note_failure(uint32_t kind, uint32_t vector, uint64_t rip, const char *text)
{
    struct lu_failure f = {.kind = kind, .vector = vector, .tsc = tsc_read(), .rip = rip};

    str_copy(f.phase, sizeof(f.phase), phase);
    str_copy(f.reason, sizeof(f.reason), text);
    handover->failure = f;
    recorder_step("way back");
    recorder_text(text, strlen(text));
}

/* In the old image the escape is the first CPU's, and needs memory management that is whole. */
static bool may_escape(void)
{
    return this_cpu() == cpu_list && !mm_busy();
}

void way_back_take(uint32_t kind, uint32_t vector, uint64_t rip, const char *text)
{
    if (way == CLOSED || (way == LEAVING && !may_escape())) {
        return;
    }
    if (!taken) {
        taken = true;
        note_failure(kind, vector, rip, text);
        if (hvm != NULL) {
            hvm->cpu_off();
        }
    }
    if (way == LEAVING) {
        escape_now();
    }
    watchdog_restart(); /* as on the way here */
    kexec_go_back(back.entry_pa, handover_pa);
}

void way_back_refuse(const char *fmt, ...)
{
    char text[sizeof(handover->failure.reason)];
    va_list args;

    va_start(args, fmt);
    (void)fmt_vstr(text, sizeof(text), fmt, args);
    va_end(args);
    way_back_take(LU_FAIL_REFUSED, 0, (uint64_t)(uintptr_t)__builtin_return_address(0), text);
    panic("lu: %s", text);
}
