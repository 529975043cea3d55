/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local APIC of the host: messages between CPUs, the timer of an idle CPU, end of interrupt.
 *
 * molt wants two vectors, a kick and the timer, and takes and acknowledges any other, so that what
 * the firmware left pending is gone after its first delivery. Interrupts are off in all of molt but
 * cpu_halt(); a guest is left for them.
 *
 * SDM volume 3, "Local APIC", "Extended XAPIC (x2APIC)", "APIC Timer".
 */
#include "hv/smp.h"

#include "asm/cpu.h"
#include "asm/machine.h"
#include "asm/traps.h"
#include "hv/cmdline.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/time.h"
#include "hw/apic.h"
#include "hw/cpuid.h"
#include "hw/x86.h"

#define VECTOR_WORDS 8U
#define MEASURE_MIN_TSC 0x100000UL
#define TIMER_MAX_TSC 0x7fffffffUL /* armed at most: a product with the ratio fits 64 bits */
#define TIMER_MIN_US 20U           /* armed at least: it repeats until it is disarmed */
#define RATIO_SHIFT 32
#define HALT_SPINS 64

static enum { MODE_NONE, MODE_XAPIC, MODE_X2APIC } mode;
static volatile uint8_t *registers; /* MODE_XAPIC */
static uint64_t registers_pa;
static bool has_deadline;
/* Without a TSC deadline: timer ticks per TSC cycle, times 2^RATIO_SHIFT; 0: not known yet. */
static uint64_t timer_ratio;

static uint32_t read_reg(uint32_t offset)
{
    if (mode == MODE_X2APIC) {
        return (uint32_t)rdmsr(MSR_X2APIC_FIRST + offset / APIC_REGISTER_STEP);
    }
    return *(volatile uint32_t *)(registers + offset);
}

static void write_reg(uint32_t offset, uint32_t value)
{
    if (mode == MODE_X2APIC) {
        wrmsr(MSR_X2APIC_FIRST + offset / APIC_REGISTER_STEP, value);
    } else {
        *(volatile uint32_t *)(registers + offset) = value;
    }
}

/* A WRMSR to the x2APIC or to the deadline does not wait for earlier stores; SDM volume 3, "MSR
 * Access in x2APIC Mode". */
static void fence(void)
{
    __asm__ volatile("mfence; lfence" ::: "memory");
}

static void send(uint32_t id, uint32_t command)
{
    if (mode == MODE_X2APIC) {
        fence();
        wrmsr(MSR_X2APIC_FIRST + APIC_ICR_LOW / APIC_REGISTER_STEP,
              (uint64_t)id << APIC_ICR_HIGH_SHIFT | command);
        return;
    }
    while (read_reg(APIC_ICR_LOW) & APIC_ICR_PENDING) {
        cpu_pause();
    }
    write_reg(APIC_ICR_HIGH, id << APIC_XAPIC_ID_SHIFT);
    write_reg(APIC_ICR_LOW, command);
}

/* Ends what was being served when the firmware or an earlier image let go of the CPU. */
static void end_all(void)
{
    for (unsigned int i = 0; i < VECTOR_WORDS; i++) {
        uint32_t in_service = read_reg(APIC_ISR + i * APIC_REGISTER_STEP);

        for (; in_service != 0; in_service &= in_service - 1) {
            write_reg(APIC_EOI, 0);
        }
    }
}

static void mask_sources(void)
{
    static const uint32_t optional[] = {APIC_LVT_PERF, APIC_LVT_THERMAL, APIC_LVT_CMCI};
    uint32_t last = read_reg(APIC_VERSION) >> APIC_VERSION_MAX_LVT_SHIFT & APIC_LVT_VECTOR;

    write_reg(APIC_LVT_LINT0, APIC_LVT_MASKED);
    write_reg(APIC_LVT_LINT1, APIC_LVT_MASKED);
    write_reg(APIC_LVT_ERROR, APIC_LVT_MASKED);
    /* Four entries are always there: timer, LINT0, LINT1, error. */
    for (uint32_t i = 0; i < ARRAY_SIZE(optional) && last >= 4 + i; i++) {
        write_reg(optional[i], APIC_LVT_MASKED);
    }
}

