/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a boot loader's boot makes of the handover page that it finds: memory outlives a reset, and
 * nothing in it may be taken for this boot's.
 */
#include <string.h>

#include "../../lu/lu_priv.h"
#include "fakes/cmocka_inc.h"
#include "fakes/machine.h"
#include "fakes/world.h"
#include "hv/crc32c.h"
#include "hv/seam.h"
#include "hv/way_back.h"

#define NONCE 0x1234567887654321U
#define COLD "end=all boot_tsc=0x1234"
#define COLD_NONCE COLD " lu_nonce=0x1234567887654321" /* by hand, and by chance the right one */
#define COLD_WRONG COLD " lu_nonce=0x1234567887654322"

static struct lu_handover *page(void)
{
    return fake_va(WORLD_REGION);
}

static int setup(void **state)
{
    (void)state;
    world_reset();
    way_back_close();
    return 0;
}

/* As an update leaves it between jump and adoption. */
static void jumped(void)
{
    struct lu_breadcrumb *b = &page()->breadcrumb;

    memset(page(), 0, PAGE_SIZE);
    page()->magic = LU_HANDOVER_MAGIC;
    page()->version = 1;
    page()->stage = LU_STAGE_JUMPED;
    *b = (struct lu_breadcrumb){LU_BREADCRUMB_MAGIC, MIB(2), 3, NONCE, 0};
    b->check = crc32c(0, &b->mfn_list_pa, 3 * sizeof(uint64_t));
}

static void boot(const char *cmdline)
{
    const struct boot_info info = {.cmdline = cmdline};
    const struct lu_region region = {WORLD_REGION, WORLD_REGION_SIZE};

    memset(&lu, 0, sizeof(lu));
    fake_log_clear();
    lu_init(&info, &region, 0, 1000);
    lu_report_cold();
}

static void assert_cold(void)
{
    static const uint8_t zeros[PAGE_SIZE];

    assert_false(lu_update_boot());
    assert_int_equal(lu.breadcrumb.magic, 0);
    assert_memory_equal(page(), zeros, sizeof(zeros));
}

static void test_init__breadcrumb_in_memory__cold_and_said(void **state)
{
    static const struct {
        const char *cmdline, *says;
    } cases[] = {
        {COLD, "stage jumped, breadcrumb not taken (this boot has no lu_nonce=)"},
        {"", "stage jumped, breadcrumb not taken (this boot has no lu_nonce=)"},
        {"lu_nonce=0", "stage jumped, breadcrumb not taken (this boot has no lu_nonce=)"},
        {"lu_nonce=none", "stage jumped, breadcrumb not taken (this boot has no lu_nonce=)"},
        {COLD_NONCE, "stage jumped, breadcrumb not taken (it is of an earlier boot)"},
        {COLD_WRONG, "stage jumped, breadcrumb not taken (breadcrumb: stale (wrong nonce))"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        jumped();
        boot(cases[i].cmdline);
        assert_cold();
        assert_true(fake_printed("lu: handover page of an earlier boot: "));
        assert_true(fake_printed(cases[i].says));
        assert_int_equal(fake_printed("lu_nonce= is for images to write"),
                         strstr(cases[i].cmdline, "nonce=0x") != NULL);
    }
}

static void test_init__each_stage__is_named(void **state)
{
    static const char *const says[] = {"stage none,",    "stage jumped,",  "stage booted,",
                                       "stage adopted,", "stage running,", "stage unknown,"};

    (void)state;
    for (uint32_t stage = 0; stage < ARRAY_SIZE(says); stage++) {
        jumped();
        page()->stage = stage;
        page()->breadcrumb.magic = 0;
        boot(COLD);
        assert_cold();
        assert_true(fake_printed(says[stage]));
        assert_true(fake_printed("no breadcrumb"));
    }
    jumped();
    page()->stage = UINT32_MAX;
    boot(COLD_NONCE);
    assert_true(fake_printed("stage unknown,"));
}

static void test_init__nothing_there__nothing_said(void **state)
{
    (void)state;
    memset(page(), 0, PAGE_SIZE);
    boot(COLD);
    assert_cold();
    assert_string_equal(fake_log(), "");
    memset(page(), 0x5a, PAGE_SIZE);
    boot(COLD);
    assert_cold();
    assert_string_equal(fake_log(), "");
}

/* Random bits, and pages that an update has left with bits of them changed. */
static void test_init__random_bits__cold(void **state)
{
    static const char *const cmdlines[] = {"", COLD, COLD_NONCE, COLD_WRONG};

    (void)state;
    for (unsigned int i = 0; i < 2000; i++) {
        uint64_t *words = (uint64_t *)page();

        if (i % 2 == 0) {
            for (size_t w = 0; w < PAGE_SIZE / sizeof(*words); w++) {
                words[w] = random_u64();
            }
        } else {
            jumped();
        }
        if (i % 4 == 2) {
            page()->magic = LU_HANDOVER_MAGIC;
            page()->breadcrumb.magic = LU_BREADCRUMB_MAGIC;
        }
        for (uint64_t n = random_u64() % 8; n > 0; n--) {
            uint64_t bit = random_u64() % (sizeof(struct lu_handover) * 8);

            words[bit / 64] ^= BIT(bit % 64);
        }
        boot(cmdlines[i / 4 % ARRAY_SIZE(cmdlines)]);
        assert_cold();
    }
}

/* An image that was not told of a way back, with a nonce on its line: the one before expects an
 * update. Without its breadcrumb it must not go on, and must not start anew either. */
static void test_init__expected_and_not_there__stops(void **state)
{
    const struct boot_info info = {.cmdline = "end=all lu_nonce=0x1234567887654321"};
    const struct lu_region region = {WORLD_REGION, WORLD_REGION_SIZE};

    (void)state;
    jumped();
    page()->breadcrumb.nonce++;
    memset(&lu, 0, sizeof(lu));
    assert_true(FAKE_PANICS(lu_init(&info, &region, 0, 1000)));
    jumped();
    memset(&lu, 0, sizeof(lu));
    lu_init(&info, &region, 0, 1000);
    assert_true(lu_update_boot());
    assert_int_equal(page()->stage, LU_STAGE_BOOTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_init__breadcrumb_in_memory__cold_and_said, setup),
        cmocka_unit_test_setup(test_init__each_stage__is_named, setup),
        cmocka_unit_test_setup(test_init__nothing_there__nothing_said, setup),
        cmocka_unit_test_setup(test_init__random_bits__cold, setup),
        cmocka_unit_test_setup(test_init__expected_and_not_there__stops, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
