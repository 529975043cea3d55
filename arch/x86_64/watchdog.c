/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NMIs by channel 0 of the PIT, through an I/O APIC.
 *
 * PIT: 8254 datasheet, "Mode 2: Rate Generator". Its output is high, falls for one clock at the end
 * of each period, and the rise after that is the edge that interrupts. The longest period is 65536
 * clocks, 55 ms. Nothing but this file uses channel 0 (the TSC is measured with channel 2).
 *
 * Owns: channel 0 and its pin. Lock: hv_lock.
 */
#include "hv/watchdog.h"

#include "asm/cpu.h"
#include "asm/machine.h"
#include "hv/e820.h"
#include "hv/madt.h"
#include "hv/memory.h"
#include "hv/percpu.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/time.h"
#include "hw/apic.h"
#include "hw/ports.h"

#define LAST_NMI_MS 500U  /* until then one that comes after the end surprises nobody */
#define COUNT_POLLS 1000U /* reads of the count: some microseconds at least */

static struct {
    bool asked;
    bool usable;
    volatile uint8_t *ioapic;
    unsigned int pin;
    uint64_t entry; /* of its redirection table, but for the destination */
} watch;

static volatile bool armed;
static volatile uint64_t stopped_tsc;
static volatile unsigned int nmis;

static void start_counting(void)
{
    outb(PIT_MODE, PIT_MODE_CH0_RATE);
    outb(PIT_CH0, 0); /* 65536 */
    outb(PIT_CH0, 0);
}

static unsigned int read_count(void)
{
    unsigned int low;

    outb(PIT_MODE, PIT_MODE_CH0_LATCH);
    low = inb(PIT_CH0);
    return low | (unsigned int)inb(PIT_CH0) << 8;
}

/* False where nothing, or something else, is behind the ports. */
static bool pit_counts(void)
{
    unsigned int first, polls = 0;
    bool counts = false;

    start_counting();
    first = read_count();
    while (!counts && polls++ < COUNT_POLLS) {
        counts = read_count() != first;
    }
    watchdog_stop();
    return counts;
}

/* Fills `watch`; NULL or why it cannot. */
static const char *find(const struct boot_info *info)
{
    struct madt_pin pin;
    paddr_t page;
    const char *why;
    int rc = madt_isa_pin(info->rsdp, info->rsdp_bytes, physical_read, PIT_IRQ, &pin, &why);

    physical_done();
    if (rc != 0) {
        return why;
    }
    if (!apic_reaches(cpu_list->apic_id) || cpu_list->apic_id >= APIC_BROADCAST) {
        return "the I/O APIC does not reach this CPU";
    }
    if (pin.level) {
        return "the PIT's interrupt is level-triggered";
    }
    page = align_down(pin.ioapic, PAGE_SIZE);
    if (e820_is_ram(&memory_map, page, page + PAGE_SIZE)) {
        return "the I/O APIC would be RAM";
    }
    watch.ioapic = ioapic_map(pin.ioapic);
    if (watch.ioapic == NULL) {
        return "no memory to map the I/O APIC";
    }
    if (pin.pin >= ioapic_pins(watch.ioapic)) {
        return "the I/O APIC lacks the PIT's pin";
    }
    watch.pin = pin.pin;
    watch.entry = APIC_MODE_NMI << IOAPIC_RTE_MODE_SHIFT;
    watch.entry |= pin.active_low ? IOAPIC_RTE_ACTIVE_LOW : 0;
    ioapic_write_pin(watch.ioapic, watch.pin, IOAPIC_RTE_MASKED);
    return pit_counts() ? NULL : "the PIT does not count";
}

bool watchdog_prepare(const struct boot_info *info)
{
    const char *why;

    if (!watch.asked) {
        watch.asked = true;
        why = find(info);
        watch.usable = why == NULL;
        if (why != NULL) {
            printk("watchdog: no timer can watch an update: %s", why);
        }
    }
    return watch.usable;
}

void watchdog_arm(void)
{
    nmis = 0;
    armed = true;
    /* The pin stays masked until the output is high: no edge before the first period is over. */
    ioapic_write_pin(watch.ioapic, watch.pin, IOAPIC_RTE_MASKED);
    start_counting();
    ioapic_write_pin(watch.ioapic, watch.pin,
                     watch.entry | (uint64_t)this_cpu()->apic_id << IOAPIC_RTE_DEST_SHIFT);
}

/*
 * Mode 5 waits, with the output high, for a trigger that channel 0 does not have. A count is
 * written as well: KVM's timer runs on until then, and QEMU's does not wait for the trigger, so its
 * last NMI comes at once, and not in 55 ms.
 *
 * The pin is left as it is: an image that has not prepared anything calls this too.
 */
void watchdog_stop(void)
{
    stopped_tsc = tsc_read();
    armed = false;
    outb(PIT_MODE, PIT_MODE_CH0_STROBE);
    outb(PIT_CH0, 1);
    outb(PIT_CH0, 0);
}

void watchdog_take_over(void)
{
    nmis = 0;
    armed = true;
}

void watchdog_restart(void)
{
    if (armed) {
        start_counting();
    }
}

bool watchdog_nmi(void)
{
    nmis++;
    watchdog_restart(); /* KVM's PIT waits for an EOI before its next tick, or for a new count */
    return armed || tsc_read() - stopped_tsc < ms_to_tsc(LAST_NMI_MS);
}

unsigned int watchdog_nmis(void)
{
    return nmis;
}
