/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/fault.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fakes/guest_ram.h"
#include "fakes/machine.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/fault.h"
#include "hv/reloc.h"
#include "hv/seam.h"
#include "hv/vcpu.h"
#include "hw/multiboot.h"
#include "public/fault.h"
#include "public/lu_abi.h"

#define ARGS_GPA 0x1000U
#define LIST_PA (2 * PAGE_SIZE)
#define PAGES 5U /* of the stream, behind the list's two */

static struct domain domain;
static struct vcpu vcpu = {.domain = &domain};

/* core/fault.c asks for these by a domain's id. */
struct domain *domain_find(uint16_t id)
{
    return id == domain.id ? &domain : NULL;
}

uint32_t domain_digest(struct domain *d)
{
    return d->id * 0x11111111U;
}

void machine_reset(void)
{
    fail_msg("no test resets the machine");
    abort();
}

static int64_t call(uint64_t number, const void *args, uint64_t size)
{
    vcpu.gpr[GPR_RAX] = number;
    vcpu.gpr[GPR_RBX] = ARGS_GPA;
    vcpu.gpr[GPR_RCX] = size;
    if (args != NULL) {
        memcpy(guest_ram(&domain, ARGS_GPA, size), args, size);
    }
    return fault_call(&vcpu);
}

static int64_t arm(const char *point, const char *kind, uint64_t n, uint64_t seed)
{
    struct hc_fault f = {.n = n, .seed = seed};

    strncpy(f.point, point, sizeof(f.point));
    strncpy(f.kind, kind, sizeof(f.kind));
    return call(HC_FAULT_ARM, &f, sizeof(f));
}

static struct hc_fault_status status(void)
{
    struct hc_fault_status s;

    memset(&s, 0xa5, sizeof(s));
    assert_int_equal(call(HC_FAULT_STATUS, NULL, sizeof(s)), 0);
    memcpy(&s, guest_ram(&domain, ARGS_GPA, sizeof(s)), sizeof(s));
    return s;
}

/* Boot information with a command line. */
static void boot_by_loader(const char *line)
{
    uint32_t block[64] = {0};
    uint32_t size = 8 + (uint32_t)strlen(line) + 1, at = 2;

    block[at++] = MB2_TAG_LOADER; /* one before it */
    block[at++] = 8 + 3;
    at += 2;
    block[at++] = MB2_TAG_CMDLINE;
    block[at++] = size;
    strcpy((char *)&block[at], line);
    at += (size - 8 + 7) / 8 * 2;
    block[at++] = MB2_TAG_END;
    block[at++] = 8;
    block[0] = at * 4;
    fault_init(block);
}

/* As an image that another one has jumped to. */
static void boot_with(const char *line)
{
    char all[128];

    snprintf(all, sizeof(all), "%s lu_nonce=0x1", line);
    boot_by_loader(all);
}

static int setup(void **state)
{
    (void)state;
    fake_machine_reset();
    fake_machine_add_ram(0, MIB(1));
    guest_ram_init(&domain, MIB(1));
    domain.id = 3;
    return (int)arm("", "", 0, 0);
}

static void test_fault_point__armed_in_this_image__panics_there_once(void **state)
{
    uint64_t before = status().fired;

    (void)state;
    assert_int_equal(arm("old.save.before", "panic", 1, 0), 0);
    fault_point("old.save.after");
    fault_point("old.save");
    fault_point("");
    assert_int_equal(status().fired, before);
    assert_true(FAKE_PANICS(fault_point("old.save.before")));
    assert_true(fake_printed("fault: old.save.before"));
    fault_point("old.save.before");
    assert_int_equal(status().fired, before + 1);
}

static void test_fault_point__nth_pass__waits_for_it(void **state)
{
    (void)state;
    assert_int_equal(arm("old.record", "panic", 3, 0), 0);
    fault_point("old.record");
    fault_point("old.record");
    assert_true(FAKE_PANICS(fault_point("old.record")));
}

static void test_fault_arm__bad_arguments__change_nothing(void **state)
{
    struct hc_fault f = {.point = "old.a", .kind = "panic", .n = 1};

    (void)state;
    assert_int_equal(arm("old.save.before", "panic", 1, 0), 0);
    assert_int_equal(arm("old.a", "panics", 1, 0), -EINVAL);
    assert_int_equal(arm("old.a", "", 1, 0), -EINVAL);
    assert_int_equal(arm("old.a345678901234567890123456789012", "panic", 1, 0), -EINVAL);
    assert_int_equal(arm("old.a", "panic89012345678", 1, 0), -EINVAL);
    assert_int_equal(call(HC_FAULT_ARM, &f, sizeof(f) - 1), -EINVAL);
    vcpu.gpr[GPR_RBX] = GUEST_RAM_MAX;
    vcpu.gpr[GPR_RCX] = sizeof(f);
    assert_int_equal(fault_call(&vcpu), -EFAULT);
    assert_true(FAKE_PANICS(fault_point("old.save.before")));
}

static void test_fault_take_word__new_point__arms_the_next_image(void **state)
{
    char line[256];
    const char *word;

    (void)state;
    assert_int_equal(arm("new.a.before", "panic", 2, 77), 0);
    fault_point("new.a.before"); /* not in this image */
    fault_point("new.a.before");
    word = fault_take_word();
    assert_string_equal(word, "fault=new.a.before:panic:2:77 ");
    snprintf(line, sizeof(line), "liveupdate=16M %sx=y", word);
    assert_string_equal(fault_take_word(), "");
    boot_with(line);
    fault_point("new.a.before");
    assert_true(FAKE_PANICS(fault_point("new.a.before")));
}

/* What stands on a boot loader's line for the next image travels there. */
static void test_fault_init__boot_loader__this_image_or_the_next(void **state)
{
    (void)state;
    boot_by_loader("a=b fault=new.a.before:panic:1:9");
    fault_point("new.a.before");
    assert_string_equal(fault_take_word(), "fault=new.a.before:panic:1:9 ");
    boot_by_loader("a=b fault=old.a.before:panic:1:0");
    assert_string_equal(fault_take_word(), "");
    assert_true(FAKE_PANICS(fault_point("old.a.before")));
}

static void test_fault_init__malformed_words__arm_nothing(void **state)
{
    static const char *const lines[] = {
        "fault=",
        "fault",
        "fault=new.a",
        "fault=new.a:panic",
        "fault=new.a:panic:1",
        "fault=new.a:panik:1:1",
        "fault=new.a:panic:x:1",
        "fault=new.a:panic:1:1:1",
        "fault=new.a:panic::1",
        "fault=new.a3456789012345678901234567890:panic:1:1",
        "",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        boot_with(lines[i]);
        fault_point("new.a");
        fault_point("new.a3456789012345678901234567890");
    }
    boot_with("a=b fault=new.a:panic:1:1");
    assert_true(FAKE_PANICS(fault_point("new.a")));
}

static void test_fault_init__broken_tags__end_the_search(void **state)
{
    uint32_t block[] = {32, 0, MB2_TAG_CMDLINE, 0, 0, 0, 0, 0};

    (void)state;
    for (uint32_t size = 0; size < 64; size++) {
        if (size != 24) {
            block[3] = size; /* the text is not terminated, or the tag is larger than the block */
            memset(&block[4], 'x', 16);
            fault_init(block);
        }
    }
    block[0] = 0;
    fault_init(block);
}

static void test_fault_fails__window__only_the_nth_in_it(void **state)
{
    uint64_t fired = status().fired;

    (void)state;
    assert_int_equal(arm("old.load.before", "alloc", 2, 0), 0);
    assert_false(fault_fails());
    fault_point("old.load.before");
    assert_false(fault_fails());
    fault_point("old.loads.after");
    fault_point("old.save.after");
    assert_true(fault_fails());
    assert_false(fault_fails());
    assert_int_equal(status().fired, fired + 1);
    assert_int_equal(status().allocations, 3);
    fault_point("old.load.after");
    fault_point("old.load.before"); /* once */
    assert_false(fault_fails());
    assert_false(fault_fails());
    assert_int_equal(status().allocations, 3);
}

static void test_fault_fails__dry_run__counts(void **state)
{
    (void)state;
    boot_with("fault=new.a.before:alloc:0:0");
    fault_point("new.a.before");
    for (int i = 0; i < 10; i++) {
        assert_false(fault_fails());
    }
    fault_point("new.a.after");
    assert_int_equal(status().allocations, 10);
}

static void test_fault_status__tells_the_time(void **state)
{
    (void)state;
    fake_tsc = 12345;
    fake_tsc_step = 0;
    assert_int_equal(status().tsc, 12345);
}

static void test_fault_point__slow__time_passes(void **state)
{
    uint64_t from = fake_tsc;

    (void)state;
    fake_tsc_step = 1000;
    assert_int_equal(arm("old.a", "slow", 5, 0), 0);
    fault_point("old.a");
    assert_in_range(fake_tsc - from, 5 << 20, (5 << 20) + 10000);
}

/* ---- data ---- */

static uint8_t image[3 * PAGE_SIZE];
static struct lu_handover handover;
static uint8_t before[MIB(1)];

static void make_data(void)
{
    struct lu_mfn_list_page *list = fake_va(LIST_PA);

    memset(image, 0, sizeof(image));
    memset(&handover, 0, sizeof(handover));
    memset(fake_va(0), 0, MIB(1));
    for (uint64_t i = 0; i < PAGES; i++) {
        list->mfns[i] = LIST_PA / PAGE_SIZE + 2 + i;
    }
    list->next_pa = LIST_PA + PAGE_SIZE;
    memcpy(before, fake_va(0), MIB(1));
    fault_memory(FAULT_STREAM, list, PAGE_SIZE);
    fault_memory(FAULT_HANDOVER, &handover, PAGE_SIZE);
    fault_memory(FAULT_IMAGE, image, sizeof(image));
}

/* Bits of [start, start + bytes) that differ from `was` (NULL: from zeros). */
static unsigned int flipped(const void *start, const uint8_t *was, size_t bytes)
{
    const uint8_t *p = start;
    unsigned int bits = 0;

    for (size_t i = 0; i < bytes; i++) {
        bits += (unsigned int)__builtin_popcount(p[i] ^ (was != NULL ? was[i] : 0));
    }
    return bits;
}

static unsigned int ram_flipped(paddr_t start, paddr_t end)
{
    return flipped(fake_va(start), before + start, end - start);
}

static void test_fault_point__data__one_bit_in_its_place(void **state)
{
    unsigned int pages_hit = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        make_data();
        assert_int_equal(arm("old.a", "flip-stream", 1, seed), 0);
        fault_point("old.a");
        assert_int_equal(ram_flipped(LIST_PA + 2 * PAGE_SIZE, LIST_PA + (2 + PAGES) * PAGE_SIZE),
                         1);
        for (uint64_t i = 0; i < PAGES; i++) {
            paddr_t page = LIST_PA + (2 + i) * PAGE_SIZE;

            pages_hit |= ram_flipped(page, page + PAGE_SIZE) << i;
        }
        assert_int_equal(arm("old.a", "flip-list", 1, seed), 0);
        fault_point("old.a");
        assert_int_equal(ram_flipped(LIST_PA, LIST_PA + 2 * PAGE_SIZE), 1);
        assert_int_equal(ram_flipped(PAGE_SIZE, MIB(1)), 2);
        assert_int_equal(arm("old.a", "flip-crumb", 1, seed), 0);
        fault_point("old.a");
        assert_int_equal(flipped(&handover.breadcrumb, NULL, sizeof(handover.breadcrumb)), 1);
        assert_int_equal(flipped(&handover, NULL, sizeof(handover)), 1);
        assert_int_equal(arm("old.a", "flip-image", 2, seed), 0);
        fault_point("old.a");
        assert_int_equal(flipped(image + PAGE_SIZE, NULL, PAGE_SIZE), 1);
        assert_int_equal(flipped(image, NULL, sizeof(image)), 1);
    }
    assert_int_equal(pages_hit, (1U << PAGES) - 1);
}

static void test_fault_point__way_back__first_second_or_both(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 3; n++) {
        make_data();
        assert_int_equal(arm("old.a", "flip-back", n, 9 * n), 0);
        fault_point("old.a");
        assert_int_equal(flipped(&handover.back[0], NULL, sizeof(handover.back[0])), n != 2);
        assert_int_equal(flipped(&handover.back[1], NULL, sizeof(handover.back[1])), n != 1);
        assert_int_equal(flipped(&handover, NULL, sizeof(handover)), n == 3 ? 2 : 1);
    }
}

static void test_fault_point__no_such_page__panics(void **state)
{
    (void)state;
    make_data();
    for (uint64_t n = 0; n <= 4; n += 4) {
        assert_int_equal(arm("old.a", "flip-image", n, 1), 0);
        assert_true(FAKE_PANICS(fault_point("old.a")));
    }
}

static void test_fault_point__relocation_list__spoilt_until_back(void **state)
{
    static const struct {
        const char *kind;
        uint64_t tag;
    } cases[] = {
        {"list-tag", 7}, {"list-write", RELOC_WRITE64}, {"list-circle", RELOC_INDIRECTION}};
    uint64_t *list = fake_va(LIST_PA);

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        list[0] = 0x5000 | RELOC_DESTINATION;
        fault_memory(FAULT_LIST, list, PAGE_SIZE);
        assert_int_equal(arm("old.a", cases[i].kind, 1, 0), 0);
        fault_point("old.a");
        assert_int_equal(list[0] & RELOC_TAG_MASK, cases[i].tag);
        if (cases[i].tag == RELOC_INDIRECTION) {
            assert_int_equal(list[0] & ~(uint64_t)RELOC_TAG_MASK, LIST_PA);
        }
        fault_point("old.back.before");
        assert_int_equal(list[0], 0x5000 | RELOC_DESTINATION);
        list[0] = 0;
        fault_point("old.back.before");
        assert_int_equal(list[0], 0);
    }
}

/* ---- points in assembly ---- */

static uint32_t asm_word(void)
{
    return ((struct fault_shared *)fake_va(FAULT_SHARED_PA))->armed;
}

static void test_fault_arm__assembly__word_in_low_memory(void **state)
{
    (void)state;
    assert_int_equal(asm_word(), 0);
    assert_int_equal(arm("new.entry32", "hang", 1, 0), 0);
    assert_int_equal(asm_word(), 0);
    assert_string_equal(fault_take_word(), "");
    assert_int_equal(asm_word(), FAULT_ASM_MAGIC | FAULT_ASM_ENTRY32 << 8 | FAULT_ASM_HANG);
    boot_by_loader("fault=jump.relocate:ud:1:0");
    assert_string_equal(fault_take_word(), "");
    assert_int_equal(asm_word(), FAULT_ASM_MAGIC | FAULT_ASM_RELOCATE << 8 | FAULT_ASM_UD);
    assert_int_equal(arm("", "", 0, 0), 0);
    assert_int_equal(asm_word(), 0);
}

static void test_fault_digest__domain__its_digest(void **state)
{
    (void)state;
    vcpu.gpr[GPR_RAX] = HC_FAULT_DIGEST;
    vcpu.gpr[GPR_RBX] = 3;
    assert_int_equal(fault_call(&vcpu), 0x33333333);
    vcpu.gpr[GPR_RBX] = 4;
    assert_int_equal(fault_call(&vcpu), -ENOENT);
    vcpu.gpr[GPR_RBX] = 0x10003;
    assert_int_equal(fault_call(&vcpu), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_fault_point__armed_in_this_image__panics_there_once, setup),
        cmocka_unit_test_setup(test_fault_point__nth_pass__waits_for_it, setup),
        cmocka_unit_test_setup(test_fault_arm__bad_arguments__change_nothing, setup),
        cmocka_unit_test_setup(test_fault_take_word__new_point__arms_the_next_image, setup),
        cmocka_unit_test_setup(test_fault_init__boot_loader__this_image_or_the_next, setup),
        cmocka_unit_test_setup(test_fault_init__malformed_words__arm_nothing, setup),
        cmocka_unit_test_setup(test_fault_init__broken_tags__end_the_search, setup),
        cmocka_unit_test_setup(test_fault_fails__window__only_the_nth_in_it, setup),
        cmocka_unit_test_setup(test_fault_fails__dry_run__counts, setup),
        cmocka_unit_test_setup(test_fault_status__tells_the_time, setup),
        cmocka_unit_test_setup(test_fault_point__slow__time_passes, setup),
        cmocka_unit_test_setup(test_fault_point__data__one_bit_in_its_place, setup),
        cmocka_unit_test_setup(test_fault_point__way_back__first_second_or_both, setup),
        cmocka_unit_test_setup(test_fault_point__no_such_page__panics, setup),
        cmocka_unit_test_setup(test_fault_point__relocation_list__spoilt_until_back, setup),
        cmocka_unit_test_setup(test_fault_arm__assembly__word_in_low_memory, setup),
        cmocka_unit_test_setup(test_fault_digest__domain__its_digest, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
