/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random numbers and addresses; CPUID, MSRs, ports.
 */
#include "chaos/chaos.h"

#include "lib/apic.h"
#include "lib/bootinfo.h"
#include "lib/clock.h"
#include "lib/cpu.h"
#include "lib/molt.h"
#include "lib/uart.h"

#define NON_CANONICAL 0x0000800000000000U
#define APIC_PAGES 16U /* where its page may be put */
#define PORT_RESET 0xcf9U
#define PORT_SLEEP 0x600U
#define MSR_CLOCK_FIRST 0x4b564d00U
#define MSR_CLOCK_LAST 0x4b564d01U
#define MSR_ICR APIC_MSR(APIC_ICR)

uint32_t below(uint32_t n)
{
    return (uint32_t)(rand64(&chaos_random) >> 16) % n;
}

uint64_t any64(void)
{
    uint64_t v = rand64(&chaos_random);

    switch (below(6)) {
    case 0:
        return v & 0xff;
    case 1:
        return BIT64(below(64));
    case 2:
        return ~BIT64(below(64));
    case 3:
        return v & rand64(&chaos_random) & rand64(&chaos_random);
    case 4:
        return v & UINT32_MAX;
    default:
        return v;
    }
}

uint64_t scratch_address(uint32_t bytes)
{
    return (uintptr_t)scratch + below(SCRATCH_BYTES - bytes);
}

uint64_t bad_address(void)
{
    return (below(2) != 0 ? UNMAPPED_VA : NON_CANONICAL) + below(1 << 20);
}

uint64_t any_address(void)
{
    return below(4) == 0 ? bad_address() : scratch_address(64);
}

void op_byte(struct op *op, uint8_t byte)
{
    op->bytes[op->length++] = byte;
}

void op_bytes(struct op *op, const char *bytes, unsigned int n)
{
    memcpy(op->bytes + op->length, bytes, n);
    op->length += n;
}

void op_word(struct op *op, uint64_t value, unsigned int n)
{
    op_bytes(op, (const char *)&value, n);
}

/* ---- CPUID ---- */

void op_cpuid(struct op *op)
{
    static const uint32_t bases[] = {0,          0,          0x40000000, 0x40000010,
                                     0x40000100, 0x80000000, 0x80860000, 0xc0000000};

    op->name = "CPUID";
    op_bytes(op, "\x0f\xa2", 2);
    op->changes = CHANGES_A_TO_D;
    if (below(8) != 0) {
        gpr_in[GPR_RAX] = (gpr_in[GPR_RAX] & ~(uint64_t)UINT32_MAX) |
                          (bases[below(ARRAY_SIZE(bases))] + below(0x30));
    }
    if (below(4) != 0) {
        gpr_in[GPR_RCX] = below(0x40);
    }
}

/* ---- MSRs ---- */

/* Where there are MSRs: [first, last]. */
static const struct {
    uint32_t first;
    uint32_t last;
} msrs[] = {
    {0x0, 0x1f},          {0x1b, 0x1b},         {0x10, 0x10},         {0x34, 0x4f},
    {0x79, 0xff},         {0x10a, 0x150},       {0x174, 0x1af},       {0x1b0, 0x1ff},
    {0x1d9, 0x1d9},       {0x200, 0x2ff},       {0x277, 0x277},       {0x300, 0x3ff},
    {0x400, 0x48f},       {0x490, 0x4ff},       {0x560, 0x5ff},       {0x600, 0x6ff},
    {0x6e0, 0x6e0},       {0x800, 0x83f},       {0x800, 0x8ff},       {0xc80, 0xdff},
    {0x40000000, 0x400000ff}, {0x4b564d00, 0x4b564d08}, {0xc0000080, 0xc0000084},
    {0xc0000100, 0xc0000103}, {0xc0000080, 0xc00001ff}, {0xc0010000, 0xc001011f},
    {0xc0011000, 0xc0011030},
    {0x830, 0x83f}, {0x808, 0x80f}, {0x830, 0x830},
};

static uint32_t any_msr(void)
{
    size_t i = below(ARRAY_SIZE(msrs));

    return below(6) == 0 ? (uint32_t)any64()
                         : msrs[i].first + below(msrs[i].last - msrs[i].first + 1);
}

