/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instructions that must fault, may fault, or must work: run as bytes, in ring 0 and ring 3.
 */
#include "probe/probe.h"

#include "lib/molt.h"

#define MAX_BYTES 8
#define UD VECTOR(VEC_UD)
#define GP VECTOR(VEC_GP)
#define UD_GP (UD | GP)
#define ANY (UD_GP | NO_FAULT)

/* Run with RDI = a page of zeroes, EAX, ECX as given, EDX = 0. */
struct instruction {
    const char *name;
    uint8_t bytes[MAX_BYTES];
    uint8_t length;
    uint32_t eax;
    uint32_t ecx;
    uint64_t ring0; /* allowed outcomes; 0: not run there */
    uint64_t ring3;
};

/* Not there under molt, whatever the host has. */
static const struct instruction hidden[] = {
    {"VMXON", {0xf3, 0x0f, 0xc7, 0x37}, 4, 0, 0, UD, UD_GP},
    {"VMCLEAR", {0x66, 0x0f, 0xc7, 0x37}, 4, 0, 0, UD, UD_GP},
    {"VMPTRLD", {0x0f, 0xc7, 0x37}, 3, 0, 0, UD, UD_GP},
    {"VMPTRST", {0x0f, 0xc7, 0x3f}, 3, 0, 0, UD, UD_GP},
    {"VMLAUNCH", {0x0f, 0x01, 0xc2}, 3, 0, 0, UD, UD_GP},
    {"VMRESUME", {0x0f, 0x01, 0xc3}, 3, 0, 0, UD, UD_GP},
    {"VMXOFF", {0x0f, 0x01, 0xc4}, 3, 0, 0, UD, UD_GP},
    {"VMREAD", {0x0f, 0x78, 0xc8}, 3, 0, 0, UD, UD_GP},
    {"VMWRITE", {0x0f, 0x79, 0xc8}, 3, 0, 0, UD, UD_GP},
    {"VMFUNC", {0x0f, 0x01, 0xd4}, 3, 0, 0, UD, UD_GP},
    {"INVEPT", {0x66, 0x0f, 0x38, 0x80, 0x0f}, 5, 0, 1, UD, UD_GP},
    {"INVVPID", {0x66, 0x0f, 0x38, 0x81, 0x0f}, 5, 0, 1, UD, UD_GP},
    {"GETSEC", {0x0f, 0x37}, 2, 0, 0, UD, UD_GP},
    {"VMRUN", {0x0f, 0x01, 0xd8}, 3, 0, 0, UD, UD_GP},
    {"VMLOAD", {0x0f, 0x01, 0xda}, 3, 0, 0, UD, UD_GP},
    {"VMSAVE", {0x0f, 0x01, 0xdb}, 3, 0, 0, UD, UD_GP},
    {"STGI", {0x0f, 0x01, 0xdc}, 3, 0, 0, UD, UD_GP},
    {"CLGI", {0x0f, 0x01, 0xdd}, 3, 0, 0, UD, UD_GP},
    {"SKINIT", {0x0f, 0x01, 0xde}, 3, 0, 0, UD, UD_GP},
    {"INVLPGA", {0x0f, 0x01, 0xdf}, 3, 0, 0, UD, UD_GP},
    {"MONITOR", {0x0f, 0x01, 0xc8}, 3, 0, 0, UD, UD},
    {"MWAIT", {0x0f, 0x01, 0xc9}, 3, 0, 0, UD, UD},
    {"ENCLS", {0x0f, 0x01, 0xcf}, 3, 0, 0, UD, UD_GP},
    {"RSM", {0x0f, 0xaa}, 2, 0, 0, UD, UD},
    {"RDPMC", {0x0f, 0x33}, 2, 0, 0, GP, GP},
    {"RDPMC of a fixed counter", {0x0f, 0x33}, 2, 0, 0x40000000, GP, GP},
};

/* What QEMU's TCG gets wrong by itself. */
static const struct instruction exact[] = {
    {"LTR of 0", {0x0f, 0x00, 0xd8}, 3, 0, 0, GP, GP},
};

