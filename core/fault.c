/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults on purpose, in test images only.
 *
 * One fault is armed at a time. A point of the running image ("old...") waits here. One of the next
 * image travels on its command line, as the word fault=POINT:KIND:N:SEED. Points in assembly, in
 * the relocator and before there is a command line to read, find theirs in low memory that firmware
 * leaves to programs and molt to nobody (struct fault_shared).
 *
 * Host test: tests/host/test_fault.c
 */
#include "hv/fault.h"

#include "asm/cpu.h"
#include "hv/cmdline.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/printk.h"
#include "hv/reloc.h"
#include "hv/seam.h"
#include "hv/string.h"
#include "hv/vcpu.h"
#include "hw/multiboot.h"
#include "public/fault.h"
#include "public/lu_abi.h"

#define KEY "fault"
#define OLD "old."
#define BACK "old.back.before" /* the old image goes on */
#define BEFORE ".before"
#define AFTER ".after"
#define SLOW_UNIT_CYCLES BIT(20) /* kind "slow": n of these */

/* Nothing is mapped in this half but the first 4 GiB, and in the end nothing. */
#define UNMAPPED_VA 0x00007eadbeef0000UL
#define NON_CANONICAL_VA 0x7eadbeefdeadbee8UL
#define STACK_STEP 512

static struct hc_fault fault_armed;   /* point "": none */
static struct hc_fault fault_travels; /* for the image that is loaded next */
static uint64_t fault_passes;         /* of the armed point */
static bool fault_counts;             /* between an allocation fault's point and its end */

static struct {
    uint8_t *at;
    uint64_t bytes;
} fault_places[FAULT_MEMORIES];

static uint64_t list_was; /* first entry of the relocation list, when it is spoilt */
static bool list_spoilt;

static struct fault_shared *shared(void)
{
    return pa_to_va(FAULT_SHARED_PA);
}

/* ---- kinds ---- */

static void do_panic(const struct hc_fault *f)
{
    panic("fault: %s", f->point);
}

static void do_hang(const struct hc_fault *f)
{
    for (;;) {
        (void)f;
        cpu_pause();
    }
}

static void do_halt(const struct hc_fault *f)
{
    (void)f;
    cpu_halt_forever();
}

static void do_ud(const struct hc_fault *f)
{
    (void)f;
    __builtin_trap();
}

static void do_pf(const struct hc_fault *f)
{
    (void)f;
    *(volatile uint8_t *)UNMAPPED_VA = 0;
}

static void do_gp(const struct hc_fault *f)
{
    (void)f;
    *(volatile uint8_t *)NON_CANONICAL_VA = 0;
}

static void do_de(const struct hc_fault *f)
{
    volatile uint32_t zero = 0;

    fault_passes = (uint32_t)f->n / zero;
}

static uint64_t deeper(uint64_t depth)
{
    volatile uint8_t frame[STACK_STEP];

    frame[depth % STACK_STEP] = (uint8_t)depth;
    return depth == UINT64_MAX ? 0 : deeper(depth + 1) + frame[0];
}

static void do_stack(const struct hc_fault *f)
{
    fault_passes = deeper(f->n);
}

static void do_reset(const struct hc_fault *f)
{
    (void)f;
    machine_reset();
}

static void do_slow(const struct hc_fault *f)
{
    uint64_t end = tsc_read() + f->n * SLOW_UNIT_CYCLES;

    while (tsc_read() < end) {
        cpu_pause();
    }
}

/* From here to the point's end, or for ever, allocations are counted, and the nth one fails. */
static void do_alloc(const struct hc_fault *f)
{
    (void)f;
    shared()->allocations = 0;
    fault_counts = true;
}

/* ---- kinds that spoil data: one bit, chosen by the seed ---- */

static uint64_t seed_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static void flip(void *start, uint64_t bytes, uint64_t seed)
{
    uint64_t bit = seed_mix(seed) % (bytes * 8);

    ((uint8_t *)start)[bit / 8] ^= (uint8_t)(1U << (bit % 8));
}

static struct lu_mfn_list_page *list_page(void)
{
    if (fault_places[FAULT_STREAM].at == NULL) {
        panic("fault: no stream yet");
    }
    return (struct lu_mfn_list_page *)fault_places[FAULT_STREAM].at;
}

