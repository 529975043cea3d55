/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86 registers and instructions as the guest payloads use them, 32 and 64 bit.
 *
 * Every function is one instruction; those that change machine state are compiler barriers.
 */
#ifndef GUEST_X86_H
#define GUEST_X86_H

#include <stdint.h>

#define BIT32(n) (1U << (n))
#define BIT64(n) ((uint64_t)1 << (n))

/* Control registers (SDM vol. 3, "Control Registers") */
#define CR0_PE BIT64(0)
#define CR0_MP BIT64(1)
#define CR0_EM BIT64(2)
#define CR0_TS BIT64(3)
#define CR0_ET BIT64(4)
#define CR0_NE BIT64(5)
#define CR0_WP BIT64(16)
#define CR0_AM BIT64(18)
#define CR0_NW BIT64(29)
#define CR0_CD BIT64(30)
#define CR0_PG BIT64(31)
#define CR4_TSD BIT64(2)
#define CR4_DE BIT64(3)
#define CR4_PAE BIT64(5)
#define CR4_PGE BIT64(7)
#define CR4_OSFXSR BIT64(9)
#define CR4_OSXMMEXCPT BIT64(10)
#define CR4_UMIP BIT64(11)
#define CR4_LA57 BIT64(12)
#define CR4_VMXE BIT64(13)
#define CR4_SMXE BIT64(14)
#define CR4_FSGSBASE BIT64(16)
#define CR4_PCIDE BIT64(17)
#define CR4_OSXSAVE BIT64(18)
#define CR4_SMEP BIT64(20)
#define CR4_SMAP BIT64(21)
#define CR4_PKE BIT64(22)

/* RFLAGS */
#define FLAG_CF BIT64(0)
#define FLAG_ONE BIT64(1)
#define FLAG_PF BIT64(2)
#define FLAG_AF BIT64(4)
#define FLAG_ZF BIT64(6)
#define FLAG_SF BIT64(7)
#define FLAG_TF BIT64(8)
#define FLAG_IF BIT64(9)
#define FLAG_DF BIT64(10)
#define FLAG_OF BIT64(11)
#define FLAG_IOPL (BIT64(12) | BIT64(13))
#define FLAG_NT BIT64(14)
#define FLAG_RF BIT64(16)
#define FLAG_AC BIT64(18)
#define FLAG_VIF BIT64(19)
#define FLAG_ID BIT64(21)

/* MSRs */
#define MSR_TSC 0x10U
#define MSR_APIC_BASE 0x1bU
#define MSR_SYSENTER_CS 0x174U
#define MSR_SYSENTER_ESP 0x175U
#define MSR_SYSENTER_EIP 0x176U
#define MSR_PAT 0x277U
#define MSR_TSC_DEADLINE 0x6e0U
#define MSR_EFER 0xc0000080U
#define MSR_STAR 0xc0000081U
#define MSR_LSTAR 0xc0000082U
#define MSR_CSTAR 0xc0000083U
#define MSR_SFMASK 0xc0000084U
#define MSR_FS_BASE 0xc0000100U
#define MSR_GS_BASE 0xc0000101U
#define MSR_KERNEL_GS_BASE 0xc0000102U
#define MSR_TSC_AUX 0xc0000103U

#define APIC_BASE_BSP BIT64(8)
#define APIC_BASE_EXTD BIT64(10)
#define APIC_BASE_EN BIT64(11)

#define EFER_SCE BIT64(0)
#define EFER_LME BIT64(8)
#define EFER_LMA BIT64(10)
#define EFER_NXE BIT64(11)
#define EFER_SVME BIT64(12)

/* XCR0 */
#define XCR0_X87 BIT64(0)
#define XCR0_SSE BIT64(1)
#define XCR0_AVX BIT64(2)
#define XCR0_BNDREGS BIT64(3)
#define XCR0_BNDCSR BIT64(4)
#define XCR0_OPMASK BIT64(5)
#define XCR0_ZMM_HI BIT64(6)
#define XCR0_HI16_ZMM BIT64(7)
#define XCR0_AVX512 (XCR0_OPMASK | XCR0_ZMM_HI | XCR0_HI16_ZMM)
#define XCR0_PKRU BIT64(9)

