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
%include "asm/fault.inc"
%include "asm/regs.inc"

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
SEL_CODE32 equ 0x18
EXCEPTIONS equ 32
GATE_INTERRUPT equ 0x8e00       ; present, DPL 0, 64-bit interrupt gate
EXC_NMI   equ 2
PIT_CH0   equ 0x40
PIT_MODE  equ 0x43
PIT_CH0_RATE equ 0x34
MSR_GS_BASE equ 0xc0000101
COM1      equ 0x3f8
LSR_THRE  equ 1 << 5

extern hv_main
extern __image_end
extern boot_stack_top
extern ap_main
extern ap_cr3
extern ap_claimed
extern ap_slots
extern jump_back
extern boot_cpu

section .boot.text progbits alloc exec nowrite align=16
bits 32
global entry32
entry32:
    cli
    cld
    FAULT_POINT FAULT_ASM_ENTRY32
    lea esp, [ebx + 8]          ; the reserved word of the boot information serves as a stack
    call .here
.here:
    pop ebp
    sub ebp, .here - BOOT_PA    ; where the image lies
    lea esp, [PHYS(boot_stack_top)]
    mov [PHYS(entry_base)], ebp
    sgdt [PHYS(entry_gdtr)]
    sidt [PHYS(entry_idtr)]
    mov [PHYS(entry_mark)], esi
    mov [PHYS(entry_handover)], edi
    mov esi, eax                ; magic
    rdtsc
    mov [PHYS(entry_stamp)], eax
    mov [PHYS(entry_stamp) + 4], edx
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

; Where the image that was jumped to comes back: EBX = handover page, whose end serves as a stack.
; This image's early tables are still there.
global back_entry32
back_entry32:
    cli
    cld
    lea esp, [ebx + 4096]
    call .here
.here:
    pop ebp
    sub ebp, .here - BOOT_PA
    mov esi, LU_BACK_MAGIC
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
    cmp esi, LU_BACK_MAGIC
    mov rax, jump_back
    je .other
    mov rsp, boot_stack_top
    call catch_early
    FAULT_POINT FAULT_ASM_ENTRY64
    mov rax, boot_cpu           ; this_cpu() works from here on
    mov rdx, rax
    shr rdx, 32
    mov ecx, MSR_GS_BASE
    wrmsr
    mov edx, ebp                ; hv_main(info_pa, entry_tsc, image_pa, handover_pa)
    mov rsi, entry_stamp
    mov rsi, [rsi]
    xor ecx, ecx
    mov rax, entry_mark
    cmp dword [rax], LU_BACK_MAGIC
    jne .cold                   ; from a boot loader
    mov rax, entry_handover
    mov ecx, [rax]
.cold:
    xor ebp, ebp                ; ends backtraces
    mov rax, hv_main
    call rax
.stop:
    hlt
    jmp .stop
.other:
    jmp rax

; Exceptions, until traps_init() has its table, lead to early_fault, NMIs to early_nmi. EBP = image.
; Changes RAX, RCX, RDX, R8.
catch_early:
    mov ebp, ebp                ; its upper half is undefined
    lea rcx, [rbp + early_fault - BOOT_PA]
    call .low_half
    mov rdx, early_idt
    mov r8d, EXCEPTIONS
.gate:
    mov [rdx], rax
    mov [rdx + 8], rcx
    add rdx, 16
    dec r8d
    jnz .gate
    lea rcx, [rbp + early_nmi - BOOT_PA]
    call .low_half
    mov rdx, early_idt + EXC_NMI * 16
    mov [rdx], rax
    mov [rdx + 8], rcx
    lidt [rbp + early_idtr - BOOT_PA]
    ret

; Handler RCX to a gate: RAX its low, RCX its high half. Changes RDX.
.low_half:
    movzx eax, cx               ; APM volume 2, "Gate Descriptors in Long Mode"
    or eax, SEL_CODE64 << 16
    shr rcx, 16
    movzx edx, cx
    shl rdx, 48
    or rax, rdx
    mov edx, GATE_INTERRUPT
    shl rdx, 32
    or rax, rdx
    shr rcx, 16
    ret

; A tick of the timer that watches this update, or another CPU that saw the deadline pass: it leads
; back only when it has by both copies, so that a bit that has flipped in one ends no good update.
; (Checksums are way_back_find()'s.) The timer is started anew, as watchdog.c does after each tick.
early_nmi:
    PUSHES rax, rcx, rdx
    mov rax, entry_mark
    cmp dword [rax], LU_BACK_MAGIC
    jne entry64.stop
    mov rcx, entry_handover
    mov ecx, [rcx]
    rdtsc
    shl rdx, 32
    or rax, rdx
    mov rdx, [rcx + HANDOVER_DEADLINE]
    dec rdx                     ; 0, no deadline, becomes the latest
    cmp rax, rdx
    jbe .tick
    mov rdx, [rcx + HANDOVER_DEADLINE_2]
    dec rdx
    cmp rax, rdx
    ja early_fault
.tick:
    mov al, PIT_CH0_RATE
    out PIT_MODE, al
    xor eax, eax
    out PIT_CH0, al
    out PIT_CH0, al
    POPS rax, rcx, rdx
    iretq

; A fault before there is a handler: back to 32-bit mode and to the tables that were there on entry,
; which lead the way back (relocator.asm), and a fault again. A boot loader has left none: stop.
early_fault:
    mov rax, entry_mark
    cmp dword [rax], LU_BACK_MAGIC
    jne entry64.stop
    mov rax, entry_base
    mov ebp, [rax]
    lea rax, [rbp + early_fault32 - BOOT_PA]
    push SEL_CODE32
    push rax
    retfq

bits 32
early_fault32:
    mov eax, cr0
    and eax, ~CR0_PG
    mov cr0, eax
    mov ecx, MSR_EFER
    rdmsr
    and eax, ~EFER_LME
    wrmsr
    xor eax, eax
    mov cr4, eax
    lea esp, [PHYS(boot_stack_top)]
    lgdt [PHYS(entry_gdtr)]
    lidt [PHYS(entry_idtr)]
    ud2
bits 64

early_idtr:
    dw EXCEPTIONS * 16 - 1
    dq early_idt

align 8
early_gdt:
    dq 0
    dq 0x00af9b000000ffff       ; SEL_CODE64
    dq 0x00cf93000000ffff       ; SEL_DATA
    dq 0x00cf9b000000ffff       ; SEL_CODE32
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
global early_pml4
early_pml4:       resb 4096
early_pdpt_low:   resb 4096
early_pd_low:     resb 4 * 4096
early_pdpt_image: resb 4096
early_pd_image:   resb 4096
early_pt_image:   resb 4096
alignb 16
early_idt:        resq 2 * EXCEPTIONS
entry_stamp:      resq 1
entry_mark:       resd 1
entry_handover:   resd 1
entry_base:       resd 1          ; where the image lies
entry_gdtr:       resb 8          ; limit, 32-bit base: of whoever has come here
entry_idtr:       resb 8
global early_gdtr
early_gdtr:       resb 8          ; limit, 32-bit base
early_far:        resb 8          ; offset, selector

section .note.GNU-stack noalloc noexec nowrite progbits
