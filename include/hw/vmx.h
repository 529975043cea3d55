/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMX: VMCS field encodings, control bits, exit reasons, capability MSRs, EPT entries.
 *
 * SDM volume 3: "Virtual Machine Control Structures", "VM Exits", "VMX Capability Reporting
 * Facility", "Field Encoding in VMCS", "VMX Basic Exit Reasons", "Extended Page-Table Mechanism".
 */
#ifndef HW_VMX_H
#define HW_VMX_H

/* ---- Capability MSRs ------------------------------------------------------------------------- */

#define MSR_VMX_BASIC 0x480U
#define MSR_VMX_MISC 0x485U
#define MSR_VMX_CR0_FIXED0 0x486U
#define MSR_VMX_CR0_FIXED1 0x487U
#define MSR_VMX_CR4_FIXED0 0x488U
#define MSR_VMX_CR4_FIXED1 0x489U
#define MSR_VMX_SECONDARY_CTLS 0x48bU
#define MSR_VMX_EPT_VPID_CAP 0x48cU
#define MSR_VMX_TRUE_PIN_CTLS 0x48dU
#define MSR_VMX_TRUE_PRIMARY_CTLS 0x48eU
#define MSR_VMX_TRUE_EXIT_CTLS 0x48fU
#define MSR_VMX_TRUE_ENTRY_CTLS 0x490U

#define VMX_BASIC_REVISION 0x7fffffffUL
#define VMX_BASIC_SIZE_SHIFT 32
#define VMX_BASIC_SIZE_MASK 0x1fffUL
#define VMX_BASIC_32BIT (1UL << 48)
#define VMX_BASIC_INOUT_INFO (1UL << 54)
#define VMX_BASIC_TRUE_CTLS (1UL << 55)

#define VMX_MISC_TIMER_SHIFT_MASK 0x1fUL
#define VMX_MISC_SAVES_LMA (1UL << 5)

#define EPT_CAP_WALK_4 (1UL << 6)
#define EPT_CAP_WB (1UL << 14)
#define EPT_CAP_2M (1UL << 16)
#define EPT_CAP_1G (1UL << 17)
#define EPT_CAP_INVEPT (1UL << 20)
#define EPT_CAP_INVEPT_SINGLE (1UL << 25)
#define EPT_CAP_INVEPT_ALL (1UL << 26)
#define EPT_CAP_INVVPID (1UL << 32)
#define EPT_CAP_INVVPID_SINGLE (1UL << 41)
#define EPT_CAP_INVVPID_ALL (1UL << 42)

#define INVEPT_SINGLE 1UL
#define INVEPT_ALL 2UL
#define INVVPID_SINGLE 1UL
#define INVVPID_ALL 2UL

/* ---- Controls -------------------------------------------------------------------------------- */

#define PIN_EXTINT_EXITING (1U << 0)
#define PIN_NMI_EXITING (1U << 3)
#define PIN_VIRTUAL_NMIS (1U << 5)
#define PIN_PREEMPTION_TIMER (1U << 6)

#define PRI_IRQ_WINDOW (1U << 2)
#define PRI_NMI_WINDOW (1U << 22)
#define PRI_TSC_OFFSETTING (1U << 3)
#define PRI_HLT_EXITING (1U << 7)
#define PRI_INVLPG_EXITING (1U << 9)
#define PRI_MWAIT_EXITING (1U << 10)
#define PRI_RDPMC_EXITING (1U << 11)
#define PRI_RDTSC_EXITING (1U << 12)
#define PRI_CR3_LOAD_EXITING (1U << 15)
#define PRI_CR3_STORE_EXITING (1U << 16)
#define PRI_CR8_LOAD_EXITING (1U << 19)
#define PRI_CR8_STORE_EXITING (1U << 20)
#define PRI_MOV_DR_EXITING (1U << 23)
#define PRI_IO_BITMAPS (1U << 25)
#define PRI_MSR_BITMAPS (1U << 28)
#define PRI_MONITOR_EXITING (1U << 29)
#define PRI_SECONDARY (1U << 31)

