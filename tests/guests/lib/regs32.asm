; SPDX-License-Identifier: Apache-2.0
;
; The seven general registers and EFLAGS live at once, 32 bit. As lib/gpr.asm: load regs32_in
; (encoding order, then EFLAGS), do something, store what is found in regs32_out.

global regs32_spin
global regs32_vmcall
global regs32_in
global regs32_out

FLAGS_FIXED     equ 0x2

section .text
bits 32

%macro REGS_ENTER 0
        push ebp
        push ebx
        push esi
        push edi
        mov [regs32_in + 4 * 4], esp
        push dword [regs32_in + 8 * 4]
        popfd
        mov eax, [regs32_in + 0 * 4]
        mov ecx, [regs32_in + 1 * 4]
        mov edx, [regs32_in + 2 * 4]
        mov ebx, [regs32_in + 3 * 4]
        mov ebp, [regs32_in + 5 * 4]
        mov esi, [regs32_in + 6 * 4]
        mov edi, [regs32_in + 7 * 4]
%endmacro

%macro REGS_LEAVE 0
        mov [regs32_out + 0 * 4], eax
        mov [regs32_out + 1 * 4], ecx
        mov [regs32_out + 2 * 4], edx
        mov [regs32_out + 3 * 4], ebx
        mov [regs32_out + 4 * 4], esp
        mov [regs32_out + 5 * 4], ebp
        mov [regs32_out + 6 * 4], esi
        mov [regs32_out + 7 * 4], edi
        mov esp, [regs32_in + 4 * 4]    ; even if it was lost
        pushfd
        pop dword [regs32_out + 8 * 4]
        push FLAGS_FIXED
        popfd
        pop edi
        pop esi
        pop ebx
        pop ebp
        ret
%endmacro

; Counts ECX down to 0: LOOP and PAUSE change no flag.
regs32_spin:
        REGS_ENTER
.spin:
        pause
        loop .spin
        REGS_LEAVE

section .vmcall progbits alloc exec nowrite
regs32_vmcall:
        REGS_ENTER
        vmcall
        REGS_LEAVE

section .bss
        alignb 16
regs32_in:
        resd 9
regs32_out:
        resd 9
