/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time-stamp counter and its frequency.
 */
#include "asm/cpu.h"
#include "asm/machine.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hw/ports.h"

#define CALIBRATE_MS 10U
#define PIT_LATCH (PIT_HZ * CALIBRATE_MS / 1000)
#define PIT_GIVE_UP 10000000UL /* polls */
#define CPUID_TSC 0x15U
#define CPUID_FREQUENCY 0x16U

uint64_t tsc_read(void)
{
    return rdtsc();
}

/* TSC cycles in CALIBRATE_MS by PIT channel 2, mode 0; 0 when the PIT does not count. */
static uint64_t pit_cycles(void)
{
    uint8_t gate = inb(PIT_GATE) & (uint8_t)~PIT_GATE_SPEAKER;
    uint64_t start, polls = 0;

    outb(PIT_GATE, gate & (uint8_t)~PIT_GATE_ON);
    outb(PIT_MODE, PIT_MODE_CH2_ONESHOT);
    outb(PIT_CH2, PIT_LATCH & 0xff);
    outb(PIT_CH2, PIT_LATCH >> 8);
    outb(PIT_GATE, gate | PIT_GATE_ON);
    start = rdtsc();
    while (!(inb(PIT_GATE) & PIT_GATE_OUT)) {
        if (++polls == PIT_GIVE_UP) {
            return 0;
        }
    }
    return rdtsc() - start;
}

/* What CPUID claims. Only where there is no PIT: emulators' claims are often wrong. */
static uint64_t cpuid_khz(void)
{
    struct cpuid_regs r = cpuid(0, 0);
    uint32_t max = r.eax;

    if (max >= CPUID_TSC) {
        r = cpuid(CPUID_TSC, 0);
        if (r.eax != 0 && r.ebx != 0 && r.ecx != 0) {
            return (uint64_t)r.ecx * r.ebx / r.eax / 1000;
        }
    }
    if (max >= CPUID_FREQUENCY) {
        return (uint64_t)(cpuid(CPUID_FREQUENCY, 0).eax & 0xffff) * 1000;
    }
    return 0;
}

uint64_t tsc_calibrate_khz(void)
{
    /* Twice, the shorter one: a host that schedules us away can only lengthen it. */
    uint64_t a = pit_cycles();
    uint64_t b = a != 0 ? pit_cycles() : 0;
    uint64_t khz = MIN(a, b) / CALIBRATE_MS;

    if (khz == 0) {
        khz = cpuid_khz();
        printk("tsc: the PIT does not count; CPUID says %llu kHz", (unsigned long long)khz);
    }
    if (khz == 0) {
        khz = 1000000;
        printk("tsc: frequency unknown, assuming 1 GHz");
    }
    return khz;
}
