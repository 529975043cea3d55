/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine for images, see world.h.
 */
#include "fakes/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../lu/lu_priv.h"
#include "fakes/alloc_fail.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/mb2_block.h"
#include "fakes/seam.h"
#include "hv/audit.h"
#include "hv/boot_alloc.h"
#include "hv/buddy.h"
#include "hv/cmdline.h"
#include "hv/console.h"
#include "hv/crc32c.h"
#include "hv/memory.h"
#include "hv/modules.h"
#include "hv/printk.h"
#include "hv/recorder.h"
#include "hv/sched.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hv/time.h"
#include "hv/vmap.h"
#include "hv/way_back.h"
#include "hw/cpuid.h"
#include "hw/x86.h"

#define INFO_ROOM KIB(64) /* boot information, at the arena's start */

static struct mb2_block info_block;
static struct boot_info info;

static void must(bool ok, const char *what)
{
    if (!ok) {
        panic("world: %s", what);
    }
}

/* Features of the host: what guest_cr4_allowed() and friends ask for, once for ever. */
static void host_features(void)
{
    fake_cpuid_set(0, 0, (struct cpuid_values){.eax = 0xd});
    fake_cpuid_set(1, 0, (struct cpuid_values){.ecx = CPUID_1_ECX_XSAVE | CPUID_1_ECX_PCID});
    fake_cpuid_set(7, 0, (struct cpuid_values){.ebx = CPUID_7_EBX_FSGSBASE | CPUID_7_EBX_SMEP});
    fake_cpuid_set(0x80000001, 0, (struct cpuid_values){.edx = CPUID_81_EDX_NX});
    fake_cpuid_set(0x80000008, 0, (struct cpuid_values){.eax = 0x302e}); /* 46 and 48 bits */
}

/* Whatever the last image left in the console leaves through the port. */
static void console_empty(void)
{
    console_pause_end();
    fake_serial_left = -1;
    console_restore_edit("", 0, false);
    fake_serial_type("\0010", 2);
    console_poll();
    console_poll();
    console_drain();
}

void world_reset_low(void)
{
    fake_fail_alloc_after(-1);
    fake_machine_reset();
    fake_seam_reset();
    fake_machine_add_ram(0, KIB(640));
    fake_machine_add_ram(MIB(1), MIB(40));
    fake_machine_add_other(MIB(40), MIB(40) + PAGE_SIZE, 2);
    fake_machine_add_ram(MIB(40) + PAGE_SIZE, MIB(64));
    host_features();
}

void world_reset(void)
{
    world_reset_low();
    fake_machine_add_ram(WORLD_HIGH, WORLD_HIGH_END);
}

static paddr_t bad_in_arena(paddr_t start, paddr_t end)
{
    return cmdline_bad_in_range(info.cmdline, start, end);
}

const void *world_info(size_t *bytes)
{
    const struct e820 *map = fake_machine_e820();

    block_begin(&info_block);
    block_string(&info_block, 1, WORLD_CMDLINE);
    block_string(&info_block, 2, "a boot loader");
    block_mmap(&info_block, map->ranges, map->nr, 0);
    block_end(&info_block);
    *bytes = info_block.used;
    return info_block.bytes;
}

/* No state of the image before is left, and this one's boot information is known. */
static void new_image(const void *block, size_t max, bool virtualization)
{
    const char *why = "";

    fake_fail_alloc_after(-1);
    must(mb2_parse(block, max, &info, &why) == 0, why);
    domain_list = NULL;
    sched_ring = NULL;
    console_empty();
    image_modules = NULL;
    fake_shutdown = false;
    fake_hvm_reset(virtualization);
    memset(&lu, 0, sizeof(lu));
    recorder_detach();
    if (fake_vmap_mapped() != 0) {
        fake_vmap_reset();
    }
    slab_init();
}

static void memory_up(const struct lu_region *region, unsigned int arena, paddr_t start,
                      bool zeroed)
{
    boot_alloc_init(start, region_arena_end(region, arena), zeroed, bad_in_arena);
    memory_init(&info, region);
    must(vmap_init() == 0, "vmap");
    boot_alloc_finish();
}

