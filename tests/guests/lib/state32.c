/* SPDX-License-Identifier: Apache-2.0 */
/*
 * State of the 32-bit payload held live over a window.
 *
 * The descriptors of FS and GS are destroyed as soon as they are loaded: whoever reloads a segment
 * from the table instead of keeping its hidden part is found out.
 */
#include "lib/bootinfo.h"
#include "lib/cpu32.h"
#include "lib/molt.h"
#include "lib/x86.h"

#define TYPE_DATA 0x93
#define TYPE_DATA_DOWN 0x97
#define FLAGS_32BIT 0x4
#define SEGMENT_WORDS 64U
#define SEGMENT_BYTES (SEGMENT_WORDS * 4)
#define DR6_FIXED 0xffff0ff0U
#define DR7_FIXED 0x400U
#define BREAKPOINTS 4U

struct area regs32_area = {"gpr", 0};
struct area segments32_area = {"segments", 0};
struct area fpu32_area = {"fpu-sse", 0};
struct area msr32_area = {"msr", 0};
struct area control32_area = {"control", 0};
struct area debug32_area = {"debug", 0};
struct area tables32_area = {"tables", 0};

/* FXSAVE area as words; what is compared is named in check_fpu(). */
struct fxsave32 {
    uint16_t fcw;
    uint16_t fsw;
    uint8_t ftw;
    uint8_t reserved0;
    uint16_t fop;
    uint32_t pointers[4];
    uint32_t mxcsr;
    uint32_t mxcsr_mask;
    uint32_t st[8][4];
    uint32_t xmm[8][4];
    uint32_t reserved1[56];
} __attribute__((aligned(16)));

_Static_assert(sizeof(struct fxsave32) == 512, "FXSAVE area");

static struct fxsave32 fpu_want;
static struct fxsave32 fpu_got;
static uint32_t segment_data[2][SEGMENT_WORDS];
static uint8_t watched[BREAKPOINTS * 16] __attribute__((aligned(64)));

static struct {
    uint32_t number;
    const char *name;
    uint64_t mask;
    uint64_t want;
} msrs[] = {
    {MSR_STAR, "STAR", UINT64_MAX, 0},
    {MSR_LSTAR, "LSTAR", 0x7fffffffffff, 0},
    {MSR_CSTAR, "CSTAR", 0x7fffffffffff, 0},
    {MSR_SFMASK, "SFMASK", UINT32_MAX, 0},
    {MSR_KERNEL_GS_BASE, "KERNEL_GS_BASE", 0x7fffffffffff, 0},
    {MSR_SYSENTER_CS, "SYSENTER_CS", UINT16_MAX, 0},
    {MSR_SYSENTER_ESP, "SYSENTER_ESP", UINT32_MAX, 0},
    {MSR_SYSENTER_EIP, "SYSENTER_EIP", UINT32_MAX, 0},
    {MSR_EFER, "EFER", EFER_SCE, 0},
};

static struct {
    uint32_t cr0, cr2, cr3, cr4;
    uint32_t dr[4], dr6, dr7;
    struct table_ptr gdtr, idtr;
    uint32_t gs_low; /* lowest valid offset in the expand-down segment */
} want;

static bool has_long_mode;
static bool limits_checked;

static void compare(const char *area, const char *name, uint64_t expected, uint64_t found)
{
    if (expected != found) {
        damage(area, "%s: expected 0x%" P64 "x, got 0x%" P64 "x", name, expected, found);
    }
}

void state32_init(void)
{
    limits_checked = cpu_is_exact();
    want.gdtr = read_gdtr();
    want.idtr = read_idtr();
    has_long_mode = cpuid(0x80000000U, 0).eax >= 0x80000001U &&
                    (cpuid(0x80000001U, 0).edx & CPUIDX_EDX_LM) != 0;
}

/* FS: 256 bytes upwards. GS: expand-down, valid above its limit, data at the same place. */
static void begin_segments(uint64_t *random)
{
    uint32_t gs_base;

    for (unsigned int i = 0; i < SEGMENT_WORDS; i++) {
        segment_data[0][i] = (uint32_t)rand64(random);
        segment_data[1][i] = (uint32_t)rand64(random);
    }
    want.gs_low = 0x1000 + ((uint32_t)rand64(random) & 0xff00U);
    gs_base = (uintptr_t)segment_data[1] - want.gs_low;
    gdt32[SEL32_FS / 8] = descriptor32((uintptr_t)segment_data[0], SEGMENT_BYTES - 1, TYPE_DATA,
                                       FLAGS_32BIT);
    gdt32[SEL32_GS / 8] = descriptor32(gs_base, want.gs_low - 1, TYPE_DATA_DOWN, FLAGS_32BIT);
    __asm__ volatile("mov %0, %%fs\n\tmov %1, %%gs" ::"r"(SEL32_FS), "r"(SEL32_GS) : "memory");
    gdt32[SEL32_FS / 8] = 0;
    gdt32[SEL32_GS / 8] = 0;
}

