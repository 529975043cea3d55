/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw exits to neutral ones.
 *
 * Where the CPU does not save the next RIP and tells nothing of operands, the instruction is
 * fetched through the guest's page tables and decoded. APM volume 2, "SVM Intercept Codes".
 */
#include "svm_priv.h"

#include "asm/cpu.h"
#include "asm/traps.h"
#include "hv/domain.h"
#include "hv/exit.h"
#include "hv/guest_walk.h"
#include "hv/insn_exit.h"
#include "hv/printk.h"
#include "hv/string.h"
#include "hw/vmx.h" /* AR_* */

#define ATTRIBUTES_L 0x200U
#define ATTRIBUTES_DB 0x400U
#define DR7_WRITABLE 0xffff23ffUL /* APM volume 2, "Debug-Control Register" */

/* The instruction that exited; false when it is none that exits (another CPU has changed it since:
 * the guest executes what is there now). */
static bool fetch(struct vcpu *v, const struct hvm_exit *exit, struct insn_exit *insn)
{
    struct guest_insn bytes;

    guest_insn_fetch(v, exit, &bytes);
    return insn_decode_exit(bytes.bytes, bytes.n, exit->code_bytes, insn) == 0;
}

/* The length is known, or found out. */
static bool know_length(struct vcpu *v, struct hvm_exit *exit)
{
    struct insn_exit insn;

    if (svm_caps.edx & CPUID_SVM_EDX_NRIPS) {
        exit->insn_length = vmcb_insn_length(svm_of(v)->vmcb);
    }
    if (exit->insn_length == 0 && fetch(v, exit, &insn)) {
        exit->insn_length = insn.length;
    }
    return exit->insn_length != 0;
}

/* A MOV of a control or debug register is known, or whatever it is fetched. */
static bool know_mov(struct vcpu *v, struct hvm_exit *exit, struct insn_exit *insn)
{
    bool told = (svm_caps.edx & CPUID_SVM_EDX_NRIPS) && (svm_caps.edx & CPUID_SVM_EDX_DECODE) &&
                vmcb_mov(svm_of(v)->vmcb, insn);

    if (!told && !fetch(v, exit, insn)) {
        return false;
    }
    exit->insn_length = insn->length;
    return true;
}

static void simple(struct vcpu *v, struct hvm_exit *exit, enum hvm_exit_reason reason)
{
    exit->reason = know_length(v, exit) ? reason : HVM_EXIT_REINJECT;
}

static uint64_t segment_base(const struct vmcb *c, unsigned int segment, bool code64)
{
    switch (segment) {
    case SEG_FS:
        return c->fs.base;
    case SEG_GS:
        return c->gs.base;
    case SEG_ES:
        return code64 ? 0 : c->es.base;
    case SEG_CS:
        return code64 ? 0 : c->cs.base;
    case SEG_SS:
        return code64 ? 0 : c->ss.base;
    default:
        return code64 ? 0 : c->ds.base;
    }
}

/* LMSW's operand. False: the guest has a fault, or the domain was stopped. */
static bool lmsw_operand(struct vcpu *v, const struct hvm_exit *exit, const struct insn_exit *insn,
                         uint64_t *operand)
{
    const struct vmcb *c = svm_of(v)->vmcb;
    struct guest_span span;
    uint64_t linear;
    uint16_t word;

    if (!insn->in_memory) {
        *operand = hvm_gpr(v, insn->rm);
        return true;
    }
    v->gpr[GPR_RSP] = c->rsp;
    linear = segment_base(c, insn->memory.segment, exit->code64) +
             insn_offset(&insn->memory, v->gpr, exit->rip + insn->length);
    linear = exit->code64 ? linear : (uint32_t)linear;
    if (guest_span_find(v, linear, GUEST_READ, exit->cpl == 3, sizeof(word), &span) != 0 ||
        guest_span_read(v, &span, &word) != 0) {
        return false;
    }
    *operand = word;
    return true;
}

