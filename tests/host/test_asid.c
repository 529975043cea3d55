/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address space identifiers against a model of the TLBs: whose translations, of which age, stand
 * under which number.
 */
#include "hv/asid.h"

#include <stdlib.h>

#include "fakes/cmocka_inc.h"

#define CPUS 3U
#define VCPUS 6U
#define MAX_ASIDS 16U
#define STEPS 20000U

static unsigned int enter_times(struct asid_cpu *cpu, struct asid_vcpu *v, unsigned int times)
{
    unsigned int flushes = 0;

    for (unsigned int i = 0; i < times; i++) {
        flushes += asid_enter(cpu, v, ASID_KEEP) != ASID_KEEP;
    }
    return flushes;
}

static void test_asid_enter__first_entry_of_a_cpu__flushes_all(void **state)
{
    struct asid_cpu cpu = {.generation = 0};
    struct asid_vcpu v = {.asid = 0};

    (void)state;
    asid_cpu_init(&cpu, 16, true);
    assert_int_equal(asid_enter(&cpu, &v, ASID_KEEP), ASID_FLUSH_ALL);
    assert_int_equal(v.asid, 1);
    assert_int_equal(enter_times(&cpu, &v, 100), 0);
    assert_int_equal(v.asid, 1);
    /* Off and on again: whatever was in the TLB then is not looked at. */
    asid_cpu_init(&cpu, 16, true);
    assert_int_equal(asid_enter(&cpu, &v, ASID_KEEP), ASID_FLUSH_ALL);
}

static void test_asid_enter__vcpus_in_turns__keep_theirs(void **state)
{
    struct asid_cpu cpu = {.generation = 0};
    struct asid_vcpu v[3] = {{.asid = 0}};

    (void)state;
    asid_cpu_init(&cpu, 4, false);
    assert_int_equal(asid_enter(&cpu, &v[0], ASID_KEEP), ASID_FLUSH_ALL);
    assert_int_equal(asid_enter(&cpu, &v[1], ASID_KEEP), ASID_KEEP);
    assert_int_equal(asid_enter(&cpu, &v[2], ASID_KEEP), ASID_KEEP);
    for (unsigned int i = 0; i < 30; i++) {
        assert_int_equal(asid_enter(&cpu, &v[i % 3], ASID_KEEP), ASID_KEEP);
        assert_int_equal(v[i % 3].asid, 1 + i % 3);
    }
}

static void test_asid_enter__more_vcpus_than_asids__a_flush_for_each_round(void **state)
{
    struct asid_cpu cpu = {.generation = 0};
    struct asid_vcpu v[4] = {{.asid = 0}};
    unsigned int flushes = 0;

    (void)state;
    asid_cpu_init(&cpu, 3, false); /* two for guests */
    for (unsigned int i = 0; i < 40; i++) {
        flushes += asid_enter(&cpu, &v[i % 4], ASID_KEEP) == ASID_FLUSH_ALL;
        assert_in_range(v[i % 4].asid, 1, 2);
    }
    assert_int_equal(flushes, 20);
}

static void test_asid_enter__own_translations_stale__flush_of_one_or_another_asid(void **state)
{
    struct asid_cpu cpu = {.generation = 0};
    struct asid_vcpu v = {.asid = 0};

    (void)state;
    asid_cpu_init(&cpu, 16, true);
    assert_int_equal(asid_enter(&cpu, &v, ASID_KEEP), ASID_FLUSH_ALL);
    assert_int_equal(asid_enter(&cpu, &v, ASID_FLUSH_ONE), ASID_FLUSH_ONE);
    assert_int_equal(v.asid, 1);

    asid_cpu_init(&cpu, 16, false);
    assert_int_equal(asid_enter(&cpu, &v, ASID_KEEP), ASID_FLUSH_ALL);
    assert_int_equal(asid_enter(&cpu, &v, ASID_FLUSH_ONE), ASID_KEEP);
    assert_int_equal(v.asid, 2);
}