#define SEC_EPT (1U << 1)
#define SEC_RDTSCP (1U << 3)
#define SEC_VPID (1U << 5)
#define SEC_WBINVD_EXITING (1U << 6)
#define SEC_UNRESTRICTED_GUEST (1U << 7)
#define SEC_INVPCID (1U << 12)

#define EXIT_CTL_SAVE_DEBUG (1U << 2)
#define EXIT_CTL_HOST_64 (1U << 9)
#define EXIT_CTL_ACK_INTERRUPT (1U << 15)
#define EXIT_CTL_SAVE_PAT (1U << 18)
#define EXIT_CTL_LOAD_PAT (1U << 19)
#define EXIT_CTL_SAVE_EFER (1U << 20)
#define EXIT_CTL_LOAD_EFER (1U << 21)

#define ENTRY_CTL_LOAD_DEBUG (1U << 2)
#define ENTRY_CTL_IA32E (1U << 9)
#define ENTRY_CTL_LOAD_PAT (1U << 14)
#define ENTRY_CTL_LOAD_EFER (1U << 15)

/* ---- VMCS fields ----------------------------------------------------------------------------- */

/* 16-bit */
#define VMCS_VPID 0x0000U
/* The other segments follow in the order of enum segment, here and for base, limit and access. */
#define VMCS_GUEST_ES_SELECTOR 0x0800U
#define VMCS_HOST_ES_SELECTOR 0x0c00U
#define VMCS_HOST_CS_SELECTOR 0x0c02U
#define VMCS_HOST_SS_SELECTOR 0x0c04U
#define VMCS_HOST_DS_SELECTOR 0x0c06U
#define VMCS_HOST_FS_SELECTOR 0x0c08U
#define VMCS_HOST_GS_SELECTOR 0x0c0aU
#define VMCS_HOST_TR_SELECTOR 0x0c0cU

/* 64-bit */
#define VMCS_IO_BITMAP_A 0x2000U
#define VMCS_IO_BITMAP_B 0x2002U
#define VMCS_MSR_BITMAP 0x2004U
#define VMCS_TSC_OFFSET 0x2010U
#define VMCS_EPTP 0x201aU
#define VMCS_GUEST_PHYSICAL 0x2400U
#define VMCS_GUEST_LINK 0x2800U
#define VMCS_GUEST_DEBUGCTL 0x2802U
#define VMCS_GUEST_PAT 0x2804U
#define VMCS_GUEST_EFER 0x2806U
#define VMCS_GUEST_PDPTE0 0x280aU /* the others follow in steps of 2 */
#define VMCS_HOST_PAT 0x2c00U
#define VMCS_HOST_EFER 0x2c02U

/* 32-bit */
#define VMCS_PIN_CTLS 0x4000U
#define VMCS_PRIMARY_CTLS 0x4002U
#define VMCS_EXCEPTION_BITMAP 0x4004U
#define VMCS_PF_ERROR_MASK 0x4006U
#define VMCS_PF_ERROR_MATCH 0x4008U
#define VMCS_CR3_TARGET_COUNT 0x400aU
#define VMCS_EXIT_CTLS 0x400cU
#define VMCS_EXIT_MSR_STORE_COUNT 0x400eU
#define VMCS_EXIT_MSR_LOAD_COUNT 0x4010U
#define VMCS_ENTRY_CTLS 0x4012U
#define VMCS_ENTRY_MSR_LOAD_COUNT 0x4014U
#define VMCS_ENTRY_INTR_INFO 0x4016U
#define VMCS_ENTRY_ERROR_CODE 0x4018U
#define VMCS_ENTRY_INSN_LENGTH 0x401aU
#define VMCS_SECONDARY_CTLS 0x401eU
#define VMCS_INSN_ERROR 0x4400U
#define VMCS_EXIT_REASON 0x4402U
#define VMCS_EXIT_INTR_INFO 0x4404U
#define VMCS_EXIT_ERROR_CODE 0x4406U
#define VMCS_IDT_INFO 0x4408U
#define VMCS_IDT_ERROR_CODE 0x440aU
#define VMCS_EXIT_INSN_LENGTH 0x440cU
#define VMCS_EXIT_INSN_INFO 0x440eU
#define VMCS_GUEST_ES_LIMIT 0x4800U
#define VMCS_GUEST_GDTR_LIMIT 0x4810U
#define VMCS_GUEST_IDTR_LIMIT 0x4812U
#define VMCS_GUEST_ES_ACCESS 0x4814U
#define VMCS_GUEST_CS_ACCESS 0x4816U
#define VMCS_GUEST_SS_ACCESS 0x4818U
#define VMCS_GUEST_INTERRUPTIBILITY 0x4824U
#define VMCS_GUEST_ACTIVITY 0x4826U
#define VMCS_GUEST_SYSENTER_CS 0x482aU
#define VMCS_PREEMPTION_TIMER 0x482eU
#define VMCS_HOST_SYSENTER_CS 0x4c00U

