/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Picks the backend.
 */
#include "hv/hvm.h"

#include "hv/printk.h"
#include "hv/seam.h"
#include "hw/cpuid.h"

const struct hvm_ops *hvm;
struct hvm_features hvm_features;

static const struct hvm_ops *const backends[] = {&vmx_ops};

const struct hvm_ops *hvm_find(void)
{
    const char *why = NULL;

    if (!(host_cpuid(1, 0).ecx & CPUID_1_ECX_XSAVE)) {
        return NULL;
    }
    for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
        if (backends[i]->probe(&why) == 0) {
            return backends[i];
        }
    }
    return NULL;
}

void hvm_init(void)
{
    const char *why = NULL;

    if (!(host_cpuid(1, 0).ecx & CPUID_1_ECX_XSAVE)) {
        printk("hvm: the CPU has no XSAVE: domains own memory but do not run");
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
        if (backends[i]->probe(&why) != 0) {
            printk("hvm: %s cannot be used: this CPU lacks %s", backends[i]->name, why);
        } else if (backends[i]->cpu_on() != 0) {
            printk("hvm: %s could not be turned on", backends[i]->name);
        } else {
            hvm = backends[i];
            return;
        }
    }
    printk("hvm: domains own memory but do not run");
}
