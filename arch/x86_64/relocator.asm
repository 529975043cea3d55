; SPDX-License-Identifier: Apache-2.0
;
; Relocator: the code between two images.
;
; [relocator_start, relocator_end) is copied as a whole into one page below 4 GiB and runs there:
; position-independent, and it writes to nothing of its own but its stack and descriptor pointer at
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

MB2_BOOT_MAGIC      equ 0x36d76289
CR0_TS              equ 1 << 3
CR0_PG              equ 1 << 31
CR4_PAE             equ 1 << 5
CR4_LA57            equ 1 << 12
MSR_EFER            equ 0xc0000080
EFER_LME            equ 1 << 8
SEL_CODE32          equ 0x08
SEL_DATA32          equ 0x10
STACK_BYTES         equ 128
PARK_PARKED         equ 0               ; struct lu_park
PARK_ENTRY          equ 4

;
; The jump into the next image. Entered (not called) at its place in the copied page.
;
; In:  64-bit mode, CPL 0, interrupts off, not in VMX operation; the other CPUs touch nothing that
;      the list writes.
;      RDI = list (physical)               RSI = entry point of the next image (physical, < 4 GiB)
;      RDX = multiboot2 information (physical, < 4 GiB)
;      RCX = CR3 of tables that map this page, the list and all its addresses identically, writable
;      and executable. The page in use lies below 4 GiB and is mapped identically by the caller's
;      tables too. The stack is not used before the one in this page is set up.
; Out: at the entry point, as the multiboot2 specification's "I386 machine state": 32-bit protected
;      mode, flat segments, paging off, interrupts off, EAX = magic, EBX = information,
;      EBP = EDI = ESI = 0; no stack. Never returns; an unknown entry in the list stops this CPU.
;
global relocator_entry
relocator_entry:
        cli
        mov     cr3, rcx
        lea     rsp, [relocator_stack_top]
        mov     ebx, edx
        mov     ebp, esi
        call    relocate_pages
        test    rax, rax
        jz      .relocated
.stop:
        cli
        hlt
        jmp     .stop
.relocated:
        mov     esi, MB2_BOOT_MAGIC
        jmp     leave64

;
; The other CPUs' way out, entered like relocator_entry and by any number of them at once: what they
; write to this page is the same for all.
;
; In:  as above, but RDI = struct lu_park (physical, < 4 GiB), RSI = LU_PARK_MAGIC, RDX = CR3.
; Out: counted in lu_park.parked as soon as nothing but this page and that structure is touched any
;      more; then, when lu_park.entry_pa is not 0, there, state as above but EAX = LU_PARK_MAGIC and
;      EBX = the structure.
;
global relocator_park
relocator_park:
        cli
        mov     cr3, rdx
        lea     rsp, [relocator_stack_top]
        mov     ebx, edi
        xor     ebp, ebp

; EBP = entry, 0: wait for it; EBX, ESI = EBX and EAX of the next image.
leave64:
        ; Paging cannot go off while PCIDE is set, and CET, SMEP and the like shall not reach the
        ; next image. PAE and LA57 cannot change in long mode.
        mov     rax, cr4
        and     eax, CR4_PAE | CR4_LA57
        mov     cr4, rax
        lea     rax, [relocator_gdt]
        mov     [relocator_gdtr + 2], rax
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
        jnz     .enter
        lock inc dword [ebx + PARK_PARKED]
.wait:
        pause
        mov     ebp, [ebx + PARK_ENTRY]
        test    ebp, ebp
        jz      .wait
.enter:
        mov     edx, ebp
        mov     eax, esi
        xor     ebp, ebp
        xor     edi, edi
        xor     esi, esi
        jmp     edx
bits 64

align 8
relocator_gdt:
        dq      0
        dq      0x00cf9b000000ffff      ; code, 32-bit, base 0, 4 GiB
        dq      0x00cf93000000ffff      ; data, the same
relocator_gdt_end:
        dw      0, 0, 0                 ; keeps the pointer's base 8-byte aligned
relocator_gdtr:
        dw      relocator_gdt_end - relocator_gdt - 1
        dq      0                       ; filled in at run time

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
