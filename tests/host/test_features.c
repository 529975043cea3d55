/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lu/features.c: each feature appears with the first use of it and goes with the last.
 */
#include "../../lu/lu_priv.h"

#include "fakes/cmocka_inc.h"
#include "fakes/hvm.h"
#include "fakes/world.h"
#include "hv/hvm.h"
#include "hw/apic.h"

static struct domain *add_domain(uint16_t id, unsigned int vcpus)
{
    char name[] = {(char)('a' + id), '\0'};
    struct domain *d = domain_create(name, id, false);
    struct vcpu_state state;

    assert_non_null(d);
    d->state = DOMAIN_RUNNING;
    for (unsigned int i = 0; i < vcpus; i++) {
        world_random_state(&state);
        (void)world_add_vcpu(d, &state);
    }
    return d;
}

static int setup(void **state)
{
    (void)state;
    world_reset();
    world_boot(0, true);
    (void)add_domain(1, 1);
    (void)add_domain(2, 1);
    return 0;
}

static void test_features_in_use__no_vcpus__none(void **state)
{
    (void)state;
    domain_destroy(domain_find(1));
    domain_destroy(domain_find(2));
    assert_int_equal(features_in_use(), 0);
    (void)add_domain(3, 0);
    assert_int_equal(features_in_use(), 0);
}

static void test_features_in_use__vcpus__those_of_the_backend(void **state)
{
    (void)state;
    assert_int_equal(features_in_use(), LU_FEATURE_VMX);
    hvm = NULL;
    assert_int_equal(features_in_use(), 0);
}

static void test_features_in_use__several_vcpus__said(void **state)
{
    (void)state;
    (void)add_domain(3, 2);
    assert_int_equal(features_in_use(), LU_FEATURE_VMX | LU_FEATURE_VCPUS);
    domain_destroy(domain_find(3));
    assert_int_equal(features_in_use(), LU_FEATURE_VMX);
}

static void test_features_in_use__states__new_and_paused_only(void **state)
{
    static const struct {
        enum domain_state state;
        uint64_t feature;
    } rows[] = {
        {DOMAIN_NEW, LU_FEATURE_STATES},    {DOMAIN_RUNNING, 0}, {DOMAIN_EXITED, 0},
        {DOMAIN_PAUSED, LU_FEATURE_STATES}, {DOMAIN_STOPPED, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        domain_find(2)->state = rows[i].state;
        assert_int_equal(features_in_use(), LU_FEATURE_VMX | rows[i].feature);
    }
}

static void test_features_in_use__x2apic_and_clock__of_any_vcpu(void **state)
{
    struct vcpu *v = domain_find(2)->vcpus;

    (void)state;
    v->apic.apic_base |= APIC_BASE_EXTD;
    assert_int_equal(features_in_use(), LU_FEATURE_VMX | LU_FEATURE_X2APIC);
    v->apic.apic_base &= ~APIC_BASE_EXTD;
    v->clock.system_time_msr = 0x1000; /* written, but off */
    assert_int_equal(features_in_use(), LU_FEATURE_VMX);
    v->clock.system_time_msr |= PVCLOCK_ENABLE;
    assert_int_equal(features_in_use(), LU_FEATURE_VMX | LU_FEATURE_CLOCK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_features_in_use__no_vcpus__none, setup),
        cmocka_unit_test_setup(test_features_in_use__vcpus__those_of_the_backend, setup),
        cmocka_unit_test_setup(test_features_in_use__several_vcpus__said, setup),
        cmocka_unit_test_setup(test_features_in_use__states__new_and_paused_only, setup),
        cmocka_unit_test_setup(test_features_in_use__x2apic_and_clock__of_any_vcpu, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