void world_boot_closed(unsigned int arena, bool virtualization)
{
    struct lu_region region = {WORLD_REGION, WORLD_REGION_SIZE};
    size_t bytes;
    const void *block = world_info(&bytes);

    new_image(block, bytes, virtualization);
    lu.boot = info;
    lu.region = region;
    lu.arena = arena;
    lu.handover = fake_va(region.base);
    memory_up(&region, arena, region_arena_start(&region, arena) + INFO_ROOM, false);
}

void world_boot_image(unsigned int arena, const void *block, size_t max, paddr_t start,
                      bool virtualization)
{
    struct lu_region region = {WORLD_REGION, WORLD_REGION_SIZE};

    new_image(block, max, virtualization);
    way_back_close(); /* that was another image's */
    if (strstr(info.cmdline, "lu_nonce=") != NULL) {
        lu_entered(region.base);
    }
    lu_init(&info, &region, arena, tsc_read());
    memory_up(&region, arena, start, lu_update_boot());
    if (!lu_update_boot()) {
        recorder_cold_start(tsc_read());
        while (!buddy_open_step(~0U)) {
        }
    }
}

void world_boot(unsigned int arena, bool virtualization)
{
    world_boot_closed(arena, virtualization);
    while (!buddy_open_step(~0U)) {
    }
}

struct world_count world_count(void)
{
    struct world_count c = {.pool = boot_alloc_left(), .mapped = fake_vmap_mapped()};

    frametable_walk(c.frames);
    return c;
}

