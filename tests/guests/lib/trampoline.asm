; SPDX-License-Identifier: Apache-2.0
;
; Where the other CPUs start, after a start-up IPI.
;
; smp_trampoline to smp_trampoline_end is copied to the page SMP_TRAMPOLINE_PA (lib/smp.h). Entered
; in real mode, CS the page, interrupts off, no stack. Leaves to smp_entry() in long mode under the
; page tables at smp_boot_cr3, on the stack at smp_boot_stack, interrupts off.

CR0_PE_ET       equ 0x11
CR0_BITS        equ 0x80010033          ; PG, WP, NE, ET, MP, PE
CR4_PAE         equ 0x20
MSR_EFER        equ 0xc0000080
EFER_LME        equ 0x100
TRAMPOLINE_PA   equ 0x8000
CODE64          equ 0x08
DATA            equ 0x10
CODE32          equ 0x18

global smp_trampoline
global smp_trampoline_end
global smp_boot_cr3
global smp_boot_stack
extern smp_entry

section .rodata
bits 16
smp_trampoline:
        cli
        mov ax, cs
        mov ds, ax
        o32 lgdt [ap_gdtr - smp_trampoline]
        mov eax, CR0_PE_ET              ; caches on: INIT may have left them off
        mov cr0, eax
        jmp dword CODE32:ap32
        align 8
ap_gdt:
        dq 0
        dq 0x00af9b000000ffff           ; CODE64
        dq 0x00cf93000000ffff           ; DATA
        dq 0x00cf9b000000ffff           ; CODE32
ap_gdtr:
        dw ap_gdtr - ap_gdt - 1
        dd TRAMPOLINE_PA + ap_gdt - smp_trampoline
smp_trampoline_end:

section .text
bits 32
ap32:
        mov eax, DATA
        mov ds, eax
        mov es, eax
        mov ss, eax
        mov eax, CR4_PAE
        mov cr4, eax
        mov eax, [smp_boot_cr3]
        mov cr3, eax
        mov ecx, MSR_EFER
        rdmsr
        or eax, EFER_LME
        wrmsr
        mov eax, CR0_BITS
        mov cr0, eax
        jmp CODE64:ap64

bits 64
ap64:
        xor eax, eax
        mov fs, eax
        mov gs, eax
        xor ebp, ebp
        mov rsp, [rel smp_boot_stack]
        call smp_entry                  ; does not return

section .bss
        alignb 8
smp_boot_cr3:
        resq 1
smp_boot_stack:
        resq 1
