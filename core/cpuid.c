/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual CPU: what guests see of the host's features.
 *
 * A feature is shown only when the host has it and molt keeps its state apart (allow lists below);
 * what molt does not know stays hidden. docs/CPU.md lists the leaves.
 */
#include "hv/domain.h"
#include "hv/exit.h"
#include "hv/pvclock.h"
#include "hv/string.h"
#include "hv/time.h"
#include "hw/cpuid.h"
#include "hw/x86.h"
#include "public/hypercall.h"

#define MAX_LEAF 0xdU
#define MAX_EXTENDED_LEAF 0x80000008U
#define LEAF_CACHES 4U
#define LEAF_TOPOLOGY 0xbU
#define LEAF_XSAVE 0xdU
#define MAXPHYADDR_DEFAULT 36U /* of a CPU that does not say; SDM volume 2, "CPUID", 80000008H */
#define MAXPHYADDR_LIMIT 52U
#define LINEAR_BITS 48U /* no LA57 */
#define CACHES_MAX 8U   /* sub-leaves of leaf 4, should a host not end its list */

#define SHOWN_1_ECX                                                                 \
    (CPUID_1_ECX_SSE3 | CPUID_1_ECX_PCLMUL | CPUID_1_ECX_SSSE3 | CPUID_1_ECX_FMA |  \
     CPUID_1_ECX_CX16 | CPUID_1_ECX_SSE41 | CPUID_1_ECX_SSE42 | CPUID_1_ECX_MOVBE | \
     CPUID_1_ECX_POPCNT | CPUID_1_ECX_AES | CPUID_1_ECX_XSAVE | CPUID_1_ECX_AVX |   \
     CPUID_1_ECX_F16C | CPUID_1_ECX_RDRAND | CPUID_1_ECX_PCID)
/* Emulated, whatever the host has. */
#define GIVEN_1_ECX (CPUID_1_ECX_HYPERVISOR | CPUID_1_ECX_X2APIC | CPUID_1_ECX_TSC_DEADLINE)
#define GIVEN_1_EDX CPUID_1_EDX_APIC
#define SHOWN_1_EDX                                                                            \
    (CPUID_1_EDX_FPU | CPUID_1_EDX_VME | CPUID_1_EDX_DE | CPUID_1_EDX_PSE | CPUID_1_EDX_TSC |  \
     CPUID_1_EDX_MSR | CPUID_1_EDX_PAE | CPUID_1_EDX_CX8 | CPUID_1_EDX_SEP | CPUID_1_EDX_PGE | \
     CPUID_1_EDX_CMOV | CPUID_1_EDX_PAT | CPUID_1_EDX_PSE36 | CPUID_1_EDX_CLFSH |              \
     CPUID_1_EDX_MMX | CPUID_1_EDX_FXSR | CPUID_1_EDX_SSE | CPUID_1_EDX_SSE2 | CPUID_1_EDX_SS)
#define SHOWN_7_EBX                                                                   \
    (CPUID_7_EBX_FSGSBASE | CPUID_7_EBX_BMI1 | CPUID_7_EBX_AVX2 | CPUID_7_EBX_SMEP |  \
     CPUID_7_EBX_BMI2 | CPUID_7_EBX_ERMS | CPUID_7_EBX_INVPCID | CPUID_7_EBX_RDSEED | \
     CPUID_7_EBX_ADX | CPUID_7_EBX_SMAP | CPUID_7_EBX_CLFLUSHOPT | CPUID_7_EBX_CLWB | \
     CPUID_7_EBX_SHA)
#define SHOWN_7_EBX_AVX512                                                                        \
    (CPUID_7_EBX_AVX512F | CPUID_7_EBX_AVX512DQ | CPUID_7_EBX_AVX512IFMA | CPUID_7_EBX_AVX512CD | \
     CPUID_7_EBX_AVX512BW | CPUID_7_EBX_AVX512VL)
#define SHOWN_7_ECX (CPUID_7_ECX_UMIP | CPUID_7_ECX_VAES | CPUID_7_ECX_VPCLMUL)
#define SHOWN_7_ECX_AVX512                                                        \
    (CPUID_7_ECX_AVX512VBMI | CPUID_7_ECX_AVX512VNNI | CPUID_7_ECX_AVX512BITALG | \
     CPUID_7_ECX_AVX512VPOPCNT)
