/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SVM: the virtual machine control block, intercepts, exit codes.
 *
 * APM volume 2, "Secure Virtual Machine", appendices "Layout of VMCB" and "SVM Intercept Exit
 * Codes".
 */
#ifndef HW_SVM_H
#define HW_SVM_H

#include <stdint.h>

#define MSR_VM_CR 0xc0010114U
#define MSR_VM_HSAVE_PA 0xc0010117U
#define VM_CR_SVMDIS 0x10UL
#define EFER_SVME 0x1000UL

#define CPUID_SVM 0x8000000aU
#define CPUID_SVM_EDX_NP 0x01U
#define CPUID_SVM_EDX_NRIPS 0x08U
#define CPUID_SVM_EDX_CLEAN 0x20U
#define CPUID_SVM_EDX_FLUSH_ASID 0x40U
#define CPUID_SVM_EDX_DECODE 0x80U

/* Intercepts, word by word. */
#define SVM_CR_READ(n) (1U << (n))
#define SVM_CR_WRITE(n) (0x10000U << (n))
#define SVM_DR_WRITE(n) (0x10000U << (n))
#define SVM_MISC1_INTR 0x00000001U
#define SVM_MISC1_NMI 0x00000002U
#define SVM_MISC1_VINTR 0x00000010U
#define SVM_MISC1_RDPMC 0x00008000U
#define SVM_MISC1_CPUID 0x00040000U
#define SVM_MISC1_IRET 0x00100000U
#define SVM_MISC1_INVD 0x00400000U
#define SVM_MISC1_HLT 0x01000000U
#define SVM_MISC1_INVLPGA 0x04000000U
#define SVM_MISC1_IOIO 0x08000000U
#define SVM_MISC1_MSR 0x10000000U
#define SVM_MISC1_TASK_SWITCH 0x20000000U
#define SVM_MISC1_SHUTDOWN 0x80000000U
#define SVM_MISC2_VMRUN 0x0001U
#define SVM_MISC2_VMMCALL 0x0002U
#define SVM_MISC2_VMLOAD 0x0004U
#define SVM_MISC2_VMSAVE 0x0008U
#define SVM_MISC2_STGI 0x0010U
#define SVM_MISC2_CLGI 0x0020U
#define SVM_MISC2_SKINIT 0x0040U
#define SVM_MISC2_WBINVD 0x0200U
#define SVM_MISC2_MONITOR 0x0400U
#define SVM_MISC2_MWAIT 0x0800U
#define SVM_MISC2_MWAIT_ARMED 0x1000U
#define SVM_MISC2_XSETBV 0x2000U
#define SVM_MISC2_RDPRU 0x4000U

#define SVM_TLB_KEEP 0U
#define SVM_TLB_FLUSH_ALL 1U
#define SVM_TLB_FLUSH_ASID 3U

/* int_ctl */
#define SVM_V_IRQ 0x00000100U
#define SVM_V_PRIO_HIGHEST 0x000f0000U
#define SVM_V_IGNORE_TPR 0x00100000U
#define SVM_V_INTR_MASKING 0x01000000U

#define SVM_SHADOW 1UL /* interrupt_shadow */

#define SVM_NP_ENABLE 1UL

/* clean: groups of fields; the ones of LBR virtualization and of AVIC are not used */
#define SVM_CLEAN_INTERCEPTS 0x001U
#define SVM_CLEAN_MAPS 0x002U
#define SVM_CLEAN_ASID 0x004U
#define SVM_CLEAN_TPR 0x008U
#define SVM_CLEAN_NP 0x010U
#define SVM_CLEAN_CR 0x020U
#define SVM_CLEAN_DR 0x040U
#define SVM_CLEAN_DT 0x080U
#define SVM_CLEAN_SEG 0x100U
#define SVM_CLEAN_CR2 0x200U
#define SVM_CLEAN_ALL 0x3ffU

