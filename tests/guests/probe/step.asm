; SPDX-License-Identifier: Apache-2.0
;
; Code of the probe that C cannot say: single-stepped instructions, system call entries.
;
; step_table: per case the routine, its name, and the six RIPs at which a #DB is due. A routine sets
; TF, runs NOP, the instruction under test (with RAX, RCX, RDX, RBX, RDI from step_regs), NOP,
; clears TF. Ring 0, no arguments.

global step_table
global step_regs
global syscall_entry
global sysenter_entry
global user_syscalls
global user_sysenter
extern user_gate

FLAG_TF         equ 0x100

section .text
bits 64

%macro STEP 2+
step_%1:
        push rbx
        mov rax, [rel step_regs]
        mov rcx, [rel step_regs + 8]
        mov rdx, [rel step_regs + 16]
        mov rbx, [rel step_regs + 24]
        mov rdi, [rel step_regs + 32]
        pushfq
        or qword [rsp], FLAG_TF
        popfq
        nop
.before:
        %2
.after:
        nop
.end:
        pushfq
.pushed:
        and qword [rsp], ~FLAG_TF
.cleared:
        popfq
.off:
        pop rbx
        ret
section .rodata
step_name_%1:
        db %str(%1), 0
section .text
%endmacro

%macro MOV_SS_CPUID 0
        mov ss, eax
        cpuid
%endmacro

%macro MOV_SS_IN 0
        mov ss, eax
        in al, 0x80
%endmacro

        STEP nop, nop
        STEP cpuid, cpuid
        STEP in_dx, in al, dx
        STEP in_imm, in al, 0x80
        STEP out_dx, out dx, al
        STEP out_imm, out 0x80, al
        STEP rdmsr, rdmsr
        STEP wrmsr, wrmsr
        STEP xsetbv, xsetbv
        STEP mov_to_cr0, mov cr0, rbx
        STEP mov_to_cr3, mov cr3, rbx
        STEP mov_to_cr4, mov cr4, rbx
        STEP mov_from_cr3, mov rbx, cr3
        STEP mov_to_cr8, mov cr8, rbx
        STEP mov_from_dr7, mov rbx, dr7
        STEP clts, clts
        STEP lmsw, lmsw bx
        STEP rdtsc, rdtsc
        STEP invlpg, invlpg [rdi]
        STEP wbinvd, wbinvd
        STEP pause, pause
        STEP mov_ss_cpuid, MOV_SS_CPUID
        STEP mov_ss_in, MOV_SS_IN
        STEP vmcall, vmcall

syscall_entry:                          ; ring 0, user stack, RCX and R11 from SYSCALL
        inc rdi
        o64 sysret

user_syscalls:                          ; RDI + number of system calls
        syscall
        syscall
        syscall
        mov rax, rdi
        ret

sysenter_entry:
        lea rax, [rdi + 1]
        jmp user_gate

user_sysenter:
        sysenter
        ret

%macro STEP_ENTRY 1
        dq step_%1, step_name_%1
        dq step_%1.before, step_%1.after, step_%1.end, step_%1.pushed, step_%1.cleared, step_%1.off
%endmacro

section .rodata
        align 8
step_table:
        STEP_ENTRY nop
        STEP_ENTRY cpuid
        STEP_ENTRY in_dx
        STEP_ENTRY in_imm
        STEP_ENTRY out_dx
        STEP_ENTRY out_imm
        STEP_ENTRY rdmsr
        STEP_ENTRY wrmsr
        STEP_ENTRY xsetbv
        STEP_ENTRY mov_to_cr0
        STEP_ENTRY mov_to_cr3
        STEP_ENTRY mov_to_cr4
        STEP_ENTRY mov_from_cr3
        STEP_ENTRY mov_to_cr8
        STEP_ENTRY mov_from_dr7
        STEP_ENTRY clts
        STEP_ENTRY lmsw
        STEP_ENTRY rdtsc
        STEP_ENTRY invlpg
        STEP_ENTRY wbinvd
        STEP_ENTRY pause
        STEP_ENTRY mov_ss_cpuid
        STEP_ENTRY mov_ss_in
        STEP_ENTRY vmcall
        dq 0

section .bss
        alignb 8
step_regs:
        resq 5
