/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a panic says is lost, with a list of domains that may be damaged.
 */
#include "hv/lost.h"

#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/machine.h"
#include "fakes/seam.h"
#include "fakes/world.h"
#include "hv/domain.h"

static struct domain *one, *two, *three;

static int setup(void **state)
{
    (void)state;
    world_reset();
    world_boot(0, true);
    one = domain_create("one", 1, true);
    two = domain_create("two", 2, false);
    three = domain_create("three", 7, false);
    one->state = DOMAIN_RUNNING;
    one->nr_vcpus = 3;
    two->state = DOMAIN_PAUSED;
    two->nr_vcpus = 1;
    three->state = DOMAIN_EXITED;
    fake_log_clear();
    return 0;
}

static void assert_lost(const char *text)
{
    fake_log_clear();
    lost_report();
    assert_string_equal(fake_log(), text);
}

#define ONE "lost: domain one: running, 3 vCPUs\n"
#define TWO "lost: domain two: paused, 1 vCPU\n"
#define THREE "lost: domain three: exited, 0 vCPUs\n"
#define DAMAGED(id) "lost: the list of domains is damaged behind id " #id "\n"

static void test_report__good_list__each_domain(void **state)
{
    (void)state;
    assert_lost(ONE TWO THREE);
    domain_list = NULL;
    assert_lost("");
}

static void test_report__pointers_that_lead_nowhere__said_so(void **state)
{
    static const uintptr_t pointers[] = {
        1, 8, PAGE_SIZE, 0x8000000000000000, UINT64_MAX, UINT64_MAX - 7, BIT(47)};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(pointers); i++) {
        two->next = (struct domain *)pointers[i];
        assert_lost(ONE TWO DAMAGED(2));
        domain_list = (struct domain *)pointers[i];
        assert_lost(DAMAGED(0));
        domain_list = one;
    }
    two->next = (struct domain *)((uintptr_t)three + 4); /* not aligned */
    assert_lost(ONE TWO DAMAGED(2));
    two->next = three;
    fake_unmapped = (uint8_t *)(three + 1) - 1; /* its last byte */
    assert_lost(ONE TWO DAMAGED(2));
    fake_unmapped = one;
    assert_lost(DAMAGED(0));
}

static void test_report__circles__end(void **state)
{
    (void)state;
    three->next = one;
    assert_lost(ONE TWO THREE DAMAGED(7));
    two->next = two;
    assert_lost(ONE TWO DAMAGED(2));
    one->next = one;
    assert_lost(ONE DAMAGED(1));
}

static void test_report__garbage_in_a_domain__printed_safely(void **state)
{
    (void)state;
    memset(two->name, 0xff, sizeof(two->name));
    two->state = (enum domain_state)0x12345678;
    three->name[0] = '\x1b';
    assert_lost(ONE "lost: domain ????????????????????????????????: in no known state, 1 vCPU\n"
                    "lost: domain ?hree: exited, 0 vCPUs\n");
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_report__good_list__each_domain),
        TEST(test_report__pointers_that_lead_nowhere__said_so),
        TEST(test_report__circles__end),
        TEST(test_report__garbage_in_a_domain__printed_safely),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
