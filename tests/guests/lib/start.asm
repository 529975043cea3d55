; SPDX-License-Identifier: Apache-2.0
;
; Entry of the 64-bit payloads.
;
; Entered as multiboot 1 or 2 says: protected mode, paging off, EAX magic, EBX information. Leaves
; to guest_entry(magic, information) in long mode: first 4 GiB mapped one to one by 2 MiB pages
; (writable, user, executable), interrupts off, boot stack.

%include "multiboot.inc"

CR0_BITS        equ 0x80010023          ; PG, WP, NE, MP, PE
CR4_PAE         equ 0x20
MSR_EFER        equ 0xc0000080
EFER_LME        equ 0x100
PTE_TABLE       equ 0x7                 ; present, writable, user
PTE_LARGE       equ 0x87                ; the same, 2 MiB page
EXIT_PORT       equ 0xf4
STACK_BYTES     equ 32768

global _start
global boot_pml4
global boot_pdpt
extern guest_entry

section .text
bits 32
_start:
        cli
        cld
        mov esp, boot_stack_top
        push ebx
        push eax

        mov eax, 0x80000000
        cpuid
        cmp eax, 0x80000001
        jb .no_long_mode
        mov eax, 0x80000001
        cpuid
        test edx, 1 << 29
        jz .no_long_mode

        mov eax, PTE_LARGE
        xor ecx, ecx
.pd_entry:
        mov [boot_pd + ecx * 8], eax
        add eax, 0x200000
        inc ecx
        cmp ecx, 4 * 512
        jne .pd_entry
        mov eax, boot_pd + PTE_TABLE
        xor ecx, ecx
.pdpt_entry:
        mov [boot_pdpt + ecx * 8], eax
        add eax, 4096
        inc ecx
        cmp ecx, 4
        jne .pdpt_entry
        mov dword [boot_pml4], boot_pdpt + PTE_TABLE

        mov eax, CR4_PAE
        mov cr4, eax
        mov eax, boot_pml4
        mov cr3, eax
        mov ecx, MSR_EFER
        rdmsr
        or eax, EFER_LME
        wrmsr
        mov eax, CR0_BITS
        mov cr0, eax
        lgdt [boot_gdtr]
        jmp 0x08:start64

.no_long_mode:
        mov eax, 2
        out EXIT_PORT, eax
.stop:
        hlt
        jmp .stop

bits 64
start64:
        mov eax, 0x10
        mov ds, eax
        mov es, eax
        mov ss, eax
        xor eax, eax
        mov fs, eax
        mov gs, eax
        mov edi, [boot_stack_top - 8]
        mov esi, [boot_stack_top - 4]
        mov esp, boot_stack_top
        xor ebp, ebp
        call guest_entry                ; does not return

section .data
        align 8
boot_gdt:
        dq 0
        dq 0x00af9b000000ffff           ; 0x08: 64-bit code
        dq 0x00cf93000000ffff           ; 0x10: data
boot_gdtr:
        dw $ - boot_gdt - 1
        dd boot_gdt

section .bss
        alignb 4096
boot_pml4:
        resb 4096
boot_pdpt:
        resb 4096
boot_pd:
        resb 4 * 4096
        alignb 16
        resb STACK_BYTES
boot_stack_top:
