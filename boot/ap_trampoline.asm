; SPDX-License-Identifier: Apache-2.0
;
; Where a CPU starts after INIT and SIPI: copied to a page below 1 MiB, with the addresses at its
; end filled in (struct trampoline_data, arch/x86_64/smp.c).
;
; On entry: real mode, CS:IP = page:0, interrupts off. On exit: at ap_entry32 (boot/entry.asm) in
; 32-bit protected mode, paging off, flat segments, EAX = LU_PARK_MAGIC, EBX = the struct lu_park at
; the end of this page's code; no stack.

%include "asm_offsets.inc"

CR0_PE   equ 1 << 0
SEL_DATA equ 0x10

section .rodata
global ap_trampoline, ap_trampoline32, ap_trampoline_data, ap_trampoline_end
bits 16
ap_trampoline:
    cli
    mov ax, cs
    mov ds, ax
    movzx ebx, ax
    shl ebx, 4
    add ebx, park - ap_trampoline
    o32 lgdt [gdtr - ap_trampoline]
    mov eax, cr0
    or al, CR0_PE
    mov cr0, eax
    jmp dword far [far32 - ap_trampoline]

bits 32
ap_trampoline32:
    mov eax, SEL_DATA
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov fs, eax
    mov gs, eax
    mov eax, LU_PARK_MAGIC
    jmp [ebx + PARK_ENTRY]

align 8
ap_trampoline_data:
park:   dd 0, 0                 ; struct lu_park
gdtr:   dw 0                    ; limit and 32-bit base
        dd 0
far32:  dd 0                    ; of ap_trampoline32 in the copy
        dw 0
ap_trampoline_end:

section .note.GNU-stack noalloc noexec nowrite progbits