static void decode_cr(struct vcpu *v, struct hvm_exit *exit)
{
    uint64_t cr0 = svm_of(v)->vmcb->cr0;
    struct insn_exit insn;
    uint64_t operand;

    exit->reason = HVM_EXIT_REINJECT;
    if (!know_mov(v, exit, &insn)) {
        return;
    }
    exit->cr.number = 0;
    if (insn.opcode == INSN_CLTS) {
        exit->cr.value = cr0 & ~CR0_TS;
    } else if (insn.opcode == INSN_GROUP7 && insn.reg == INSN_DIGIT_LMSW) {
        if (!lmsw_operand(v, exit, &insn, &operand)) {
            return;
        }
        exit->cr.value = guest_lmsw(cr0, operand);
    } else if (insn.opcode == INSN_MOV_TO_CR) {
        exit->cr.number = insn.reg;
        exit->cr.value = hvm_gpr(v, insn.rm);
        exit->cr.value = exit->code64 ? exit->cr.value : (uint32_t)exit->cr.value;
    } else if (insn.opcode == INSN_MOV_FROM_CR && insn.reg == 8) {
        hvm_gpr_set(v, insn.rm, vlapic_cr8(&v->apic));
        exit->reason = HVM_EXIT_NOP;
        return;
    } else {
        return;
    }
    exit->reason = HVM_EXIT_CR_WRITE;
}

static void write_address(unsigned int number, uint64_t value)
{
    switch (number) {
    case 0:
        write_dr0(value);
        break;
    case 1:
        write_dr1(value);
        break;
    case 2:
        write_dr2(value);
        break;
    default:
        write_dr3(value);
        break;
    }
}

/* Done here but for RIP: the VMCB holds DR7, and the CPU has the guest's DR0 to DR3. */
static void decode_dr(struct vcpu *v, struct hvm_exit *exit)
{
    struct svm_vcpu *x = svm_of(v);
    struct insn_exit insn;
    uint64_t value;

    exit->reason = HVM_EXIT_REINJECT;
    if (!know_mov(v, exit, &insn) || insn.opcode != INSN_MOV_TO_DR ||
        x->vmcb->exit_code != SVM_EXIT_DR_WRITE(insn.reg)) {
        return;
    }
    /* Where the intercept comes before these exceptions. */
    if (insn.reg == 5 && (x->vmcb->cr4 & CR4_DE)) {
        exit->reason = HVM_EXIT_UNDEFINED;
        return;
    }
    if (x->vmcb->dr7 & DR7_GD) {
        write_dr6(read_dr6() | DR6_BD);
        svm_set_dr7(x, x->vmcb->dr7 & ~DR7_GD);
        svm_inject(v, EVENT_VALID | EVENT_TYPE_HW_EXCEPTION << 8 | EXC_DB, 0);
        return;
    }
    value = hvm_gpr(v, insn.rm);
    value = exit->code64 ? value : (uint32_t)value;
    if (insn.reg < 4) {
        write_address(insn.reg, value);
    } else if (value > UINT32_MAX) {
        guest_fault_code(v, EXC_GP, 0);
        return;
    } else {
        svm_set_dr7(x, (value & DR7_WRITABLE) | DR7_INIT);
    }
    exit->reason = HVM_EXIT_NOP;
}

static uint64_t cut(uint64_t value, unsigned int bytes)
{
    return bytes == 8 ? value : bytes == 4 ? (uint32_t)value : (uint16_t)value;
}

/* Segment and address size of INS and OUTS are known, or found out. */
static bool know_string(struct vcpu *v, const struct hvm_exit *exit, struct insn_exit *insn)
{
    uint64_t info = svm_of(v)->vmcb->exit_info1;

    if (!(svm_caps.edx & CPUID_SVM_EDX_DECODE)) { /* QEMU does not tell the address size either */
        return fetch(v, exit, insn);
    }
    insn->segment = info >> SVM_IO_SEGMENT_SHIFT & SVM_IO_SEGMENT_MASK;
    insn->address_size = (uint8_t)(2 * (info >> SVM_IO_ADDRESS_SHIFT & SVM_IO_ADDRESS_MASK));
    return true;
}

static void decode_io(struct vcpu *v, struct hvm_exit *exit)
{
    const struct vmcb *c = svm_of(v)->vmcb;
    uint64_t info = c->exit_info1;
    struct insn_exit insn;
    uint64_t linear;

    exit->reason = HVM_EXIT_IO;
    exit->insn_length = (uint8_t)(c->exit_info2 - exit->rip);
    exit->io.port = (uint16_t)(info >> SVM_IO_PORT_SHIFT);
    exit->io.size = (uint8_t)(info >> SVM_IO_SIZE_SHIFT & SVM_IO_SIZE_MASK);
    exit->io.in = info & SVM_IO_IN;
    exit->io.string = info & SVM_IO_STRING;
    exit->io.rep = info & SVM_IO_REP;
    if (!exit->io.string) {
        return;
    }
    if (!know_string(v, exit, &insn)) {
        exit->reason = HVM_EXIT_REINJECT;
        return;
    }
    exit->io.address_size = insn.address_size;
    linear = segment_base(c, exit->io.in ? SEG_ES : insn.segment, exit->code64) +
             cut(v->gpr[exit->io.in ? GPR_RDI : GPR_RSI], insn.address_size);
    exit->io.linear = exit->code64 ? linear : (uint32_t)linear;
}