/* natural width */
#define VMCS_CR0_MASK 0x6000U
#define VMCS_CR4_MASK 0x6002U
#define VMCS_CR0_SHADOW 0x6004U
#define VMCS_CR4_SHADOW 0x6006U
#define VMCS_EXIT_QUALIFICATION 0x6400U
#define VMCS_GUEST_LINEAR 0x640aU
#define VMCS_GUEST_CR0 0x6800U
#define VMCS_GUEST_CR3 0x6802U
#define VMCS_GUEST_CR4 0x6804U
#define VMCS_GUEST_ES_BASE 0x6806U
#define VMCS_GUEST_CS_BASE 0x6808U
#define VMCS_GUEST_GDTR_BASE 0x6816U
#define VMCS_GUEST_IDTR_BASE 0x6818U
#define VMCS_GUEST_DR7 0x681aU
#define VMCS_GUEST_RSP 0x681cU
#define VMCS_GUEST_RIP 0x681eU
#define VMCS_GUEST_RFLAGS 0x6820U
#define VMCS_GUEST_PENDING_DEBUG 0x6822U
#define VMCS_GUEST_SYSENTER_ESP 0x6824U
#define VMCS_GUEST_SYSENTER_EIP 0x6826U
#define VMCS_HOST_CR0 0x6c00U
#define VMCS_HOST_CR3 0x6c02U
#define VMCS_HOST_CR4 0x6c04U
#define VMCS_HOST_FS_BASE 0x6c06U
#define VMCS_HOST_GS_BASE 0x6c08U
#define VMCS_HOST_TR_BASE 0x6c0aU
#define VMCS_HOST_GDTR_BASE 0x6c0cU
#define VMCS_HOST_IDTR_BASE 0x6c0eU
#define VMCS_HOST_SYSENTER_ESP 0x6c10U
#define VMCS_HOST_SYSENTER_EIP 0x6c12U
#define VMCS_HOST_RSP 0x6c14U
#define VMCS_HOST_RIP 0x6c16U

#define VMCS_LINK_NONE (~0UL)
#define VMCS_ACTIVITY_ACTIVE 0U

/* ---- Exit reasons ---------------------------------------------------------------------------- */

#define EXIT_REASON_BASIC 0xffffU
#define EXIT_REASON_ENTRY_FAILED (1U << 31)

#define EXIT_EXCEPTION_NMI 0U
#define EXIT_EXTINT 1U
#define EXIT_TRIPLE_FAULT 2U
#define EXIT_IRQ_WINDOW 7U
#define EXIT_NMI_WINDOW 8U
#define EXIT_CPUID 10U
#define EXIT_GETSEC 11U
#define EXIT_HLT 12U
#define EXIT_INVD 13U
#define EXIT_RDPMC 15U
#define EXIT_VMCALL 18U
#define EXIT_VMCLEAR 19U
#define EXIT_VMXON 27U /* 19 to 27: the VMX instructions */
#define EXIT_CR_ACCESS 28U
#define EXIT_IO 30U
#define EXIT_RDMSR 31U
#define EXIT_WRMSR 32U
#define EXIT_BAD_GUEST_STATE 33U
#define EXIT_MSR_LOADING 34U
#define EXIT_MWAIT 36U
#define EXIT_MONITOR 39U
#define EXIT_PAUSE 40U
#define EXIT_MC_AT_ENTRY 41U
#define EXIT_EPT_VIOLATION 48U
#define EXIT_INVEPT 50U
#define EXIT_PREEMPTION_TIMER 52U
#define EXIT_INVVPID 53U
#define EXIT_WBINVD 54U
#define EXIT_XSETBV 55U
#define EXIT_VMFUNC 59U