#define SHOWN_D1_EAX (CPUID_D1_EAX_XSAVEOPT | CPUID_D1_EAX_XGETBV1) /* no compacted format */
#define SHOWN_81_ECX (CPUID_81_ECX_LAHF | CPUID_81_ECX_LZCNT | CPUID_81_ECX_PREFETCHW)
#define SHOWN_81_EDX                                                                       \
    (CPUID_81_EDX_SYSCALL | CPUID_81_EDX_NX | CPUID_81_EDX_PDPE1GB | CPUID_81_EDX_RDTSCP | \
     CPUID_81_EDX_LM)

#define CR4_PLAIN                                                                      \
    (CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_PGE | CR4_OSFXSR | \
     CR4_OSXMMEXCPT | CR4_MCE)

unsigned int guest_maxphyaddr(void)
{
    static unsigned int known;

    if (known == 0) {
        known = host_cpuid(0x80000008U, 0).eax & 0xff;
        known = known == 0 ? MAXPHYADDR_DEFAULT : MIN(known, MAXPHYADDR_LIMIT);
    }
    return known;
}

bool guest_has_pse36(void)
{
    return host_cpuid(1, 0).edx & CPUID_1_EDX_PSE36;
}

bool guest_has_1g_pages(void)
{
    return host_cpuid(0x80000001U, 0).edx & CPUID_81_EDX_PDPE1GB;
}

uint64_t guest_xcr0_allowed(void)
{
    return host_guest_xcr0();
}

uint64_t guest_cr0_allowed(void)
{
    return CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD |
           CR0_PG;
}

uint64_t guest_cr4_allowed(void)
{
    static uint64_t known;
    struct cpuid_values leaf1, leaf7;

    if (known == 0) {
        leaf1 = host_cpuid(1, 0);
        leaf7 = host_cpuid(7, 0);
        known = CR4_PLAIN;
        known |= (leaf1.ecx & CPUID_1_ECX_PCID) ? CR4_PCIDE : 0;
        known |= (leaf1.ecx & CPUID_1_ECX_XSAVE) ? CR4_OSXSAVE : 0;
        known |= (leaf7.ebx & CPUID_7_EBX_FSGSBASE) ? CR4_FSGSBASE : 0;
        known |= (leaf7.ebx & CPUID_7_EBX_SMEP) ? CR4_SMEP : 0;
        known |= (leaf7.ebx & CPUID_7_EBX_SMAP) ? CR4_SMAP : 0;
        known |= (leaf7.ecx & CPUID_7_ECX_UMIP) ? CR4_UMIP : 0;
    }
    return known;
}

uint64_t guest_efer_allowed(void)
{
    uint32_t edx = host_cpuid(0x80000001, 0).edx;

    return EFER_SCE | EFER_LME | EFER_LMA | ((edx & CPUID_81_EDX_NX) ? EFER_NXE : 0);
}

/* Instructions on registers that guests cannot switch on are hidden. */
#define AVX_1_ECX (CPUID_1_ECX_AVX | CPUID_1_ECX_FMA | CPUID_1_ECX_F16C)
#define AVX_7_EBX CPUID_7_EBX_AVX2
#define AVX_7_ECX (CPUID_7_ECX_VAES | CPUID_7_ECX_VPCLMUL)

static bool has_avx(void)
{
    return guest_xcr0_allowed() & XCR0_AVX;
}

static bool has_avx512(void)
{
    return (guest_xcr0_allowed() & XCR0_AVX512) == XCR0_AVX512;
}

/* Topology: one package, a core for each vCPU, one thread to a core; APIC id = vCPU number. */

static unsigned int cores(const struct vcpu *v)
{
    return MAX(v->domain->nr_vcpus, 1U);
}

/* Bits of an APIC id that tell the cores of a package apart. */
static unsigned int core_id_bits(const struct vcpu *v)
{
    unsigned int bits = 0;

    while (1U << bits < cores(v)) {
        bits++;
    }
    return bits;
}

static bool amd_shaped(void)
{
    uint32_t ebx = host_cpuid(0, 0).ebx;

    return ebx == CPUID_0_EBX_AMD || ebx == CPUID_0_EBX_HYGON;
}

