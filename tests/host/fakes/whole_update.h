/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Steps of a whole update on the fake machine: cold boot, load, jump, relocator, the next image.
 *
 * lu/update.c is included: the next image in this process starts without its state. So it is for
 * programs that do not link it.
 */
#ifndef FAKES_WHOLE_UPDATE_H
#define FAKES_WHOLE_UPDATE_H

#include "../../../lu/update.c"

#include <stdlib.h>
#include <string.h>

#include "fakes/alloc_fail.h"
#include "fakes/cmocka_inc.h"
#include "fakes/elf_seal.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/seam.h"
#include "fakes/world.h"
#include "hv/region.h"

#define RELOC_START MIB(1)
#define RELOC_END MIB(64)

static const struct lu_region region = {WORLD_REGION, WORLD_REGION_SIZE};
static char why[LU_REASON_MAX];

/* The image that comes up at cold boot takes an arena for itself, as far as this. */
static inline paddr_t own_start(unsigned int arena)
{
    return region_arena_start(&region, arena) + KIB(64);
}

static inline void forget_image(void)
{
    writer = (struct stream_writer){.error = 0};
    stream_stage = STREAM_NONE;
}

/* Everybody agrees on whose each frame is. */
static inline void assert_audit_ok(void)
{
    const char *mismatch = world_audit();

    if (mismatch != NULL) {
        fail_msg("%s", mismatch);
    }
}

static inline void work_until_done(void)
{
    for (unsigned int i = 0; lu_busy(); i++) {
        for_each_domain(d) {
            for_each_vcpu(d, v) {
                v->entered = true;
            }
        }
        (void)lu_work();
        assert_audit_ok();
        assert_true(i < 10000);
    }
}

static inline void cold_boot(bool virtualization)
{
    size_t bytes;
    const void *block = world_info(&bytes);

    world_reset_low();
    memset(fake_va(WORLD_REGION), 0x5a, WORLD_REGION_SIZE); /* RAM after a reset */
    forget_image();
    block = world_info(&bytes);
    world_boot_image(0, block, bytes, own_start(0), virtualization);
    fake_machine_map_identity(RELOC_START, RELOC_END);
    work_until_done();
}

static inline int setup(void **state)
{
    (void)state;
    cold_boot(true);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    fake_fail_alloc_after(-1);
    fake_vmap_fail_after(-1);
    fake_machine_unmap_identity(RELOC_START, RELOC_END);
    return 0;
}

/* The image that the test has left goes on. */
static inline int teardown_alive(void **state)
{
    (void)teardown(state);
    assert_audit_ok();
    return 0;
}

/* ---- steps ---- */

static struct elf_image elf;

static inline void make_elf(uint8_t first_id_byte)
{
    elf_image_make(&elf);
    elf.notes.build_id[0] = first_id_byte;
}

/* Whatever has been done to it, its seal is right. */
static inline paddr_t add_sealed(const char *cmdline)
{
    elf_image_seal(&elf);
    return world_add_module(cmdline, &elf, IMAGE_FILE_BYTES);
}

static inline struct vcpu *caller_vcpu(void)
{
    struct vcpu *v = domain_find(1)->vcpus;

    v->gpr[GPR_RAX] = 0;
    return v;
}

/* The guests have had their turn since the load. */
static inline void let_run(void)
{
    fake_cpu.last_exit_tsc = tsc_read();
}

static inline bool exec(struct vcpu *caller)
{
    if (lu_request_exec(caller, why) != 0) {
        fail_msg("%s", why);
    }
    let_run();
    while (update_work()) { /* domains have changed since the load */
    }
    assert_true(lu_due());
    return FAKE_ENDS(lu_poll());
}

static inline void relocate(void)
{
    assert_int_equal(relocate_pages((const uint64_t *)(uintptr_t)fake_end.list_pa), 0);
}

static inline bool all_zero(paddr_t start, paddr_t end)
{
    const uint64_t *p = fake_va(start);

    for (size_t i = 0; i < (end - start) / sizeof(*p); i++) {
        if (p[i] != 0) {
            return false;
        }
    }
    return true;
}

/* What the image's memory has to be: the file's bytes, and zeros. */
static inline void assert_image_at(paddr_t dest)
{
    static uint8_t want[IMAGE_MEM_PAGES * PAGE_SIZE];

    memset(want, 0, sizeof(want));
    memcpy(want, (uint8_t *)&elf + IMAGE_CODE, IMAGE_CODE_BYTES);
    memcpy(want + IMAGE_RODATA_AT, (uint8_t *)&elf + IMAGE_RODATA, IMAGE_RODATA_BYTES);
    memcpy(want + IMAGE_DATA_AT, (uint8_t *)&elf + IMAGE_DATA, IMAGE_DATA_BYTES);
    assert_memory_equal(fake_va(dest), want, sizeof(want));
}

/* After the jump: the arena holds the image, its boot information, and zeros. */
static inline paddr_t arena_ready(unsigned int arena)
{
    paddr_t start = region_arena_start(&region, arena), end = region_arena_end(&region, arena);
    paddr_t dest = fake_end.entry_pa - IMAGE_ENTRY;
    paddr_t info_end;
    uint32_t bytes;

    assert_int_equal(dest, start);
    assert_image_at(dest);
    assert_int_equal(fake_end.info_pa, dest + IMAGE_MEM_PAGES * PAGE_SIZE);
    memcpy(&bytes, fake_va(fake_end.info_pa), sizeof(bytes));
    info_end = align_up(fake_end.info_pa + bytes, PAGE_SIZE);
    assert_true(all_zero(info_end, end));
    return info_end;
}

/* The recorded jump is made: the next image comes up and adopts. */
static inline void next_image(unsigned int arena, bool virtualization)
{
    paddr_t info_pa = fake_end.info_pa, start;

    relocate();
    start = arena_ready(arena);
    forget_image();
    world_boot_image(arena, fake_va(info_pa), PAGE_SIZE, start, virtualization);
    assert_true(lu_update_boot());
    lu_check();
    lu_adopt();
    assert_int_equal(lu.handover->stage, LU_STAGE_ADOPTED);
    assert_audit_ok();
}

static inline struct world_count steady_count(void)
{
    struct world_count c = world_count();

    c.pool = 0; /* another image, another arena */
    return c;
}

static inline void assert_counts_equal(const struct world_count *before)
{
    struct world_count after = steady_count();

    for (unsigned int i = 0; i < FRAME_STATES; i++) {
        if (before->frames[i] != after.frames[i]) {
            fail_msg("frames of state %u: %llu, and now %llu", i,
                     (unsigned long long)before->frames[i], (unsigned long long)after.frames[i]);
        }
    }
}

static inline void assert_facts_equal(char *before, char *after)
{
    const char *difference = world_facts_differ(before, after);

    if (difference != NULL) {
        fail_msg("%s", difference);
    }
}

static inline paddr_t next_start(void)
{
    return fake_end.info_pa + PAGE_SIZE;
}

static inline struct lu_handover *handover(void)
{
    return fake_va(WORLD_REGION);
}

/* The next image up to lu_check(), as often as wanted: its arena is as the relocator left it. */
static inline void boot_again(void)
{
    paddr_t start = next_start(), end = region_arena_end(&region, 1);

    memset(fake_va(start), 0, end - start);
    forget_image();
    handover()->stage = LU_STAGE_JUMPED;
    world_boot_image(1, fake_va(fake_end.info_pa), PAGE_SIZE, start, true);
    assert_true(lu_update_boot());
}

#endif