/* ---- Exit qualification ---------------------------------------------------------------------- */

/* Control-register accesses */
#define QUAL_CR_NUMBER 0xfUL
#define QUAL_CR_TYPE_SHIFT 4
#define QUAL_CR_TYPE_MASK 3UL
#define QUAL_CR_MOV_TO 0U
#define QUAL_CR_MOV_FROM 1U
#define QUAL_CR_CLTS 2U
#define QUAL_CR_LMSW 3U
#define QUAL_CR_GPR_SHIFT 8
#define QUAL_CR_GPR_MASK 0xfUL
#define QUAL_CR_LMSW_SHIFT 16

/* I/O instructions */
#define QUAL_IO_SIZE 7UL /* bytes - 1 */
#define QUAL_IO_IN (1UL << 3)
#define QUAL_IO_STRING (1UL << 4)
#define QUAL_IO_REP (1UL << 5)
#define QUAL_IO_PORT_SHIFT 16

/* VM-exit instruction information of INS and OUTS: address size 0, 1, 2 for 16, 32, 64 bits */
#define INSN_INFO_ADDRESS_SHIFT 7
#define INSN_INFO_ADDRESS_MASK 7U

/* EPT violations */
#define QUAL_EPT_READ (1UL << 0)
#define QUAL_EPT_WRITE (1UL << 1)
#define QUAL_EPT_EXEC (1UL << 2)
#define QUAL_EPT_NMI_UNBLOCKED (1UL << 12)

/* Debug exceptions, and the pending-debug-exceptions field */
#define QUAL_DB_TRAPS 0xfUL
#define QUAL_DB_BD (1UL << 13)
#define QUAL_DB_BS (1UL << 14)
#define PENDING_DEBUG_TRAPS 0xfUL
#define PENDING_DEBUG_ENABLED (1UL << 12)
#define PENDING_DEBUG_BS (1UL << 14)
#define PENDING_DEBUG_RTM (1UL << 16)

/* ---- Interruption information ---------------------------------------------------------------- */

#define INTR_INFO_VECTOR 0xffU
#define INTR_INFO_TYPE_SHIFT 8
#define INTR_INFO_TYPE_MASK 7U
#define INTR_INFO_NMI_UNBLOCKED (1U << 12)

#define INTERRUPTIBILITY_KNOWN 0x1fU

/* ---- Segment access rights ------------------------------------------------------------------- */

#define AR_TYPE 0xfU
#define AR_TYPE_ACCESSED 1U
#define AR_TYPE_CODE 8U
#define AR_TYPE_LDT 2U
#define AR_TYPE_TSS16_BUSY 3U
#define AR_TYPE_TSS_BUSY 11U
#define AR_S 0x10U
#define AR_DPL_SHIFT 5
#define AR_DPL_MASK 3U
#define AR_P 0x80U
#define AR_L 0x2000U
#define AR_DB 0x4000U
#define AR_G 0x8000U
#define AR_RESERVED 0xfffe0f00U

/* ---- EPT ------------------------------------------------------------------------------------- */

#define EPT_R 0x1UL
#define EPT_W 0x2UL
#define EPT_X 0x4UL
#define EPT_MEMTYPE_WB (6UL << 3)
#define EPT_LEAF 0x80UL /* in page-directory and page-directory-pointer entries */
#define EPT_ADDR 0x000ffffffffff000UL

#define EPTP_WB 6UL
#define EPTP_WALK_4 (3UL << 3)

#endif
