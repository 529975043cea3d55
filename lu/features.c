/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the domains here use and not every image can take over (LU_FEATURE_*).
 *
 * The one place that knows: an image is refused by it when it is loaded, and the stream says it.
 * Host test: tests/host/test_features.c
 */
#include "lu_priv.h"

#include "hv/domain.h"
#include "hv/hvm.h"
#include "hw/apic.h"

static uint64_t vcpu_features(const struct vcpu *v)
{
    return (hvm != NULL ? hvm->feature : 0) |
           ((v->apic.apic_base & APIC_BASE_EXTD) ? LU_FEATURE_X2APIC : 0) |
           ((v->clock.system_time_msr & PVCLOCK_ENABLE) ? LU_FEATURE_CLOCK : 0);
}

uint64_t features_in_use(void)
{
    uint64_t features = 0;

    for_each_domain(d) {
        if (d->state == DOMAIN_NEW || d->state == DOMAIN_PAUSED) {
            features |= LU_FEATURE_STATES;
        }
        if (d->fresh.nr != 0) {
            features |= LU_FEATURE_FRESH;
        }
        if (d->nr_vcpus > 1) {
            features |= LU_FEATURE_VCPUS;
        }
        for_each_vcpu(d, v) {
            features |= vcpu_features(v);
        }
    }
    return features;
}
