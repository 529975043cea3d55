/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System registers held live over a window.
 */
#include "lib/cpustate.h"

#include "lib/cpu.h"
#include "lib/molt.h"
#include "lib/x86.h"

#define DR6_FIXED 0xffff0ff0U
#define DR6_CHANGE 0xe00fU
#define DR7_FIXED 0x400U
#define DR7_EXACT 0x300U
#define BREAKPOINTS 4U
#define VENDOR_AMD_EBX 0x68747541U

struct area msr_area = {"msr", 0};
struct area debug_area = {"debug", 0};
struct area control_area = {"control", 0};
struct area tables_area = {"tables", 0};
struct area paging_area = {"paging", 0};
struct area cpuid_area = {"cpuid", 0};

enum msr_kind {
    MSR_ADDRESS,
    MSR_ANY64,
    MSR_ANY32,
    MSR_SELECTOR,
    MSR_SYSENTER,
    MSR_PAT_TYPES,
    MSR_AUX
};

struct msr_entry {
    uint32_t number;
    enum msr_kind kind;
    const char *name;
    uint64_t want;
};

static struct msr_entry msrs[] = {
    {MSR_STAR, MSR_ANY64, "STAR", 0},
    {MSR_LSTAR, MSR_ADDRESS, "LSTAR", 0},
    {MSR_CSTAR, MSR_ADDRESS, "CSTAR", 0},
    {MSR_SFMASK, MSR_ANY32, "SFMASK", 0},
    {MSR_FS_BASE, MSR_ADDRESS, "FS_BASE", 0},
    {MSR_GS_BASE, MSR_ADDRESS, "GS_BASE", 0},
    {MSR_KERNEL_GS_BASE, MSR_ADDRESS, "KERNEL_GS_BASE", 0},
    {MSR_SYSENTER_CS, MSR_SELECTOR, "SYSENTER_CS", 0},
    {MSR_SYSENTER_ESP, MSR_SYSENTER, "SYSENTER_ESP", 0},
    {MSR_SYSENTER_EIP, MSR_SYSENTER, "SYSENTER_EIP", 0},
    {MSR_PAT, MSR_PAT_TYPES, "PAT", 0},
    {MSR_TSC_AUX, MSR_AUX, "TSC_AUX", 0},
};

/* Leaves that must not change under a running guest; sub-leaf 0 of each. */
static const uint32_t stable_leaves[] = {
    0, 1, 7, 0x80000000, 0x80000001, 0x80000002, 0x80000003, 0x80000004, 0x80000007, 0x80000008,
};

static struct {
    uint64_t cr0, cr2, cr3, cr4, cr8, efer;
    uint64_t dr[4], dr6, dr7;
    struct table_ptr gdtr, idtr;
    uint16_t tr, ldtr;
    uint32_t cpuid_crc;
} want;

static uint64_t cr4_base;
static uint64_t cr4_change;
static bool has_aux;
static bool sysenter_narrow;
static bool has_nx;
static unsigned int root;
static volatile uint64_t hits; /* written by the exception handler */
static uint8_t watched[PAGE_SIZE] __attribute__((aligned(4096)));
static uint64_t window_page[2][PAGE_SIZE / 8] __attribute__((aligned(4096)));
static uint64_t window_value[2];

static void compare(const char *area, const char *name, uint64_t expected, uint64_t found)
{
    if (expected != found) {
        damage(area, "%s: expected 0x%" P64 "x, got 0x%" P64 "x", name, expected, found);
    }
}

static bool on_debug(struct trap_frame *frame)
{
    if (frame->vector != VEC_DB) {
        return false;
    }
    hits = hits | read_dr6();
    write_dr6(DR6_FIXED);
    return true;
}

static uint32_t crc_of_cpuid(void)
{
    struct cpuid_regs r[ARRAY_SIZE(stable_leaves) + 3];
    uint32_t max = cpuid(0, 0).eax;
    uint32_t max_ext = cpuid(0x80000000U, 0).eax;

    memset(r, 0, sizeof(r));
    for (size_t i = 0; i < ARRAY_SIZE(stable_leaves); i++) {
        uint32_t leaf = stable_leaves[i];

        if (leaf <= max || (leaf >= 0x80000000U && leaf <= max_ext)) {
            r[i] = cpuid(leaf, 0);
        }
    }
    if (max >= 0xd) {
        r[ARRAY_SIZE(stable_leaves)] = cpuid(0xd, 0);
        r[ARRAY_SIZE(stable_leaves)].ebx = 0; /* follows XCR0 */
    }
    if (molt_present()) {
        r[ARRAY_SIZE(stable_leaves) + 1] = cpuid(HC_CPUID_BASE, 0);
        r[ARRAY_SIZE(stable_leaves) + 2] = cpuid(HC_CPUID_TIMING, 0);
    }
    return crc32(r, sizeof(r));
}