static void timer_init(void)
{
    write_reg(APIC_TMICT, 0);
    if (has_deadline) {
        write_reg(APIC_LVT_TIMER, APIC_TIMER_DEADLINE | VECTOR_TIMER);
        fence(); /* SDM volume 3, "TSC-Deadline Mode" */
        wrmsr(MSR_TSC_DEADLINE, 0);
        return;
    }
    /* Counts masked until cpu_halt() wants to know how fast. */
    write_reg(APIC_TDCR, APIC_TDCR_128);
    write_reg(APIC_LVT_TIMER, APIC_LVT_MASKED | VECTOR_TIMER);
    write_reg(APIC_TMICT, UINT32_MAX);
    this_arch()->timer_from = rdtsc();
}

static void set_up(void)
{
    write_reg(APIC_SVR, APIC_SVR_ENABLE | VECTOR_SPURIOUS);
    write_reg(APIC_TPR, 0);
    mask_sources();
    timer_init();
    write_reg(APIC_ESR, 0);
    end_all();
    this_cpu()->apic_id = apic_id();
}

/* Into the mode; never out of x2APIC, and never off. */
static void enter_mode(void)
{
    uint64_t base = rdmsr(MSR_APIC_BASE);

    if (!(base & APIC_BASE_EN)) {
        base |= APIC_BASE_EN; /* a step of its own before EXTD */
        wrmsr(MSR_APIC_BASE, base);
    }
    if (mode == MODE_X2APIC && !(base & APIC_BASE_EXTD)) {
        wrmsr(MSR_APIC_BASE, base | APIC_BASE_EXTD);
    }
    if (mode == MODE_XAPIC && (base & APIC_BASE_ADDR) != registers_pa) {
        wrmsr(MSR_APIC_BASE, (base & ~APIC_BASE_ADDR) | registers_pa);
    }
}

static bool wants_xapic(const char *cmdline)
{
    struct str_span v;

    return cmdline_get(cmdline, "apic", &v) && span_eq(v, "xapic");
}

void apic_init(const char *cmdline)
{
    struct cpuid_regs features = cpuid(1, 0);
    uint64_t base;

    if (!(features.edx & CPUID_1_EDX_APIC)) {
        printk("apic: this CPU has none that is on");
        return;
    }
    base = rdmsr(MSR_APIC_BASE);
    has_deadline = features.ecx & CPUID_1_ECX_TSC_DEADLINE;
    if ((base & APIC_BASE_EXTD) || ((features.ecx & CPUID_1_ECX_X2APIC) && !wants_xapic(cmdline))) {
        mode = MODE_X2APIC;
    } else {
        registers_pa = base & APIC_BASE_ADDR;
        registers = map_registers(registers_pa);
        if (registers == NULL) {
            panic("apic: no memory to map it");
        }
        mode = MODE_XAPIC;
    }
    enter_mode();
    set_up();
}

bool apic_init_other(void)
{
    bool x2apic = rdmsr(MSR_APIC_BASE) & APIC_BASE_EXTD;

    if ((mode == MODE_X2APIC && !(cpuid(1, 0).ecx & CPUID_1_ECX_X2APIC)) ||
        (mode == MODE_XAPIC && x2apic) ||
        (has_deadline && !(cpuid(1, 0).ecx & CPUID_1_ECX_TSC_DEADLINE))) {
        return false;
    }
    enter_mode();
    set_up();
    return true;
}

uint32_t apic_id(void)
{
    uint32_t id = read_reg(APIC_ID);

    return mode == MODE_X2APIC ? id : id >> APIC_XAPIC_ID_SHIFT;
}

const char *apic_mode_name(void)
{
    static const char *const names[] = {"no APIC", "xAPIC", "x2APIC"};

    return names[mode];
}