bool world_count_equal(const struct world_count *a, const struct world_count *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

const char *world_audit(void)
{
    static char text[240];
    struct hc_audit found;

    if (audit_run(&found) == 0) {
        return NULL;
    }
    snprintf(text, sizeof(text), "audit: mfn 0x%llx: %s", (unsigned long long)found.mfn,
             found.text);
    return text;
}

static bool frame_is_ram(mfn_t mfn)
{
    return e820_is_ram(&memory_map, mfn_to_pa(mfn), mfn_to_pa(mfn) + PAGE_SIZE);
}

static void fill(mfn_t mfn, unsigned int order)
{
    uint64_t *words = mfn_to_va(mfn);

    for (uint64_t i = 0; i < (PAGE_SIZE << order) / sizeof(*words); i += 64) {
        words[i] = random_u64();
    }
}

struct domain *world_fragmented_domain(const char *name, uint16_t id, uint64_t frames)
{
    struct domain *d = domain_create(name, id, id == 1);
    uint64_t gfn = 0;

    must(d != NULL, "domain");
    d->memory_bytes = frames << PAGE_SHIFT;
    while (gfn < frames) {
        unsigned int order = (unsigned int)(random_u64() % 6);
        mfn_t gap, mfn;

        while (!is_aligned(gfn, BIT(order)) || gfn + BIT(order) > frames) {
            order--;
        }
        gap = buddy_alloc((unsigned int)(random_u64() % 4), FRAME_IMAGE, OWNER_NONE);
        mfn = buddy_alloc(order, FRAME_GUEST, id);
        must(mfn_valid(gap) && mfn_valid(mfn), "memory");
        fill(mfn, order);
        must(extent_map_add(&d->extents, gfn_from(gfn), mfn, order, 0) == 0, "extent");
        buddy_free(gap, frametable_get(gap).order);
        gfn += BIT(order);
    }
    domain_generation++;
    return d;
}

static uint64_t canonical(uint64_t v)
{
    return (uint64_t)((int64_t)(v << 16) >> 16);
}

void world_random_state(struct vcpu_state *s)
{
    uint8_t *bytes = (uint8_t *)s;
    static const uint8_t types[] = {0, 1, 4, 5, 6, 7};

    for (size_t i = 0; i < sizeof(*s); i++) {
        bytes[i] = (uint8_t)random_u64();
    }
    s->cr0 &= guest_cr0_allowed();
    s->cr4 &= guest_cr4_allowed();
    s->efer &= guest_efer_allowed();
    s->cr8 &= 15;
    s->dr6 &= UINT32_MAX;
    s->dr7 &= UINT32_MAX;
    s->xcr0 = random_u64() % 2 == 0 ? XCR0_X87 : fake_xcr0;
    s->msr[GUEST_MSR_LSTAR] = canonical(s->msr[GUEST_MSR_LSTAR]);
    s->msr[GUEST_MSR_CSTAR] = canonical(s->msr[GUEST_MSR_CSTAR]);
    s->msr[GUEST_MSR_KERNEL_GS_BASE] = canonical(s->msr[GUEST_MSR_KERNEL_GS_BASE]);
    s->msr[GUEST_MSR_SFMASK] &= UINT32_MAX;
    s->msr[GUEST_MSR_TSC_AUX] &= UINT32_MAX;
    for (unsigned int i = 0; i < 8; i++) {
        s->pat = s->pat << 8 | types[random_u64() % sizeof(types)];
    }
}

struct vcpu *world_add_vcpu(struct domain *d, const struct vcpu_state *s)
{
    struct vcpu *v = NULL;

    must(vcpu_create(d, d->nr_vcpus, s, &v) == 0, "vcpu");
    if (v->ctx.xsave != NULL) {
        uint8_t *x = v->ctx.xsave;

        for (uint32_t i = 0; i < fake_xsave_bytes; i++) {
            x[i] = (uint8_t)random_u64();
        }
        memset(x + 512, 0, 64); /* header */
        x[512] = (uint8_t)fake_xcr0;
        x[26] = x[27] = 0; /* MXCSR: reserved bits */
    }
    return v;
}

/* ---- what an update carries ---- */

#define LOW_FRAMES (MIB(64) >> PAGE_SHIFT)

/* Single frames that lie side by side, as FRAME_MODULE; returns the first. */
static mfn_t side_by_side(uint64_t frames)
{
    static bool taken[LOW_FRAMES];
    uint64_t start, end;

    do {
        mfn_t mfn = buddy_alloc(ORDER_4K, FRAME_MODULE, OWNER_NONE);

        must(mfn_valid(mfn) && mfn.v < LOW_FRAMES, "module: no frames side by side");
        taken[mfn.v] = true;
        start = mfn.v;
        end = mfn.v;
        while (start > 0 && taken[start - 1]) {
            start--;
        }
        while (end < LOW_FRAMES && taken[end]) {
            end++;
        }
    } while (end - start < frames);
    for (uint64_t i = 0; i < LOW_FRAMES; i++) {
        if (taken[i] && (i < start || i >= start + frames)) {
            buddy_free(mfn_from(i), ORDER_4K);
        }
        taken[i] = false;
    }
    return mfn_from(start);
}

paddr_t world_add_module(const char *cmdline, const void *data, uint64_t bytes)
{
    uint64_t frames = align_up(bytes, PAGE_SIZE) >> PAGE_SHIFT;
    mfn_t first = side_by_side(frames);

    for (uint64_t i = 0; i < frames; i++) {
        fill(mfn_from(first.v + i), ORDER_4K);
    }
    if (data != NULL) {
        memcpy(mfn_to_va(first), data, bytes);
    }
    must(modules_add_image(mfn_to_pa(first), bytes, cmdline, strlen(cmdline)) == 0, "module");
    return mfn_to_pa(first);
}

static void sample_vuart(struct vuart *u)
{
    vuart_reset(u);
    u->ier = (uint8_t)(random_u64() & 0x0f);
    u->lcr = (uint8_t)random_u64();
    u->mcr = (uint8_t)(random_u64() & 0x1f);
    u->scr = (uint8_t)random_u64();
    u->fcr = 0xc1;
    u->lsr_errors = 2;
    u->divisor = (uint16_t)random_u64();
    u->rx_count = 1 + (uint8_t)(random_u64() % VUART_FIFO);
    u->tx_event = random_u64() % 2 != 0;
    u->line_length = (uint32_t)(1 + random_u64() % VUART_LINE);
    for (unsigned int i = 0; i < u->rx_count; i++) {
        u->rx[i] = (uint8_t)random_u64();
    }
    for (unsigned int i = 0; i < u->line_length; i++) {
        u->line[i] = (char)('A' + random_u64() % 60);
    }
    u->line_shown = (uint32_t)(random_u64() % (u->line_length + 1));
}

static void sample_output(struct output *o, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++) {
        output_put(o, (uint8_t)random_u64());
    }
}

