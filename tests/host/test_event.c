/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events: the double-fault table, what VM entry accepts.
 */
#include "hv/event.h"

#include "fakes/cmocka_inc.h"
#include "hw/x86.h"

#define EXC(vector) (EVENT_VALID | EVENT_TYPE_HW_EXCEPTION << 8 | (vector))
#define EXC_ERR(vector) (EXC(vector) | EVENT_ERROR_CODE)
#define EXTINT(vector) (EVENT_VALID | EVENT_TYPE_EXTINT << 8 | (vector))
#define SW_INT(vector) (EVENT_VALID | EVENT_TYPE_SW_INT << 8 | (vector))
#define NMI (EVENT_VALID | EVENT_TYPE_NMI << 8 | EXC_NMI)
#define TRIPLE 0U

static const struct {
    uint32_t first, next, result;
} combine_cases[] = {
    {0, EXC_ERR(EXC_GP), EXC_ERR(EXC_GP)},
    {0, EXC_ERR(EXC_PF), EXC_ERR(EXC_PF)},
    {0, EXC(EXC_UD), EXC(EXC_UD)},
    {0, NMI, NMI},
    /* benign first */
    {EXC(EXC_DB), EXC_ERR(EXC_GP), EXC_ERR(EXC_GP)},
    {EXC(EXC_UD), EXC_ERR(EXC_PF), EXC_ERR(EXC_PF)},
    {EXTINT(EXC_GP), EXC_ERR(EXC_GP), EXC_ERR(EXC_GP)},
    {SW_INT(EXC_PF), EXC_ERR(EXC_PF), EXC_ERR(EXC_PF)},
    {NMI, EXC_ERR(EXC_PF), EXC_ERR(EXC_PF)},
    /* contributory first */
    {EXC_ERR(EXC_GP), EXC_ERR(EXC_GP), EXC_ERR(EXC_DF)},
    {EXC(EXC_DE), EXC_ERR(EXC_NP), EXC_ERR(EXC_DF)},
    {EXC_ERR(EXC_SS), EXC_ERR(EXC_TS), EXC_ERR(EXC_DF)},
    {EXC_ERR(EXC_GP), EXC_ERR(EXC_PF), EXC_ERR(EXC_PF)},
    {EXC_ERR(EXC_GP), EXC(EXC_UD), EXC(EXC_UD)},
    /* page fault first */
    {EXC_ERR(EXC_PF), EXC_ERR(EXC_GP), EXC_ERR(EXC_DF)},
    {EXC_ERR(EXC_PF), EXC_ERR(EXC_PF), EXC_ERR(EXC_DF)},
    {EXC_ERR(EXC_PF), EXC(EXC_DB), EXC(EXC_DB)},
    {EXC_ERR(EXC_PF), EXC_ERR(EXC_AC), EXC_ERR(EXC_AC)},
    /* double fault first */
    {EXC_ERR(EXC_DF), EXC_ERR(EXC_GP), TRIPLE},
    {EXC_ERR(EXC_DF), EXC_ERR(EXC_PF), TRIPLE},
    {EXC_ERR(EXC_DF), EXC(EXC_DE), TRIPLE},
    {EXC_ERR(EXC_DF), EXC(EXC_DB), EXC(EXC_DB)},
    {EXC_ERR(EXC_DF), EXTINT(EXC_GP), EXTINT(EXC_GP)},
};

static void test_event_raise__second_event__combined_or_shutdown(void **state)
{
    const struct guest_event gp = {.info = EXC_ERR(EXC_GP), .error_code = 8};
    struct guest_entry entry = {.shutdown = false};

    (void)state;
    event_raise(&entry, &gp);
    assert_int_equal(entry.event.info, EXC_ERR(EXC_GP));
    assert_int_equal(entry.event.error_code, 8);
    event_raise(&entry, &gp);
    assert_int_equal(entry.event.info, EXC_ERR(EXC_DF));
    assert_int_equal(entry.event.error_code, 0);
    assert_false(entry.shutdown);
    event_raise(&entry, &gp);
    assert_true(entry.shutdown);
    assert_int_equal(entry.event.info, 0);
}

static void test_event_take__guest_open_and_nothing_due__taken(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < 8; i++) {
        bool waiting = i & 1, open = i & 2, due = i & 4;
        struct guest_entry entry = {.event = {.info = due ? EXC(EXC_UD) : 0}};
        bool taken = event_take(&entry, waiting, open, EXTINT(0x30) & ~EVENT_VALID);

        assert_int_equal(taken, waiting && open && !due);
        assert_int_equal(entry.event.info, taken ? EXTINT(0x30) : due ? EXC(EXC_UD) : 0);
    }
}