static struct cpuid_values leaf_features(struct vcpu *v)
{
    struct cpuid_values h = host_cpuid(1, 0);
    struct cpuid_values r = {0};

    r.eax = h.eax; /* family, model, stepping */
    /* CLFLUSH size, logical CPUs, APIC id */
    r.ebx = (h.ebx & 0x0000ff00) | MIN(cores(v), 0xffU) << 16 | v->id << 24;
    r.ecx = h.ecx & SHOWN_1_ECX & (has_avx() ? ~0U : ~AVX_1_ECX);
    r.ecx |= GIVEN_1_ECX;
    r.edx = (h.edx & SHOWN_1_EDX) | GIVEN_1_EDX;
    r.edx |= cores(v) > 1 ? CPUID_1_EDX_HTT : 0;
    if ((r.ecx & CPUID_1_ECX_XSAVE) && (hvm->reg_get(v, HVM_REG_CR4) & CR4_OSXSAVE)) {
        r.ecx |= CPUID_1_ECX_OSXSAVE;
    }
    return r;
}

/* The host's caches, shared as the guest's topology has it: levels 1 and 2 belong to a core, the
 * ones above to the package. */
static struct cpuid_values leaf_caches(struct vcpu *v, uint32_t subleaf)
{
    struct cpuid_values r = host_cpuid(LEAF_CACHES, subleaf);
    uint32_t last_id = (1U << core_id_bits(v)) - 1;
    uint32_t level = r.eax >> CPUID_4_EAX_LEVEL_SHIFT & CPUID_4_EAX_LEVEL;

    if (amd_shaped() || (r.eax & CPUID_4_EAX_TYPE) == 0 || subleaf >= CACHES_MAX) {
        return (struct cpuid_values){0};
    }
    r.eax &= CPUID_4_EAX_KEPT;
    r.eax |= (level <= 2 ? 0 : last_id) << CPUID_4_EAX_SHARING_SHIFT;
    r.eax |= MIN(last_id, CPUID_4_EAX_CORES) << CPUID_4_EAX_CORES_SHIFT;
    r.edx &= CPUID_4_EDX_KEPT;
    return r;
}

/* SDM volume 2, "CPUID": leaf 0BH. */
static struct cpuid_values leaf_topology(struct vcpu *v, uint32_t subleaf)
{
    struct cpuid_values r = {.ecx = subleaf & 0xff, .edx = v->id};

    if (subleaf == 0) {
        r.ebx = 1;
        r.ecx |= CPUID_B_ECX_SMT;
    } else if (subleaf == 1) {
        r.eax = core_id_bits(v);
        r.ebx = cores(v);
        r.ecx |= CPUID_B_ECX_CORE;
    }
    return r;
}

static struct cpuid_values leaf_structured(uint32_t subleaf)
{
    struct cpuid_values h, r = {0};

    if (subleaf == 0 && host_cpuid(0, 0).eax >= 7) {
        h = host_cpuid(7, 0);
        r.ebx = h.ebx & (SHOWN_7_EBX | (has_avx512() ? SHOWN_7_EBX_AVX512 : 0));
        r.ecx = h.ecx & (SHOWN_7_ECX | (has_avx512() ? SHOWN_7_ECX_AVX512 : 0));
        r.ebx &= has_avx() ? ~0U : ~AVX_7_EBX;
        r.ecx &= has_avx() ? ~0U : ~AVX_7_ECX;
        r.ebx &= hvm_features.invpcid ? ~0U : ~CPUID_7_EBX_INVPCID;
    }
    return r;
}

/* Standard-format size for the components in xcr0: the end of the last one. */
static uint32_t xsave_bytes(uint64_t xcr0)
{
    uint32_t bytes = 576;

    for (uint32_t i = 2; i < 63; i++) {
        if (xcr0 & BIT(i)) {
            struct cpuid_values c = host_cpuid(LEAF_XSAVE, i);

            bytes = MAX(bytes, c.ebx + c.eax);
        }
    }
    return bytes;
}

static struct cpuid_values leaf_xsave(struct vcpu *v, uint32_t subleaf)
{
    struct cpuid_values r = {0};
    uint64_t allowed = guest_xcr0_allowed();