static void sample_vcpus(struct domain *d, unsigned int nr)
{
    struct vcpu_state state;

    for (unsigned int i = 0; i < nr; i++) {
        world_random_state(&state);
        struct vcpu *v = world_add_vcpu(d, &state);

        if (d->state == DOMAIN_PAUSED || d->state == DOMAIN_NEW) {
            continue;
        }
        if (d->state != DOMAIN_RUNNING) {
            v->run_state = VCPU_DOWN;
            continue;
        }
        if (i == 1) {
            v->run_state = VCPU_SLEEPING;
            v->wake_tsc = UINT64_C(0x123456789a);
        }
        sched_add(v);
    }
}

static void halt(struct vcpu *v)
{
    struct vcpu_state s;

    vcpu_get_state(v, &s);
    v->run_state = VCPU_HALTED;
    v->deaf = !(s.rflags & RFLAGS_IF);
}

void world_sample(bool small)
{
    static const char line[] = "printed by the old image, not yet out of the port";
    struct domain *d;

    lu.updates = 7;
    lu.refused = 3;
    lu.attempts = 9;
    (void)world_add_module("image name=a.elf", NULL, 2 * PAGE_SIZE + 77);
    (void)world_add_module("image", NULL, PAGE_SIZE);
    d = world_fragmented_domain("control", 1, small ? 5 : 777);
    sample_vuart(&d->uart);
    sample_output(&d->output, small ? 40 : OUTPUT_BYTES / 2);
    sample_vcpus(d, small ? 1 : 2);
    d = world_fragmented_domain("done", 2, 64);
    sample_vuart(&d->uart);
    d->state = DOMAIN_EXITED;
    d->exit_code = 0x12345678;
    sample_vcpus(d, small ? 0 : 1);
    if (!small) {
        d = world_fragmented_domain("broken", 3, 33);
        sample_vuart(&d->uart);
        d->state = DOMAIN_STOPPED;
        sample_vcpus(d, 1);
        d = domain_create("big", 9, false);
        must(d != NULL && domain_add_memory(d, MIB(24)) == 0, "big domain");
        sample_vcpus(d, 1);
        halt(d->vcpus);
        d = world_fragmented_domain("paused", 10, 20);
        sample_vuart(&d->uart);
        sample_output(&d->output, 3 * OUTPUT_BYTES + 1234);
        d->state = DOMAIN_PAUSED;
        sample_vcpus(d, 2);
        halt(d->vcpus);
        d->vcpus->signals = VCPU_SIGNAL_NMI;
        d->vcpus->next_in_domain->run_state = VCPU_WAIT_SIPI;
        d = world_fragmented_domain("new", 11, 5);
        d->state = DOMAIN_NEW;
        sample_vcpus(d, 1);
        d = world_fragmented_domain("not-loaded", 12, 5);
        d->state = DOMAIN_NEW;
        sample_vcpus(d, 1);
        d->vcpus->run_state = VCPU_DOWN;
        console_restore_edit("half a comm", 11, true);
    }
    console_line(line, sizeof(line) - 1);
}

static void facts_domain(FILE *f, struct domain *d)
{
    const struct vuart *u = &d->uart;

    fprintf(f, "domain %u \"%s\" control=%d state=%d exit=%u memory=%llu vcpus=%u digest=%08x\n",
            d->id, d->name, d->control, d->state, d->exit_code, (unsigned long long)d->memory_bytes,
            d->nr_vcpus, domain_digest(d));
    for (size_t i = 0; i < d->extents.nr; i++) {
        const struct extent *e = &d->extents.items[i];
        struct frame_info frame = frametable_get(e->mfn);

        fprintf(f, " extent %llx %llx %u %u: state=%d owner=%u order=%u\n",
                (unsigned long long)e->gfn.v, (unsigned long long)e->mfn.v, e->order, e->flags,
                frame.state, frame.owner, frame.order);
    }
    fprintf(f, " uart %x %x %x %x %x %x %x %d rx", u->ier, u->lcr, u->mcr, u->scr, u->fcr,
            u->lsr_errors, u->divisor, u->tx_event);
    for (unsigned int i = 0; i < u->rx_count; i++) {
        fprintf(f, " %02x", u->rx[i]);
    }
    fprintf(f, " line \"%.*s\" shown=%u\n", (int)u->line_length, u->line, u->line_shown);
    struct output_piece pieces[2];
    uint64_t from = 0;

    (void)output_get(&d->output, &from, OUTPUT_BYTES, pieces);
    fprintf(f, " output from=%llu to=%llu crc=%08x\n", (unsigned long long)from,
            (unsigned long long)d->output.total,
            crc32c(crc32c(0, pieces[0].bytes, pieces[0].len), pieces[1].bytes, pieces[1].len));
}

