; SPDX-License-Identifier: Apache-2.0
;
; VMRUN and what stands around it.

bits 64
default rel

%include "asm_offsets.inc"
%include "asm/gpr.inc"
%include "asm/regs.inc"

; Of struct vmcb: STAR, LSTAR, CSTAR, SFMASK, KERNEL_GS_BASE side by side.
VMCB_STAR       equ 0x600
VMCB_MSRS       equ 5
VMCB_SHADOW     equ 0x68

section .text

;
; void svm_enter(struct vcpu *v, paddr_t vmcb_pa, paddr_t host_pa, struct vmcb *vmcb,
;                struct vmcb *host)
;
; In:  RDI = vCPU, RSI = its VMCB (physical), RDX = molt's own (physical), RCX, R8 = the same two.
;      GIF set, interrupts off.
; Out: the guest's registers are in v->gpr (all but RAX and RSP). GIF set, interrupts off.
; Keeps what the System V ABI wants kept. With GIF clear nothing can interrupt: GS is the guest's
; from VMLOAD to VMLOAD. IF has to be set for VMRUN, so that an interrupt ends the guest's run; it
; is set early, since a CPU may leave the shadow of that STI to the guest. QEMU has no other shadow
; to give a guest, so where the VMCB has one, a second STI (which does nothing elsewhere) does it.
;
global svm_enter:function
svm_enter:
        PUSHES  KEPT_REGS
        push    r8
        push    rcx
        push    rdx
        push    rdi
        mov     r9, rdi
        clgi
        sti
        test    byte [rcx + VMCB_SHADOW], 1 ; nothing below changes ZF
        mov     rax, rdx
        vmsave
        lea     rdi, [rcx + VMCB_STAR]  ; what context_load() has left in the CPU
        mov     rax, rsi
        lea     rsi, [r8 + VMCB_STAR]
        mov     ecx, VMCB_MSRS
        rep movsq
        mov     rdi, r9
        GUEST_GPRS_IN
        vmload
        jz      .enter
        sti
.enter: vmrun
        cli
        vmsave
        GUEST_GPRS_OUT
        cld
        add     rsp, 8
        pop     rax                     ; molt's VMCB, physical
        pop     rsi
        pop     rdi
        add     rsi, VMCB_STAR
        add     rdi, VMCB_STAR
        mov     ecx, VMCB_MSRS
        rep movsq
        vmload
        stgi
        POPS    KEPT_REGS
        ret

section .note.GNU-stack noalloc noexec nowrite progbits