void cpustate_init(void)
{
    struct cpuid_regs one = cpuid(1, 0);
    struct cpuid_regs seven = cpuid(0, 0).eax >= 7 ? cpuid(7, 0) : (struct cpuid_regs){0, 0, 0, 0};
    uint32_t ext = cpuid(0x80000001U, 0).edx;

    cr4_base = read_cr4();
    cr4_change = CR4_TSD | CR4_OSXMMEXCPT;
    cr4_change |= (one.edx & CPUID1_EDX_DE) != 0 ? CR4_DE : 0;
    cr4_change |= (one.edx & CPUID1_EDX_PGE) != 0 ? CR4_PGE : 0;
    cr4_change |= (seven.ebx & CPUID7_EBX_FSGSBASE) != 0 ? CR4_FSGSBASE : 0;
    cr4_change |= (seven.ecx & CPUID7_ECX_UMIP) != 0 ? CR4_UMIP : 0;
    has_aux = (ext & CPUIDX_EDX_RDTSCP) != 0;
    has_nx = (ext & CPUIDX_EDX_NX) != 0;
    sysenter_narrow = cpuid(0, 0).ebx == VENDOR_AMD_EBX;
    want.gdtr = read_gdtr();
    want.idtr = read_idtr();
    want.tr = read_tr();
    want.ldtr = read_ldtr();
    want.cpuid_crc = crc_of_cpuid();
    for (unsigned int r = 0; r < 2; r++) {
        window_set(r, 0, (uintptr_t)window_page[r] | PTE_P | PTE_W | PTE_U);
    }
    trap_hook = on_debug;
}

static uint64_t random_pat(uint64_t value)
{
    static const uint8_t types[8] = {0, 1, 4, 5, 6, 7, 6, 0};
    uint64_t pat = 6; /* entry 0, which every mapping uses, stays write-back */

    for (unsigned int i = 1; i < 8; i++) {
        pat |= (uint64_t)types[value >> (i * 3) & 7U] << (i * 8);
    }
    return pat;
}

static void begin_msrs(uint64_t *random)
{
    for (size_t i = 0; i < ARRAY_SIZE(msrs); i++) {
        struct msr_entry *m = &msrs[i];
        uint64_t value = rand64(random);

        switch (m->kind) {
        case MSR_SYSENTER:
            if (sysenter_narrow) {
                value = (uint32_t)value;
                break;
            }
            /* fall through */
        case MSR_ADDRESS:
            value = (uint64_t)((int64_t)(value << 16) >> 16);
            break;
        case MSR_ANY64:
            break;
        case MSR_ANY32:
            value = (uint32_t)value;
            break;
        case MSR_SELECTOR:
            value = (uint16_t)value;
            break;
        case MSR_PAT_TYPES:
            value = random_pat(value);
            break;
        case MSR_AUX:
            if (!has_aux) {
                continue;
            }
            value = (uint32_t)value;
            break;
        }
        m->want = value;
        wrmsr(m->number, value);
    }
    want.efer = EFER_LME | EFER_LMA | (rand64(random) & (EFER_SCE | (has_nx ? EFER_NXE : 0)));
    wrmsr(MSR_EFER, want.efer);
}

static void begin_debug(uint64_t *random)
{
    write_dr7(DR7_FIXED);
    want.dr7 = DR7_FIXED | (rand64(random) & DR7_EXACT);
    for (unsigned int i = 0; i < BREAKPOINTS; i++) {
        uint64_t r = rand64(random);
        uint64_t access = (r & 1U) != 0 ? 1 : 3; /* write; read and write */

        want.dr[i] = (uintptr_t)&watched[i * 64 + (r >> 8 & 7U) * 8];
        want.dr7 |= access << (16 + i * 4) | (r >> 16 & 3U) << (18 + i * 4) |
                    (r >> 24 & 3U) << (i * 2);
    }
    write_dr0(want.dr[0]);
    write_dr1(want.dr[1]);
    write_dr2(want.dr[2]);
    write_dr3(want.dr[3]);
    want.dr6 = DR6_FIXED | (rand64(random) & DR6_CHANGE);
    write_dr6(want.dr6);
    write_dr7(want.dr7);
}

