/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flight recorder: the ring.
 *
 * Owns: nothing but where the ring is; all CPUs and all images append without a lock. Each entry is
 * made aside and then copied: its slot is invalid while it is not complete, and by its checksum
 * ever after when the machine was reset in between.
 * Host test: tests/host/test_recorder.c
 */
#include "hv/recorder.h"

#include "hv/crc32c.h"
#include "hv/percpu.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/string.h"
#include "hv/time.h"

#define BYTES_MIN PAGE_SIZE
#define BYTES_MAX GIB(1)
#define PIECES_MAX 8U /* of one line; what is longer is cut off */
#define TICKS_PER_SECOND 1000000U

static struct lu_log_header *ring; /* NULL: there is none */
static uint32_t slots;             /* as its header says; not 0 while there is a ring */

static uint32_t header_check(const struct lu_log_header *h)
{
    return crc32c(0, h, offsetof(struct lu_log_header, check));
}

static struct lu_log_entry *slot(uint64_t number)
{
    return (struct lu_log_entry *)(ring + 1) + number % slots;
}

static uint32_t entry_crc(const struct lu_log_entry *e)
{
    return crc32c(0, e, offsetof(struct lu_log_entry, crc));
}

/* A copy of what is in a slot, which others may be writing to. False: no good entry of it. */
static bool read_slot(const struct lu_log_entry *from, struct lu_log_entry *out)
{
    *out = *from;
    __atomic_thread_fence(__ATOMIC_ACQUIRE); /* the copy is what is looked at, not the slot again */
    return out->number != 0 && out->crc == entry_crc(out) && out->length <= LU_LOG_TEXT &&
           slot(out->number) == from;
}

/* ---- appending ---- */

static void write_slot(const struct lu_log_entry *e)
{
    struct lu_log_entry *to = slot(e->number);

    __atomic_store_n(&to->number, 0, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE); /* no byte of the rest goes in before that */
    memcpy((uint8_t *)to + sizeof(to->number), (const uint8_t *)e + sizeof(e->number),
           sizeof(*e) - sizeof(e->number));
    __atomic_store_n(&to->number, e->number, __ATOMIC_RELEASE); /* and the number after all of it */
}

static void append(const char *text, size_t len, uint8_t flags)
{
    size_t pieces = len == 0 ? 1 : (len + LU_LOG_TEXT - 1) / LU_LOG_TEXT;
    struct lu_log_entry e = {.flags = flags};
    uint64_t number;

    if (ring == NULL) {
        return;
    }
    pieces = MIN(pieces, (size_t)PIECES_MAX);
    e.tsc = tsc_read();
    e.boot = ring->boot;
    e.cpu = this_cpu() != NULL ? (uint16_t)this_cpu()->id : 0;
    number = __atomic_fetch_add(&ring->next, pieces, __ATOMIC_RELAXED);
    for (size_t i = 0; i < pieces; i++) {
        e.number = number + i;
        e.length = (uint8_t)MIN(len, (size_t)LU_LOG_TEXT);
        memset(e.text, 0, sizeof(e.text));
        memcpy(e.text, text, e.length);
        e.crc = entry_crc(&e);
        write_slot(&e);
        text += e.length;
        len -= e.length;
        e.flags |= LU_LOG_MORE;
    }
}

void recorder_text(const char *text, size_t len)
{
    append(text, len, 0);
}

void recorder_step(const char *name)
{
    append(name, strlen(name), LU_LOG_STEP);
}

/* ---- the ring ---- */

bool recorder_size_ok(uint64_t bytes)
{
    return bytes >= BYTES_MIN && bytes <= BYTES_MAX && (bytes & (bytes - 1)) == 0;
}

struct census {
    unsigned int entries;
    uint64_t last; /* highest number */
    uint32_t boot; /* highest boot */
};

static struct census count_entries(void)
{
    struct lu_log_entry e;
    struct census c = {0, 0, 0};

    for (uint32_t i = 0; i < slots; i++) {
        if (read_slot(slot(i), &e)) {
            c.entries++;
            c.last = MAX(c.last, e.number);
            c.boot = MAX(c.boot, e.boot);
        }
    }
    return c;
}