void state32_check_segments(void)
{
    static uint32_t next;
    uint32_t i = next++ % SEGMENT_WORDS;
    uint32_t value;
    uint32_t vector;

    if (!read_fs(i * 4, &value, &vector)) {
        damage("segments", "FS:0x%x raised vector %u", i * 4, vector);
    }
    compare("segments", "word by FS", segment_data[0][i], value);
    if (!read_gs(want.gs_low + i * 4, &value, &vector)) {
        damage("segments", "GS:0x%x raised vector %u", want.gs_low + i * 4, vector);
    }
    compare("segments", "word by GS", segment_data[1][i], value);
    segments32_area.checks++;
}

static void check_limits(void)
{
    uint32_t value;
    uint32_t vector;
    uint16_t fs;
    uint16_t gs;

    if (limits_checked) {
        if (read_fs(SEGMENT_BYTES - 3, &value, &vector) || vector != VEC_GP) {
            damage("segments", "read beyond the limit of FS: vector %d", (int)vector);
        }
        if (read_gs(want.gs_low - 4, &value, &vector) || vector != VEC_GP) {
            damage("segments", "read below the limit of GS: vector %d", (int)vector);
        }
    }
    __asm__ volatile("mov %%fs, %0\n\tmov %%gs, %1" : "=r"(fs), "=r"(gs));
    compare("segments", "FS", SEL32_FS, fs);
    compare("segments", "GS", SEL32_GS, gs);
    segments32_area.checks++;
}

static void begin_fpu(uint64_t *random)
{
    uint32_t *words = (uint32_t *)&fpu_want;

    for (size_t i = 0; i < sizeof(fpu_want) / 4; i++) {
        words[i] = (uint32_t)rand64(random);
    }
    fpu_want.fcw = (uint16_t)((fpu_want.fcw & 0x0f00U) | 0x7fU);
    fpu_want.fsw &= 0x7f00U;
    fpu_want.ftw = 0xff;
    fpu_want.fop = 0;
    memset(fpu_want.pointers, 0, sizeof(fpu_want.pointers));
    fpu_want.mxcsr = (fpu_want.mxcsr & 0xe03fU) | 0x1f80U;
    for (unsigned int i = 0; i < 8; i++) {
        fpu_want.st[i][1] |= BIT32(31); /* integer bit: a normal number */
        fpu_want.st[i][2] = 0x3f00U + (fpu_want.st[i][2] & 0x1ffU);
    }
    __asm__ volatile("fxrstor %0" ::"m"(fpu_want) : "memory");
}

static void check_fpu(void)
{
    __asm__ volatile("fxsave %0" : "=m"(fpu_got)::"memory");
    compare("fpu-sse", "fcw", fpu_want.fcw, fpu_got.fcw);
    compare("fpu-sse", "fsw", fpu_want.fsw, fpu_got.fsw);
    compare("fpu-sse", "ftw", fpu_want.ftw, fpu_got.ftw);
    compare("fpu-sse", "mxcsr", fpu_want.mxcsr, fpu_got.mxcsr);
    for (unsigned int i = 0; i < 8; i++) {
        compare("fpu-sse", "st word 0", fpu_want.st[i][0], fpu_got.st[i][0]);
        compare("fpu-sse", "st word 1", fpu_want.st[i][1], fpu_got.st[i][1]);
        compare("fpu-sse", "st word 2", fpu_want.st[i][2] & 0xffffU, fpu_got.st[i][2] & 0xffffU);
        for (unsigned int w = 0; w < 4; w++) {
            compare("fpu-sse", "xmm word", fpu_want.xmm[i][w], fpu_got.xmm[i][w]);
        }
    }
    fpu32_area.checks++;
}

static void begin_control(uint64_t *random)
{
    want.cr0 = (uint32_t)(CR0_PE | CR0_ET | (rand64(random) & (CR0_NE | CR0_MP | CR0_WP | CR0_AM)));
    want.cr2 = (uint32_t)rand64(random);
    want.cr3 = (uint32_t)rand64(random) & 0xfffff018U;
    want.cr4 = (uint32_t)(CR4_OSFXSR | (rand64(random) & (CR4_TSD | CR4_DE | CR4_OSXMMEXCPT)));
    write_cr0(want.cr0);
    write_cr2(want.cr2);
    write_cr3(want.cr3);
    write_cr4(want.cr4);
    for (size_t i = 0; has_long_mode && i < ARRAY_SIZE(msrs); i++) {
        msrs[i].want = rand64(random) & msrs[i].mask;
        wrmsr(msrs[i].number, msrs[i].want);
    }
}

static void begin_debug(uint64_t *random)
{
    write_dr7(DR7_FIXED);
    want.dr7 = DR7_FIXED;
    for (unsigned int i = 0; i < BREAKPOINTS; i++) {
        uint32_t r = (uint32_t)rand64(random);

        /* Data writes; 1, 2 or 4 bytes (3 is 4); armed or not */
        static const uint32_t lengths[4] = {0, 1, 3, 3};

        want.dr[i] = (uintptr_t)&watched[i * 16];
        want.dr7 |= 1U << (16 + i * 4) | lengths[r & 3U] << (18 + i * 4) | (r >> 8 & 3U) << (i * 2);
    }
    write_dr0(want.dr[0]);
    write_dr1(want.dr[1]);
    write_dr2(want.dr[2]);
    write_dr3(want.dr[3]);
    want.dr6 = DR6_FIXED | ((uint32_t)rand64(random) & 0xe00fU);
    write_dr6(want.dr6);
    write_dr7(want.dr7);
}

