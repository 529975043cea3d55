/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest time from the TSC, watched.
 */
#include "lib/clock.h"

#include "lib/bootinfo.h"
#include "lib/molt.h"
#include "lib/x86.h"

#define PIT_CH2 0x42U
#define PIT_COMMAND 0x43U
#define PIT_GATE 0x61U
#define PIT_TICKS 59659U /* 50 ms */
#define PIT_MS 50U
#define PIT_LIMIT 100000000U
#define FALLBACK_KHZ 1000000U
#define DEFAULT_MAX_GAP_MS 2000U
#define HOST_MAX_GAP_MS 30000U /* where time is the host's, which may be busy */

struct area clock_area = {"clock", 0};
static uint32_t khz;
static uint64_t start;
static uint64_t last;
static uint64_t largest;
static uint64_t bound;

/* Counts TSC cycles while PIT channel 2 counts down once; 0 when no PIT answers. */
static uint32_t measure(void)
{
    uint8_t gate = inb(PIT_GATE);
    uint64_t from;
    uint32_t n = 0;

    if (gate == 0xff) {
        return 0;
    }
    outb(PIT_GATE, (uint8_t)((gate & ~0x2U) | 0x1U));
    outb(PIT_COMMAND, 0xb0); /* channel 2, low then high byte, mode 0 */
    outb(PIT_CH2, (uint8_t)PIT_TICKS);
    outb(PIT_CH2, (uint8_t)(PIT_TICKS >> 8));
    from = rdtsc();
    while ((inb(PIT_GATE) & 0x20U) == 0) {
        if (++n == PIT_LIMIT) {
            return 0;
        }
    }
    return (uint32_t)div64(rdtsc() - from, PIT_MS, NULL);
}

void clock_init(void)
{
    khz = molt_present() ? cpuid(HC_CPUID_TIMING, 0).eax : measure();
    if (khz == 0) {
        if (molt_present()) {
            damage("clock", "CPUID leaf 0x%x says 0 kHz", HC_CPUID_TIMING);
        }
        khz = FALLBACK_KHZ;
    }
    bound = cmdline_number("maxgap", cpu_is_exact() ? DEFAULT_MAX_GAP_MS : HOST_MAX_GAP_MS) * khz;
    start = rdtsc();
    last = start;
    largest = 0;
}

uint64_t clock_khz(void)
{
    return khz;
}

uint64_t clock_cycles_to_us(uint64_t cycles)
{
    return div64(cycles * 1000, khz, NULL);
}

uint64_t clock_max_allowed_us(void)
{
    return clock_cycles_to_us(bound);
}

uint64_t clock_check(void)
{
    uint64_t now = rdtsc();
    uint64_t before = last;

    last = now;
    if (now < before) {
        damage("clock", "TSC went back from %" P64 "u to %" P64 "u", before, now);
    }
    if (now - before > largest) {
        largest = now - before;
        if (largest > bound) {
            damage("clock", "gap of %" P64 "u us, allowed are %" P64 "u us",
                   clock_cycles_to_us(largest), clock_max_allowed_us());
        }
    }
    clock_area.checks++;
    return now;
}

void clock_restart_gap(void)
{
    uint64_t now = rdtsc();

    if (now < last) {
        damage("clock", "TSC went back from %" P64 "u to %" P64 "u", last, now);
    }
    last = now;
}

uint64_t clock_us(void)
{
    return clock_cycles_to_us(clock_check() - start);
}

uint64_t clock_ms(void)
{
    return div64(clock_check() - start, khz, NULL);
}

uint64_t clock_largest_gap_us(void)
{
    return clock_cycles_to_us(largest);
}

void clock_spin_us(uint64_t us)
{
    uint64_t from = clock_check();
    uint64_t cycles = div64(us * khz, 1000, NULL);

    while (clock_check() - from < cycles) {
        cpu_pause();
    }
}

void print_crc(const char *fmt, ...)
{
    char text[480];
    va_list ap;
    size_t n;

    va_start(ap, fmt);
    n = str_vformat(text, sizeof(text), fmt, ap);
    va_end(ap);
    print("%s crc=%08x\n", text, crc32(text, n));
}