/* ---- a model of the TLBs ---- */

struct entry {
    bool there;
    unsigned int owner;
    uint64_t own_age, all_age;
};

static struct world {
    struct asid_cpu cpu[CPUS];
    struct asid_vcpu vcpu[VCPUS];
    struct entry tlb[CPUS][MAX_ASIDS];
    uint64_t own_age[VCPUS]; /* counts what made a vCPU's translations stale */
    uint64_t own_seen[VCPUS];
    uint64_t all_age; /* ... and those of all */
    uint64_t all_seen[CPUS];
    unsigned int last_cpu[VCPUS];
} w;

static void enter(unsigned int c, unsigned int v)
{
    enum asid_flush stale = w.all_seen[c] != w.all_age      ? ASID_FLUSH_ALL
                            : w.own_seen[v] != w.own_age[v] ? ASID_FLUSH_ONE
                                                            : ASID_KEEP;
    enum asid_flush flush = asid_enter(&w.cpu[c], &w.vcpu[v], stale);
    uint32_t asid = w.vcpu[v].asid;

    w.all_seen[c] = w.all_age;
    w.own_seen[v] = w.own_age[v];
    assert_in_range(asid, 1, w.cpu[c].end - 1);
    assert_true(flush != ASID_FLUSH_ONE || w.cpu[c].flushes_one);
    for (unsigned int i = 0; flush == ASID_FLUSH_ALL && i < MAX_ASIDS; i++) {
        w.tlb[c][i].there = false;
    }
    w.tlb[c][asid].there = w.tlb[c][asid].there && flush != ASID_FLUSH_ONE;
    if (w.tlb[c][asid].there) {
        assert_int_equal(w.tlb[c][asid].owner, v);
        assert_int_equal(w.tlb[c][asid].own_age, w.own_age[v]);
        assert_int_equal(w.tlb[c][asid].all_age, w.all_age);
        assert_int_equal(w.last_cpu[v], c); /* what it did elsewhere is not seen here */
    }
    w.tlb[c][asid] = (struct entry){true, v, w.own_age[v], w.all_age};
    w.last_cpu[v] = c;
}

static void random_step(uint32_t end, bool flushes_one)
{
    unsigned int c = (unsigned int)rand() % CPUS;
    unsigned int v = (unsigned int)rand() % VCPUS;

    switch (rand() % 40) {
    case 0: /* a vCPU destroyed, another one made in its memory */
        w.vcpu[v] = (struct asid_vcpu){.asid = 0};
        w.own_age[v]++;
        w.own_seen[v] = w.own_age[v];
        break;
    case 1:
        w.all_age++;
        break;
    case 2:
    case 3:
        w.own_age[v]++;
        break;
    case 4:
        asid_cpu_init(&w.cpu[c], end, flushes_one);
        break;
    default:
        enter(c, v);
        break;
    }
}

static void test_asid_enter__random__nothing_stale_is_met(void **state)
{
    (void)state;
    srand(1);
    for (uint32_t end = 2; end <= MAX_ASIDS; end++) {
        for (int one = 0; one < 2; one++) {
            w = (struct world){.all_age = 1};
            for (unsigned int c = 0; c < CPUS; c++) {
                asid_cpu_init(&w.cpu[c], end, one);
            }
            for (unsigned int i = 0; i < STEPS; i++) {
                random_step(end, one);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asid_enter__first_entry_of_a_cpu__flushes_all),
        cmocka_unit_test(test_asid_enter__vcpus_in_turns__keep_theirs),
        cmocka_unit_test(test_asid_enter__more_vcpus_than_asids__a_flush_for_each_round),
        cmocka_unit_test(test_asid_enter__own_translations_stale__flush_of_one_or_another_asid),
        cmocka_unit_test(test_asid_enter__random__nothing_stale_is_met),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
