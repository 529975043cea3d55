/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local APIC and I/O APIC.
 */
#include "lib/apic.h"

#include "lib/bootinfo.h"
#include "lib/lib.h"
#include "lib/x86.h"

#define PIC1_MASK 0x21U
#define PIC2_MASK 0xa1U
#define IOAPIC_WINDOW 0x10U
#define IOAPIC_REDIRECTION 0x10U
#define XAPIC_ID_SHIFT 24

static bool x2;

static volatile uint32_t *page(uint32_t offset)
{
    return (volatile uint32_t *)(uintptr_t)(APIC_PAGE_PA + offset);
}

void apic_choose(void)
{
    char mode[8];

    outb(PIC1_MASK, 0xff);
    outb(PIC2_MASK, 0xff);
    cmdline_text("apic", mode, sizeof(mode), "xapic");
    x2 = strcmp(mode, "x2apic") == 0;
    if (x2 && (cpuid(1, 0).ecx & CPUID1_ECX_X2APIC) == 0) {
        damage("apic", "apic=x2apic, but CPUID does not show it");
    }
}

bool apic_is_x2(void)
{
    return x2;
}

uint32_t apic_read(uint32_t reg)
{
    return x2 ? (uint32_t)rdmsr(APIC_MSR(reg)) : *page(reg);
}

void apic_write(uint32_t reg, uint32_t value)
{
    if (x2) {
        wrmsr(APIC_MSR(reg), value);
    } else {
        *page(reg) = value;
    }
}

uint32_t apic_id(void)
{
    return x2 ? apic_read(APIC_ID) : apic_read(APIC_ID) >> XAPIC_ID_SHIFT;
}

void apic_init(void)
{
    uint64_t base = rdmsr(MSR_APIC_BASE);

    if (x2 && (base & APIC_BASE_EXTD) == 0) {
        wrmsr(MSR_APIC_BASE, base | APIC_BASE_EN | APIC_BASE_EXTD);
    }
    apic_write(APIC_SVR, APIC_SVR_ENABLE | APIC_SPURIOUS_VECTOR);
    apic_write(APIC_LVT_TIMER, APIC_MASKED);
    apic_write(APIC_LVT_LINT0, APIC_MASKED);
    apic_write(APIC_LVT_LINT1, APIC_MASKED);
    apic_write(APIC_LVT_ERROR, APIC_MASKED);
    apic_write(APIC_TPR, 0);
    if (!x2) {
        apic_write(APIC_DFR, APIC_DFR_FLAT);
        apic_write(APIC_LDR, 1U << (XAPIC_ID_SHIFT + apic_id()));
    }
    apic_write(APIC_ESR, 0);
}

void apic_eoi(void)
{
    apic_write(APIC_EOI, 0);
}

/* In x2APIC mode an IPI may overtake stores before it: SDM volume 3, "Interrupt Command Register in
 * x2APIC Mode". In xAPIC mode the two halves must not be torn apart by an interrupt that sends as
 * well. */
void apic_send(uint32_t destination, uint32_t icr_low)
{
    if (x2) {
        __asm__ volatile("mfence" ::: "memory");
        wrmsr(APIC_MSR(APIC_ICR), (uint64_t)destination << 32 | icr_low);
        return;
    }
    __asm__ volatile("pushfq\n\t"
                     "cli\n\t"
                     "movl %0, %1\n\t"
                     "movl %2, %3\n\t"
                     "popfq"
                     :
                     : "r"(destination << XAPIC_ID_SHIFT), "m"(*page(APIC_ICR_HIGH)), "r"(icr_low),
                       "m"(*page(APIC_ICR))
                     : "memory", "cc");
    while ((apic_read(APIC_ICR) & APIC_PENDING) != 0) {
        cpu_pause();
    }
}

bool apic_test(uint32_t map, unsigned int vector)
{
    return (apic_read(map + vector / 32 * 16) >> vector % 32 & 1) != 0;
}

void apic_timer_set(uint32_t mode, unsigned int vector, unsigned int divisor)
{
    uint32_t code = divisor == 1 ? 7 : (uint32_t)__builtin_ctz(divisor) - 1;

    apic_write(APIC_TMICT, 0);
    apic_write(APIC_TDCR, (code & 4) << 1 | (code & 3));
    apic_write(APIC_LVT_TIMER, mode | vector);
    if (mode == APIC_TIMER_DEADLINE) {
        /* SDM volume 3, "TSC-Deadline Mode": the entry in memory before the MSR. */
        __asm__ volatile("mfence" ::: "memory");
    }
}

bool apic_has_deadline(void)
{
    return (cpuid(1, 0).ecx & CPUID1_ECX_TSC_DEADLINE) != 0;
}

void apic_deadline(uint64_t tsc)
{
    wrmsr(MSR_TSC_DEADLINE, tsc);
}

static volatile uint32_t *ioapic(uint32_t offset)
{
    return (volatile uint32_t *)(uintptr_t)(IOAPIC_PAGE_PA + offset);
}

uint32_t ioapic_read(uint32_t reg)
{
    *ioapic(0) = reg;
    return *ioapic(IOAPIC_WINDOW);
}

void ioapic_write(uint32_t reg, uint32_t value)
{
    *ioapic(0) = reg;
    *ioapic(IOAPIC_WINDOW) = value;
}

void ioapic_route(unsigned int pin, uint64_t entry)
{
    ioapic_write(IOAPIC_REDIRECTION + 2 * pin, IOAPIC_MASKED);
    ioapic_write(IOAPIC_REDIRECTION + 2 * pin + 1, (uint32_t)(entry >> 32));
    ioapic_write(IOAPIC_REDIRECTION + 2 * pin, (uint32_t)entry);
}

uint64_t ioapic_entry(unsigned int pin)
{
    return (uint64_t)ioapic_read(IOAPIC_REDIRECTION + 2 * pin + 1) << 32 |
           ioapic_read(IOAPIC_REDIRECTION + 2 * pin);
}
