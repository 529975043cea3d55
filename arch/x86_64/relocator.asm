; SPDX-License-Identifier: Apache-2.0
;
; Relocator: the code between two images.
;
; [relocator_start, relocator_end) is copied as a whole into one page below 4 GiB and runs there:
; position-independent, and it writes to nothing of its own but its stack and descriptor pointers at
; the end of that page. relocate_pages() is a plain function, and the host tests assemble this same
; file for it (MOLT_HOST leaves out the rest).
; Host test: tests/host/test_reloc.c (it runs every tag, so a number that differs from hv/reloc.h
; shows there)

bits 64
default rel

RELOC_DESTINATION   equ 1
RELOC_INDIRECTION   equ 2
RELOC_SOURCE        equ 3
RELOC_ZERO          equ 4
RELOC_WRITE64       equ 5
RELOC_DONE          equ 6
RELOC_TAG_MASK      equ 7

PAGE_QWORDS         equ 4096 / 8

section .text

global relocator_start
align 16
relocator_start:

;
; uint64_t relocate_pages(const uint64_t *list)
;
; In:  RDI = first entry of the list. 64-bit mode, any privilege level, interrupts as the caller
;      likes. Every address of the list is mapped as it stands.
; Out: RAX = 0, or the first entry with an unknown tag (nothing of it done).
; Changes RCX, RDX, RSI, RDI, R8, R9 and flags; DF is clear. Of the stack only the return address.
;
; R8 = next entry, R9 = cursor, RAX = entry, RDX = its address.
;
global relocate_pages:function
relocate_pages:
        cld
        mov     r8, rdi
        xor     r9d, r9d
.next:
        mov     rax, [r8]
        add     r8, 8
        mov     rdx, rax
        and     rdx, ~RELOC_TAG_MASK
        mov     ecx, eax
        and     ecx, RELOC_TAG_MASK
        cmp     ecx, RELOC_SOURCE
        je      .source
        cmp     ecx, RELOC_ZERO
        je      .zero
        cmp     ecx, RELOC_DESTINATION
        je      .destination
        cmp     ecx, RELOC_WRITE64
        je      .write64
        cmp     ecx, RELOC_INDIRECTION
        je      .indirection
        cmp     ecx, RELOC_DONE
        jne     .unknown
        xor     eax, eax
.unknown:
        ret
.source:
        mov     rsi, rdx
        mov     rdi, r9
        mov     ecx, PAGE_QWORDS
        rep movsq
        mov     r9, rdi
        jmp     .next
.zero:
        xor     eax, eax
        mov     rdi, r9
        mov     ecx, PAGE_QWORDS
        rep stosq
        mov     r9, rdi
        jmp     .next
.destination:
        mov     r9, rdx
        jmp     .next
.write64:
        mov     rax, [r8]
        add     r8, 8
        mov     [rdx], rax
        jmp     .next
.indirection:
        mov     r8, rdx
        jmp     .next

%ifndef MOLT_HOST

%include "asm_offsets.inc"
%include "asm/fault.inc"

CR0_TS              equ 1 << 3
CR0_PG              equ 1 << 31
CR4_PAE             equ 1 << 5
CR4_LA57            equ 1 << 12
MSR_APIC_BASE       equ 0x1b
APIC_BASE_EXTD      equ 1 << 10
APIC_BASE_ADDR      equ 0xfffff000
APIC_ICR_LOW        equ 0x300
APIC_ICR_HIGH       equ 0x310
MSR_X2APIC_ICR      equ 0x830
PIT_CH0             equ 0x40
PIT_MODE            equ 0x43
PIT_CH0_RATE        equ 0x34
ICR_NMI             equ 0x4400          ; asserted; physical destination
MSR_EFER            equ 0xc0000080
EFER_LME            equ 1 << 8
SEL_CODE32          equ 0x08
SEL_DATA32          equ 0x10
EXCEPTIONS          equ 32
STACK_BYTES         equ 128

; In 32-bit code that runs on the page's own stack: a label by its distance from the stack's end.
%define OWN(label)  esp + label - relocator_stack_top