static void facts_vcpu(FILE *f, struct vcpu *v)
{
    struct lu_msr msrs[LU_VCPU_MSRS_MAX];
    struct lu_rec_vcpu rec;
    struct vcpu_state s;

    vcpu_get_state(v, &s);
    vcpu_to_record(v, &s, &rec);
    size_t nr = msrs_to_record(&s, msrs);
    fprintf(f,
            " vcpu %u run=%d deaf=%d signals=%u wake=%llu queued=%d state=%08x msrs=%08x "
            "xsave=%08x\n",
            v->id, v->run_state, v->deaf, v->signals, (unsigned long long)v->wake_tsc,
            v->run_next != NULL, crc32c(0, &rec, sizeof(rec)),
            crc32c(0, msrs, nr * sizeof(msrs[0])),
            v->ctx.xsave != NULL ? crc32c(0, v->ctx.xsave, fake_xsave_bytes) : 0);
}

char *world_facts(void)
{
    struct console_piece pieces[2];
    size_t length;
    char *text = NULL;
    FILE *f = open_memstream(&text, &length);

    must(f != NULL, "memory stream");
    fprintf(f, "tsc_khz=%llu refused=%llu attempts=%llu shutdown=%d\n", (unsigned long long)tsc_khz,
            (unsigned long long)lu.refused, (unsigned long long)lu.attempts, fake_shutdown);
    for (struct image_module *m = image_modules; m != NULL; m = m->next) {
        fprintf(f, "module %llx %llu \"%s\" state=%d digest=%08x\n", (unsigned long long)m->start,
                (unsigned long long)m->bytes, m->cmdline,
                frametable_get(pa_to_mfn(m->start + m->bytes - 1)).state,
                crc32c(0, fake_va(m->start), m->bytes));
    }
    for_each_domain(d) {
        facts_domain(f, d);
        for_each_vcpu(d, v) {
            facts_vcpu(f, v);
        }
    }
    console_pending(pieces);
    fprintf(f, "console focus=%x \"%.*s%.*s\"\n", console_focus(), (int)pieces[0].len,
            (const char *)pieces[0].bytes, (int)pieces[1].len, (const char *)pieces[1].bytes);
    const char *edit;
    bool escape;
    size_t typed = console_edit(&edit, &escape);

    fprintf(f, "edit \"%.*s\" escape=%d\n", (int)typed, edit, escape);
    fclose(f);
    return text;
}

const char *world_facts_differ(char *before, char *after)
{
    static char text[800];
    size_t at = 0, line = 0;
    bool differ;

    while (before[at] == after[at] && before[at] != '\0') {
        at++;
        line = before[at - 1] == '\n' ? at : line;
    }
    differ = before[at] != after[at];
    snprintf(text, sizeof(text), "\n- %.*s\n+ %.*s", (int)strcspn(before + line, "\n"),
             before + line, (int)strcspn(after + line, "\n"), after + line);
    free(before);
    free(after);
    return differ ? text : NULL;
}

uint8_t *world_stream(size_t *length)
{
    struct stream_writer w;
    const char *why = "";
    void *area = NULL, *copy = NULL;

    save_begin(&w, lu_stream_newest());
    while (save_slice(&w)) {
    }
    must(save_finish(&w) == 0, "save_finish");
    *length = w.pages * PAGE_SIZE;
    must(stream_map(w.list_pa, w.pages, NULL, frame_is_ram, NULL, &area, &why) == 0, why);
    must(posix_memalign(&copy, PAGE_SIZE, *length) == 0, "memory");
    memcpy(copy, area, *length);
    vunmap(area);
    stream_free(&w);
    return copy;
}
