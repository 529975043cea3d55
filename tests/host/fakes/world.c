/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine for images, see world.h.
 */
#include "fakes/world.h"

#include <stdlib.h>
#include <string.h>

#include "../../lu/lu_priv.h"
#include "fakes/alloc_fail.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/mb2_block.h"
#include "fakes/seam.h"
#include "hv/boot_alloc.h"
#include "hv/buddy.h"
#include "hv/cmdline.h"
#include "hv/console.h"
#include "hv/memory.h"
#include "hv/modules.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hv/vmap.h"
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
}

/* Whatever the last image left in the console leaves through the port. */
static void console_empty(void)
{
    struct console_piece pieces[2];

    fake_serial_left = -1;
    fake_serial_type("\0010", 2);
    do {
        console_poll();
        console_pending(pieces);
    } while (pieces[0].len != 0);
    console_poll();
    console_pause_end();
}

void world_reset(void)
{
    fake_fail_alloc_after(-1);
    fake_machine_reset();
    fake_seam_reset();
    fake_machine_add_ram(0, KIB(640));
    fake_machine_add_ram(MIB(1), MIB(40));
    fake_machine_add_other(MIB(40), MIB(40) + PAGE_SIZE, 2);
    fake_machine_add_ram(MIB(40) + PAGE_SIZE, MIB(64));
    fake_machine_add_ram(WORLD_HIGH, WORLD_HIGH_END);
    host_features();
}

static paddr_t bad_in_arena(paddr_t start, paddr_t end)
{
    return cmdline_bad_in_range(info.cmdline, start, end);
}

/* As a boot loader would tell it. */
static void make_info(void)
{
    const struct e820 *map = fake_machine_e820();
    const char *why = "";

    block_begin(&info_block);
    block_string(&info_block, 1, WORLD_CMDLINE);
    block_mmap(&info_block, map->ranges, map->nr, 0);
    block_end(&info_block);
    must(mb2_parse(info_block.bytes, info_block.used, &info, &why) == 0, why);
}

void world_boot_closed(unsigned int arena, bool virtualization)
{
    struct lu_region region = {WORLD_REGION, WORLD_REGION_SIZE};

    fake_fail_alloc_after(-1);
    make_info();
    console_empty();
    domain_list = NULL;
    image_modules = NULL;
    fake_shutdown = false;
    fake_hvm_reset(virtualization);
    memset(&lu, 0, sizeof(lu));
    lu.boot = info;
    lu.region = region;
    lu.arena = arena;
    lu.handover = fake_va(region.base);
    slab_init();
    boot_alloc_init(region_arena_start(&region, arena) + INFO_ROOM,
                    region_arena_end(&region, arena), false, bad_in_arena);
    memory_init(&info, &region);
    must(vmap_init() == 0, "vmap");
    boot_alloc_finish();
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