uint64_t tame_apic(uint64_t value)
{
    uint64_t mode = value & APIC_MODE;

    if (mode == APIC_INIT || mode == APIC_SIPI) {
        value &= ~(uint64_t)APIC_MODE;
    }
    if ((value & 0xf0) == 0x10) {
        value |= 0x20;
    }
    return value;
}

uint64_t apic_value(uint32_t reg, uint64_t value)
{
    value = tame_apic(value);
    if (reg == APIC_SVR && below(4) != 0) {
        value |= APIC_SVR_ENABLE;
    }
    if (reg == APIC_ICR && below(2) != 0) {
        value = APIC_TO_SELF | (value & 0xff);
    }
    if (reg == APIC_TMICT && below(2) != 0) {
        value &= 0xffff;
    }
    if (reg == APIC_LVT_TIMER && below(2) != 0) {
        value &= ~(uint64_t)APIC_MASKED;
    }
    return value;
}

static uint64_t msr_value(uint32_t index)
{
    static const uint64_t bases[] = {0, APIC_BASE_EN, APIC_BASE_EN | APIC_BASE_EXTD,
                                     APIC_BASE_EXTD};
    uint64_t v = any64();

    if (index >= MSR_CLOCK_FIRST && index <= MSR_CLOCK_LAST) {
        /* A structure that molt fills, and the second one again whenever the TSC is written. */
        return below(8) == 0 ? v | BIT64(40)
                             : scratch_address(64) & ~(uint64_t)(below(8) == 0 ? 0 : 3);
    }
    if (index == MSR_APIC_BASE) { /* the modes, reserved bits, other places */
        v = below(4) != 0 ? bases[below(ARRAY_SIZE(bases))] : v & 0xfff;
        return v | (APIC_PAGE_PA + (below(4) == 0 ? below(APIC_PAGES) * PAGE_SIZE : 0)) |
               (below(16) == 0 ? BIT64(40 + below(24)) : 0);
    }
    if (index >= APIC_MSR(0) && index < APIC_MSR(APIC_REGISTERS_END)) {
        return apic_value((index - APIC_MSR(0)) * 16, below(2) != 0 ? v & UINT32_MAX : v);
    }
    if (index == MSR_TSC_DEADLINE && below(2) != 0) {
        return rdtsc() + below(100000);
    }
    if (index == MSR_PAT && below(2) != 0) { /* UC, WC, WT, WP, WB, UC- */
        static const uint8_t types[] = {0, 1, 4, 5, 6, 7};

        for (unsigned int i = 0; i < 64; i += 8) {
            v = (v & ~((uint64_t)0xff << i)) | (uint64_t)types[below(ARRAY_SIZE(types))] << i;
        }
    }
    return v;
}

/* The high half of RCX does not count; QEMU's SVM takes it as well to look for the permission, and
 * then lets the guest at any MSR of the host. */
static void set_msr_index(uint32_t index)
{
    gpr_in[GPR_RCX] = (cpu_is_exact() ? gpr_in[GPR_RCX] & ~(uint64_t)UINT32_MAX : 0) | index;
}

void op_rdmsr(struct op *op)
{
    op->name = "RDMSR";
    op_bytes(op, "\x0f\x32", 2);
    op->changes = CHANGES(GPR_RAX) | CHANGES(GPR_RDX);
    op->raises = RAISES(VEC_GP);
    set_msr_index(any_msr());
}

void op_wrmsr(struct op *op)
{
    uint32_t index = any_msr();
    uint64_t value = msr_value(index);

    op->name = "WRMSR";
    op_bytes(op, "\x0f\x30", 2);
    op->raises = RAISES(VEC_GP);
    set_msr_index(index);
    gpr_in[GPR_RAX] = (gpr_in[GPR_RAX] & ~(uint64_t)UINT32_MAX) | (value & UINT32_MAX);
    gpr_in[GPR_RDX] = (gpr_in[GPR_RDX] & ~(uint64_t)UINT32_MAX) | value >> 32;
}

bool op_writes_tsc(const struct op *op)
{
    return op->bytes[0] == 0x0f && op->bytes[1] == 0x30 && (uint32_t)gpr_in[GPR_RCX] == MSR_TSC;
}

/* ---- ports ---- */