static void test_vmx_event_combine__table__as_the_manual_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(combine_cases); i++) {
        struct guest_event first = {.info = combine_cases[i].first, .error_code = 1};
        struct guest_event next = {.info = combine_cases[i].next, .error_code = 2};
        struct guest_event out = {.info = 0xdead};
        bool ok = event_combine(&first, &next, &out);

        assert_int_equal(ok, combine_cases[i].result != TRIPLE);
        if (ok) {
            assert_int_equal(out.info, combine_cases[i].result);
            assert_int_equal(out.error_code, out.info == next.info ? 2 : 0);
        } else {
            assert_int_equal(out.info, 0xdead);
        }
    }
}

static const struct {
    uint32_t info, error_code, length;
    bool valid;
} valid_cases[] = {
    {0, 0, 0, true},
    {0, 77, 99, true},
    {EXC(EXC_UD) & ~EVENT_VALID, 0, 0, false},
    {EXC(EXC_UD), 0, 0, true},
    {EXC_ERR(EXC_PF), 7, 0, true},
    {EXC(EXC_UD) | 1U << 12, 0, 0, false},
    {EXC(EXC_UD) | 1U << 30, 0, 0, false},
    {EXC(EXC_NMI), 0, 0, false},
    {EXC(32), 0, 0, false},
    {NMI, 0, 0, true},
    {NMI | 4, 0, 0, false},
    {EXTINT(255), 0, 0, true},
    {SW_INT(0x80), 0, 2, true},
    {SW_INT(0x80), 0, 0, false},
    {SW_INT(0x80), 0, 16, false},
    {EVENT_VALID | EVENT_TYPE_SW_EXCEPTION << 8 | EXC_BP, 0, 1, true},
    {EVENT_VALID | EVENT_TYPE_SW_EXCEPTION << 8 | EXC_GP, 0, 1, false},
    {EVENT_VALID | EVENT_TYPE_PRIV_SW << 8 | EXC_DB, 0, 1, true},
    {EVENT_VALID | EVENT_TYPE_PRIV_SW << 8 | EXC_BP, 0, 1, false},
    {EVENT_VALID | 1U << 8, 0, 0, false},
    {EVENT_VALID | 7U << 8, 0, 0, false},
};

static void test_vmx_event_valid__table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(valid_cases); i++) {
        struct guest_event event = {
            .info = valid_cases[i].info,
            .error_code = valid_cases[i].error_code,
            .length = valid_cases[i].length,
        };

        assert_int_equal(event_valid(&event), valid_cases[i].valid);
    }
}

static void test_vmx_event_normal__error_code__as_vector_and_mode_want(void **state)
{
    (void)state;
    for (uint32_t vector = 0; vector < EXC_COUNT; vector++) {
        bool has = vector == EXC_DF || (vector >= EXC_TS && vector <= EXC_PF) || vector == EXC_AC;

        for (unsigned int given = 0; given < 2; given++) {
            struct guest_event event = {
                .info = (given ? EXC_ERR(vector) : EXC(vector)) | 1U << 12,
                .error_code = 0xffff0012,
                .length = 3,
            };
            struct guest_event out = event_normal(&event, true);

            assert_int_equal(out.info, has ? EXC_ERR(vector) : EXC(vector));
            assert_int_equal(out.error_code, has ? 0x12 : 0);
            assert_int_equal(out.length, 0);
            out = event_normal(&event, false);
            assert_int_equal(out.info, EXC(vector));
            assert_int_equal(out.error_code, 0);
        }
    }
    struct guest_event soft = {.info = SW_INT(EXC_GP), .error_code = 5, .length = 2};
    struct guest_event out = event_normal(&soft, true);
    assert_int_equal(out.info, SW_INT(EXC_GP));
    assert_int_equal(out.error_code, 0);
    assert_int_equal(out.length, 2);
}

static void test_vmx_event_is_fault__only_restartable_exceptions(void **state)
{
    static const struct {
        uint32_t info;
        bool fault;
    } cases[] = {
        {0, false},
        {EXC_ERR(EXC_GP), true},
        {EXC_ERR(EXC_PF), true},
        {EXC(EXC_UD), true},
        {EXC(EXC_DB), false},
        {EXC_ERR(EXC_DF), false},
        {EXTINT(EXC_GP), false},
        {NMI, false},
        {SW_INT(EXC_UD), false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct guest_event event = {.info = cases[i].info};

        assert_int_equal(event_is_fault(&event), cases[i].fault);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_event_raise__second_event__combined_or_shutdown),
        cmocka_unit_test(test_event_take__guest_open_and_nothing_due__taken),
        cmocka_unit_test(test_vmx_event_combine__table__as_the_manual_says),
        cmocka_unit_test(test_vmx_event_valid__table),
        cmocka_unit_test(test_vmx_event_normal__error_code__as_vector_and_mode_want),
        cmocka_unit_test(test_vmx_event_is_fault__only_restartable_exceptions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