static void decode_npf(struct vcpu *v, struct hvm_exit *exit)
{
    const struct vmcb *c = svm_of(v)->vmcb;
    uint64_t info = c->exit_info1;

    exit->reason = HVM_EXIT_STAGE2;
    exit->stage2.gpa = c->exit_info2;
    /* No bytes: of a fetch, or the CPU could not read them. */
    if (svm_caps.edx & CPUID_SVM_EDX_DECODE) {
        exit->nr_bytes = MIN(c->insn_count, sizeof(exit->bytes));
        memcpy(exit->bytes, c->insn_bytes, sizeof(exit->bytes));
    }
    exit->stage2.access = (info & SVM_NPF_WRITE)   ? STAGE2_WRITE
                          : (info & SVM_NPF_FETCH) ? STAGE2_EXEC
                                                   : STAGE2_READ;
}

/* VMCALL is Intel's: here it is undefined, but guests need not know whose CPU this is. */
static void decode_undefined(struct vcpu *v, struct hvm_exit *exit)
{
    const struct guest_event ud = {.info = EVENT_VALID | EVENT_TYPE_HW_EXCEPTION << 8 | EXC_UD};
    struct insn_exit insn;

    if (fetch(v, exit, &insn) && insn.opcode == INSN_GROUP7 && insn.modrm == INSN_MODRM_VMCALL) {
        exit->insn_length = insn.length;
        exit->reason = HVM_EXIT_HYPERCALL;
        return;
    }
    event_raise(&svm_of(v)->next, &ud);
    exit->reason = HVM_EXIT_REINJECT;
}

static void decode_exception(struct vcpu *v, unsigned int vector, struct hvm_exit *exit)
{
    struct guest_event event = {.info = EVENT_VALID | EVENT_TYPE_HW_EXCEPTION << 8 | vector};

    if (vector == EXC_MC) {
        panic("svm: machine check in a guest at rip 0x%llx", (unsigned long long)exit->rip);
    }
    if (vector == EXC_UD) {
        decode_undefined(v, exit);
        return;
    }
    if (vector == EXC_AC) {
        event.info |= EVENT_ERROR_CODE;
    }
    event_raise(&svm_of(v)->next, &event);
    exit->reason = HVM_EXIT_REINJECT;
}

static void decode_iret(struct vcpu *v, struct hvm_exit *exit)
{
    struct svm_vcpu *x = svm_of(v);

    x->iret_rip = exit->rip; /* done when the guest is elsewhere: svm_nmi() looks */
    vmcb_set(x, intercept_misc1, x->vmcb->intercept_misc1 & ~SVM_MISC1_IRET);
    exit->reason = HVM_EXIT_REINJECT;
}

static bool interrupt_due(struct vcpu *v)
{
    const struct svm_vcpu *x = svm_of(v);

    return (x->next.event.info & EVENT_VALID) && (x->vmcb->rflags & RFLAGS_IF);
}

/* VMRUN has refused the state; but QEMU ends a MOV to CR3 with reserved bits so too, where the
 * guest should have #GP: bit 63 among them, since QEMU has no PCIDs. */
static void decode_invalid(struct vcpu *v, struct hvm_exit *exit)
{
    struct insn_exit insn;

    exit->reason = HVM_EXIT_BAD_STATE;
    if (fetch(v, exit, &insn) && insn.opcode == INSN_MOV_TO_CR && insn.reg == 3 &&
        (hvm_gpr(v, insn.rm) & BITS(63, guest_maxphyaddr()))) {
        guest_fault_code(v, EXC_GP, 0);
        exit->reason = HVM_EXIT_REINJECT;
    }
}

