; SPDX-License-Identifier: Apache-2.0
;
; Exception and interrupt entry, fault-safe MSR access, descriptor loads.

%include "asm/regs.inc"

extern trap_handler

; struct trap_frame, from its end
%define TRAP_REGS rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15

bits 64
default rel
section .text

; In:  an exception, NMI or interrupt in 64-bit mode at CPL 0, on the stack that the IDT names,
;      interrupts off.
; Out: trap_handler(struct trap_frame *) has been called; all registers as it left them in the
;      frame. GS base is always molt's own (guests' is switched by VM entry and exit).
%macro VECTOR 2
align 16
%if %2 == 0
        push    0
%endif
        push    %1
        jmp     trap_common
%endmacro

%assign vec 0
%rep 32
isr_%+vec:
%if vec == 8 || (vec >= 10 && vec <= 14) || vec == 17 || vec == 21 || vec == 29 || vec == 30
        VECTOR  vec, 1
%else
        VECTOR  vec, 0
%endif
%assign vec vec + 1
%endrep

; External interrupts, in cpu_halt() alone: vectors of traps.h, not the interrupt's own.
isr_32: VECTOR  32, 0
isr_33: VECTOR  33, 0

trap_common:
        PUSHES  TRAP_REGS
        cld
        mov     rdi, rsp
        mov     rbp, rsp
        and     rsp, -16
        call    trap_handler
        mov     rsp, rbp
        POPS    TRAP_REGS
        add     rsp, 16
        iretq

; bool rdmsr_safe(uint32_t index, uint64_t *value): traps.c sends a #GP at the instruction to the
; fixup label.
global rdmsr_safe, rdmsr_safe_insn, rdmsr_safe_fault
rdmsr_safe:
        mov     ecx, edi
rdmsr_safe_insn:
        rdmsr
        shl     rdx, 32
        or      rax, rdx
        mov     [rsi], rax
        mov     eax, 1
        ret
rdmsr_safe_fault:
        mov     qword [rsi], 0
        xor     eax, eax
        ret

; bool wrmsr_safe(uint32_t index, uint64_t value)
global wrmsr_safe, wrmsr_safe_insn, wrmsr_safe_fault
wrmsr_safe:
        mov     ecx, edi
        mov     rax, rsi
        mov     rdx, rsi
        shr     rdx, 32
wrmsr_safe_insn:
        wrmsr
        mov     eax, 1
        ret
wrmsr_safe_fault:
        xor     eax, eax
        ret

; void gdt_load(const struct descriptor_ptr *gdt, uint16_t tr): also reloads CS, SS and data
; segments with SEL_CODE/SEL_DATA (0x08, 0x10).
global gdt_load
gdt_load:
        lgdt    [rdi]
        mov     eax, 0x10
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        push    0x08
        lea     rax, [.here]
        push    rax
        retfq
.here:
        ltr     si
        ret

section .data.rel.ro progbits alloc noexec nowrite
global isr_table
isr_table:
%assign vec 0
%rep 34
        dq      isr_%+vec
%assign vec vec + 1
%endrep

section .note.GNU-stack noalloc noexec nowrite progbits
