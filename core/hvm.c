/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Picks the backend.
 */
#include "hv/hvm.h"

#include "hv/cmdline.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hw/cpuid.h"

const struct hvm_ops *hvm;
struct hvm_features hvm_features;
bool hvm_plain;

static const struct hvm_ops *const backends[] = {&vmx_ops, &svm_ops};

const struct hvm_ops *hvm_find(void)
{
    static const struct hvm_ops *found; /* by an earlier call: to ask the CPU takes long */
    const char *why = NULL;

    if (found != NULL) {
        return found;
    }
    for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
        if (backends[i]->probe(&why) == 0) {
            found = backends[i];
            return found;
        }
    }
    return NULL;
}

/* Why there is none, a line for each; what is missing of one does not matter where another works.
 * */
static void report_none(void)
{
    const char *why = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
        if (backends[i]->probe(&why) != 0) {
            printk("hvm: %s cannot be used: this CPU lacks %s", backends[i]->name, why);
        }
    }
    printk("hvm: domains own memory but do not run");
}

void hvm_init(const char *cmdline)
{
    const struct hvm_ops *found = hvm_find();
    struct str_span word;

    hvm_plain = cmdline_get(cmdline, "svm", &word) && span_eq(word, "plain");
    if (found == NULL) {
        report_none();
    } else if (found->cpu_on() != 0) {
        printk("hvm: %s could not be turned on: domains own memory but do not run", found->name);
    } else {
        hvm = found;
    }
}
