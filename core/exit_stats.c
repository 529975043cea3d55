/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exit statistics: how often a domain left its guest, and why.
 */
#include "hv/exit.h"

#include "hv/domain.h"
#include "hv/printk.h"

#define ULL(x) ((unsigned long long)(x))
#define TEXT_MAX 440U /* all names with counts of nine digits */

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

void exit_print(const struct domain *d)
{
    uint64_t counts[HVM_EXIT_REASONS] = {0};
    uint64_t total = 0, cycles = 0;
    char text[TEXT_MAX];
    size_t used = 0;

    for_each_vcpu(d, v) {
        for (unsigned int i = 0; i < HVM_EXIT_REASONS; i++) {
            counts[i] += v->exits[i];
            total += v->exits[i];
        }
        cycles += v->run_cycles;
    }
    text[0] = '\0';
    for (unsigned int i = 0; i < HVM_EXIT_REASONS && used < sizeof(text); i++) {
        if (counts[i] != 0) {
            used += fmt_str(text + used, sizeof(text) - used, " %s=%llu", exit_names[i],
                            ULL(counts[i]));
        }
    }
    printk("exits %s total=%llu%s cycles=%llu", d->name, ULL(total), text, ULL(cycles));
}
