/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUID feature bits. SDM volume 2, "CPUID".
 */
#ifndef HW_CPUID_H
#define HW_CPUID_H

/* leaf 0 EBX: the first four letters of the vendor */
#define CPUID_0_EBX_AMD 0x68747541U   /* AuthenticAMD */
#define CPUID_0_EBX_HYGON 0x6f677948U /* HygonGenuine */

/* leaf 0x40000000: who emulates or virtualizes this CPU */
#define CPUID_HYPERVISOR 0x40000000U
#define CPUID_HYPERVISOR_EBX_TCG 0x54474354U /* TCGTCGTCGTCG */
#define CPUID_HYPERVISOR_ECX_TCG 0x43544743U
#define CPUID_HYPERVISOR_EDX_TCG 0x47435447U

/* leaf 1 ECX */
#define CPUID_1_ECX_SSE3 (1U << 0)
#define CPUID_1_ECX_PCLMUL (1U << 1)
#define CPUID_1_ECX_DTES64 (1U << 2)
#define CPUID_1_ECX_MONITOR (1U << 3)
#define CPUID_1_ECX_VMX (1U << 5)
#define CPUID_1_ECX_SSSE3 (1U << 9)
#define CPUID_1_ECX_FMA (1U << 12)
#define CPUID_1_ECX_CX16 (1U << 13)
#define CPUID_1_ECX_PDCM (1U << 15)
#define CPUID_1_ECX_PCID (1U << 17)
#define CPUID_1_ECX_SSE41 (1U << 19)
#define CPUID_1_ECX_SSE42 (1U << 20)
#define CPUID_1_ECX_X2APIC (1U << 21)
#define CPUID_1_ECX_MOVBE (1U << 22)
#define CPUID_1_ECX_POPCNT (1U << 23)
#define CPUID_1_ECX_TSC_DEADLINE (1U << 24)
#define CPUID_1_ECX_AES (1U << 25)
#define CPUID_1_ECX_XSAVE (1U << 26)
#define CPUID_1_ECX_OSXSAVE (1U << 27)
#define CPUID_1_ECX_AVX (1U << 28)
#define CPUID_1_ECX_F16C (1U << 29)
#define CPUID_1_ECX_RDRAND (1U << 30)
#define CPUID_1_ECX_HYPERVISOR (1U << 31)

/* leaf 1 EDX */
#define CPUID_1_EDX_FPU (1U << 0)
#define CPUID_1_EDX_VME (1U << 1)
#define CPUID_1_EDX_DE (1U << 2)
#define CPUID_1_EDX_PSE (1U << 3)
#define CPUID_1_EDX_TSC (1U << 4)
#define CPUID_1_EDX_MSR (1U << 5)
#define CPUID_1_EDX_PAE (1U << 6)
#define CPUID_1_EDX_MCE (1U << 7)
#define CPUID_1_EDX_CX8 (1U << 8)
#define CPUID_1_EDX_APIC (1U << 9)
#define CPUID_1_EDX_SEP (1U << 11)
#define CPUID_1_EDX_MTRR (1U << 12)
#define CPUID_1_EDX_PGE (1U << 13)
#define CPUID_1_EDX_MCA (1U << 14)
#define CPUID_1_EDX_CMOV (1U << 15)
#define CPUID_1_EDX_PAT (1U << 16)
#define CPUID_1_EDX_PSE36 (1U << 17)
#define CPUID_1_EDX_CLFSH (1U << 19)
#define CPUID_1_EDX_MMX (1U << 23)
#define CPUID_1_EDX_FXSR (1U << 24)
#define CPUID_1_EDX_SSE (1U << 25)
#define CPUID_1_EDX_SSE2 (1U << 26)
#define CPUID_1_EDX_SS (1U << 27)
#define CPUID_1_EDX_HTT (1U << 28)

