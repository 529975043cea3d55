/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMCBs: life and control area.
 *
 * APM volume 2, "VMRUN Instruction", "Instruction Intercepts", "IOIO Intercepts", "MSR Intercepts".
 */
#include "svm_priv.h"

#include "asm/machine.h"
#include "hv/boot_alloc.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hv/string.h"

/* Two bits an MSR, read and write; a vector of 2 KiB for each range. */
#define MSRPM_BYTES 0x2000U
#define MSRPM_VECTOR 0x800U
#define MSRPM_MSRS 0x2000U
#define MSR_HIGH_BASE 0xc0000000U
#define IOPM_BYTES 0x3000U

#define EXCEPTIONS (1U << EXC_DB | 1U << EXC_UD | 1U << EXC_AC | 1U << EXC_MC)

/* Side by side in physical memory as they are here, since an image is. */
static uint8_t iopm[IOPM_BYTES] ALIGNED(4096);
static uint8_t msrpm[MSRPM_BYTES] ALIGNED(4096);
static bool maps_ready;

static void msrpm_open(uint32_t msr)
{
    uint32_t vector = msr >= MSR_HIGH_BASE ? MSRPM_VECTOR : 0;
    uint32_t bit = 2 * (msr & (MSRPM_MSRS - 1));

    msrpm[vector + bit / 8] &= (uint8_t)(0xffU ^ 3U << bit % 8);
}

static void maps_init(void)
{
    if (maps_ready) {
        return;
    }
    memset(iopm, 0xff, sizeof(iopm));
    memset(msrpm, 0xff, sizeof(msrpm));
    for (size_t i = 0; i < GUEST_OWN_MSRS; i++) {
        msrpm_open(guest_own_msrs[i]);
    }
    msrpm_open(MSR_TSC_AUX);
    maps_ready = true;
}

static void write_controls(struct svm_vcpu *x, const struct nested *nested)
{
    struct vmcb *c = vmcb_open(x);

    c->intercept_cr = SVM_CR_WRITE(0) | SVM_CR_WRITE(4) | SVM_CR_READ(8) | SVM_CR_WRITE(8);
    c->intercept_exceptions = EXCEPTIONS;
    c->intercept_misc1 = SVM_MISC1_INTR | SVM_MISC1_NMI | SVM_MISC1_RDPMC | SVM_MISC1_CPUID |
                         SVM_MISC1_INVD | SVM_MISC1_HLT | SVM_MISC1_INVLPGA | SVM_MISC1_IOIO |
                         SVM_MISC1_MSR | SVM_MISC1_SHUTDOWN;
    c->intercept_misc2 = SVM_MISC2_VMRUN | SVM_MISC2_VMMCALL | SVM_MISC2_VMLOAD | SVM_MISC2_VMSAVE |
                         SVM_MISC2_STGI | SVM_MISC2_CLGI | SVM_MISC2_SKINIT | SVM_MISC2_WBINVD |
                         SVM_MISC2_MONITOR | SVM_MISC2_MWAIT | SVM_MISC2_MWAIT_ARMED |
                         SVM_MISC2_XSETBV | SVM_MISC2_RDPRU;
    c->iopm_pa = image_va_to_pa(iopm);
    c->msrpm_pa = image_va_to_pa(msrpm);
    c->int_ctl = SVM_V_INTR_MASKING;
    c->np_enable = SVM_NP_ENABLE;
    c->nested_cr3 = nested_root_pa(nested);
}

int svm_vcpu_init(struct vcpu *v)
{
    struct svm_vcpu *x = kzalloc(sizeof(*x));

    if (x == NULL) {
        return -ENOMEM;
    }
    x->vmcb = pool_alloc();
    if (x->vmcb == NULL) {
        kfree(x);
        return -ENOMEM;
    }
    maps_init();
    write_controls(x, v->domain->stage2);
    v->hvm_data = x;
    return 0;
}

void svm_vcpu_fini(struct vcpu *v)
{
    struct svm_vcpu *x = v->hvm_data;

    if (x == NULL) {
        return;
    }
    pool_free(vmcb_open(x));
    kfree(x);
    v->hvm_data = NULL;
}