static uint16_t any_port(bool out)
{
    static const uint16_t known[] = {
        COM1, COM1 + 1, COM1 + 2, COM1 + 3, COM1 + 4, COM1 + 5, COM1 + 6, COM1 + 7, 0x20,
        0x21, 0x40,     0x43,     0x60,     0x61,     0x64,     0x70,     0x71,     0x80,
        0xa0, 0xa1,     0xcf8,    0xcfc,    0x601,    0x602,    0x2f8,    0x510,    HC_DOOR_PORT};

    for (;;) {
        uint16_t port = below(2) != 0 ? known[below(ARRAY_SIZE(known))] : (uint16_t)any64();

        /* The end, a reboot, power-off; calls have a function of their own. */
        if (out && (port == EXIT_PORT || port == PORT_RESET || port == PORT_SLEEP)) {
            continue;
        }
        if (port == HC_DOOR_PORT && limits.control) {
            continue;
        }
        /* What is printed is kept short: most of it would be thrown away. */
        if (out && port == COM1 && below(4) != 0) {
            continue;
        }
        return port;
    }
}

/* Size 1, 2 or 4, the form with an immediate port or with DX. */
static void port_io(struct op *op, bool out)
{
    unsigned int size = 1U << below(3);
    uint16_t port = any_port(out);
    bool immediate = port < 0x100 && below(2) != 0;

    if (size == 2) {
        op_byte(op, 0x66);
    }
    op_byte(op, (uint8_t)((immediate ? 0xe4 : 0xec) + (out ? 2 : 0) + (size > 1 ? 1 : 0)));
    if (immediate) {
        op_byte(op, (uint8_t)port);
    } else {
        gpr_in[GPR_RDX] = (gpr_in[GPR_RDX] & ~(uint64_t)0xffff) | port;
    }
    if (out && port >= COM1 && port < COM1 + 8 && below(2) != 0) {
        gpr_in[GPR_RAX] &= 0x5f; /* printable, and no loopback so often */
    }
}

void op_in(struct op *op)
{
    op->name = "IN";
    op->changes = CHANGES(GPR_RAX);
    port_io(op, false);
}

void op_out(struct op *op)
{
    op->name = "OUT";
    port_io(op, true);
}

/* What an address is relative to, for a segment prefix or none (0). */
static uint64_t segment_base(uint8_t prefix)
{
    return prefix == 0x64 ? rdmsr(MSR_FS_BASE) : prefix == 0x65 ? rdmsr(MSR_GS_BASE) : 0;
}

/* INS and OUTS: [REP] [67] [segment] [66] 6c to 6f. INS takes no segment but ES. */
void op_string(struct op *op)
{
    static const uint8_t segments[] = {0, 0, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    unsigned int size = 1U << below(3);
    bool out = below(2) != 0;
    uint8_t segment = segments[below(ARRAY_SIZE(segments))];
    uint64_t base = out ? segment_base(segment) : 0;
    bool narrow = base == 0 && below(4) == 0; /* 32-bit addresses */
    enum gpr_index index = out ? GPR_RSI : GPR_RDI;

    op->name = out ? "OUTS" : "INS";
    op->changes = CHANGES(index) | CHANGES(GPR_RCX);
    op->raises = RAISES(VEC_GP) | RAISES(VEC_SS) | RAISES(VEC_PF);
    if (below(3) != 0) {
        op_byte(op, below(2) != 0 ? 0xf3 : 0xf2);
    }
    if (narrow) {
        op_byte(op, 0x67);
    }
    if (segment != 0) {
        op_byte(op, segment);
    }
    if (size == 2) {
        op_byte(op, 0x66);
    }
    op_byte(op, (uint8_t)((out ? 0x6e : 0x6c) + (size > 1 ? 1 : 0)));
    gpr_in[index] = (!narrow && below(8) == 0 ? bad_address()
                                              : (uintptr_t)scratch + PAGE_SIZE + below(PAGE_SIZE)) -
                    base;
    gpr_in[GPR_RCX] = below(200);
    do {
        gpr_in[GPR_RDX] = (gpr_in[GPR_RDX] & ~(uint64_t)0xffff) | any_port(out);
    } while (out && (uint16_t)gpr_in[GPR_RDX] == COM1 && below(8) != 0);
}
