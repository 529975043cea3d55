/* SPDX-License-Identifier: Apache-2.0 */
/*
 * General registers and RFLAGS held live over a window.
 */
#include "lib/gpr.h"

#include "lib/clock.h"
#include "lib/cpu.h"
#include "lib/molt.h"
#include "lib/x86.h"

#define CALIBRATION_SPINS 2000U
#define USER_TOKEN 0x5a11ad5U

struct area gpr_area = {"gpr", 0};

const char *gpr_name(unsigned int index)
{
    static const char *const names[GPR_COUNT] = {
        "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",    "r8",
        "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "rflags",
    };

    return names[index];
}

uint64_t gpr_flags_user(void)
{
    return FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_DF | FLAG_OF | FLAG_AC | FLAG_ID;
}

uint64_t gpr_flags_kernel(void)
{
    /* Under molt no interrupt ever comes; elsewhere the firmware's timer may still run. */
    return gpr_flags_user() | FLAG_IOPL | FLAG_NT | (molt_present() ? FLAG_IF : 0);
}

void gpr_fill(uint64_t *random, uint64_t flags)
{
    for (unsigned int i = 0; i < GPR_COUNT; i++) {
        gpr_in[i] = rand64(random);
    }
    gpr_in[GPR_RFLAGS] = (gpr_in[GPR_RFLAGS] & flags) | FLAG_ONE;
}

unsigned int gpr_difference(uint32_t skip)
{
    unsigned int i;

    for (i = 0; i < GPR_COUNT; i++) {
        if ((skip & 1U << i) == 0 && gpr_in[i] != gpr_out[i]) {
            break;
        }
    }
    return i;
}

static void verify(const char *ring)
{
    unsigned int i;

    gpr_in[GPR_RCX] = 0; /* counted down */
    i = gpr_difference(0);
    if (i != GPR_COUNT) {
        damage("gpr", "%s: %s: expected 0x%" P64 "x, got 0x%" P64 "x", ring, gpr_name(i), gpr_in[i],
               gpr_out[i]);
    }
    gpr_area.checks++;
}

void gpr_window(uint64_t *random, uint64_t iterations)
{
    gpr_fill(random, gpr_flags_kernel());
    gpr_in[GPR_RCX] = iterations;
    gpr_spin();
    verify("ring 0");
}

static uint64_t in_user(uint64_t token)
{
    gpr_spin();
    return ~token;
}

void gpr_window_user(uint64_t *random, uint64_t iterations)
{
    uint64_t got;

    gpr_fill(random, gpr_flags_user());
    gpr_in[GPR_RCX] = iterations;
    got = user_call(in_user, USER_TOKEN);
    if (got != ~(uint64_t)USER_TOKEN) {
        damage("gpr", "ring 3: result: expected 0x%" P64 "x, got 0x%" P64 "x",
               ~(uint64_t)USER_TOKEN, got);
    }
    /* IF and IOPL are the kernel's there: both clear, as the pattern has them. */
    verify("ring 3");
}

uint64_t gpr_iterations(uint64_t us)
{
    static uint64_t per_ms;

    if (per_ms == 0) {
        uint64_t cycles;

        gpr_in[GPR_RCX] = CALIBRATION_SPINS;
        gpr_in[GPR_RFLAGS] = FLAG_ONE;
        cycles = rdtsc();
        gpr_spin();
        cycles = rdtsc() - cycles;
        per_ms = CALIBRATION_SPINS * clock_khz() / (cycles != 0 ? cycles : 1);
    }
    return 1 + per_ms * us / 1000;
}
