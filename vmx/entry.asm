; SPDX-License-Identifier: Apache-2.0
;
; VM entry and VM exit.

bits 64
default rel

%include "asm_offsets.inc"

; General registers stand in the order of instruction encodings.
%define GPR(n) VCPU_GPR + 8 * (n)

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
        push    rbp
        push    rbx
        push    r12
        push    r13
        push    r14
        push    r15
        push    rdi
        mov     eax, VMCS_HOST_RSP
        vmwrite rax, rsp
        jbe     .failed
        test    sil, sil                ; the moves below keep ZF
        mov     rax, [rdi + GPR(0)]
        mov     rcx, [rdi + GPR(1)]
        mov     rdx, [rdi + GPR(2)]
        mov     rbx, [rdi + GPR(3)]
        mov     rbp, [rdi + GPR(5)]
        mov     rsi, [rdi + GPR(6)]
        mov     r8,  [rdi + GPR(8)]
        mov     r9,  [rdi + GPR(9)]
        mov     r10, [rdi + GPR(10)]
        mov     r11, [rdi + GPR(11)]
        mov     r12, [rdi + GPR(12)]
        mov     r13, [rdi + GPR(13)]
        mov     r14, [rdi + GPR(14)]
        mov     r15, [rdi + GPR(15)]
        mov     rdi, [rdi + GPR(7)]
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
        push    rdi
        mov     rdi, [rsp + 8]
        mov     [rdi + GPR(0)], rax
        mov     [rdi + GPR(1)], rcx
        mov     [rdi + GPR(2)], rdx
        mov     [rdi + GPR(3)], rbx
        mov     [rdi + GPR(5)], rbp
        mov     [rdi + GPR(6)], rsi
        pop     qword [rdi + GPR(7)]
        mov     [rdi + GPR(8)], r8
        mov     [rdi + GPR(9)], r9
        mov     [rdi + GPR(10)], r10
        mov     [rdi + GPR(11)], r11
        mov     [rdi + GPR(12)], r12
        mov     [rdi + GPR(13)], r13
        mov     [rdi + GPR(14)], r14
        mov     [rdi + GPR(15)], r15
        xor     eax, eax
.return:
        pop     rdi
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        pop     rbp
        ret

section .note.GNU-stack noalloc noexec nowrite progbits