/* Some page of the list. */
static void do_flip_list(const struct hc_fault *f)
{
    struct lu_mfn_list_page *page = list_page();

    for (uint64_t skip = f->seed % 4; skip > 0 && page->next_pa != 0; skip--) {
        page = pa_to_va(page->next_pa);
    }
    flip(page, PAGE_SIZE, f->seed);
}

static uint64_t stream_pages(const struct lu_mfn_list_page *page)
{
    uint64_t n = 0;

    while (n < LU_MFN_LIST_ENTRIES && page->mfns[n] != 0) {
        n++;
    }
    return n;
}

/* Some page of those that the first list page names. */
static void do_flip_stream(const struct hc_fault *f)
{
    struct lu_mfn_list_page *page = list_page();
    uint64_t nth = seed_mix(~f->seed) % stream_pages(page);

    flip(mfn_to_va(mfn_from(page->mfns[nth])), PAGE_SIZE, f->seed);
}

static struct lu_handover *handover(void)
{
    if (fault_places[FAULT_HANDOVER].at == NULL) {
        panic("fault: no handover page yet");
    }
    return (struct lu_handover *)fault_places[FAULT_HANDOVER].at;
}

static void do_flip_crumb(const struct hc_fault *f)
{
    flip(&handover()->breadcrumb, sizeof(struct lu_breadcrumb), f->seed);
}

/* The first copy (n: 1), the second, or with n = 3 the same bit of both. */
static void do_flip_back(const struct hc_fault *f)
{
    if (f->n != 2) {
        flip(&handover()->back[0], sizeof(struct lu_way_back), f->seed);
    }
    if (f->n >= 2) {
        flip(&handover()->back[1], sizeof(struct lu_way_back), f->seed);
    }
}

/* Page n - 1 of the image. */
static void do_flip_image(const struct hc_fault *f)
{
    uint64_t offset = (f->n - 1) * PAGE_SIZE;

    if (fault_places[FAULT_IMAGE].at == NULL || f->n == 0 ||
        offset + PAGE_SIZE > fault_places[FAULT_IMAGE].bytes) {
        panic("fault: the image has no such page");
    }
    flip(fault_places[FAULT_IMAGE].at + offset, PAGE_SIZE, f->seed);
}

/* ---- kinds that spoil the relocation list: what the relocator reads first ---- */

static uint64_t *reloc_entries(void)
{
    if (fault_places[FAULT_LIST].at == NULL) {
        panic("fault: no relocation list yet");
    }
    return (uint64_t *)fault_places[FAULT_LIST].at;
}

/* The old image frees what its list names, so that has to be right again when it comes back. */
static void spoil_list(uint64_t entry)
{
    list_was = reloc_entries()[0];
    list_spoilt = true;
    reloc_entries()[0] = entry;
}

static void mend_list(void)
{
    if (list_spoilt) {
        reloc_entries()[0] = list_was;
        list_spoilt = false;
    }
}

static void do_list_tag(const struct hc_fault *f)
{
    (void)f;
    spoil_list(RELOC_TAG_MASK);
}

static void do_list_write(const struct hc_fault *f)
{
    (void)f;
    spoil_list(NON_CANONICAL_VA | RELOC_WRITE64);
}

static void do_list_circle(const struct hc_fault *f)
{
    (void)f;
    spoil_list(mfn_to_pa(va_to_mfn(reloc_entries())) | RELOC_INDIRECTION);
}

static const struct {
    const char *name;
    void (*run)(const struct hc_fault *f);
    bool nth; /* n says at which pass of the point */
} fault_kinds[] = {
    /* clang-format off */
    {"panic", do_panic, true},
    {"hang", do_hang, true},
    {"halt", do_halt, true},
    {"ud", do_ud, true},
    {"pf", do_pf, true},
    {"gp", do_gp, true},
    {"de", do_de, true},
    {"stack", do_stack, true},
    {"reset", do_reset, true},
    {"slow", do_slow, false},
    {"alloc", do_alloc, false},
    {"flip-stream", do_flip_stream, true},
    {"flip-list", do_flip_list, true},
    {"flip-crumb", do_flip_crumb, true},
    {"flip-back", do_flip_back, false},
    {"flip-image", do_flip_image, false},
    {"list-tag", do_list_tag, true},
    {"list-write", do_list_write, true},
    {"list-circle", do_list_circle, true},
    /* clang-format on */
};

