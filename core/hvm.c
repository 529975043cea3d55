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

static const char *const exit_names[HVM_EXIT_REASONS] = {
    [HVM_EXIT_TIMER] = "timer",
    [HVM_EXIT_HOST] = "host",
    [HVM_EXIT_CPUID] = "cpuid",
    [HVM_EXIT_MSR_READ] = "rdmsr",
    [HVM_EXIT_MSR_WRITE] = "wrmsr",
    [HVM_EXIT_IO] = "io",
    [HVM_EXIT_HLT] = "hlt",
    [HVM_EXIT_HYPERCALL] = "hypercall",
    [HVM_EXIT_XSETBV] = "xsetbv",
    [HVM_EXIT_CR_WRITE] = "cr",
    [HVM_EXIT_STAGE2] = "stage2",
    [HVM_EXIT_UNDEFINED] = "undefined",
    [HVM_EXIT_NOP] = "nop",
    [HVM_EXIT_TRIPLE_FAULT] = "triple-fault",
    [HVM_EXIT_IRQ_WINDOW] = "irq-window",
    [HVM_EXIT_REINJECT] = "reinject",
    [HVM_EXIT_BAD_STATE] = "bad-state",
    [HVM_EXIT_UNKNOWN] = "unknown",
};

const char *hvm_exit_name(enum hvm_exit_reason reason)
{
    return reason < HVM_EXIT_REASONS ? exit_names[reason] : "?";
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
