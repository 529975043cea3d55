/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instructions that exit, in 16-, 32- and 64-bit code of segments with bases, with prefixes, and
 * with the end of a page between any two of their bytes: what they do, and that the next
 * instruction follows. Where the CPU tells molt neither lengths nor operands, molt decodes them.
 */
#include "lib/bootinfo.h"
#include "lib/cpu.h"
#include "lib/lib.h"
#include "lib/molt.h"
#include "lib/uart.h"
#include "lib/x86.h"

struct mode_regs {
    uint64_t rax, rbx, rcx, rdx, rsi, rbp, rdi;
    uint16_t ds, es, fs, gs;
};

void mode_call(struct mode_regs *regs, uint64_t offset, uint64_t selector);

/* Selectors behind those of the library. */
enum {
    CODE16 = GDT_ENTRIES * 8,
    CODE32 = CODE16 + 8,
    DATA_DS = CODE32 + 8,
    DATA_ES = DATA_DS + 8,
    DATA_FS = DATA_ES + 8,
    DATA_GS = DATA_FS + 8,
    ENTRIES = GDT_ENTRIES + 6
};

#define ACCESS_CODE 0x9bU
#define ACCESS_DATA 0x93U
#define FLAGS_16 0x8U /* G */
#define FLAGS_32 0xcU /* G, D */

#define OPERAND 0x40U /* offset of the operand in each data page */
#define CODE_BASE_OFFSET 0x120U
#define FAR 0x20000U       /* the same beyond what 16 bits reach */
#define DISPLACEMENT 0x10U /* of LMSW */
#define MARK 0x1234U       /* in rBP; one more behind the instruction */
#define INSN_MAX 15U

static uint64_t table[ENTRIES] __attribute__((aligned(16)));
static uint8_t code[2 * PAGE_SIZE] __attribute__((aligned(4096)));
static uint8_t data[4][PAGE_SIZE] __attribute__((aligned(4096)));

/* What the operand is in each of DS, ES, FS, GS: bits of CR0, and bytes for a port. */
static const uint8_t words[4] = {0xb, 0x3, 0x9, 0x1};

static uint64_t descriptor(uintptr_t base, uint32_t access, uint32_t flags)
{
    uint64_t b = base;

    return 0xffff | (b & 0xffffff) << 16 | (uint64_t)access << 40 | (uint64_t)0xf << 48 |
           (uint64_t)flags << 52 | (b >> 24 & 0xff) << 56;
}

static uintptr_t code_base(void)
{
    return (uintptr_t)code - CODE_BASE_OFFSET;
}

static void load_table(void)
{
    struct table_ptr gdtr = {sizeof(table) - 1, (uintptr_t)table};

    memcpy(table, gdt, sizeof(gdt));
    table[CODE16 / 8] = descriptor(code_base(), ACCESS_CODE, FLAGS_16);
    table[CODE32 / 8] = descriptor(code_base(), ACCESS_CODE, FLAGS_32);
    for (unsigned int i = 0; i < 4; i++) {
        data[i][OPERAND] = words[i];
    }
    __asm__ volatile("lgdt %0" : : "m"(gdtr) : "memory");
}

/* One instruction under test, in one mode. */
struct trial {
    const struct op *op;
    unsigned int mode, address_size; /* 2, 4, 8 */
    uint8_t bytes[32];
    size_t n;
    unsigned int segment; /* of the operand, 0 to 3: DS, ES, FS, GS */
    struct mode_regs regs;
};

struct op {
    const char *name;
    uint8_t bytes[6];
    size_t n;
    bool long_only;
    void (*before)(struct trial *t);
    bool (*after)(const struct trial *t);
};

static uint64_t cr0, cr4, apic_base;

static void none(struct trial *t)
{
    (void)t;
}

static bool good(const struct trial *t)
{
    (void)t;
    return true;
}

static void before_cpuid(struct trial *t)
{
    t->regs.rax = 0;
}

static bool after_cpuid(const struct trial *t)
{
    struct cpuid_regs r = cpuid(0, 0);

    return t->regs.rax == r.eax && t->regs.rbx == r.ebx && t->regs.rcx == r.ecx &&
           t->regs.rdx == r.edx;
}

static void before_msr(struct trial *t)
{
    t->regs.rcx = MSR_APIC_BASE;
    t->regs.rax = (uint32_t)apic_base;
    t->regs.rdx = apic_base >> 32;
}

static void before_rdmsr(struct trial *t)
{
    before_msr(t);
    t->regs.rax = t->regs.rdx = 0x55;
}

static bool after_msr(const struct trial *t)
{
    return t->regs.rax == (uint32_t)apic_base && t->regs.rdx == apic_base >> 32 &&
           rdmsr(MSR_APIC_BASE) == apic_base;
}

