; SPDX-License-Identifier: Apache-2.0
;
; Stands in for molt in the tests of the runner: prints the first module on COM1, then its own
; command line, and ends in the way that the last character of the command line names:
;     s success, f failure, t triple fault, h hang, i echo input until q and then as s
;
; nasm -f bin; Multiboot2 specification 2.0, "OS image format", "I386 machine state".

        bits 32
        org 0x100000

COM1    equ 0x3f8
LSR     equ COM1 + 5
EXIT    equ 0xf4
OFF     equ 0x8900

start:
header: dd 0xe85250d6, 0, header_end - header, -(0xe85250d6 + header_end - header)
        dw 2, 0                 ; addresses: this is no ELF file
        dd 24, header, start, end, end + 4096
        dw 3, 0                 ; entry
        dd 12, entry
        align 8
        dw 0, 0
        dd 8
header_end:

entry:  cli
        mov esp, end + 4096
        mov edx, COM1 + 3       ; 115200 baud, 8N1, FIFO
        mov al, 0x83
        out dx, al
        mov edx, COM1
        mov al, 1
        out dx, al
        inc edx
        mov al, 0
        out dx, al
        mov edx, COM1 + 3
        mov al, 3
        out dx, al
        dec edx
        mov al, 7
        out dx, al
        mov edi, ebx
        add edi, 8
tag:    mov eax, [edi]
        test eax, eax
        jz tags_done
        cmp eax, 1
        je command
        cmp eax, 3
        jne next
        cmp dword [module], 0
        jne next
        mov eax, [edi + 8]
        mov [module], eax
        mov eax, [edi + 12]
        mov [module + 4], eax
        jmp next
command:
        lea eax, [edi + 8]
        mov [line], eax
next:   mov eax, [edi + 4]
        add eax, 7
        and eax, ~7
        add edi, eax
        jmp tag
tags_done:
        mov esi, [module]
.byte:  cmp esi, [module + 4]
        jae print_line
        lodsb
        call put
        jmp .byte
print_line:
        mov esi, [line]
        test esi, esi
        jz success
.byte:  lodsb
        test al, al
        jz .end
        mov [last], al
        call put
        jmp .byte
.end:   mov al, 10
        call put
        mov al, [last]
        cmp al, 'f'
        je failure
        cmp al, 't'
        je triple
        cmp al, 'h'
        je hang
        cmp al, 'i'
        je echo
success:
        xor ebx, ebx
        jmp off
failure:
        mov ebx, 1
off:    mov edx, LSR
.drain: in al, dx
        test al, 0x40
        jz .drain
        mov eax, ebx
        out EXIT, eax
        mov esi, word_off
        mov edx, OFF
.byte:  lodsb
        test al, al
        jz hang
        out dx, al
        jmp .byte
hang:   jmp hang
triple: lidt [none]
        int3
echo:   mov edx, LSR
        in al, dx
        test al, 1
        jz echo
        mov edx, COM1
        in al, dx
        cmp al, 'q'
        je success
        cmp al, 1
        jne .put
        mov al, '^'             ; Ctrl-A made visible
.put:   call put
        jmp echo

put:    mov ah, al
        mov edx, LSR
.wait:  in al, dx
        test al, 0x20
        jz .wait
        mov al, ah
        mov edx, COM1
        out dx, al
        ret

module: dd 0, 0
line:   dd 0
none:   dw 0
        dd 0
last:   db 0
word_off:
        db 'Shutdown', 0
end:
