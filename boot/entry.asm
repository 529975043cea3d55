; SPDX-License-Identifier: Apache-2.0
;
; Entry from a multiboot2 loader, or from the relocator of the image before this one.
;
; On entry (Multiboot2 specification, "I386 machine state"): 32-bit protected mode, paging off,
; interrupts off, flat segments, EAX = magic, EBX = boot information, no stack. The image lies at
; any page-aligned address below 4 GiB, its .bss cleared by whoever put it there (an ELF loader's
; duty: GRUB, boot/place.c, lu/kimage.c). On exit to hv_main(): 64-bit mode, the image at IMAGE_VA,
; the first 4 GiB at DIRECT_VA and, until paging_init(), identity mapped too.

%include "asm_offsets.inc"

; Physical address of an image symbol, EBP holding the image's own.
%define PHYS(sym) ebp + sym - IMAGE_VA

CR0_PE    equ 1 << 0
CR0_WP    equ 1 << 16
CR0_PG    equ 1 << 31
CR4_PAE   equ 1 << 5
CR4_PGE   equ 1 << 7
MSR_EFER  equ 0xc0000080
EFER_LME  equ 1 << 8
EFER_NXE  equ 1 << 11
PTE_PW    equ 0x63              ; present, writable; accessed, dirty: no CPU has to set that
PTE_PS    equ 1 << 7
SEL_CODE64 equ 0x08
SEL_DATA  equ 0x10
COM1      equ 0x3f8
LSR_THRE  equ 1 << 5

extern hv_main
extern __image_end
extern boot_stack_top
extern ap_main
extern ap_cr3
extern ap_claimed
extern ap_slots

section .boot.text progbits alloc exec nowrite align=16
bits 32
global entry32
entry32:
    cli
    cld
    mov esi, eax                ; magic
    lea esp, [ebx + 8]          ; the reserved word of the boot information serves as a stack
    call .here
.here:
    pop ebp
    sub ebp, .here - BOOT_PA    ; where the image lies
    rdtsc
    mov esp, eax                ; stamp: EDX:ESP
    mov [PHYS(entry_stamp)], esp
    mov [PHYS(entry_stamp) + 4], edx
    lea esp, [PHYS(boot_stack_top)]
    push ebx
    push esi

    cmp esi, MB2_BOOT_MAGIC
    mov eax, msg_magic - BOOT_PA
    jne fail
    mov eax, 0x80000000         ; long mode and NX are all that is needed to start
    cpuid
    cmp eax, 0x80000001
    mov eax, msg_cpu - BOOT_PA
    jb fail
    mov eax, 0x80000001
    cpuid
    mov edi, edx
    and edx, (1 << 29) | (1 << 20)
    cmp edx, (1 << 29) | (1 << 20)
    mov eax, msg_cpu - BOOT_PA
    jne fail

    ; First 4 GiB: 1 GiB leaves where the CPU has them, else 2 MiB ones.
    test edi, 1 << 26
    jz .small_leaves
    xor ecx, ecx
    xor eax, eax
.gib:
    lea edx, [eax + (PTE_PW | PTE_PS)]
    mov [PHYS(early_pdpt_low) + ecx * 8], edx
    add eax, 0x40000000
    inc ecx
    cmp ecx, 4
    jb .gib
    jmp .image
.small_leaves:
    lea edi, [PHYS(early_pd_low)]
    xor ecx, ecx
.pd:
    mov eax, ecx
    shl eax, 21
    or eax, PTE_PW | PTE_PS
    mov [edi + ecx * 8], eax
    inc ecx
    cmp ecx, 4 * 512
    jb .pd
    xor ecx, ecx
    lea eax, [edi + PTE_PW]
.pdpt:
    mov [PHYS(early_pdpt_low) + ecx * 8], eax
    add eax, 0x1000
    inc ecx
    cmp ecx, 4
    jb .pdpt

.image:                         ; the image's own pages at IMAGE_VA
    lea edi, [PHYS(early_pt_image)]
    lea ecx, [PHYS(__image_end)]
    sub ecx, ebp
    shr ecx, 12
    lea eax, [ebp + PTE_PW]
.pt:
    mov [edi], eax
    add edi, 8
    add eax, 0x1000
    dec ecx
    jnz .pt
    lea eax, [PHYS(early_pt_image) + PTE_PW]
    mov [PHYS(early_pd_image) + ((IMAGE_VA >> 21) & 511) * 8], eax
    lea eax, [PHYS(early_pd_image) + PTE_PW]
    mov [PHYS(early_pdpt_image) + ((IMAGE_VA >> 30) & 511) * 8], eax
    lea eax, [PHYS(early_pdpt_image) + PTE_PW]
    mov [PHYS(early_pml4) + 511 * 8], eax
    lea eax, [PHYS(early_pdpt_low) + PTE_PW]
    mov [PHYS(early_pml4)], eax
    mov [PHYS(early_pml4) + DIRECT_SLOT * 8], eax

    lea eax, [ebp + early_gdt - BOOT_PA]
    mov word [PHYS(early_gdtr)], early_gdt.end - early_gdt - 1
    mov [PHYS(early_gdtr) + 2], eax
    lea eax, [ebp + entry64 - BOOT_PA]
    mov [PHYS(early_far)], eax
    mov word [PHYS(early_far) + 4], SEL_CODE64
    pop esi                     ; magic
    pop edi                     ; boot information

; Into 64-bit mode with the tables that are ready now. EBP = image, ESI = magic; EBX, EDI, ESP stay.
long_mode:
    mov eax, CR4_PAE | CR4_PGE
    mov cr4, eax
    lea eax, [PHYS(early_pml4)]
    mov cr3, eax
    mov ecx, MSR_EFER
    rdmsr
    or eax, EFER_LME | EFER_NXE
    wrmsr
    mov eax, cr0
    or eax, CR0_PG | CR0_WP | CR0_PE
    mov cr0, eax
    lgdt [PHYS(early_gdtr)]
    jmp far [PHYS(early_far)]   ; still identity mapped

; Entry of every other CPU: from the trampoline, or parked by the image before this one. State as
; above, but EAX = LU_PARK_MAGIC, EBX = struct lu_park, and the first CPU has made the early tables.
global ap_entry32
ap_entry32:
    cli
    cld
    mov ebp, [ebx + PARK_ENTRY]
    sub ebp, ap_entry32 - BOOT_PA
    mov esi, eax
    jmp long_mode

; EAX = offset of a message: to the serial port, and stop.
fail:
    lea esi, [ebp + eax]
.char:
    mov dx, COM1 + 5
.wait:
    in al, dx
    test al, LSR_THRE
    jz .wait
    lodsb
    test al, al
    jz .stop
    mov dx, COM1
    out dx, al
    jmp .char
.stop:
    hlt
    jmp .stop

bits 64
entry64:
    mov ax, SEL_DATA
    mov ds, ax
    mov es, ax
    mov ss, ax
    xor eax, eax
    mov fs, ax
    mov gs, ax
    cmp esi, LU_PARK_MAGIC
    mov rax, ap_start
    je .other
    mov rsp, boot_stack_top
    mov ecx, ebp                ; hv_main(magic, info_pa, entry_tsc, image_pa)
    xchg edi, esi               ; (EDI = information, ESI = magic until here)
    mov rdx, entry_stamp
    mov rdx, [rdx]
    xor ebp, ebp                ; ends backtraces
    mov rax, hv_main
    call rax
.stop:
    hlt
    jmp .stop
.other:
    jmp rax

align 8
early_gdt:
    dq 0
    dq 0x00af9b000000ffff       ; SEL_CODE64
    dq 0x00cf93000000ffff       ; SEL_DATA
    dq 0x00cf9b000000ffff       ; 32-bit code, for the trampoline
.end:

msg_magic: db "molt: not started by a multiboot2 loader", 13, 10, 0
msg_cpu:   db "molt: the CPU has no 64-bit mode or no execute-disable", 13, 10, 0

; The other CPUs' way on, at IMAGE_VA: final tables, and the first stack that nobody else takes.
; Those that come too late, when the list has ended, stop here.
section .text
ap_start:
    mov rax, [rel ap_cr3]
    mov cr3, rax
    mov ecx, 1
    lock xadd [rel ap_claimed], ecx
    mov rdi, [rel ap_slots]
.find:
    test rdi, rdi
    jz .stop
    sub ecx, 1
    jc .found
    mov rdi, [rdi + CPU_NEXT]
    jmp .find
.found:
    mov rsp, [rdi + CPU_STACK_TOP]
    xor ebp, ebp
    call ap_main
.stop:
    cli
    hlt
    jmp .stop

section .bss
alignb 4096
early_pml4:       resb 4096
early_pdpt_low:   resb 4096
early_pd_low:     resb 4 * 4096
early_pdpt_image: resb 4096
early_pd_image:   resb 4096
early_pt_image:   resb 4096
entry_stamp:      resq 1
global early_gdtr
early_gdtr:       resb 8          ; limit, 32-bit base
early_far:        resb 8          ; offset, selector

section .note.GNU-stack noalloc noexec nowrite progbits
