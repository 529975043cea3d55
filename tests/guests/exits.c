/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a way into molt and back costs, in TSC cycles: for tools/bench.
 *
 * Prints `exit NAME min=N max=N` for each kind: cycles of one, an average over a batch, the lowest
 * and the highest over the batches. The highest holds whatever else molt did meanwhile.
 */
#include "lib/lib.h"
#include "lib/molt.h"
#include "lib/x86.h"

#define OPS 64U
#define BATCHES 32U
#define UNUSED_PORT 0x80U
#define UNKNOWN_CALL 15U

static struct hc_info info;

static void do_nothing(void)
{
    __asm__ volatile("" ::: "memory");
}

static void do_cpuid(void)
{
    (void)cpuid(0, 0);
}

static void do_vmcall(void)
{
    (void)molt_call(UNKNOWN_CALL, 0, 0, 0, 0);
}

static void do_info(void)
{
    (void)molt_info(&info);
}

static void do_out(void)
{
    outb(UNUSED_PORT, 0);
}

static void measure(const char *name, void (*op)(void))
{
    uint64_t lowest = UINT64_MAX;
    uint64_t highest = 0;

    op(); /* whatever is made on first use */
    for (unsigned int batch = 0; batch < BATCHES; batch++) {
        uint64_t from = rdtsc();
        uint64_t each;

        for (unsigned int i = 0; i < OPS; i++) {
            op();
        }
        each = (rdtsc() - from) / OPS;
        lowest = each < lowest ? each : lowest;
        highest = each > highest ? each : highest;
    }
    print("exit %s min=%" P64 "u max=%" P64 "u\n", name, lowest, highest);
}

int guest_main(void)
{
    measure("none", do_nothing);
    measure("cpuid", do_cpuid);
    measure("out", do_out);
    if (molt_present()) {
        measure("vmcall", do_vmcall);
        measure("info", do_info);
    }
    return 0;
}