/* The same on every machine. */
static const struct instruction common[] = {
    {"UD2", {0x0f, 0x0b}, 2, 0, 0, UD, UD},
    {"UD1", {0x0f, 0xb9, 0xc0}, 3, 0, 0, UD, UD},
    {"INTO", {0xce}, 1, 0, 0, UD, UD},
    {"WBINVD", {0x0f, 0x09}, 2, 0, 0, NO_FAULT, GP},
    {"INVD", {0x0f, 0x08}, 2, 0, 0, ANY, GP},
    {"CLTS", {0x0f, 0x06}, 2, 0, 0, NO_FAULT, GP},
    {"INVLPG", {0x0f, 0x01, 0x3f}, 3, 0, 0, NO_FAULT, GP},
    {"CPUID", {0x53, 0x0f, 0xa2, 0x5b}, 4, 0, 0, NO_FAULT, NO_FAULT},
    {"RDTSC", {0x0f, 0x31}, 2, 0, 0, NO_FAULT, NO_FAULT},
    {"PAUSE", {0xf3, 0x90}, 2, 0, 0, NO_FAULT, NO_FAULT},
    {"HLT", {0xf4}, 1, 0, 0, 0, GP},
    {"CLI", {0xfa}, 1, 0, 0, NO_FAULT, GP},
    {"STI", {0xfb}, 1, 0, 0, 0, GP},
    {"IN", {0xe4, 0x80}, 2, 0, 0, NO_FAULT, GP},
    {"OUT", {0xe6, 0x80}, 2, 0, 0, NO_FAULT, GP},
    {"RDMSR", {0x0f, 0x32}, 2, 0, MSR_FS_BASE, NO_FAULT, GP},
    {"WRMSR", {0x0f, 0x30}, 2, 0, MSR_FS_BASE, NO_FAULT, GP},
    {"MOV from CR0", {0x0f, 0x20, 0xc0}, 3, 0, 0, NO_FAULT, GP},
    {"MOV from CR8", {0x44, 0x0f, 0x20, 0xc0}, 4, 0, 0, NO_FAULT, GP},
    {"MOV from CR1", {0x0f, 0x20, 0xc8}, 3, 0, 0, UD, UD_GP},
    {"MOV from DR7", {0x0f, 0x21, 0xf8}, 3, 0, 0, NO_FAULT, GP},
    {"LGDT", {0x0f, 0x01, 0x17}, 3, 0, 0, 0, GP},
    {"LIDT", {0x0f, 0x01, 0x1f}, 3, 0, 0, 0, GP},
    {"LLDT of 0", {0x0f, 0x00, 0xd0}, 3, 0, 0, NO_FAULT, GP},
    {"SWAPGS twice", {0x0f, 0x01, 0xf8, 0x0f, 0x01, 0xf8}, 6, 0, 0, NO_FAULT, GP},
    {"SYSRET", {0x48, 0x0f, 0x07}, 3, 0, 0, 0, UD_GP},
    {"IRETQ to CS 0", {0x6a, 0, 0x6a, 0, 0x48, 0xcf}, 6, 0, 0, GP, GP},
};

static uint8_t code[PAGE_SIZE] __attribute__((aligned(4096)));
static uint8_t operand[PAGE_SIZE] __attribute__((aligned(4096)));
static uint8_t witness[PAGE_SIZE] __attribute__((aligned(4096)));

static uint64_t run(uint64_t arg)
{
    const struct instruction *i = (const struct instruction *)arg;
    uint32_t eax = i->eax;
    uint32_t ecx = i->ecx;
    uint32_t edx = 0;

    __asm__ volatile("call *%3"
                     : "+a"(eax), "+c"(ecx), "+d"(edx)
                     : "r"(code), "D"(operand)
                     : "memory", "cc");
    return eax;
}

static void run_kernel(void *arg)
{
    (void)run((uintptr_t)arg);
}

static void run_user(void *arg)
{
    (void)user_call(run, (uintptr_t)arg);
}

static void try_one(const struct instruction *i)
{
    char what[48];

    memset(code, 0xcc, sizeof(code));
    memcpy(code, i->bytes, i->length);
    code[i->length] = 0xc3;
    memset(operand, 0, sizeof(operand));
    /* Own stores of code: a serializing instruction before it runs. */
    (void)cpuid(0, 0);
    if (i->ring0 != 0) {
        str_format(what, sizeof(what), "%s in ring 0", i->name);
        expect_vectors(what, run_kernel, (void *)(uintptr_t)i, i->ring0);
    }
    if (i->ring3 != 0) {
        str_format(what, sizeof(what), "%s in ring 3", i->name);
        expect_vectors(what, run_user, (void *)(uintptr_t)i, i->ring3);
    }
}