static void before_port(struct trial *t)
{
    t->regs.rax = 0x5a;
    t->regs.rdx = UART_SCR;
    outb(UART_SCR, 0xa5);
}

static bool after_in(const struct trial *t)
{
    return t->regs.rax == 0xa5;
}

static bool after_out(const struct trial *t)
{
    (void)t;
    return inb(UART_SCR) == 0x5a;
}

static bool after_outs(const struct trial *t)
{
    return inb(UART_SCR) == words[t->segment];
}

static bool after_ins(const struct trial *t)
{
    uint8_t got = data[1][OPERAND + 1];

    (void)t;
    data[1][OPERAND + 1] = 0;
    return got == 0xa5;
}

static void before_cr0(struct trial *t)
{
    t->regs.rax = cr0 ^ CR0_TS;
}

static bool after_cr0(const struct trial *t)
{
    uint64_t now = read_cr0();

    (void)t;
    write_cr0(cr0);
    return now == (cr0 ^ CR0_TS);
}

static void before_clts(struct trial *t)
{
    (void)t;
    write_cr0(cr0 | CR0_TS);
}

static bool after_clts(const struct trial *t)
{
    (void)t;
    return read_cr0() == (cr0 & ~CR0_TS);
}

static void before_cr4(struct trial *t)
{
    t->regs.rax = cr4 ^ CR4_TSD;
}

static bool after_cr4(const struct trial *t)
{
    uint64_t now = read_cr4();

    (void)t;
    write_cr4(cr4);
    return now == (cr4 ^ CR4_TSD);
}

static void before_cr8(struct trial *t)
{
    t->regs.rax = 5;
}

static bool after_cr8(const struct trial *t)
{
    uint64_t now = read_cr8();

    (void)t;
    write_cr8(0);
    return now == 5;
}

static bool after_lmsw(const struct trial *t)
{
    uint64_t now = read_cr0(), low = CR0_PE | CR0_MP | CR0_EM | CR0_TS;

    write_cr0(cr0);
    return now == ((cr0 & ~low) | words[t->segment]);
}

static void before_dr7(struct trial *t)
{
    t->regs.rax = 0x500;
}

static bool after_dr7(const struct trial *t)
{
    uint64_t now = read_dr7();

    (void)t;
    write_dr7(0x400);
    return now == 0x500;
}

/* The address of a breakpoint that is enabled, where nothing is executed. */
static void before_dr1(struct trial *t)
{
    write_dr7(0x404);
    t->regs.rax = 0x7ffff000;
}

static bool after_dr1(const struct trial *t)
{
    (void)t;
    write_dr7(0x400);
    return read_dr1() == 0x7ffff000;
}

static void before_xsetbv(struct trial *t)
{
    t->regs.rcx = 0;
    t->regs.rax = (uint32_t)cpu_xcr0();
    t->regs.rdx = cpu_xcr0() >> 32;
}

static bool after_xsetbv(const struct trial *t)
{
    (void)t;
    return xgetbv(0) == cpu_xcr0();
}

static void before_call(struct trial *t)
{
    t->regs.rax = 0x7fffff; /* no such call */
}

static bool after_call(const struct trial *t)
{
    return (int32_t)t->regs.rax < 0;
}

#define B(text) text, sizeof(text) - 1
static const struct op ops[] = {
    {"CPUID", B("\x0f\xa2"), false, before_cpuid, after_cpuid},
    {"RDMSR", B("\x0f\x32"), false, before_rdmsr, after_msr},
    {"WRMSR", B("\x0f\x30"), false, before_msr, after_msr},
    {"IN", B("\xec"), false, before_port, after_in},
    {"OUT", B("\xee"), false, before_port, after_out},
    {"OUT imm8", B("\xe6\x80"), false, none, good},
    {"OUTSB", B("\x6e"), false, before_port, after_outs},
    {"INSB", B("\x6c"), false, before_port, after_ins},
    {"MOV to CR0", B("\x0f\x22\xc0"), false, before_cr0, after_cr0},
    {"MOV to CR4", B("\x0f\x22\xe0"), false, before_cr4, after_cr4},
    {"MOV to CR8", B("\x44\x0f\x22\xc0"), true, before_cr8, after_cr8},
    {"MOV to DR1", B("\x0f\x23\xc8"), false, before_dr1, after_dr1},
    {"MOV to DR5", B("\x0f\x23\xe8"), false, before_dr7, after_dr7}, /* without CR4.DE */
    {"MOV to DR7", B("\x0f\x23\xf8"), false, before_dr7, after_dr7},
    {"CLTS", B("\x0f\x06"), false, before_clts, after_clts},
    {"LMSW register", B("\x0f\x01\xf0"), false, before_cr0, after_cr0},
    {"LMSW memory", B("\x0f\x01\x77\x10"), false, none, after_lmsw}, /* [BX + 10], [rDI + 10] */
    {"WBINVD", B("\x0f\x09"), false, none, good},
    {"INVD", B("\x0f\x08"), false, none, good},
    {"VMCALL", B("\x0f\x01\xc1"), false, before_call, after_call},
    {"XSETBV", B("\x0f\x01\xd1"), false, before_xsetbv, after_xsetbv},
};

