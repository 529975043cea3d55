/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory-mapped I/O: the instruction is fetched through the guest's page tables, decoded and done.
 */
#include "hv/mmio.h"

#include "hv/context.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/guest_walk.h"
#include "hv/insn.h"
#include "hv/irq.h"
#include "hv/seam.h"
#include "hw/x86.h"

#define DEVICE_BYTES PAGE_SIZE

static bool is_ioapic(uint64_t gpa)
{
    return gpa >= VIOAPIC_MMIO_BASE && gpa - VIOAPIC_MMIO_BASE < DEVICE_BYTES;
}

static uint64_t device_read(struct vcpu *v, uint64_t gpa)
{
    struct domain *d = v->domain;

    if (is_ioapic(gpa)) {
        return vioapic_read(&d->ioapic, (uint32_t)(gpa - VIOAPIC_MMIO_BASE));
    }
    return vlapic_mmio_read(&v->apic, (uint32_t)(gpa - vlapic_base(&v->apic)),
                            irq_guest_tsc(v, tsc_read()));
}

static void device_write(struct vcpu *v, uint64_t gpa, uint64_t value)
{
    struct domain *d = v->domain;

    if (is_ioapic(gpa)) {
        vioapic_write(&d->ioapic, &irq_bus, d, (uint32_t)(gpa - VIOAPIC_MMIO_BASE),
                      (uint32_t)value);
    } else {
        vlapic_mmio_write(&v->apic, &irq_bus, d, (uint32_t)(gpa - vlapic_base(&v->apic)),
                          (uint32_t)value, irq_guest_tsc(v, tsc_read()));
    }
}

static bool is_device(const struct vcpu *v, uint64_t gpa)
{
    return is_ioapic(gpa) ||
           (gpa >= vlapic_base(&v->apic) && gpa - vlapic_base(&v->apic) < DEVICE_BYTES);
}

/* 0; -EFAULT: a page fault was raised; -EINVAL: not an instruction that is emulated. */
static int decode(struct vcpu *v, const struct hvm_exit *exit, struct insn_mmio *insn)
{
    struct guest_insn f;
    int rc;

    guest_insn_fetch(v, exit, &f);
    rc = insn_decode_mmio(f.bytes, f.n, exit->code_bytes, insn);
    if (rc == -ENOSPC && f.faulted) {
        context_set_cr2(&v->ctx, f.linear);
        guest_fault_code(v, EXC_PF, f.error);
        return -EFAULT;
    }
    return rc == 0 ? 0 : -EINVAL;
}

bool mmio_handle(struct vcpu *v, const struct hvm_exit *exit)
{
    struct insn_mmio insn;
    uint64_t rflags, device = 0, out;
    bool complete;
    int rc;

    if (!is_device(v, exit->stage2.gpa)) {
        return false;
    }
    rc = decode(v, exit, &insn);
    if (rc == -EFAULT) {
        return true;
    }
    /* What reaches behind the page would be for two devices, or for memory as well. */
    if (rc != 0 || exit->stage2.gpa % PAGE_SIZE + insn.size > PAGE_SIZE) {
        domain_stop(v->domain, "MMIO at 0x%llx by an instruction that is not emulated, rip=0x%llx",
                    (unsigned long long)exit->stage2.gpa, (unsigned long long)exit->rip);
        return true;
    }
    if (insn.read) {
        device = device_read(v, exit->stage2.gpa);
    }
    v->gpr[GPR_RSP] = hvm->reg_get(v, HVM_REG_RSP);
    rflags = hvm->reg_get(v, HVM_REG_RFLAGS);
    complete = insn_apply_mmio(&insn, device, v->gpr, &rflags, &out);
    hvm->reg_set(v, HVM_REG_RFLAGS, rflags);
    hvm->reg_set(v, HVM_REG_RSP, v->gpr[GPR_RSP]);
    if (insn.write) {
        device_write(v, exit->stage2.gpa, out);
    }
    if (complete) {
        hvm->skip(v, insn.length);
    }
    return true;
}