bool apic_reaches(uint32_t id)
{
    return mode == MODE_X2APIC ? id != X2APIC_BROADCAST : mode == MODE_XAPIC && id < APIC_BROADCAST;
}

void apic_send_init(uint32_t id)
{
    send(id, APIC_MODE_INIT << APIC_ICR_MODE_SHIFT | APIC_ICR_ASSERT);
}

void apic_send_sipi(uint32_t id, uint8_t page)
{
    send(id, APIC_MODE_SIPI << APIC_ICR_MODE_SHIFT | APIC_ICR_ASSERT | page);
}

void cpu_nmi(struct percpu *cpu)
{
    if (mode != MODE_NONE) {
        send(cpu->apic_id, APIC_MODE_NMI << APIC_ICR_MODE_SHIFT | APIC_ICR_ASSERT);
    }
}

void apic_stop_others(void)
{
    for_each_cpu(cpu) {
        if (cpu != this_cpu()) {
            cpu_nmi(cpu);
        }
    }
}

void apic_handled(uint32_t vector)
{
    /* A spurious interrupt is not in service; SDM volume 3, "Spurious Interrupt". */
    if (vector != VECTOR_SPURIOUS) {
        write_reg(APIC_EOI, 0);
    }
}

void cpu_kick(struct percpu *cpu)
{
    send(cpu->apic_id, APIC_MODE_FIXED << APIC_ICR_MODE_SHIFT | APIC_ICR_ASSERT | VECTOR_KICK);
}

/* How fast the timer runs, from what it has counted since set_up(). False: not long enough yet. */
static bool measure_timer(void)
{
    uint64_t cycles = rdtsc() - this_arch()->timer_from;
    uint32_t left = read_reg(APIC_TMCCT);

    if (left == 0) { /* ran out meanwhile */
        timer_init();
        return false;
    }
    if (cycles < MEASURE_MIN_TSC) {
        return false;
    }
    timer_ratio = MIN(((uint64_t)(UINT32_MAX - left) << RATIO_SHIFT) / cycles, UINT32_MAX);
    return timer_ratio != 0;
}

/*
 * Without a deadline the timer repeats until it is disarmed, since QEMU's emulation may lose an
 * interrupt that comes at the very moment of a VMRUN with a virtual interrupt (its request bits are
 * written by two threads): a guest that never exits by itself would then have its CPU for ever.
 */
bool apic_timer_arm(uint64_t until_tsc)
{
    uint64_t now = rdtsc(), cycles;

    if (until_tsc <= now) {
        return false;
    }
    if (has_deadline) {
        wrmsr(MSR_TSC_DEADLINE, until_tsc);
        return true;
    }
    if (timer_ratio == 0 && !measure_timer()) {
        return false;
    }
    cycles = MAX(MIN(until_tsc - now, TIMER_MAX_TSC), us_to_tsc(TIMER_MIN_US));
    write_reg(APIC_LVT_TIMER, APIC_TIMER_PERIODIC | VECTOR_TIMER);
    write_reg(APIC_TMICT, (uint32_t)MAX(cycles * timer_ratio >> RATIO_SHIFT, 1));
    return true;
}

void apic_timer_disarm(void)
{
    if (has_deadline) {
        wrmsr(MSR_TSC_DEADLINE, 0);
    } else {
        write_reg(APIC_TMICT, 0);
    }
}

void cpu_halt(uint64_t until_tsc)
{
    bool timed = until_tsc != UINT64_MAX;

    if (mode == MODE_NONE || (timed && !apic_timer_arm(until_tsc))) {
        for (int i = 0; i < HALT_SPINS; i++) {
            cpu_pause();
        }
        return;
    }
    /* Interrupts are taken after the instruction behind STI at the earliest: a kick that came
     * before this ends the HLT at once. */
    __asm__ volatile("sti; hlt; cli" ::: "memory");
    if (timed) {
        apic_timer_disarm();
    }
}
