; SPDX-License-Identifier: Apache-2.0
;
; Leaving this image, and coming back to where it was left.

%include "asm/regs.inc"

extern ap_cr3

bits 64
default rel
section .text

;
; bool escape_from(void (*fn)(void *), void *arg)
;
; Calls fn(arg) and returns true. False: it was left by jump_back; general registers and stack are
; as after any call then, nothing else of the CPU is.
;
global escape_from
escape_from:
        PUSHES  KEPT_REGS
        mov     [away_rsp], rsp
        mov     rax, rdi
        mov     rdi, rsi
        sub     rsp, 8
        call    rax
        add     rsp, 8
        mov     al, 1
        jmp     leave_escape

;
; In:  64-bit mode, CPL 0, interrupts off; tables that map this image's text and data at IMAGE_VA
;      (its early ones, or those of the jump); ap_cr3 = its final ones.
;
global jump_back
jump_back:
        mov     rax, [ap_cr3]
        mov     cr3, rax
        mov     rsp, [away_rsp]
        xor     eax, eax
leave_escape:
        POPS    KEPT_REGS
        ret

;
; void nmi_allow(void)
;
; A CPU that came back out of an NMI's handler takes no other one until it executes IRET (SDM,
; "Handling Multiple NMIs"): here, to the next instruction.
;
global nmi_allow
nmi_allow:
        mov     rax, rsp
        mov     ecx, ss
        push    rcx
        push    rax
        pushfq
        mov     ecx, cs
        push    rcx
        lea     rcx, [.out]
        push    rcx
        iretq
.out:
        ret

section .bss
away_rsp:       resq 1

section .note.GNU-stack noalloc noexec nowrite progbits