static bool is_there(uint64_t number)
{
    struct lu_log_entry e;

    return read_slot(slot(number), &e) && e.number == number;
}

/* The counter is under no checksum: it must lead to where the entries end. */
static void mend_next(void)
{
    if (!is_there(ring->next - 1) || is_there(ring->next)) {
        ring->next = count_entries().last + 1;
    }
}

bool recorder_attach(void *at, uint64_t bytes)
{
    struct lu_log_header *h = at;

    ring = NULL;
    if (!recorder_size_ok(bytes) || h->magic != LU_LOG_MAGIC || h->version != LU_LOG_VERSION ||
        h->slots != bytes / LU_LOG_SLOT - 1 || h->check != header_check(h)) {
        return false;
    }
    slots = h->slots;
    ring = h;
    mend_next();
    return true;
}

void recorder_create(void *at, uint64_t bytes)
{
    struct lu_log_header *h = at;

    BUG_ON(!recorder_size_ok(bytes));
    ring = NULL;
    memset(at, 0, bytes);
    h->version = LU_LOG_VERSION;
    h->slots = (uint32_t)(bytes / LU_LOG_SLOT - 1);
    h->next = 1;
    h->boot = 1;
    h->magic = LU_LOG_MAGIC;
    h->check = header_check(h);
    slots = h->slots;
    ring = h;
}

void recorder_detach(void)
{
    ring = NULL;
}

bool recorder_attached(void)
{
    return ring != NULL;
}

unsigned int recorder_new_boot(uint64_t boot_tsc)
{
    struct census c = count_entries();

    ring->next = c.last + 1;
    ring->boot = c.boot + 1;
    ring->boot_tsc = boot_tsc;
    return c.entries;
}

uint32_t recorder_boot(void)
{
    return ring != NULL ? ring->boot : 0;
}

/* ---- readers ---- */

uint64_t recorder_next(void)
{
    return ring != NULL ? __atomic_load_n(&ring->next, __ATOMIC_ACQUIRE) : 1;
}

bool recorder_read(uint64_t *from, struct lu_log_entry *out)
{
    uint64_t next = recorder_next();

    if (ring == NULL) {
        return false;
    }
    if (next > slots && *from < next - slots) {
        *from = next - slots;
    }
    for (uint64_t number = MAX(*from, (uint64_t)1); number < next; number++) {
        if (read_slot(slot(number), out) && out->number == number) {
            *from = number + 1;
            return true;
        }
    }
    return false;
}

/* Seconds since this cold boot began; "-" where the TSC does not tell. */
static void format_time(const struct lu_log_entry *e, char out[32])
{
    uint64_t cycles = e->tsc - ring->boot_tsc;
    uint64_t us;

    if (e->boot != ring->boot || e->tsc < ring->boot_tsc || tsc_khz == 0 || ring->boot_tsc == 0) {
        out[0] = '-';
        out[1] = '\0';
        return;
    }
    us = cycles / tsc_khz * 1000 + cycles % tsc_khz * 1000 / tsc_khz;
    fmt_str(out, 32, "%llu.%06llu", (unsigned long long)(us / TICKS_PER_SECOND),
            (unsigned long long)(us % TICKS_PER_SECOND));
}

size_t recorder_format(const struct lu_log_entry *e, char out[RECORDER_LINE_MAX])
{
    const char *kind = (e->flags & LU_LOG_MORE)   ? "more"
                       : (e->flags & LU_LOG_STEP) ? "step"
                                                  : "line";
    char seconds[32];
    size_t len;

    format_time(e, seconds);
    len = fmt_str(out, RECORDER_LINE_MAX, "%llu %llu %s %u %s ", (unsigned long long)e->number,
                  (unsigned long long)e->tsc, seconds, e->cpu, kind);
    for (size_t i = 0; i < e->length; i++) { /* who wrote it is not known: no terminal codes */
        unsigned char c = (unsigned char)e->text[i];

        out[len++] = c >= ' ' && c < 0x7f ? (char)c : '?';
    }
    return len;
}
