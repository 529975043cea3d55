; SPDX-License-Identifier: Apache-2.0
;
; Exception entries, expected faults, excursions to ring 3 (64-bit payloads).
;
; trap_entries[n] is the entry for vector n; all go to trap_handle(struct trap_frame *) with every
; general register saved in the frame, which it may change. user_gate is for a DPL 3 interrupt gate.

global trap_entries
global trap_return
global fault_call
global fault_resume
global fault_frame
global user_call
global user_gate
extern trap_handle
extern user_stack_top

KERNEL_DATA     equ 0x10
USER_DATA       equ 0x23
USER_CODE       equ 0x2b
FLAGS_FIXED     equ 0x2

section .text
bits 64

%macro TRAP_ENTRY 1
trap_entry_%1:
%if %1 == 8 || (%1 >= 10 && %1 <= 14) || %1 == 17 || %1 == 21 || %1 == 29 || %1 == 30
%else
        push 0                          ; in place of an error code
%endif
        push %1
        jmp trap_common
%endmacro

%assign n 0
%rep 256
        TRAP_ENTRY n
%assign n n + 1
%endrep

trap_common:
        push rax
        push rcx
        push rdx
        push rbx
        push rbp
        push rsi
        push rdi
        push r8
        push r9
        push r10
        push r11
        push r12
        push r13
        push r14
        push r15
        cld
        mov rdi, rsp                    ; 16-byte aligned: the CPU aligned it, 22 words are on it
        call trap_handle
trap_return:
        pop r15
        pop r14
        pop r13
        pop r12
        pop r11
        pop r10
        pop r9
        pop r8
        pop rdi
        pop rsi
        pop rbp
        pop rbx
        pop rdx
        pop rcx
        pop rax
        add rsp, 16
        iretq

; bool fault_call(void (*fn)(void *), void *arg): runs fn(arg); true if a fault ended it. May nest.
fault_call:
        push rbp
        push rbx
        push r12
        push r13
        push r14
        push r15
        pushfq
        push qword [rel fault_frame]
        sub rsp, 8
        mov [rel fault_frame], rsp
        mov rax, rdi
        mov rdi, rsi
        call rax
        xor eax, eax
fault_out:
        add rsp, 8
        pop qword [rel fault_frame]
        popfq
        pop r15
        pop r14
        pop r13
        pop r12
        pop rbx
        pop rbp
        ret

; Called by trap_handle: makes the innermost fault_call return true.
fault_resume:
        mov eax, KERNEL_DATA
        mov ss, eax
        mov ds, eax
        mov es, eax
        mov rsp, [rel fault_frame]
        mov eax, 1
        jmp fault_out

; uint64_t user_call(uint64_t (*fn)(uint64_t), uint64_t arg): runs fn(arg) in ring 3, interrupts
; off, own stack. Not reentrant.
user_call:
        push rbp
        push rbx
        push r12
        push r13
        push r14
        push r15
        pushfq
        mov [rel user_kernel_rsp], rsp
        mov rax, rdi
        mov rdi, rsi
        push USER_DATA
        push qword user_stack_top
        push FLAGS_FIXED
        push USER_CODE
        push qword user_run
        iretq
user_run:
        call rax
        int 0x80
user_gate:                              ; on the ring 0 stack of the TSS, RAX the result
        mov rsp, [rel user_kernel_rsp]
        mov ecx, KERNEL_DATA
        mov ss, ecx
        mov ds, ecx
        mov es, ecx
        popfq
        pop r15
        pop r14
        pop r13
        pop r12
        pop rbx
        pop rbp
        ret

section .rodata
        align 8
trap_entries:
%assign n 0
%rep 256
        dq trap_entry_%+n
%assign n n + 1
%endrep

section .bss
        alignb 8
fault_frame:
        resq 1
user_kernel_rsp:
        resq 1
