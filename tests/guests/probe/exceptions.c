/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exceptions: vectors, error codes, CR2, ring 3, system calls.
 */
#include "probe/probe.h"

#define GATE_TEST 0x30U
#define NON_CANONICAL 0x0000800000000000U
#define TOKEN 0x70c3

extern char int3_after[], sysenter_entry[], syscall_entry[];
uint64_t user_syscalls(uint64_t n);
uint64_t user_sysenter(uint64_t n);

static uint8_t page[PAGE_SIZE] __attribute__((aligned(4096)));

/* ---- page faults ---- */

static void read_at(void *arg)
{
    (void)*(volatile uint64_t *)arg;
}

static void write_at(void *arg)
{
    *(volatile uint64_t *)arg = 1;
}

static void run_at(void *arg)
{
    ((void (*)(void))(uintptr_t)arg)();
}

static uint64_t user_read(uint64_t va)
{
    return *(volatile uint64_t *)va;
}

static uint64_t user_write(uint64_t va)
{
    *(volatile uint64_t *)va = 1;
    return 0;
}

static void read_in_user(void *arg)
{
    (void)user_call(user_read, (uintptr_t)arg);
}

static void write_in_user(void *arg)
{
    (void)user_call(user_write, (uintptr_t)arg);
}

static void expect_pf(const char *what, void (*fn)(void *), uint64_t va, uint64_t error)
{
    if (expect_fault(what, fn, (void *)va, VEC_PF, error)) {
        check(last_fault.cr2 == va, "%s: CR2 is 0x%" P64 "x, expected 0x%" P64 "x", what,
              last_fault.cr2, va);
    }
}

static void check_page_faults(void)
{
    uint64_t va = WINDOW_VA + 8 * PAGE_SIZE + 0x128;
    uint64_t frame = (uintptr_t)page;
    uint64_t efer = rdmsr(MSR_EFER);
    unsigned int bits = cpuid(0x80000008U, 0).eax & 0xffU;

    group_begin("exception");
    expect_pf("read of nothing", read_at, UNMAPPED_VA + 0x10, 0);
    expect_pf("write to nothing", write_at, UNMAPPED_VA + 0x20, PF_WRITE);
    expect_pf("read of nothing in ring 3", read_in_user, UNMAPPED_VA, PF_USER);
    window_set(0, 8, 0);
    expect_pf("read of an absent page", read_at, va, 0);
    window_set(0, 8, frame | PTE_P | PTE_U);
    expect_vectors("read of a read-only page", read_at, (void *)va, NO_FAULT);
    expect_pf("write to a read-only page", write_at, va, PF_PRESENT | PF_WRITE);
    expect_pf("write to it in ring 3", write_in_user, va, PF_PRESENT | PF_WRITE | PF_USER);
    write_cr0(read_cr0() & ~CR0_WP);
    expect_vectors("write to it without CR0.WP", write_at, (void *)va, NO_FAULT);
    write_cr0(read_cr0() | CR0_WP);
    window_set(0, 8, frame | PTE_P | PTE_W);
    expect_pf("read of a kernel page in ring 3", read_in_user, va, PF_PRESENT | PF_USER);
    if ((cpuid(0x80000001U, 0).edx & CPUIDX_EDX_NX) != 0) {
        page[0x128] = 0xc3;
        wrmsr(MSR_EFER, efer | EFER_NXE);
        window_set(0, 8, frame | PTE_P | PTE_W | PTE_U);
        expect_vectors("run of an executable page", run_at, (void *)va, NO_FAULT);
        window_set(0, 8, frame | PTE_P | PTE_W | PTE_U | PTE_NX);
        expect_pf("run of a page that is not executable", run_at, va, PF_PRESENT | PF_FETCH);
        wrmsr(MSR_EFER, efer & ~EFER_NXE);
        window_set(0, 8, frame | PTE_P | PTE_W | PTE_U | PTE_NX);
        if (cpu_is_exact()) {
            expect_pf("NX bit without EFER.NXE", read_at, va, PF_PRESENT | PF_RESERVED);
        }
        wrmsr(MSR_EFER, efer);
    }
    if (bits < 52 && cpu_is_exact()) {
        window_set(0, 8, frame | PTE_P | PTE_W | BIT64(51));
        expect_pf("reserved bit in an entry", read_at, va, PF_PRESENT | PF_RESERVED);
    }
    window_set(0, 8, 0);
    group_end("page faults");
}

/* ---- the other vectors ---- */

static void do_divide(void *arg)
{
    uint32_t hi = 0;
    uint32_t lo = 1;

    __asm__ volatile("divl %2" : "+a"(lo), "+d"(hi) : "r"(*(uint32_t *)arg));
}