static void decode_reason(struct vcpu *v, struct hvm_exit *exit)
{
    const struct vmcb *c = svm_of(v)->vmcb;

    if ((uint32_t)c->exit_code == (uint32_t)SVM_EXIT_INVALID) { /* QEMU writes the low half */
        decode_invalid(v, exit);
        return;
    }
    switch (c->exit_code) {
    case SVM_EXIT_CR_WRITE(0):
    case SVM_EXIT_CR_WRITE(4):
    case SVM_EXIT_CR_READ(8):
    case SVM_EXIT_CR_WRITE(8):
        decode_cr(v, exit);
        break;
    case SVM_EXIT_DR_WRITE(0):
    case SVM_EXIT_DR_WRITE(1):
    case SVM_EXIT_DR_WRITE(2):
    case SVM_EXIT_DR_WRITE(3):
    case SVM_EXIT_DR_WRITE(5):
    case SVM_EXIT_DR_WRITE(7):
        decode_dr(v, exit);
        break;
    case SVM_EXIT_EXCEPTION(EXC_DB):
    case SVM_EXIT_EXCEPTION(EXC_UD):
    case SVM_EXIT_EXCEPTION(EXC_AC):
    case SVM_EXIT_EXCEPTION(EXC_MC):
        decode_exception(v, (unsigned int)(c->exit_code - SVM_EXIT_EXCEPTION(0)), exit);
        break;
    case SVM_EXIT_INTR: /* still pending: taken here */
        __asm__ volatile("sti; nop; cli" ::: "memory");
        exit->reason = HVM_EXIT_HOST;
        break;
    case SVM_EXIT_NMI: /* taken when GIF was set again */
        exit->reason = HVM_EXIT_HOST;
        break;
    case SVM_EXIT_VINTR:
        exit->reason = HVM_EXIT_IRQ_WINDOW;
        break;
    case SVM_EXIT_RDPMC: /* there are no counters, so none has a valid number */
        guest_fault_code(v, EXC_GP, 0);
        exit->reason = HVM_EXIT_REINJECT;
        break;
    case SVM_EXIT_CPUID:
        simple(v, exit, HVM_EXIT_CPUID);
        break;
    case SVM_EXIT_IRET:
        decode_iret(v, exit);
        break;
    case SVM_EXIT_INVD:
    case SVM_EXIT_WBINVD:
        simple(v, exit, HVM_EXIT_NOP);
        break;
    case SVM_EXIT_HLT: /* a virtual interrupt that was not taken before ends it at once */
        simple(v, exit, interrupt_due(v) ? HVM_EXIT_NOP : HVM_EXIT_HLT);
        break;
    case SVM_EXIT_IOIO:
        decode_io(v, exit);
        break;
    case SVM_EXIT_MSR:
        simple(v, exit, (c->exit_info1 & SVM_MSR_WRITE) ? HVM_EXIT_MSR_WRITE : HVM_EXIT_MSR_READ);
        exit->msr.index = (uint32_t)v->gpr[GPR_RCX];
        break;
    case SVM_EXIT_SHUTDOWN:
        exit->reason = HVM_EXIT_TRIPLE_FAULT;
        break;
    case SVM_EXIT_VMMCALL:
        simple(v, exit, HVM_EXIT_HYPERCALL);
        break;
    case SVM_EXIT_XSETBV:
        simple(v, exit, HVM_EXIT_XSETBV);
        break;
    case SVM_EXIT_NPF:
        decode_npf(v, exit);
        break;
    case SVM_EXIT_INVLPGA:
    case SVM_EXIT_MONITOR:
    case SVM_EXIT_MWAIT:
    case SVM_EXIT_MWAIT_ARMED:
    case SVM_EXIT_RDPRU:
        exit->reason = HVM_EXIT_UNDEFINED;
        break;
    default:
        exit->reason = c->exit_code >= SVM_EXIT_VMRUN && c->exit_code <= SVM_EXIT_SKINIT
                           ? HVM_EXIT_UNDEFINED
                           : HVM_EXIT_UNKNOWN;
        break;
    }
}

void svm_exit_decode(struct vcpu *v, struct hvm_exit *exit)
{
    const struct vmcb *c = svm_of(v)->vmcb;

    exit->code = (uint32_t)c->exit_code;
    exit->qualification = c->exit_info1;
    exit->rip = c->rip;
    exit->cpl = c->cpl;
    exit->code64 = (c->cs.attributes & ATTRIBUTES_L) && (c->efer & EFER_LMA);
    exit->code_bytes = exit->code64 ? 8 : (c->cs.attributes & ATTRIBUTES_DB) ? 4 : 2;
    decode_reason(v, exit);
}