;
; The jump into the next image. Entered (not called) at its place in the copied page.
;
; In:  64-bit mode, CPL 0, interrupts off, not in VMX operation; the other CPUs touch nothing that
;      the list writes. relocator_data and relocator_idt are filled (arch/x86_64/jump.c).
;      RDI = list (physical)               RSI = entry point of the next image (physical, < 4 GiB)
;      RDX = multiboot2 information (physical, < 4 GiB)
;      RCX = CR3 of tables that map this page, the list and all its addresses identically, writable
;      and executable. The page in use lies below 4 GiB and is mapped identically by the caller's
;      tables too. The stack is not used before the one in this page is set up.
; Out: at the entry point, as the multiboot2 specification's "I386 machine state": 32-bit protected
;      mode, flat segments, paging off, interrupts off, EAX = magic, EBX = information, EBP = 0;
;      and EDI = handover page, ESI = LU_BACK_MAGIC when there is a way back, else both 0. ESP is
;      the end of this page's stack, IDTR its table: until the next image has its own, a fault goes
;      the way back. Never returns; an unknown entry in the list goes that way too.
;
global relocator_entry
relocator_entry:
        cli
        mov     cr3, rcx
        lea     rsp, [relocator_stack_top]
        mov     ebx, edx
        mov     ebp, esi
        FAULT_POINT FAULT_ASM_RELOCATE
        call    relocate_pages
        test    rax, rax
        jnz     .failed
        FAULT_POINT FAULT_ASM_LEAVE
        mov     esi, MB2_BOOT_MAGIC
        mov     edi, [relocator_data.handover]
        jmp     leave64
.failed:
        mov     esi, LU_BACK_MAGIC
        mov     ebx, [relocator_data.handover]
        xor     edi, edi
        mov     ebp, [relocator_data.back_entry]
        test    ebp, ebp
        jnz     leave64
.stop:
        cli
        hlt
        jmp     .stop

;
; The other CPUs' way out, entered like relocator_entry and by any number of them at once: what they
; write to this page is the same for all.
;
; In:  as above, but RDI = struct lu_park (physical, < 4 GiB), RSI = LU_PARK_MAGIC, RDX = CR3.
; Out: counted in lu_park.parked as soon as nothing but this page and that structure is touched any
;      more; then, when lu_park.entry_pa is not 0, there, state as above but EAX = LU_PARK_MAGIC and
;      EBX = the structure. Until then the first of them watches the deadline.
;
global relocator_park
relocator_park:
        cli
        mov     cr3, rdx
        lea     rsp, [relocator_stack_top]
        mov     ebx, edi
        xor     edi, edi
        xor     ebp, ebp

; EBP = entry, 0: wait for it; EBX, ESI = EBX and EAX of the next image; EDI = handover page or 0.
leave64:
        ; Paging cannot go off while PCIDE is set, and CET, SMEP and the like shall not reach the
        ; next image. PAE and LA57 cannot change in long mode.
        mov     rax, cr4
        and     eax, CR4_PAE | CR4_LA57
        mov     cr4, rax
        lea     rax, [relocator_gdt]
        mov     [relocator_gdtr + 2], rax
        lea     rax, [relocator_idt]
        mov     [relocator_idtr + 2], rax
        lgdt    [relocator_gdtr]
        lea     rax, [.compat]
        push    SEL_CODE32
        push    rax
        retfq

bits 32
.compat:
        ; SDM, "Switching Out of IA-32e Mode Operation": paging off first, then LME.
        mov     eax, cr0
        and     eax, ~(CR0_PG | CR0_TS)
        mov     cr0, eax
        mov     ecx, MSR_EFER
        rdmsr
        and     eax, ~EFER_LME
        wrmsr
        xor     eax, eax
        mov     cr4, eax
        mov     eax, SEL_DATA32
        mov     ds, eax
        mov     es, eax
        mov     fs, eax
        mov     gs, eax
        mov     ss, eax
        test    ebp, ebp
        jz      park_wait
        lidt    [OWN(relocator_idtr)]   ; faults are caught from here on
enter:
        FAULT_POINT FAULT_ASM_ENTER
        mov     edx, ebp
        mov     eax, esi
        xor     ebp, ebp
        xor     esi, esi
        test    edi, edi
        jz      .go
        mov     esi, LU_BACK_MAGIC
.go:
        jmp     edx

; EBX = struct lu_park. EDI = 1: this CPU watches.
park_wait:
        mov     eax, 1
        lock xadd [ebx + PARK_PARKED], eax
        test    eax, eax
        setz    al
        movzx   edi, al