static void do_int3(void *arg)
{
    (void)arg;
    __asm__ volatile("int3\n.globl int3_after\nint3_after:" ::: "memory");
}

static void do_icebp(void *arg)
{
    (void)arg;
    __asm__ volatile(".byte 0xf1" ::: "memory");
}

static void do_ud2(void *arg)
{
    (void)arg;
    __asm__ volatile("ud2" ::: "memory");
}

static void do_int_gate(void *arg)
{
    (void)arg;
    __asm__ volatile("int $0x30" ::: "memory");
}

static void do_long_instruction(void *arg)
{
    (void)arg;
    __asm__ volatile(".fill 15, 1, 0x66\n\tnop" ::: "memory");
}

static void do_lock_nop(void *arg)
{
    (void)arg;
    __asm__ volatile(".byte 0xf0, 0x90" ::: "memory");
}

static void do_fnop(void *arg)
{
    (void)arg;
    __asm__ volatile("fnop" ::: "memory");
}

static void do_sse_divide(void *arg)
{
    uint32_t mxcsr = 0x1d80; /* divide by zero unmasked */

    (void)arg;
    __asm__ volatile("ldmxcsr %0\n\t"
                     "xorps %%xmm1, %%xmm1\n\t"
                     "pcmpeqd %%xmm0, %%xmm0\n\t"
                     "psrld $25, %%xmm0\n\t"
                     "pslld $23, %%xmm0\n\t" /* 1.0 */
                     "divss %%xmm1, %%xmm0" ::"m"(mxcsr)
                     : "memory");
}

static void do_x87_divide(void *arg)
{
    uint16_t fcw = 0x037b; /* divide by zero unmasked */

    (void)arg;
    __asm__ volatile("fninit\n\tfldcw %0\n\tfld1\n\tfldz\n\tfdivrp\n\tfwait" ::"m"(fcw) : "memory");
}

static void load_ds(void *arg)
{
    __asm__ volatile("mov %w0, %%ds" ::"r"((uint32_t)(uintptr_t)arg) : "memory");
}

static void load_ss(void *arg)
{
    __asm__ volatile("mov %w0, %%ss" ::"r"((uint32_t)(uintptr_t)arg) : "memory");
}

static void read_by_rbp(void *arg)
{
    __asm__ volatile("push %%rbp\n\tmov %0, %%rbp\n\tmov 0(%%rbp), %%rax\n\tpop %%rbp" ::"r"(arg)
                     : "rax", "memory");
}

static void jump_far(void *arg)
{
    struct __attribute__((packed)) {
        uint32_t offset;
        uint16_t selector;
    } target = {0x1000, (uint16_t)(uintptr_t)arg};

    __asm__ volatile("ljmpl *%0" ::"m"(target) : "memory");
}

static uint64_t user_unaligned(uint64_t address)
{
    uint64_t v;

    __asm__ volatile("pushfq\n\t"
                     "orq $0x40000, (%%rsp)\n\t"
                     "popfq\n\t"
                     "mov (%1), %0\n\t"
                     "pushfq\n\t"
                     "andq $~0x40000, (%%rsp)\n\t"
                     "popfq"
                     : "=r"(v)
                     : "r"(address)
                     : "memory", "cc");
    return v;
}

static void do_unaligned(void *arg)
{
    (void)user_call(user_unaligned, (uintptr_t)arg);
}

static uint64_t user_int(uint64_t arg)
{
    __asm__ volatile("int $0x30" ::: "memory");
    return arg;
}

static void do_user_int(void *arg)
{
    (void)arg;
    (void)user_call(user_int, 0);
}

