/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The self-checking guest: whatever an update damages, it notices.
 *
 * Works in windows. At the start of a window every register that a CPU has gets a new value; while
 * the window lasts the guest rewrites its memory, spins with all general registers live, prints,
 * calls the hypervisor; at the end everything must still be as it was set. See lib/mempat.h,
 * lib/gpr.h, lib/fpuwin.h, lib/cpustate.h, lib/clock.h for what is compared.
 *
 * Command line: as lib/duty.h says, and maxgap=MS (2000).
 */
#include "lib/bootinfo.h"
#include "lib/clock.h"
#include "lib/cpu.h"
#include "lib/cpustate.h"
#include "lib/duty.h"
#include "lib/fpuwin.h"
#include "lib/gpr.h"
#include "lib/lib.h"
#include "lib/mempat.h"

#define WINDOW_MIN_MS 5U
#define WINDOW_SPREAD_MS 60U
#define CHUNK_PAGES 4U
#define SPIN_US 200U
#define CODE_EVERY 8U

static uint64_t rng;
static uint64_t windows;

static void window(void)
{
    uint64_t until;

    cpustate_begin(&rng);
    fpu_window_begin(&rng);
    until = clock_ms() + WINDOW_MIN_MS + rand64(&rng) % WINDOW_SPREAD_MS;
    do {
        mempat_step(CHUNK_PAGES);
        gpr_window(&rng, gpr_iterations(SPIN_US));
        cpustate_check_paging();
        duty_check_counter();
    } while (duty_service() < until && !duty_over());
    gpr_window_user(&rng, gpr_iterations(SPIN_US));
    duty_check_sleep();
    fpu_window_check();
    cpustate_check();
    cpustate_fire();
    if (windows++ % CODE_EVERY == 0) {
        duty_check_code();
    }
}

int guest_main(void)
{
    struct area *const areas[] = {
        &gpr_area, &fpu_area,   &avx_area,     &avx512_area, &xcr0_area,   &pkru_area,
        &msr_area, &debug_area, &control_area, &tables_area, &paging_area, &cpuid_area,
    };

    ram_init(false);
    paging_init();
    cpustate_init();
    rng = duty_init("worker");
    do {
        window();
    } while (!duty_over());
    duty_finish(areas, ARRAY_SIZE(areas), windows);
}