.poll:
        pause
        mov     ebp, [ebx + PARK_ENTRY]
        test    ebp, ebp
        jz      .watch
        cmp     dword [OWN(relocator_data.checked)], 0
        je      .enter
        mov     eax, [ebx + PARK_CHECK]
        not     eax
        cmp     eax, ebp
        je      .enter
.watch:
        test    edi, edi
        jz      .poll
        rdtsc
        cmp     edx, [OWN(relocator_data.deadline) + 4]
        jb      .poll
        ja      .late
        cmp     eax, [OWN(relocator_data.deadline)]
        jb      .poll
.late:
        ; An NMI to the CPU that jumped, once: it finds the deadline passed and takes the way back
        ; itself. Not a call: the stack is that CPU's, and its NMI is pushed there.
        xor     edi, edi
        mov     ecx, MSR_APIC_BASE
        rdmsr
        mov     edx, [OWN(relocator_data.apic_id)]
        test    eax, APIC_BASE_EXTD
        jz      .xapic
        mov     eax, ICR_NMI
        mov     ecx, MSR_X2APIC_ICR
        wrmsr
        jmp     .poll
.xapic:
        and     eax, APIC_BASE_ADDR
        shl     edx, 24
        mov     [eax + APIC_ICR_HIGH], edx
        mov     dword [eax + APIC_ICR_LOW], ICR_NMI
        jmp     .poll
.enter:
        xor     edi, edi
        jmp     enter

; Exceptions of the next image while it has no table of its own, in 32-bit mode: back.
; jump.c writes the address of relocator_data into both instructions that load it.
global relocator_fault, relocator_fault_data
relocator_fault:
        mov     ebx, 0
relocator_fault_data equ $ - 4
        mov     eax, LU_BACK_MAGIC
        mov     edx, [ebx + relocator_data.back_entry - relocator_data]
        mov     ebx, [ebx + relocator_data.handover - relocator_data]
        jmp     edx

; An NMI goes back only when the deadline has passed.
global relocator_nmi, relocator_nmi_data
relocator_nmi:
        push    eax
        push    ebx
        push    edx
        mov     ebx, 0
relocator_nmi_data equ $ - 4
        rdtsc
        cmp     edx, [ebx + relocator_data.deadline - relocator_data + 4]
        jb      .early
        ja      relocator_fault
        cmp     eax, [ebx + relocator_data.deadline - relocator_data]
        jae     relocator_fault
.early:
        cmp     dword [ebx + relocator_data.timer - relocator_data], 0
        je      .go_on
        mov     al, PIT_CH0_RATE        ; anew, as watchdog.c does after each
        out     PIT_MODE, al
        xor     eax, eax
        out     PIT_CH0, al
        out     PIT_CH0, al
.go_on:
        pop     edx
        pop     ebx
        pop     eax
        iretd
bits 64

; struct relocator_data of jump.c
align 8
global relocator_data
relocator_data:
.deadline:      dq 0
.back_entry:    dd 0
.handover:      dd 0
.apic_id:       dd 0
.timer:         dd 0
.checked:       dd 0
                dd 0

relocator_gdt:
        dq      0
        dq      0x00cf9b000000ffff      ; code, 32-bit, base 0, 4 GiB
        dq      0x00cf93000000ffff      ; data, the same
relocator_gdt_end:
        dw      0, 0, 0                 ; keeps the pointer's base 8-byte aligned
relocator_gdtr:
        dw      relocator_gdt_end - relocator_gdt - 1
        dq      0                       ; filled in at run time
        dw      0, 0, 0
relocator_idtr:
        dw      EXCEPTIONS * 8 - 1
        dq      0                       ; the same; 32-bit code reads its low half

align 8
global relocator_idt
relocator_idt:                          ; 32-bit interrupt gates
        times EXCEPTIONS dq 0

align 16
        times STACK_BYTES db 0
relocator_stack_top:

%endif

global relocator_end
relocator_end:

; Assembling fails here (negative count) when the code outgrows its page.
RELOCATOR_ROOM      equ 4095 - (relocator_end - relocator_start)
        times -(RELOCATOR_ROOM >> 63) db 0

section .note.GNU-stack noalloc noexec nowrite progbits
