; SPDX-License-Identifier: Apache-2.0
;
; Into code of another size and back.
;
; mode_call(RDI: struct mode_regs *, RSI: offset, RDX: selector): from 64-bit code in ring 0, stack
; below 4 GiB. Loads DS, ES, FS, GS and general registers from the structure and goes to
; selector:offset. That code ends by a far return of 32-bit operands. Stores the registers; DS and
; ES are as before, FS and GS null, SS flat.

global mode_call

SEL_CODE        equ 0x08
SEL_DATA        equ 0x10
REG_RAX         equ 0
REG_SEGMENTS    equ 56

section .text
bits 64
mode_call:
        push rbx
        push rbp
        mov eax, SEL_DATA
        mov ss, eax
        mov [rel regs], rdi
        mov ds, [rdi + REG_SEGMENTS]
        mov es, [rdi + REG_SEGMENTS + 2]
        mov fs, [rdi + REG_SEGMENTS + 4]
        mov gs, [rdi + REG_SEGMENTS + 6]
        sub rsp, 8
        mov dword [rsp], .back
        mov dword [rsp + 4], SEL_CODE
        push rdx
        push rsi
        mov rax, [rdi + REG_RAX]
        mov rbx, [rdi + 8]
        mov rcx, [rdi + 16]
        mov rdx, [rdi + 24]
        mov rsi, [rdi + 32]
        mov rbp, [rdi + 40]
        mov rdi, [rdi + 48]
        o64 retf
.back:
        push rdi
        mov rdi, [rel regs]
        mov [rdi + REG_RAX], rax
        mov [rdi + 8], rbx
        mov [rdi + 16], rcx
        mov [rdi + 24], rdx
        mov [rdi + 32], rsi
        mov [rdi + 40], rbp
        pop qword [rdi + 48]
        mov eax, SEL_DATA
        mov ds, eax
        mov es, eax
        xor eax, eax
        mov fs, eax
        mov gs, eax
        pop rbp
        pop rbx
        ret

section .bss
        alignb 8
regs:
        resq 1