/* Index of a kind, or how many there are. */
static size_t kind_of(const struct hc_fault *f)
{
    size_t k = 0;

    while (k < ARRAY_SIZE(fault_kinds) && strcmp(fault_kinds[k].name, f->kind) != 0) {
        k++;
    }
    return k;
}

/* ---- points in assembly ---- */

static const char *const asm_points[FAULT_ASM_POINTS] = {
    [FAULT_ASM_RELOCATE] = "jump.relocate", [FAULT_ASM_LEAVE] = "jump.leave",
    [FAULT_ASM_ENTER] = "jump.enter",       [FAULT_ASM_ENTRY32] = "new.entry32",
    [FAULT_ASM_ENTRY64] = "new.entry64",
};
static const char *const asm_kinds[FAULT_ASM_KINDS] = {
    [FAULT_ASM_UD] = "ud",
    [FAULT_ASM_HANG] = "hang",
    [FAULT_ASM_HALT] = "halt",
};

static size_t index_in(const char *const *names, size_t nr, const char *name)
{
    size_t i = 0;

    while (i < nr && strcmp(names[i], name) != 0) {
        i++;
    }
    return i;
}

/* The word for assembly: 0 when the fault is none of its. */
static uint32_t asm_word(const struct hc_fault *f)
{
    size_t point = index_in(asm_points, ARRAY_SIZE(asm_points), f->point);
    size_t kind = index_in(asm_kinds, ARRAY_SIZE(asm_kinds), f->kind);

    if (point == ARRAY_SIZE(asm_points) || kind == ARRAY_SIZE(asm_kinds)) {
        return 0;
    }
    return FAULT_ASM_MAGIC | (uint32_t)point << 8 | (uint32_t)kind;
}

/* ---- arming ---- */

static bool is_old(const struct hc_fault *f)
{
    return strncmp(f->point, OLD, strlen(OLD)) == 0;
}

static void arm(const struct hc_fault *f)
{
    fault_armed = *f;
    fault_passes = 0;
    fault_counts = false;
}

static bool in_bounds(const char *text, size_t size)
{
    return strnlen(text, size) < size;
}

static int arm_call(const struct hc_fault *f)
{
    static const struct hc_fault none;

    if (!in_bounds(f->point, sizeof(f->point)) || !in_bounds(f->kind, sizeof(f->kind)) ||
        (f->point[0] != '\0' && kind_of(f) == ARRAY_SIZE(fault_kinds))) {
        return -EINVAL;
    }
    arm(is_old(f) ? f : &none);
    fault_travels = is_old(f) ? none : *f;
    shared()->armed = 0;
    return 0;
}

const char *fault_take_word(void)
{
    static char word[sizeof(KEY) + sizeof(struct hc_fault) + 48];
    const struct hc_fault *f = &fault_travels;

    word[0] = '\0';
    shared()->armed = asm_word(f);
    if (f->point[0] != '\0' && shared()->armed == 0) {
        fmt_str(word, sizeof(word), KEY "=%s:%s:%llu:%llu ", f->point, f->kind,
                (unsigned long long)f->n, (unsigned long long)f->seed);
    }
    fault_travels.point[0] = '\0';
    return word;
}

/* Cuts `text` at the first colon; the part before into out, if it has the room. */
static bool take_field(struct str_span *text, char *out, size_t size)
{
    size_t len = 0;

    while (len < text->len && text->s[len] != ':') {
        len++;
    }
    if (len >= size) {
        return false;
    }
    memset(out, 0, size);
    memcpy(out, text->s, len);
    text->s += len;
    text->len -= len;
    if (text->len > 0) {
        text->s++;
        text->len--;
    }
    return true;
}

static bool take_number(struct str_span *text, uint64_t *out)
{
    char digits[24];

    return take_field(text, digits, sizeof(digits)) &&
           parse_size((struct str_span){digits, strlen(digits)}, out) == 0;
}

