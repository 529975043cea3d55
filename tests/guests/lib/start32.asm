; SPDX-License-Identifier: Apache-2.0
;
; Entry and exception entries of the 32-bit payloads.
;
; Entered as multiboot 1 or 2 says; stays in protected mode, paging off. Leaves to
; guest_entry(magic, information) with its own stack; descriptor tables are cpu32.c's.

%include "multiboot.inc"

STACK_BYTES     equ 32768

global _start
global trap32_entries
extern guest_entry
extern trap32_handle

section .text
bits 32
_start:
        cli
        cld
        mov esp, boot_stack_top
        xor ebp, ebp
        push ebx
        push eax
        push 0                          ; return address: none
        jmp guest_entry

%macro TRAP_ENTRY 1
trap32_entry_%1:
%if %1 == 8 || (%1 >= 10 && %1 <= 14) || %1 == 17
%else
        push 0                          ; in place of an error code
%endif
        push %1
        jmp trap32_common
%endmacro

%assign n 0
%rep 32
        TRAP_ENTRY n
%assign n n + 1
%endrep

; trap32_handle(struct trap32_frame *): EAX ... EDI as PUSHA leaves them, vector, error, EIP, CS,
; EFLAGS. DS, ES and SS are flat in this payload always; FS and GS are left alone.
trap32_common:
        pusha
        cld
        push esp
        call trap32_handle
        add esp, 4
        popa
        add esp, 8
        iret

section .rodata
        align 4
trap32_entries:
%assign n 0
%rep 32
        dd trap32_entry_%+n
%assign n n + 1
%endrep

section .bss
        alignb 16
        resb STACK_BYTES
boot_stack_top:
