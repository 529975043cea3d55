/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 32-bit guest in protected mode without paging: the worker's smaller brother.
 *
 * Checks all its RAM, general registers, EFLAGS, segments with their hidden parts, x87 and SSE,
 * MSRs, control and debug registers, tables, hypercalls in 32-bit form, the clock.
 *
 * Command line: as lib/duty.h says, maxgap=MS (2000), engine=tcg (leaves out segment limits, which
 * QEMU's TCG ignores).
 */
#include "lib/bootinfo.h"
#include "lib/clock.h"
#include "lib/cpu32.h"
#include "lib/duty.h"
#include "lib/lib.h"
#include "lib/mempat.h"

#define WINDOW_MIN_MS 5U
#define WINDOW_SPREAD_MASK 63U
#define CHUNK_PAGES 4U
#define SPINS 2000U
#define CODE_EVERY 8U

static uint64_t rng;
static uint64_t windows;

static void window(void)
{
    uint64_t until;

    state32_begin(&rng);
    until = clock_ms() + WINDOW_MIN_MS + (rand64(&rng) & WINDOW_SPREAD_MASK);
    do {
        mempat_step(CHUNK_PAGES);
        state32_regs(&rng, SPINS);
        state32_check_segments();
        duty_check_counter();
    } while (duty_service() < until && !duty_over());
    duty_check_sleep();
    state32_check();
    state32_fire();
    if (windows++ % CODE_EVERY == 0) {
        duty_check_code();
    }
}

int guest_main(void)
{
    struct area *const areas[] = {
        &regs32_area,    &segments32_area, &fpu32_area,    &msr32_area,
        &control32_area, &debug32_area,    &tables32_area,
    };

    ram_init(false);
    state32_init();
    rng = duty_init("plain32");
    do {
        window();
    } while (!duty_over());
    duty_finish(areas, ARRAY_SIZE(areas), windows);
}
