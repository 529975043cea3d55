; SPDX-License-Identifier: Apache-2.0
;
; All general registers and RFLAGS live at once.
;
; The functions load gpr_in (16 registers in encoding order, then RFLAGS), do something that must
; leave them alone, and store what they find in gpr_out. RSP is recorded, not loaded. Callable from
; ring 0 and ring 3. Afterwards RFLAGS is as in C code, interrupts off.

global gpr_spin
global gpr_vmcall
global gpr_cpuid
global gpr_call
global gpr_code
global gpr_in
global gpr_out

FLAGS_FIXED     equ 0x2

section .text
bits 64

%macro GPR_ENTER 0
        push rbp
        push rbx
        push r12
        push r13
        push r14
        push r15
        mov [rel gpr_in + 4 * 8], rsp
        push qword [rel gpr_in + 16 * 8]
        popfq
        mov rax, [rel gpr_in + 0 * 8]
        mov rcx, [rel gpr_in + 1 * 8]
        mov rdx, [rel gpr_in + 2 * 8]
        mov rbx, [rel gpr_in + 3 * 8]
        mov rbp, [rel gpr_in + 5 * 8]
        mov rsi, [rel gpr_in + 6 * 8]
        mov rdi, [rel gpr_in + 7 * 8]
        mov r8, [rel gpr_in + 8 * 8]
        mov r9, [rel gpr_in + 9 * 8]
        mov r10, [rel gpr_in + 10 * 8]
        mov r11, [rel gpr_in + 11 * 8]
        mov r12, [rel gpr_in + 12 * 8]
        mov r13, [rel gpr_in + 13 * 8]
        mov r14, [rel gpr_in + 14 * 8]
        mov r15, [rel gpr_in + 15 * 8]
%endmacro

%macro GPR_LEAVE 0
        mov [rel gpr_out + 0 * 8], rax
        mov [rel gpr_out + 1 * 8], rcx
        mov [rel gpr_out + 2 * 8], rdx
        mov [rel gpr_out + 3 * 8], rbx
        mov [rel gpr_out + 4 * 8], rsp
        mov [rel gpr_out + 5 * 8], rbp
        mov [rel gpr_out + 6 * 8], rsi
        mov [rel gpr_out + 7 * 8], rdi
        mov [rel gpr_out + 8 * 8], r8
        mov [rel gpr_out + 9 * 8], r9
        mov [rel gpr_out + 10 * 8], r10
        mov [rel gpr_out + 11 * 8], r11
        mov [rel gpr_out + 12 * 8], r12
        mov [rel gpr_out + 13 * 8], r13
        mov [rel gpr_out + 14 * 8], r14
        mov [rel gpr_out + 15 * 8], r15
        mov rsp, [rel gpr_in + 4 * 8]   ; even if it was lost
        pushfq
        pop qword [rel gpr_out + 16 * 8]
        push FLAGS_FIXED
        popfq
        pop r15
        pop r14
        pop r13
        pop r12
        pop rbx
        pop rbp
        ret
%endmacro

; Counts RCX down to 0: LOOP and PAUSE change no flag.
gpr_spin:
        GPR_ENTER
.spin:
        pause
        loop .spin
        GPR_LEAVE

section .vmcall progbits alloc exec nowrite
gpr_vmcall:
        GPR_ENTER
        vmcall
        GPR_LEAVE

section .text

gpr_cpuid:
        GPR_ENTER
        cpuid
        GPR_LEAVE

; Calls what gpr_code points to.
gpr_call:
        GPR_ENTER
        call [rel gpr_code]
        GPR_LEAVE

section .bss
        alignb 16
gpr_in:
        resq 17
gpr_out:
        resq 17
gpr_code:
        resq 1