/* By hand, on a boot loader's line, a fault may be meant for the next image. */
static bool is_for_next(const char *cmdline, const struct hc_fault *f)
{
    struct str_span nonce;

    return !is_old(f) && !cmdline_get(cmdline, "lu_nonce", &nonce);
}

static void arm_from(const char *cmdline)
{
    struct str_span text;
    struct hc_fault f;

    if (cmdline_get(cmdline, KEY, &text) && take_field(&text, f.point, sizeof(f.point)) &&
        take_field(&text, f.kind, sizeof(f.kind)) && take_number(&text, &f.n) &&
        take_number(&text, &f.seed) && text.len == 0 && f.point[0] != '\0' &&
        kind_of(&f) != ARRAY_SIZE(fault_kinds)) {
        if (is_for_next(cmdline, &f)) {
            fault_travels = f;
        } else {
            arm(&f);
        }
    }
}

/* The parser of boot information comes later, and has points before it. */
void fault_init(const void *mb2_info)
{
    const uint32_t *info = mb2_info; /* total size, reserved; then tags: type, size, ... */
    uint64_t total = info[0], at = 8;

    while (at + 8 <= total) {
        const uint32_t *tag = &info[at / 4];
        uint64_t size = tag[1];

        if (tag[0] == MB2_TAG_END || size < 8 || size > total - at) {
            return;
        }
        if (tag[0] == MB2_TAG_CMDLINE && size > 8 && in_bounds((const char *)(tag + 2), size - 8)) {
            arm_from((const char *)(tag + 2));
        }
        at += align_up(size, 8);
    }
}

/* ---- what the macros call ---- */

/* "x.after" ends what began at "x.before". */
static bool ends_window(const char *name)
{
    size_t len = strlen(fault_armed.point), end = strlen(BEFORE);

    return len > end && strcmp(fault_armed.point + len - end, BEFORE) == 0 &&
           strncmp(name, fault_armed.point, len - end) == 0 && strcmp(name + len - end, AFTER) == 0;
}

void fault_point(const char *name)
{
    struct hc_fault f;
    size_t kind;

    if (strcmp(name, BACK) == 0) {
        mend_list();
    }
    if (fault_counts && ends_window(name)) {
        fault_counts = false;
        fault_armed.point[0] = '\0';
    }
    if (fault_counts || strcmp(name, fault_armed.point) != 0) {
        return;
    }
    f = fault_armed;
    kind = kind_of(&f);
    if (fault_kinds[kind].nth && ++fault_passes < f.n) {
        return;
    }
    if (fault_kinds[kind].run != do_alloc) {
        shared()->fired++;
        fault_armed.point[0] = '\0';
    }
    fault_kinds[kind].run(&f);
}

bool fault_fails(void)
{
    if (!fault_counts || ++shared()->allocations != fault_armed.n) {
        return false;
    }
    shared()->fired++;
    return true;
}

void fault_memory(enum fault_memory what, void *at, uint64_t bytes)
{
    fault_places[what].at = at;
    fault_places[what].bytes = bytes;
}

/* ---- hypercalls ---- */

static int64_t do_status(struct vcpu *v)
{
    struct hc_fault_status s = {shared()->fired, shared()->allocations, tsc_read()};

    return domain_write(v->domain, v->gpr[GPR_RBX], &s, MIN(v->gpr[GPR_RCX], sizeof(s)));
}

static int64_t do_arm(struct vcpu *v)
{
    struct hc_fault f;

    if (v->gpr[GPR_RCX] < sizeof(f)) {
        return -EINVAL;
    }
    if (domain_read(v->domain, v->gpr[GPR_RBX], &f, sizeof(f)) != 0) {
        return -EFAULT;
    }
    return arm_call(&f);
}

static int64_t do_digest(struct vcpu *v)
{
    uint64_t id = v->gpr[GPR_RBX];
    struct domain *d = id <= UINT16_MAX ? domain_find((uint16_t)id) : NULL;

    return d != NULL ? (int64_t)domain_digest(d) : -ENOENT;
}

int64_t fault_call(struct vcpu *v)
{
    switch (v->gpr[GPR_RAX]) {
    case HC_FAULT_ARM:
        return do_arm(v);
    case HC_FAULT_STATUS:
        return do_status(v);
    default:
        return do_digest(v);
    }
}