/* leaf 4 EAX: type 0 ends the list; ids that share the cache and cores in the package, less 1 */
#define CPUID_4_EAX_TYPE 0x1fU
#define CPUID_4_EAX_LEVEL_SHIFT 5
#define CPUID_4_EAX_LEVEL 0x7U
#define CPUID_4_EAX_KEPT 0x3ffU /* type, level, self initializing, fully associative */
#define CPUID_4_EAX_SHARING_SHIFT 14
#define CPUID_4_EAX_CORES_SHIFT 26
#define CPUID_4_EAX_CORES 0x3fU
#define CPUID_4_EDX_KEPT 0x7U /* WBINVD reaches sharers, inclusive, complex indexing */

/* leaf 6 EAX */
#define CPUID_6_EAX_ARAT (1U << 2)

/* leaf 7, sub-leaf 0 EBX */
#define CPUID_7_EBX_FSGSBASE (1U << 0)
#define CPUID_7_EBX_TSC_ADJUST (1U << 1)
#define CPUID_7_EBX_BMI1 (1U << 3)
#define CPUID_7_EBX_AVX2 (1U << 5)
#define CPUID_7_EBX_SMEP (1U << 7)
#define CPUID_7_EBX_BMI2 (1U << 8)
#define CPUID_7_EBX_ERMS (1U << 9)
#define CPUID_7_EBX_INVPCID (1U << 10)
#define CPUID_7_EBX_AVX512F (1U << 16)
#define CPUID_7_EBX_AVX512DQ (1U << 17)
#define CPUID_7_EBX_RDSEED (1U << 18)
#define CPUID_7_EBX_ADX (1U << 19)
#define CPUID_7_EBX_SMAP (1U << 20)
#define CPUID_7_EBX_AVX512IFMA (1U << 21)
#define CPUID_7_EBX_CLFLUSHOPT (1U << 23)
#define CPUID_7_EBX_CLWB (1U << 24)
#define CPUID_7_EBX_AVX512CD (1U << 28)
#define CPUID_7_EBX_SHA (1U << 29)
#define CPUID_7_EBX_AVX512BW (1U << 30)
#define CPUID_7_EBX_AVX512VL (1U << 31)

/* leaf 7, sub-leaf 0 ECX */
#define CPUID_7_ECX_AVX512VBMI (1U << 1)
#define CPUID_7_ECX_UMIP (1U << 2)
#define CPUID_7_ECX_VAES (1U << 9)
#define CPUID_7_ECX_VPCLMUL (1U << 10)
#define CPUID_7_ECX_AVX512VNNI (1U << 11)
#define CPUID_7_ECX_AVX512BITALG (1U << 12)
#define CPUID_7_ECX_AVX512VPOPCNT (1U << 14)

/* leaf 0xb ECX: kind of the level */
#define CPUID_B_ECX_SMT (1U << 8)
#define CPUID_B_ECX_CORE (2U << 8)

/* leaf 0xd, sub-leaf 1 EAX */
#define CPUID_D1_EAX_XSAVEOPT (1U << 0)
#define CPUID_D1_EAX_XSAVEC (1U << 1)
#define CPUID_D1_EAX_XGETBV1 (1U << 2)

/* leaf 0x80000008 EAX */
#define CPUID_ADDRESS_SIZES 0x80000008U
#define CPUID_PHYSICAL_BITS 0xffU

/* leaf 0x80000001 */
#define CPUID_81_ECX_LAHF (1U << 0)
#define CPUID_81_ECX_CMP_LEGACY (1U << 1)
#define CPUID_81_ECX_SVM (1U << 2)
#define CPUID_81_ECX_LZCNT (1U << 5)
#define CPUID_81_ECX_PREFETCHW (1U << 8)
#define CPUID_81_EDX_SYSCALL (1U << 11)
#define CPUID_81_EDX_NX (1U << 20)
#define CPUID_81_EDX_PDPE1GB (1U << 26)
#define CPUID_81_EDX_RDTSCP (1U << 27)
#define CPUID_81_EDX_LM (1U << 29)

/* leaf 0x80000008 ECX of AMD: cores less 1, and bits of an APIC id that number them */
#define CPUID_88_ECX_ID_SIZE_SHIFT 12

#endif