/* Offsets of operands, with all the bits that the address has; where segments have no base they are
 * linear. */
static void set_registers(struct trial *t)
{
    bool linear = t->mode == 8;
    uint64_t far = t->address_size == 2 ? 0 : FAR;
    uint64_t operand = linear && t->segment == 0 ? (uintptr_t)data[0] : far;
    struct mode_regs *r = &t->regs;

    for (unsigned int i = 0; i < 4; i++) {
        table[DATA_DS / 8 + i] = descriptor((uintptr_t)data[i] - far, ACCESS_DATA, FLAGS_32);
    }
    *r = (struct mode_regs){.ds = DATA_DS, .es = DATA_ES, .fs = DATA_FS, .gs = DATA_GS};
    r->rbp = MARK;
    r->rsi = operand + OPERAND;
    r->rbx = operand + OPERAND - DISPLACEMENT;
    r->rdi = r->rbx;
    if (t->op->after == after_ins) {
        r->rdi = OPERAND + 1 + (linear ? (uintptr_t)data[1] : far);
    }
}

/* With `before` bytes of the instruction in the first page, the rest in the second one. */
static bool run_once(struct trial *t, size_t before)
{
    static const uint8_t add_one[] = {0x83, 0xc5, 0x01}; /* ADD (E)BP, 1 */
    static const uint8_t far_return[] = {0x66, 0xcb};    /* of 32-bit operands */
    uint8_t *at = code + PAGE_SIZE - before, *end = at + t->n;
    uintptr_t address = (uintptr_t)at;
    size_t skip = t->mode == 2 ? 0 : 1;

    memcpy(at, t->bytes, t->n);
    memcpy(end, add_one, sizeof(add_one));
    memcpy(end + sizeof(add_one), far_return + skip, sizeof(far_return) - skip);
    set_registers(t);
    t->op->before(t);
    if (t->mode == 8) {
        mode_call(&t->regs, address, SEL_CODE);
    } else {
        mode_call(&t->regs, address - code_base(), t->mode == 2 ? CODE16 : CODE32);
    }
    return (uint16_t)t->regs.rbp == MARK + 1 && t->op->after(t);
}

/* How many prefixes stand before: of a segment, of the other address size, as many as fit. */
enum { SEGMENT_ALONE, ADDRESS_SIZE, LONGEST, FILLS };

static void make(struct trial *t, unsigned int segment, unsigned int fill)
{
    static const uint8_t prefixes[4] = {0, 0x26, 0x64, 0x65};
    size_t rest = t->op->n + (segment != 0 ? 1 : 0);

    t->n = 0;
    t->address_size = fill != ADDRESS_SIZE ? t->mode : t->mode == 4 ? 2 : 4;
    while (fill == LONGEST && t->n + rest < INSN_MAX) {
        t->bytes[t->n++] = 0x3e; /* DS */
    }
    if (fill == ADDRESS_SIZE) {
        t->bytes[t->n++] = 0x67;
    }
    if (segment != 0) {
        t->bytes[t->n++] = prefixes[segment];
    }
    memcpy(t->bytes + t->n, t->op->bytes, t->op->n);
    t->n += t->op->n;
    t->segment = t->mode == 8 && segment == 1 ? 0 : segment; /* ES counts for nothing there */
}

static unsigned int run_op(const struct op *op, unsigned int mode)
{
    unsigned int runs = 0;

    for (unsigned int i = 0; i < 4 * FILLS; i++) {
        struct trial t = {.op = op, .mode = mode};

        make(&t, i % 4, i / 4);
        for (size_t before = 0; before <= t.n; before++, runs++) {
            if (!run_once(&t, before)) {
                report(false, "modes", "%s, %u bit, prefixes %u, %u of %u bytes in the first page",
                       op->name, mode * 8, i, (unsigned int)before, (unsigned int)t.n);
                return 0;
            }
        }
    }
    return runs;
}

int guest_main(void)
{
    if (!molt_present()) {
        report_skip("modes", "no molt here");
        report_end();
    }
    load_table();
    cr0 = read_cr0();
    cr4 = read_cr4();
    apic_base = rdmsr(MSR_APIC_BASE);
    for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
        unsigned int runs = 0;

        for (unsigned int mode = ops[i].long_only ? 8 : 2; mode <= 8; mode *= 2) {
            runs += run_op(&ops[i], mode);
        }
        if (runs != 0) {
            report(true, "modes", "%s: %u times", ops[i].name, runs);
        }
    }
    report_end();
}