    if (subleaf == 0) {
        r.eax = (uint32_t)allowed;
        r.edx = (uint32_t)(allowed >> 32);
        r.ebx = xsave_bytes(v->ctx.xcr0);
        r.ecx = xsave_bytes(allowed);
    } else if (subleaf == 1) {
        r.eax = host_cpuid(LEAF_XSAVE, 1).eax & SHOWN_D1_EAX;
    } else if (subleaf < 63 && (allowed & BIT(subleaf))) {
        r = host_cpuid(LEAF_XSAVE, subleaf);
        r.ecx &= ~1U; /* no supervisor components */
        r.edx = 0;
    }
    return r;
}

static struct cpuid_values leaf_extended_features(const struct vcpu *v)
{
    struct cpuid_values h = host_cpuid(0x80000001, 0);
    struct cpuid_values r = {0};

    r.ecx = h.ecx & SHOWN_81_ECX;
    /* HTT means cores, not threads */
    r.ecx |= amd_shaped() && cores(v) > 1 ? CPUID_81_ECX_CMP_LEGACY : 0;
    r.edx = h.edx & SHOWN_81_EDX;
    r.edx &= hvm_features.rdtscp ? ~0U : ~CPUID_81_EDX_RDTSCP;
    return r;
}

static struct cpuid_values leaf_sizes(const struct vcpu *v)
{
    struct cpuid_values r = {.eax = guest_maxphyaddr() | LINEAR_BITS << 8};

    if (amd_shaped()) { /* APM volume 3, "Processor Capacity Parameters and ..." */
        r.ecx = (cores(v) - 1) | core_id_bits(v) << CPUID_88_ECX_ID_SIZE_SHIFT;
    }
    return r;
}

static struct cpuid_values leaf_hypervisor(uint32_t leaf)
{
    struct cpuid_values r = {0};

    if (leaf == HC_CPUID_BASE) {
        r.eax = HC_CPUID_TIMING;
        r.ebx = HC_CPUID_SIG_EBX;
        r.ecx = HC_CPUID_SIG_ECX;
        r.edx = HC_CPUID_SIG_EDX;
    } else if (leaf == HC_CPUID_TIMING) {
        r.eax = (uint32_t)tsc_khz;
    }
    return r;
}

struct cpuid_values guest_cpuid(struct vcpu *v, uint32_t leaf, uint32_t subleaf)
{
    struct cpuid_values r = {0};

    if (pvclock_cpuid(leaf, &r)) {
        return r;
    }
    if (leaf >= HC_CPUID_BASE && leaf <= HC_CPUID_BASE + 0xffff) {
        return leaf_hypervisor(leaf);
    }
    if (leaf >= 0x80000000U ? leaf > MAX_EXTENDED_LEAF : leaf > MAX_LEAF) {
        return r;
    }
    switch (leaf) {
    case 0:
        r = host_cpuid(0, 0);
        r.eax = MAX_LEAF;
        break;
    case 1:
        r = leaf_features(v);
        break;
    case LEAF_CACHES:
        r = leaf_caches(v, subleaf);
        break;
    case 6: /* the APIC timer stops in no state of the CPU: guests need no other one beside it */
        r.eax = CPUID_6_EAX_ARAT;
        break;
    case 7:
        r = leaf_structured(subleaf);
        break;
    case LEAF_TOPOLOGY:
        r = leaf_topology(v, subleaf);
        break;
    case LEAF_XSAVE:
        if (host_cpuid(1, 0).ecx & CPUID_1_ECX_XSAVE) {
            r = leaf_xsave(v, subleaf);
        }
        break;
    case 0x80000000U:
        r = host_cpuid(0x80000000U, 0);
        r.eax = MAX_EXTENDED_LEAF;
        break;
    case 0x80000001U:
        r = leaf_extended_features(v);
        break;
    case 0x80000002U: /* brand string, cache sizes: harmless */
    case 0x80000003U:
    case 0x80000004U:
    case 0x80000006U:
        r = host_cpuid(leaf, 0);
        break;
    case 0x80000008U:
        r = leaf_sizes(v);
        break;
    default: /* 0xa (no PMU) and others: nothing */
        break;
    }
    return r;
}
