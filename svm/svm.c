/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SVM of this CPU: what it can do, on and off.
 *
 * APM volume 2, "Enabling SVM", "VM_CR MSR", "VM_HSAVE_PA MSR".
 */
#include "svm_priv.h"

#include "asm/cpu.h"
#include "asm/machine.h"
#include "hv/boot_alloc.h"
#include "hv/errno.h"
#include "hv/lu.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hw/cpuid.h"

#define OPTIONAL \
    (CPUID_SVM_EDX_NRIPS | CPUID_SVM_EDX_CLEAN | CPUID_SVM_EDX_FLUSH_ASID | CPUID_SVM_EDX_DECODE)

/* With svm=plain: few, so that they run out. */
#define PLAIN_ASIDS 3U

struct svm_caps svm_caps;

int svm_probe(const char **why)
{
    uint64_t vm_cr = 0;

    *why = "SVM";
    if (cpuid(0x80000000U, 0).eax < CPUID_SVM || !(cpuid(0x80000001U, 0).ecx & CPUID_81_ECX_SVM)) {
        return -ENOSYS;
    }
    *why = "SVM (the firmware has turned it off)";
    if (!rdmsr_safe(MSR_VM_CR, &vm_cr) || (vm_cr & VM_CR_SVMDIS)) {
        return -ENOSYS;
    }
    *why = "nested paging";
    if (!(cpuid(CPUID_SVM, 0).edx & CPUID_SVM_EDX_NP)) {
        return -ENOSYS;
    }
    *why = "ASIDs";
    return cpuid(CPUID_SVM, 0).ebx >= 2 ? 0 : -ENOSYS;
}

static void report_caps(void)
{
    uint32_t edx = svm_caps.edx;

    if (lu_update_boot()) { /* nothing new, and guests wait */
        return;
    }
    printk("svm: %u ASIDs%s%s%s%s%s", svm_caps.asids,
           (edx & CPUID_SVM_EDX_FLUSH_ASID) ? ", flush by ASID" : "",
           (edx & CPUID_SVM_EDX_CLEAN) ? ", clean bits" : "",
           (edx & CPUID_SVM_EDX_NRIPS) ? ", next RIP" : "",
           (edx & CPUID_SVM_EDX_DECODE) ? ", decode assists" : "",
           svm_caps.virtual_interrupts ? ", virtual interrupts" : "");
}

/*
 * QEMU's emulation (7.2) keeps the vector of an injected interrupt until the next exit and delivers
 * it once more when its thread is woken before that; a virtual interrupt is delivered once.
 */
static bool injects_twice(void)
{
    struct cpuid_regs name;

    if (!(cpuid(1, 0).ecx & CPUID_1_ECX_HYPERVISOR)) {
        return false;
    }
    name = cpuid(CPUID_HYPERVISOR, 0);
    return name.ebx == CPUID_HYPERVISOR_EBX_TCG && name.ecx == CPUID_HYPERVISOR_ECX_TCG &&
           name.edx == CPUID_HYPERVISOR_EDX_TCG;
}

/* Sets svm_caps; or why vCPUs cannot move between this CPU and the first one, else NULL. */
static const char *check_caps(void)
{
    struct cpuid_regs svm = cpuid(CPUID_SVM, 0);
    struct svm_caps caps = {.asids = svm.ebx, .edx = svm.edx & OPTIONAL};

    if (hvm_plain) {
        caps = (struct svm_caps){.asids = MIN(svm.ebx, PLAIN_ASIDS)};
    }
    if (svm_caps.asids == 0) {
        svm_caps = caps;
        svm_caps.virtual_interrupts = injects_twice();
        report_caps();
    }
    if (svm_caps.edx & ~caps.edx) {
        return "SVM features";
    }
    if (caps.asids < svm_caps.asids) {
        return "number of ASIDs";
    }
    return host_has_xsave && xgetbv0() != host_xcr0 ? "XSAVE features" : NULL;
}

/* This CPU's structure and pages; they stay when SVM goes off. */
static struct svm_cpu *cpu_alloc(void)
{
    struct percpu *this = this_cpu();
    struct svm_cpu *cpu = this->hvm_data;

    if (cpu == NULL) {
        cpu = kzalloc(sizeof(*cpu));
        this->hvm_data = cpu;
    }
    if (cpu == NULL) {
        return NULL;
    }
    if (cpu->hsave == NULL) {
        cpu->hsave = pool_alloc();
    }
    if (cpu->host == NULL) {
        cpu->host = pool_alloc();
    }
    return cpu->hsave != NULL && cpu->host != NULL ? cpu : NULL;
}

int svm_cpu_on(void)
{
    const char *why;
    struct svm_cpu *cpu;
    const char *different;

    if (svm_probe(&why) != 0) {
        printk("svm: CPU %u lacks %s", this_cpu()->id, why);
        return -ENOSYS;
    }
    different = check_caps();
    if (different != NULL) {
        printk("svm: CPU %u differs from the first: %s", this_cpu()->id, different);
        return -ENOSYS;
    }
    cpu = cpu_alloc();
    if (cpu == NULL) {
        return -ENOMEM;
    }
    BUG_ON(cpu->on);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
    wrmsr(MSR_VM_HSAVE_PA, mfn_to_pa(va_to_mfn(cpu->hsave)));
    cpu->on = true;
    asid_cpu_init(&cpu->asids, svm_caps.asids, svm_caps.edx & CPUID_SVM_EDX_FLUSH_ASID);
    this_cpu()->nested_seen = NESTED_SEEN_NOTHING;
    hvm_features.rdtscp = true;
    hvm_features.invpcid = true;
    return 0;
}

void svm_cpu_off(void)
{
    struct svm_cpu *cpu = svm_this_cpu();

    if (cpu == NULL || !cpu->on) {
        return;
    }
    cpu->on = false;
    wrmsr(MSR_VM_HSAVE_PA, 0);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_SVME);
}
