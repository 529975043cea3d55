/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other CPUs of a 64-bit payload.
 *
 * Each has a block with everything that is its own, aligned to its size, so a CPU knows itself by
 * its stack pointer: the first one's stacks lie outside.
 */
#include "lib/smp.h"

#include "lib/apic.h"
#include "lib/clock.h"
#include "lib/cpu.h"
#include "lib/lib.h"
#include "lib/molt.h"
#include "lib/x86.h"

#define BLOCK_BYTES 65536U
#define STACK_BYTES 16384U
#define INIT_GAP_US 100U
#define WAIT_MS 10000U
#define YIELD_EVERY 64U

struct block {
    struct cpu_tables tables;
    char trap_stack[STACK_BYTES] __attribute__((aligned(16)));
    char ist_stack[STACK_BYTES] __attribute__((aligned(16)));
    char stack[STACK_BYTES] __attribute__((aligned(16)));
} __attribute__((aligned(BLOCK_BYTES)));

_Static_assert(sizeof(struct block) == BLOCK_BYTES, "a CPU finds its block by its stack pointer");

/* What the others see of a CPU. */
struct slot {
    volatile uint32_t online; /* starts so far */
    volatile uint32_t busy;
    void (*volatile fn)(void *);
    void *volatile arg;
};

extern char smp_trampoline[], smp_trampoline_end[];
extern uint64_t smp_boot_cr3;
extern uint64_t smp_boot_stack;
_Noreturn void smp_entry(void);

unsigned int smp_count = 1;
static struct block blocks[SMP_MAX - 1];
static struct slot slots[SMP_MAX];

unsigned int smp_self(void)
{
    uintptr_t rsp = (uintptr_t)__builtin_frame_address(0);
    uintptr_t first = (uintptr_t)blocks;

    return rsp < first || rsp >= first + sizeof(blocks)
               ? 0
               : 1 + (unsigned int)((rsp - first) / BLOCK_BYTES);
}

void smp_relax(void)
{
    static volatile uint32_t turns[SMP_MAX];
    unsigned int cpu = smp_self();

    cpu_pause();
    if (smp_count > 1 && ++turns[cpu] % YIELD_EVERY == 0 && molt_present()) {
        (void)molt_call(HC_YIELD, 0, 0, 0, 0);
    }
}

void smp_wait(const volatile uint32_t *what, uint32_t value, const char *text)
{
    uint64_t until = rdtsc() + WAIT_MS * clock_khz();

    while (*what != value) {
        if (rdtsc() > until) {
            damage("smp", "CPU %u: %s: %u after %u ms, expected %u", smp_self(), text, *what,
                   WAIT_MS, value);
        }
        smp_relax();
    }
}

_Noreturn void smp_entry(void)
{
    unsigned int cpu = smp_self();
    struct block *b = &blocks[cpu - 1];
    struct slot *slot = &slots[cpu];

    cpu_init_other(&b->tables, b->trap_stack + STACK_BYTES, b->ist_stack + STACK_BYTES);
    __atomic_store_n(&slot->online, slot->online + 1, __ATOMIC_SEQ_CST);
    for (;;) {
        while (__atomic_load_n(&slot->busy, __ATOMIC_ACQUIRE) == 0) {
            smp_relax();
        }
        slot->fn(slot->arg);
        __asm__ volatile("cli" ::: "memory");
        __atomic_store_n(&slot->busy, 0, __ATOMIC_RELEASE);
    }
}

void smp_init_signal(unsigned int cpu)
{
    apic_send(cpu, APIC_INIT | APIC_ASSERT);
}

void smp_start_up(unsigned int cpu)
{
    struct slot *slot = &slots[cpu];
    uint32_t before = slot->online;

    slot->busy = 0;
    smp_boot_cr3 = read_cr3();
    smp_boot_stack = (uintptr_t)blocks[cpu - 1].stack + STACK_BYTES;
    memcpy((void *)(uintptr_t)SMP_TRAMPOLINE_PA, smp_trampoline,
           (size_t)(smp_trampoline_end - smp_trampoline));
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    apic_send(cpu, APIC_SIPI | SMP_TRAMPOLINE_VECTOR);
    smp_wait(&slot->online, before + 1, "starts");
}

void smp_restart(unsigned int cpu, uint64_t gap_us)
{
    smp_init_signal(cpu);
    clock_spin_us(gap_us);
    smp_start_up(cpu);
}

void smp_start(unsigned int count)
{
    if (count > SMP_MAX) {
        damage("smp", "%u CPUs asked for, at most %u are possible", count, SMP_MAX);
    }
    for (unsigned int cpu = 1; cpu < count; cpu++) {
        smp_restart(cpu, INIT_GAP_US);
        smp_count = cpu + 1;
    }
}

void smp_run(unsigned int cpu, void (*fn)(void *), void *arg)
{
    struct slot *slot = &slots[cpu];

    slot->fn = fn;
    slot->arg = arg;
    __atomic_store_n(&slot->busy, 1, __ATOMIC_RELEASE);
}

bool smp_busy(unsigned int cpu)
{
    return __atomic_load_n(&slots[cpu].busy, __ATOMIC_ACQUIRE) != 0;
}

void smp_join(unsigned int cpu)
{
    smp_wait(&slots[cpu].busy, 0, "busy");
}

void smp_join_all(void)
{
    for (unsigned int cpu = 1; cpu < smp_count; cpu++) {
        smp_join(cpu);
    }
}