static void begin_control(uint64_t *random)
{
    want.cr0 = CR0_PG | CR0_PE | CR0_ET | (rand64(random) & (CR0_MP | CR0_NE | CR0_WP | CR0_AM));
    want.cr2 = rand64(random);
    want.cr4 = cr4_base & ~cr4_change;
    want.cr4 |= rand64(random) & cr4_change;
    want.cr8 = rand64(random) & 0xfU;
    root = rand64(random) & 1U;
    want.cr3 = paging_root(root);
    write_cr0(want.cr0);
    write_cr4(want.cr4);
    write_cr3(want.cr3);
    write_cr8(want.cr8);
    write_cr2(want.cr2);
    for (unsigned int r = 0; r < 2; r++) {
        window_value[r] = rand64(random);
        window_page[r][0] = window_value[r];
        window_page[r][PAGE_SIZE / 8 - 1] = ~window_value[r];
    }
}

void cpustate_begin(uint64_t *random)
{
    begin_msrs(random);
    begin_debug(random);
    begin_control(random);
}

void cpustate_check_paging(void)
{
    const volatile uint64_t *p = (const volatile uint64_t *)WINDOW_VA;

    compare("paging", "window page, first word", window_value[root], p[0]);
    compare("paging", "window page, last word", ~window_value[root], p[PAGE_SIZE / 8 - 1]);
    paging_area.checks++;
}

static void check_tables(void)
{
    struct table_ptr gdtr = read_gdtr();
    struct table_ptr idtr = read_idtr();
    uint32_t limit = 0;

    compare("tables", "GDTR base", want.gdtr.base, gdtr.base);
    compare("tables", "GDTR limit", want.gdtr.limit, gdtr.limit);
    compare("tables", "IDTR base", want.idtr.base, idtr.base);
    compare("tables", "IDTR limit", want.idtr.limit, idtr.limit);
    compare("tables", "TR", want.tr, read_tr());
    compare("tables", "LDTR", want.ldtr, read_ldtr());
    /* The selectors alone say nothing about the hidden parts: use the LDT. */
    __asm__ volatile("lsl %1, %0" : "+r"(limit) : "r"(SEL_LDT_DATA) : "cc");
    compare("tables", "limit of the LDT's data segment", UINT32_MAX, limit);
    __asm__ volatile("mov %0, %%es" ::"r"(SEL_LDT_DATA) : "memory");
    __asm__ volatile("mov %0, %%es" ::"r"(SEL_DATA) : "memory");
    tables_area.checks++;
}

static void check_debug(void)
{
    compare("debug", "DR0", want.dr[0], read_dr0());
    compare("debug", "DR1", want.dr[1], read_dr1());
    compare("debug", "DR2", want.dr[2], read_dr2());
    compare("debug", "DR3", want.dr[3], read_dr3());
    compare("debug", "DR6", want.dr6, read_dr6());
    compare("debug", "DR7", want.dr7, read_dr7());
    debug_area.checks++;
}

void cpustate_check(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(msrs); i++) {
        if (msrs[i].kind != MSR_AUX || has_aux) {
            compare("msr", msrs[i].name, msrs[i].want, rdmsr(msrs[i].number));
        }
    }
    msr_area.checks++;
    compare("control", "EFER", want.efer, rdmsr(MSR_EFER));
    compare("control", "CR0", want.cr0, read_cr0());
    compare("control", "CR2", want.cr2, read_cr2());
    compare("control", "CR3", want.cr3, read_cr3());
    compare("control", "CR4", want.cr4, read_cr4());
    compare("control", "CR8", want.cr8, read_cr8());
    control_area.checks++;
    check_debug();
    check_tables();
    cpustate_check_paging();
    compare("cpuid", "CRC over the leaves", want.cpuid_crc, crc_of_cpuid());
    cpuid_area.checks++;
}

void cpustate_fire(void)
{
    for (unsigned int i = 0; i < BREAKPOINTS && breakpoints_work(); i++) {
        bool armed = (want.dr7 >> (i * 2) & 3U) != 0;

        hits = 0;
        *(volatile uint8_t *)want.dr[i] = (uint8_t)i;
        if (armed != ((hits & 1U << i) != 0)) {
            damage("debug", "breakpoint %u is %s, DR7 0x%" P64 "x, DR6 said 0x%" P64 "x", i,
                   armed ? "armed but did not fire" : "off but fired", want.dr7, hits);
        }
    }
    debug_area.checks++;
}