/* CPUID leaf 1 */
#define CPUID1_ECX_MONITOR BIT32(3)
#define CPUID1_ECX_VMX BIT32(5)
#define CPUID1_ECX_SMX BIT32(6)
#define CPUID1_ECX_PDCM BIT32(15)
#define CPUID1_ECX_PCID BIT32(17)
#define CPUID1_ECX_X2APIC BIT32(21)
#define CPUID1_ECX_TSC_DEADLINE BIT32(24)
#define CPUID1_ECX_XSAVE BIT32(26)
#define CPUID1_ECX_OSXSAVE BIT32(27)
#define CPUID1_ECX_AVX BIT32(28)
#define CPUID1_ECX_HYPERVISOR BIT32(31)
#define CPUID1_EDX_DE BIT32(2)
#define CPUID1_EDX_TSC BIT32(4)
#define CPUID1_EDX_MSR BIT32(5)
#define CPUID1_EDX_PAE BIT32(6)
#define CPUID1_EDX_SEP BIT32(11)
#define CPUID1_EDX_PGE BIT32(13)
#define CPUID1_EDX_PAT BIT32(16)
#define CPUID1_EDX_FXSR BIT32(24)
#define CPUID1_EDX_SSE BIT32(25)
#define CPUID1_EDX_SSE2 BIT32(26)
/* CPUID leaf 7 */
#define CPUID7_EBX_FSGSBASE BIT32(0)
#define CPUID7_EBX_SMEP BIT32(7)
#define CPUID7_EBX_INVPCID BIT32(10)
#define CPUID7_EBX_AVX512F BIT32(16)
#define CPUID7_EBX_SMAP BIT32(20)
#define CPUID7_EBX_AVX512BW BIT32(30)
#define CPUID7_ECX_UMIP BIT32(2)
#define CPUID7_ECX_PKU BIT32(3)
#define CPUID7_ECX_OSPKE BIT32(4)
/* CPUID leaf 0x80000001 */
#define CPUIDX_ECX_SVM BIT32(2)
#define CPUIDX_EDX_SYSCALL BIT32(11)
#define CPUIDX_EDX_NX BIT32(20)
#define CPUIDX_EDX_RDTSCP BIT32(27)
#define CPUIDX_EDX_LM BIT32(29)

/* Exception vectors */
#define VEC_DE 0U
#define VEC_DB 1U
#define VEC_NMI 2U
#define VEC_BP 3U
#define VEC_UD 6U
#define VEC_NM 7U
#define VEC_DF 8U
#define VEC_NP 11U
#define VEC_SS 12U
#define VEC_GP 13U
#define VEC_PF 14U
#define VEC_MF 16U
#define VEC_AC 17U
#define VEC_MC 18U
#define VEC_XM 19U

struct cpuid_regs {
    uint32_t eax;
    uint32_t ebx;
    uint32_t ecx;
    uint32_t edx;
};

static inline struct cpuid_regs cpuid(uint32_t leaf, uint32_t sub)
{
    struct cpuid_regs r;

    __asm__ volatile("cpuid"
                     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                     : "a"(leaf), "c"(sub)
                     : "memory");
    return r;
}

static inline uint64_t rdtsc(void)
{
    uint32_t lo;
    uint32_t hi;

    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi)::"memory");
    return (uint64_t)hi << 32 | lo;
}

static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t lo;
    uint32_t hi;

    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
    return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory");
}

static inline uint64_t xgetbv(uint32_t index)
{
    uint32_t lo;
    uint32_t hi;

    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(index) : "memory");
    return (uint64_t)hi << 32 | lo;
}

static inline void xsetbv(uint32_t index, uint64_t value)
{
    __asm__ volatile("xsetbv" ::"c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory");
}

static inline uint8_t inb(uint16_t port)
{
    uint8_t v;

    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline uint16_t inw(uint16_t port)
{
    uint16_t v;

    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline uint32_t inl(uint16_t port)
{
    uint32_t v;

    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline void outb(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port) : "memory");
}

static inline void outw(uint16_t port, uint16_t v)
{
    __asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port) : "memory");
}

static inline void outl(uint16_t port, uint32_t v)
{
    __asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port) : "memory");
}

static inline void cpu_pause(void)
{
    __asm__ volatile("pause" ::: "memory");
}

#define X86_READ_REG(name, reg)                                    \
    static inline uintptr_t read_##name(void)                      \
    {                                                              \
        uintptr_t v;                                               \
                                                                   \
        __asm__ volatile("mov %%" reg ", %0" : "=r"(v)::"memory"); \
        return v;                                                  \
    }
#define X86_WRITE_REG(name, reg)                                \
    static inline void write_##name(uintptr_t v)                \
    {                                                           \
        __asm__ volatile("mov %0, %%" reg ::"r"(v) : "memory"); \
    }
#define X86_REG(name, reg)  \
    X86_READ_REG(name, reg) \
    X86_WRITE_REG(name, reg)

X86_REG(cr0, "cr0")
X86_REG(cr2, "cr2")
X86_REG(cr3, "cr3")
X86_REG(cr4, "cr4")
X86_REG(dr0, "dr0")
X86_REG(dr1, "dr1")
X86_REG(dr2, "dr2")
X86_REG(dr3, "dr3")
X86_REG(dr6, "dr6")
X86_REG(dr7, "dr7")
#ifdef __x86_64__
X86_REG(cr8, "cr8")
#endif

struct __attribute__((packed)) table_ptr {
    uint16_t limit;
    uintptr_t base;
};

static inline struct table_ptr read_gdtr(void)
{
    struct table_ptr p;

    __asm__ volatile("sgdt %0" : "=m"(p)::"memory");
    return p;
}

static inline struct table_ptr read_idtr(void)
{
    struct table_ptr p;

    __asm__ volatile("sidt %0" : "=m"(p)::"memory");
    return p;
}

static inline void write_idtr(struct table_ptr p)
{
    __asm__ volatile("lidt %0" ::"m"(p) : "memory");
}

static inline uint16_t read_tr(void)
{
    uint16_t v;

    __asm__ volatile("str %0" : "=r"(v)::"memory");
    return v;
}

static inline uint16_t read_ldtr(void)
{
    uint16_t v;

    __asm__ volatile("sldt %0" : "=r"(v)::"memory");
    return v;
}

#endif