/* Exit codes */
#define SVM_EXIT_CR_READ(n) (0x00UL + (n))
#define SVM_EXIT_CR_WRITE(n) (0x10UL + (n))
#define SVM_EXIT_DR_WRITE(n) (0x30UL + (n))
#define SVM_EXIT_EXCEPTION(n) (0x40UL + (n))
#define SVM_EXIT_INTR 0x60UL
#define SVM_EXIT_NMI 0x61UL
#define SVM_EXIT_VINTR 0x64UL
#define SVM_EXIT_RDPMC 0x6fUL
#define SVM_EXIT_CPUID 0x72UL
#define SVM_EXIT_IRET 0x74UL
#define SVM_EXIT_INVD 0x76UL
#define SVM_EXIT_HLT 0x78UL
#define SVM_EXIT_INVLPGA 0x7aUL
#define SVM_EXIT_IOIO 0x7bUL
#define SVM_EXIT_MSR 0x7cUL
#define SVM_EXIT_TASK_SWITCH 0x7dUL
#define SVM_EXIT_SHUTDOWN 0x7fUL
#define SVM_EXIT_VMRUN 0x80UL
#define SVM_EXIT_VMMCALL 0x81UL
#define SVM_EXIT_SKINIT 0x86UL
#define SVM_EXIT_WBINVD 0x89UL
#define SVM_EXIT_MONITOR 0x8aUL
#define SVM_EXIT_MWAIT 0x8bUL
#define SVM_EXIT_MWAIT_ARMED 0x8cUL
#define SVM_EXIT_XSETBV 0x8dUL
#define SVM_EXIT_RDPRU 0x8eUL
#define SVM_EXIT_NPF 0x400UL
#define SVM_EXIT_INVALID 0xffffffffffffffffUL

/* exit_info1 of MOV CR and MOV DR, with decode assists */
#define SVM_MOV_CR 0x8000000000000000UL /* MOV, and not CLTS or LMSW */
#define SVM_MOV_GPR 0xfUL

/* exit_info1 of IOIO */
#define SVM_IO_IN 0x1UL
#define SVM_IO_STRING 0x4UL
#define SVM_IO_REP 0x8UL
#define SVM_IO_SIZE_SHIFT 4
#define SVM_IO_SIZE_MASK 7UL /* one bit of 1, 2, 4 bytes: the size itself */
#define SVM_IO_ADDRESS_SHIFT 7
#define SVM_IO_ADDRESS_MASK 7UL /* one bit of 2, 4, 8 bytes: half of the size */
#define SVM_IO_SEGMENT_SHIFT 10 /* with decode assists: of OUTS, ES to GS */
#define SVM_IO_SEGMENT_MASK 7UL
#define SVM_IO_PORT_SHIFT 16

#define SVM_MSR_WRITE 1UL /* exit_info1 of MSR */

/* exit_info1 of NPF: a page fault's error code */
#define SVM_NPF_WRITE 0x2UL
#define SVM_NPF_FETCH 0x10UL

struct vmcb_segment {
    uint16_t selector;
    uint16_t attributes; /* access byte, then AVL, L, D/B, G */
    uint32_t limit;
    uint64_t base;
};

struct vmcb {
    /* Control area */
    uint32_t intercept_cr;
    uint32_t intercept_dr;
    uint32_t intercept_exceptions;
    uint32_t intercept_misc1;
    uint32_t intercept_misc2;
    uint8_t reserved1[0x40 - 0x14];
    uint64_t iopm_pa;
    uint64_t msrpm_pa;
    uint64_t tsc_offset;
    uint32_t asid;
    uint32_t tlb_control;
    uint32_t int_ctl;
    uint32_t int_vector;
    uint64_t interrupt_shadow;
    uint64_t exit_code;
    uint64_t exit_info1;
    uint64_t exit_info2;
    uint64_t exit_int_info;
    uint64_t np_enable;
    uint8_t reserved2[0xa8 - 0x98];
    uint64_t event_inject;
    uint64_t nested_cr3;
    uint64_t lbr_control;
    uint64_t clean;
    uint64_t next_rip;
    uint8_t insn_count;
    uint8_t insn_bytes[15];
    uint8_t reserved3[0x400 - 0xe0];
    /* State save area */
    struct vmcb_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
    uint8_t reserved4[0x4cb - 0x4a0];
    uint8_t cpl;
    uint32_t reserved5;
    uint64_t efer;
    uint8_t reserved6[0x548 - 0x4d8];
    uint64_t cr4;
    uint64_t cr3;
    uint64_t cr0;
    uint64_t dr7;
    uint64_t dr6;
    uint64_t rflags;
    uint64_t rip;
    uint8_t reserved7[0x5d8 - 0x580];
    uint64_t rsp;
    uint8_t reserved8[0x5f8 - 0x5e0];
    uint64_t rax;
    uint64_t star;
    uint64_t lstar;
    uint64_t cstar;
    uint64_t sfmask;
    uint64_t kernel_gs_base;
    uint64_t sysenter_cs;
    uint64_t sysenter_esp;
    uint64_t sysenter_eip;
    uint64_t cr2;
    uint8_t reserved9[0x668 - 0x648];
    uint64_t pat;
    uint8_t reserved10[0x1000 - 0x670];
};

_Static_assert(sizeof(struct vmcb) == 0x1000, "VMCB");

#endif