/* Shown by CPUID: works. Hidden: #UD. */
static void check_optional(void)
{
    struct cpuid_regs seven = cpuid(0, 0).eax >= 7 ? cpuid(7, 0) : (struct cpuid_regs){0, 0, 0, 0};
    struct cpuid_regs one = cpuid(1, 0);
    uint32_t ext = cpuid(0x80000001U, 0).edx;
    uint32_t xsave = cpuid(0, 0).eax >= 0xd ? cpuid(0xd, 1).eax : 0;
    const struct {
        struct instruction i;
        bool shown;
    } optional[] = {
        {{"RDTSCP", {0x0f, 0x01, 0xf9}, 3, 0, 0, NO_FAULT, NO_FAULT},
         (ext & CPUIDX_EDX_RDTSCP) != 0},
        {{"RDPID", {0xf3, 0x0f, 0xc7, 0xf8}, 4, 0, 0, NO_FAULT, NO_FAULT},
         (seven.ecx & BIT32(22)) != 0},
        {{"INVPCID", {0x66, 0x0f, 0x38, 0x82, 0x0f}, 5, 0, 2, NO_FAULT, GP},
         (seven.ebx & CPUID7_EBX_INVPCID) != 0},
        {{"RDFSBASE without CR4.FSGSBASE", {0xf3, 0x48, 0x0f, 0xae, 0xc0}, 5, 0, 0, UD, UD}, true},
        {{"XGETBV", {0x0f, 0x01, 0xd0}, 3, 0, 0, NO_FAULT, NO_FAULT},
         (one.ecx & CPUID1_ECX_XSAVE) != 0},
        {{"XSAVE", {0x48, 0x0f, 0xae, 0x27}, 4, 3, 0, NO_FAULT, NO_FAULT},
         (one.ecx & CPUID1_ECX_XSAVE) != 0},
        /* No XSAVEC: no control takes it from a guest that it is not shown to. */
        {{"XSAVES", {0x48, 0x0f, 0xc7, 0x2f}, 4, 3, 0, NO_FAULT, GP}, (xsave & BIT32(3)) != 0},
        {{"RDRAND", {0x0f, 0xc7, 0xf0}, 3, 0, 0, NO_FAULT, NO_FAULT}, (one.ecx & BIT32(30)) != 0},
        {{"RDSEED", {0x0f, 0xc7, 0xf8}, 3, 0, 0, NO_FAULT, NO_FAULT}, (seven.ebx & BIT32(18)) != 0},
        {{"UMONITOR", {0xf3, 0x0f, 0xae, 0xf7}, 4, 0, 0, NO_FAULT, NO_FAULT},
         (seven.ecx & BIT32(5)) != 0},
    };

    group_begin("instruction");
    for (size_t n = 0; n < ARRAY_SIZE(optional); n++) {
        struct instruction i = optional[n].i;

        if (!optional[n].shown && !cpu_is_exact()) {
            continue;
        }
        if (!optional[n].shown) {
            /* Which of the two comes first for a privileged one, engines disagree. */
            i.ring0 = UD;
            i.ring3 = UD | (i.ring3 & GP);
        }
        try_one(&i);
    }
    group_end("optional ones as CPUID says");
}

static void check_table(const struct instruction *table, size_t n, const char *what)
{
    uint64_t cr0 = read_cr0();
    uint64_t cr4 = read_cr4();
    bool intact = true;

    for (size_t i = 0; i < sizeof(witness); i++) {
        witness[i] = (uint8_t)(i * 7);
    }
    group_begin("instruction");
    for (size_t i = 0; i < n; i++) {
        try_one(&table[i]);
    }
    for (size_t i = 0; i < sizeof(witness); i++) {
        intact = intact && witness[i] == (uint8_t)(i * 7);
    }
    check(intact, "memory changed");
    check(read_cr0() == cr0 && read_cr4() == cr4, "CR0 0x%" P64 "x, CR4 0x%" P64 "x",
          (uint64_t)read_cr0(), (uint64_t)read_cr4());
    group_end(what);
    __asm__ volatile("lldt %w0" ::"r"(SEL_LDT));
}

void probe_instructions(void)
{
    if (molt_present()) {
        check_table(hidden, ARRAY_SIZE(hidden), "hidden ones");
    } else {
        report_skip("instruction", "hidden ones: no molt here");
    }
    check_table(common, ARRAY_SIZE(common), "common ones");
    if (cpu_is_exact()) {
        check_table(exact, ARRAY_SIZE(exact), "ones of an exact CPU");
    }
    check_optional();
}