static void check_vectors(void)
{
    uint32_t zero = 0;

    group_begin("exception");
    expect_fault("division by zero", do_divide, &zero, VEC_DE, 0);
    if (expect_fault("INT3", do_int3, NULL, VEC_BP, 0)) {
        check(last_fault.rip == (uintptr_t)int3_after, "INT3: RIP 0x%" P64 "x", last_fault.rip);
    }
    if (cpu_is_exact()) {
        expect_fault("INT1", do_icebp, NULL, VEC_DB, 0);
        expect_fault("INT 0x30 in ring 3", do_user_int, NULL, VEC_GP, GATE_TEST * 8 + ERR_IDT);
        expect_fault("non-canonical by RBP", read_by_rbp, (void *)NON_CANONICAL, VEC_SS, 0);
    }
    expect_fault("UD2", do_ud2, NULL, VEC_UD, 0);
    expect_fault("LOCK NOP", do_lock_nop, NULL, VEC_UD, 0);
    expect_fault("16-byte instruction", do_long_instruction, NULL, VEC_GP, 0);
    check(fault_call(do_int_gate, NULL) && last_fault.vector == GATE_TEST,
          "INT 0x30: vector %" P64 "u", last_fault.vector);
    check(fault_call(do_user_int, NULL) && last_fault.vector == VEC_GP,
          "INT 0x30 in ring 3: vector %" P64 "u", last_fault.vector);
    check((last_fault.cs & 3U) == 3, "CS 0x%" P64 "x of a fault in ring 3", last_fault.cs);
    expect_fault("read of a non-canonical address", read_at, (void *)NON_CANONICAL, VEC_GP, 0);
    expect_fault("DS beyond the GDT", load_ds, (void *)0x88, VEC_GP, 0x88);
    expect_fault("DS not present", load_ds, (void *)SEL_ABSENT, VEC_NP, SEL_ABSENT);
    expect_fault("SS not present", load_ss, (void *)SEL_ABSENT, VEC_SS, SEL_ABSENT);
    expect_fault("SS of a code segment", load_ss, (void *)SEL_CODE, VEC_GP, SEL_CODE);
    expect_fault("far jump to data", jump_far, (void *)SEL_DATA, VEC_GP, SEL_DATA);
    expect_fault("far jump to nothing", jump_far, NULL, VEC_GP, 0);
    group_end("vectors and error codes");
}

static void check_fpu_vectors(void)
{
    uint64_t cr0 = read_cr0();
    uint32_t mxcsr = 0x1f80;

    group_begin("exception");
    write_cr0(cr0 | CR0_TS);
    expect_fault("x87 with CR0.TS", do_fnop, NULL, VEC_NM, 0);
    write_cr0(cr0 | CR0_EM);
    expect_fault("x87 with CR0.EM", do_fnop, NULL, VEC_NM, 0);
    write_cr0(cr0);
    expect_vectors("x87", do_fnop, NULL, NO_FAULT);
    if (cpu_is_exact()) {
        expect_fault("SSE division by zero", do_sse_divide, NULL, VEC_XM, 0);
        __asm__ volatile("ldmxcsr %0" ::"m"(mxcsr));
    }
    expect_fault("x87 division by zero", do_x87_divide, NULL, VEC_MF, 0);
    __asm__ volatile("fninit");
    if (cpu_is_exact()) {
        write_cr0(cr0 | CR0_AM);
        expect_fault("unaligned read in ring 3", do_unaligned, page + 1, VEC_AC, 0);
        write_cr0(cr0);
    }
    expect_vectors("the same without CR0.AM", do_unaligned, page + 1, NO_FAULT);
    group_end("FPU and alignment");
}

/* #GP whose gate is absent: #NP while #GP is delivered makes #DF, on a stack of its own. */
static void check_double_fault(void)
{
    struct idt_gate old = idt[VEC_GP];

    group_begin("exception");
    idt[VEC_GP].type = GATE_ABSENT;
    expect_fault("#GP without a gate", read_at, (void *)NON_CANONICAL, VEC_DF, 0);
    idt[VEC_GP] = old;
    group_end("double fault");
}

static void check_system_calls(void)
{
    uint64_t star = rdmsr(MSR_STAR);
    uint64_t efer = rdmsr(MSR_EFER);

    group_begin("exception");
    wrmsr(MSR_EFER, efer | EFER_SCE);
    wrmsr(MSR_STAR, STAR_SELECTORS);
    wrmsr(MSR_LSTAR, (uintptr_t)syscall_entry);
    wrmsr(MSR_SFMASK, FLAG_IF | FLAG_DF | FLAG_TF);
    check(user_call(user_syscalls, TOKEN) == TOKEN + 3, "SYSCALL and SYSRET three times");
    wrmsr(MSR_EFER, efer);
    wrmsr(MSR_STAR, star);
    if (vendor_is_intel() && (cpuid(1, 0).edx & CPUID1_EDX_SEP) != 0) {
        wrmsr(MSR_SYSENTER_CS, SEL_CODE);
        wrmsr(MSR_SYSENTER_ESP, (uintptr_t)page + sizeof(page));
        wrmsr(MSR_SYSENTER_EIP, (uintptr_t)sysenter_entry);
        check(user_call(user_sysenter, TOKEN) == TOKEN + 1, "SYSENTER");
        wrmsr(MSR_SYSENTER_CS, 0);
    }
    group_end("system calls");
}

void probe_exceptions(void)
{
    check_page_faults();
    check_vectors();
    check_fpu_vectors();
    check_double_fault();
    check_system_calls();
}