void state32_begin(uint64_t *random)
{
    begin_control(random);
    begin_debug(random);
    begin_segments(random);
    begin_fpu(random);
}

void state32_check(void)
{
    struct table_ptr gdtr = read_gdtr();
    struct table_ptr idtr = read_idtr();
    uint32_t limit = 0;

    check_fpu();
    state32_check_segments();
    check_limits();
    compare("control", "CR0", want.cr0, read_cr0());
    compare("control", "CR2", want.cr2, read_cr2());
    compare("control", "CR3", want.cr3, read_cr3());
    compare("control", "CR4", want.cr4, read_cr4());
    control32_area.checks++;
    for (size_t i = 0; has_long_mode && i < ARRAY_SIZE(msrs); i++) {
        compare("msr", msrs[i].name, msrs[i].want, rdmsr(msrs[i].number));
    }
    msr32_area.checks += has_long_mode;
    compare("debug", "DR0", want.dr[0], read_dr0());
    compare("debug", "DR1", want.dr[1], read_dr1());
    compare("debug", "DR2", want.dr[2], read_dr2());
    compare("debug", "DR3", want.dr[3], read_dr3());
    compare("debug", "DR6", want.dr6, read_dr6());
    compare("debug", "DR7", want.dr7, read_dr7());
    debug32_area.checks++;
    compare("tables", "GDTR base", want.gdtr.base, gdtr.base);
    compare("tables", "GDTR limit", want.gdtr.limit, gdtr.limit);
    compare("tables", "IDTR base", want.idtr.base, idtr.base);
    compare("tables", "IDTR limit", want.idtr.limit, idtr.limit);
    compare("tables", "TR", SEL32_TSS, read_tr());
    compare("tables", "LDTR", SEL32_LDT, read_ldtr());
    __asm__ volatile("lsl %1, %0" : "+r"(limit) : "r"(4U) : "cc");
    compare("tables", "limit of the LDT's segment", UINT32_MAX, limit);
    tables32_area.checks++;
}

void state32_fire(void)
{
    for (unsigned int i = 0; i < BREAKPOINTS && breakpoints_work(); i++) {
        bool armed = (want.dr7 >> (i * 2) & 3U) != 0;
        uint32_t hits;

        (void)debug_hits();
        *(volatile uint8_t *)want.dr[i] = (uint8_t)i;
        hits = debug_hits();
        if (armed != ((hits & 1U << i) != 0)) {
            damage("debug", "breakpoint %u is %s, DR6 said 0x%x", i,
                   armed ? "armed but did not fire" : "off but fired", hits);
        }
    }
    debug32_area.checks++;
}

static void fill_regs(uint64_t *random)
{
    uint64_t flags = FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_DF | FLAG_OF |
                     FLAG_IOPL | FLAG_AC | FLAG_ID | (molt_present() ? FLAG_IF : 0);

    for (unsigned int i = 0; i < REGS32_COUNT; i++) {
        regs32_in[i] = (uint32_t)rand64(random);
    }
    regs32_in[REGS32_EFLAGS] = (uint32_t)((regs32_in[REGS32_EFLAGS] & flags) | FLAG_ONE);
}

static void check_regs(const char *what, uint32_t skip)
{
    static const char *const names[REGS32_COUNT] = {"eax", "ecx", "edx", "ebx",   "esp",
                                                    "ebp", "esi", "edi", "eflags"};

    for (unsigned int i = 0; i < REGS32_COUNT; i++) {
        if ((skip & 1U << i) == 0 && regs32_in[i] != regs32_out[i]) {
            damage("gpr", "%s: %s: expected 0x%x, got 0x%x", what, names[i], regs32_in[i],
                   regs32_out[i]);
        }
    }
    regs32_area.checks++;
}

void state32_regs(uint64_t *random, uint32_t iterations)
{
    static struct hc_info info;

    fill_regs(random);
    regs32_in[REGS32_ECX] = iterations;
    regs32_spin();
    regs32_in[REGS32_ECX] = 0;
    check_regs("spin", 0);
    if (molt_present()) {
        fill_regs(random);
        regs32_in[REGS32_EAX] = HC_INFO;
        regs32_in[REGS32_EBX] = (uintptr_t)&info;
        regs32_in[REGS32_ECX] = sizeof(info);
        regs32_vmcall();
        check_regs("HC_INFO", 1U << REGS32_EAX);
        compare("gpr", "result of HC_INFO", 0, regs32_out[REGS32_EAX]);
        fill_regs(random);
        regs32_in[REGS32_EAX] = 15; /* no such call */
        regs32_vmcall();
        check_regs("unknown call", 1U << REGS32_EAX);
        compare("gpr", "result of an unknown call", (uint32_t)-HC_ENOSYS, regs32_out[REGS32_EAX]);
    }
}
