/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptor tables, exceptions and C entry of the 32-bit payload.
 */
#include "lib/cpu32.h"

#include "lib/bootinfo.h"
#include "lib/clock.h"
#include "lib/x86.h"

#define TYPE_CODE 0x9b
#define TYPE_DATA 0x93
#define TYPE_TSS 0x89
#define TYPE_LDT 0x82
#define FLAGS_FLAT 0xc /* 4 KiB units, 32 bit */
#define GATE_INTERRUPT 0x8e00U
#define DR6_CLEAR 0xffff0ff0U

struct trap32_frame {
    uint32_t edi, esi, ebp, esp, ebx, edx, ecx, eax;
    uint32_t vector, error;
    uint32_t eip, cs, eflags;
};

extern const uint32_t trap32_entries[32];
void trap32_handle(struct trap32_frame *frame);

uint64_t gdt32[GDT32_ENTRIES] __attribute__((aligned(8)));
static uint64_t idt32[32] __attribute__((aligned(8)));
static uint64_t ldt32[2] __attribute__((aligned(8)));
static uint32_t tss32[26] __attribute__((aligned(128)));

/* Where an access that may fault goes on, 0 when none is expected. */
static volatile uint32_t fixup;
static volatile uint32_t fixup_vector;
static volatile uint32_t hits;

uint64_t descriptor32(uint32_t base, uint32_t limit, uint8_t type, uint8_t flags)
{
    uint64_t b = base;
    uint64_t l = limit;

    return (l & 0xffffU) | (b & 0xffffffU) << 16 | (uint64_t)type << 40 | (l >> 16 & 0xfU) << 48 |
           (uint64_t)flags << 52 | (b >> 24) << 56;
}

void trap32_handle(struct trap32_frame *frame)
{
    if (frame->vector == VEC_DB) {
        hits = hits | read_dr6();
        write_dr6(DR6_CLEAR);
        return;
    }
    if (fixup != 0) {
        fixup_vector = frame->vector;
        frame->eip = fixup;
        fixup = 0;
        return;
    }
    damage("trap", "unexpected vector %u, error 0x%x, at 0x%x", frame->vector, frame->error,
           frame->eip);
}

uint32_t debug_hits(void)
{
    uint32_t h = hits;

    hits = 0;
    return h;
}

#define READ_SEGMENT(name, segment)                               \
    bool name(uint32_t offset, uint32_t *value, uint32_t *vector) \
    {                                                             \
        uint32_t v = 0;                                           \
                                                                  \
        fixup_vector = UINT32_MAX;                                \
        __asm__ volatile("movl $1f, %1\n\t"                       \
                         "movl %%" segment ":(%2), %0\n"          \
                         "1:\n\t"                                 \
                         "movl $0, %1"                            \
                         : "+&r"(v), "+m"(fixup)                  \
                         : "r"(offset)                            \
                         : "memory");                             \
        *value = v;                                               \
        *vector = fixup_vector;                                   \
        return fixup_vector == UINT32_MAX;                        \
    }

READ_SEGMENT(read_fs, "fs")
READ_SEGMENT(read_gs, "gs")

void cpu32_init(void)
{
    struct table_ptr gdtr = {sizeof(gdt32) - 1, (uintptr_t)gdt32};
    struct table_ptr idtr = {sizeof(idt32) - 1, (uintptr_t)idt32};

    gdt32[SEL32_CODE / 8] = descriptor32(0, 0xfffff, TYPE_CODE, FLAGS_FLAT);
    gdt32[SEL32_DATA / 8] = descriptor32(0, 0xfffff, TYPE_DATA, FLAGS_FLAT);
    gdt32[SEL32_TSS / 8] = descriptor32((uintptr_t)tss32, sizeof(tss32) - 1, TYPE_TSS, 0);
    gdt32[SEL32_LDT / 8] = descriptor32((uintptr_t)ldt32, sizeof(ldt32) - 1, TYPE_LDT, 0);
    ldt32[0] = gdt32[SEL32_DATA / 8];
    for (unsigned int i = 0; i < ARRAY_SIZE(idt32); i++) {
        uint32_t entry = trap32_entries[i];

        idt32[i] = (entry & 0xffffU) | (uint64_t)SEL32_CODE << 16 | (uint64_t)GATE_INTERRUPT << 32 |
                   (uint64_t)(entry >> 16) << 48;
    }
    __asm__ volatile("lgdt %0\n\t"
                     "lidt %1\n\t"
                     "ljmp %2, $1f\n"
                     "1:\n\t"
                     "mov %3, %%ds\n\t"
                     "mov %3, %%es\n\t"
                     "mov %3, %%ss\n\t"
                     "ltr %w4\n\t"
                     "lldt %w5"
                     :
                     : "m"(gdtr), "m"(idtr), "i"(SEL32_CODE), "r"(SEL32_DATA), "r"(SEL32_TSS),
                       "r"(SEL32_LDT)
                     : "memory");
    write_cr0(CR0_PE | CR0_ET | CR0_NE | CR0_MP);
    write_cr4(CR4_OSFXSR | CR4_OSXMMEXCPT);
    __asm__ volatile("fninit");
}

_Noreturn void guest_entry(uint32_t magic, uint32_t info)
{
    console_init();
    cpu32_init();
    boot_parse(magic, info);
    clock_init();
    guest_exit((uint32_t)guest_main());
}
