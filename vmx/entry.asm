; SPDX-License-Identifier: Apache-2.0
;
; VM entry and VM exit.

bits 64
default rel

%include "asm_offsets.inc"
%include "asm/gpr.inc"
%include "asm/regs.inc"

section .text

;
; unsigned int vmx_enter(struct vcpu *v, bool launched)
;
; In:  RDI = vCPU, whose VMCS is current; ESI != 0: VMRESUME instead of VMLAUNCH. Interrupts off.
; Out: EAX = 0: a VM exit happened, the guest's registers are in v->gpr (all but RSP).
;      EAX = 1 (VMfailInvalid) or 2 (VMfailValid): not entered, v->gpr is unchanged.
; Keeps what the System V ABI wants kept. An exit sets RFLAGS to 2: DF is clear, interrupts off.
;
global vmx_enter:function
vmx_enter:
        PUSHES  KEPT_REGS
        push    rdi
        mov     eax, VMCS_HOST_RSP
        vmwrite rax, rsp
        jbe     .failed
        test    sil, sil                ; the moves below keep ZF
        mov     rax, [rdi + GPR(0)]
        GUEST_GPRS_IN
        jnz     .resume
        vmlaunch
        jmp     .failed
.resume:
        vmresume
.failed:                                ; CF: VMfailInvalid, ZF: VMfailValid
        mov     eax, 2
        sbb     eax, 0
        jmp     vmx_exit_entry.return

;
; VM exits arrive here: host state as in the VMCS, RSP at vmx_enter's last push, the guest's general
; registers still in place.
;
global vmx_exit_entry:function
vmx_exit_entry:
        GUEST_GPRS_OUT
        mov     [rdi + GPR(0)], rax
        xor     eax, eax
.return:
        pop     rdi
        POPS    KEPT_REGS
        ret

section .note.GNU-stack noalloc noexec nowrite progbits
