/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instructions on the pages of the local APIC and the I/O APIC, in the forms that molt emulates;
 * and the ones that must be a domain's end.
 */
#include "chaos/chaos.h"

#include "lib/apic.h"
#include "lib/bootinfo.h"
#include "lib/cpu.h"
#include "lib/molt.h"

#define GIB 0x40000000U
#define REGISTERS 64U
#define STATUS_FLAGS CHANGES(GPR_RFLAGS)

uint64_t apic_page(void)
{
    return rdmsr(MSR_APIC_BASE) & ~(uint64_t)(PAGE_SIZE - 1);
}

/* ModRM [rdi]: the register goes into bits 5:3; 2 to 7 of SIL, DIL are avoided with RSP. */
static unsigned int any_register(void)
{
    static const unsigned int usable[] = {GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSI};

    return usable[below(ARRAY_SIZE(usable))];
}

static void modrm(struct op *op, unsigned int reg)
{
    op_byte(op, (uint8_t)(reg << 3 | 7));
}

static void sized(struct op *op, unsigned int size)
{
    if (size == 2) {
        op_byte(op, 0x66);
    }
    if (size == 8 || size == 1) {
        op_byte(op, size == 8 ? 0x48 : 0x40); /* SIL and DIL, not DH and BH */
    }
}

static void mov_from(struct op *op, unsigned int size)
{
    unsigned int reg = any_register();

    sized(op, size);
    op_byte(op, size == 1 ? 0x8a : 0x8b);
    modrm(op, reg);
    op->changes = CHANGES(reg);
}

static void movx_from(struct op *op)
{
    static const char opcodes[] = {'\xb6', '\xb7', '\xbe', '\xbf'};
    unsigned int reg = any_register();

    op_byte(op, 0x0f);
    op_bytes(op, &opcodes[below(4)], 1);
    modrm(op, reg);
    op->changes = CHANGES(reg);
}

static void mov_to(struct op *op, unsigned int size, uint64_t value)
{
    unsigned int reg = any_register();

    gpr_in[reg] = value;
    sized(op, size);
    op_byte(op, size == 1 ? 0x88 : 0x89);
    modrm(op, reg);
}

static void mov_immediate(struct op *op, unsigned int size, uint64_t value)
{
    sized(op, size);
    op_byte(op, size == 1 ? 0xc6 : 0xc7);
    modrm(op, 0);
    op_word(op, value, size == 8 ? 4 : size);
}

static void xchg(struct op *op, unsigned int size, uint64_t value)
{
    unsigned int reg = any_register();

    gpr_in[reg] = value;
    sized(op, size);
    op_byte(op, size == 1 ? 0x86 : 0x87);
    modrm(op, reg);
    op->changes = CHANGES(reg);
}

static void stos(struct op *op, unsigned int size, uint64_t value)
{
    gpr_in[GPR_RAX] = value;
    gpr_in[GPR_RFLAGS] &= ~FLAG_DF;
    sized(op, size);
    op_byte(op, size == 1 ? 0xaa : 0xab);
    op->changes = CHANGES(GPR_RDI);
}

/* AND, OR, XOR, CMP with a register or an immediate of eight bits; TEST. */
static void logic(struct op *op, unsigned int size, bool write)
{
    static const uint8_t rows[] = {0x08, 0x20, 0x30};
    static const uint8_t digits[] = {1, 4, 6, 7};

    sized(op, size);
    switch (below(write ? 3 : 5)) {
    case 0: /* to memory when it may be, else from it */
    case 1:
        op_byte(op, (uint8_t)(rows[below(3)] + (write ? 0 : 2) + (size == 1 ? 0 : 1)));
        modrm(op, any_register());
        op->changes = CHANGES_A_TO_D | CHANGES(GPR_RSI);
        break;
    case 2:
        op_byte(op, size == 1 ? 0x80 : 0x83);
        modrm(op, write ? digits[below(3)] : 7);
        op_byte(op, (uint8_t)any64());
        break;
    case 3:
        op_byte(op, (uint8_t)((below(2) != 0 ? 0x38 : 0x3a) + (size == 1 ? 0 : 1)));
        modrm(op, any_register());
        break;
    default:
        op_byte(op, size == 1 ? 0x84 : 0x85);
        modrm(op, any_register());
        break;
    }
    op->changes |= STATUS_FLAGS;
}

/* Registers where any value does: not those with a vector, which is tamed, and not ICR. */
static bool takes_anything(uint32_t offset)
{
    static const uint32_t fine[] = {APIC_ID,    APIC_VERSION, APIC_TPR,      APIC_PPR, APIC_EOI,
                                    APIC_LDR,   APIC_DFR,     APIC_ESR,      APIC_ISR, APIC_IRR,
                                    APIC_TMICT, APIC_TMCCT,   APIC_ICR_HIGH, APIC_TDCR};

    for (size_t i = 0; i < ARRAY_SIZE(fine); i++) {
        if (offset == fine[i]) {
            return true;
        }
    }
    return offset % 16 != 0;
}

void op_mmio(struct op *op)
{
    unsigned int size = below(3) != 0 ? 4 : 1U << below(4);
    bool lapic = below(4) != 0;
    uint32_t offset = below(4) == 0 ? below(PAGE_SIZE - 8) : below(REGISTERS) * 16;
    uint64_t value;

    if (lapic && below(2) != 0) {
        static const uint32_t used[] = {APIC_TPR, APIC_EOI,       APIC_SVR,   APIC_ICR,
                                        APIC_ICR, APIC_LVT_TIMER, APIC_TMICT, APIC_LVT_ERROR};

        offset = used[below(ARRAY_SIZE(used))];
    }
    if (!lapic && below(4) != 0) {
        static const uint32_t used[] = {0, 0x10, 0x40};

        offset = used[below(ARRAY_SIZE(used))];
    }
    value = lapic ? apic_value(offset, any64()) : tame_apic(any64());
    op->name = "MMIO";
    gpr_in[GPR_RDI] = (lapic ? apic_page() : IOAPIC_PAGE_PA) + offset;
    switch (below(8)) {
    case 0:
    case 1:
        mov_from(op, size);
        break;
    case 2:
        movx_from(op);
        break;
    case 3:
        logic(op, size, lapic && takes_anything(offset));
        break;
    case 4:
        mov_to(op, size, value);
        break;
    case 5:
        mov_immediate(op, size, value);
        break;
    case 6:
        xchg(op, size, value);
        break;
    default:
        stos(op, size, value);
        break;
    }
    op->raises = RAISES(VEC_AC);
}

/* ---- what must end the domain ---- */

static void read_hole(void)
{
    (void)*(volatile uint32_t *)(uintptr_t)(3 * (uint64_t)GIB + below(GIB / 2));
}

static void write_hole(void)
{
    *(volatile uint64_t *)(uintptr_t)(3 * (uint64_t)GIB + below(GIB / 2)) = any64();
}

static void run_hole(void)
{
    ((void (*)(void))(uintptr_t)(3 * (uint64_t)GIB + below(GIB / 2)))();
}

static void tables_in_hole(void)
{
    write_cr3(3 * (uint64_t)GIB + below(GIB / 2) / PAGE_SIZE * PAGE_SIZE);
}

static void run_apic(void)
{
    ((void (*)(void))(uintptr_t)(APIC_PAGE_PA + below(PAGE_SIZE)))();
}

static void add_to_apic(void)
{
    __asm__ volatile("lock incl (%0)" ::"r"((uint64_t)APIC_PAGE_PA + APIC_TPR) : "memory", "cc");
}

static void push_apic(void)
{
    __asm__ volatile("pushq (%0)" ::"r"((uint64_t)APIC_PAGE_PA + APIC_TPR) : "memory", "cc");
}

static void across_apic(void)
{
    *(volatile uint32_t *)(uintptr_t)(IOAPIC_PAGE_PA + PAGE_SIZE - 2) = 1;
}

_Noreturn void hole_end(void)
{
    static void (*const ways[])(void) = {read_hole, write_hole,  run_hole,  tables_in_hole,
                                         run_apic,  add_to_apic, push_apic, across_apic};
    unsigned int way = (unsigned int)cmdline_number("way", below(ARRAY_SIZE(ways)));

    wrmsr(MSR_APIC_BASE, APIC_PAGE_PA | APIC_BASE_BSP); /* off: whatever mode it is in */
    wrmsr(MSR_APIC_BASE, APIC_PAGE_PA | APIC_BASE_BSP | APIC_BASE_EN);
    print("chaos: way %u\n", way);
    console_drain();
    ways[way % ARRAY_SIZE(ways)]();
    damage("chaos", "survived way %u", way);
}
