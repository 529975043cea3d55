; SPDX-License-Identifier: Apache-2.0
;
; Boot sector of a disk that moltlib/disk.py writes: reads the pieces that its table names and
; enters what is there as multiboot2 and PVH have it: 32-bit mode without paging, EAX a magic
; number, EBX the address of information. Where that wants ACPI's RSDP, copies it there.
;
; An error is a triple fault, which ends the run.

ATA_DATA    equ 0x1f0
ATA_COUNT   equ 0x1f2   ; followed by the three LBA registers
ATA_DEVICE  equ 0x1f6
ATA_COMMAND equ 0x1f7   ; read: status
ATA_CONTROL equ 0x3f6

DEVICE_LBA   equ 0x40
READ_EXT     equ 0x24   ; READ SECTORS EXT: 48-bit LBA, 16-bit count
STATUS_ERR   equ 0x01
STATUS_DRQ   equ 0x08
STATUS_BSY   equ 0x80
CONTROL_NIEN equ 0x02   ; no interrupts

RSDP_LOW   equ 0xe0000   ; Bochs's BIOS has one: the search ends
RSDP_STEP  equ 16
RSDP_BYTES equ 20        ; of version 1

A20_PORT   equ 0x92
A20_ENABLE equ 0x02

CODE equ 8
DATA equ 16
STACK equ 0x7c00
TABLE_AT equ 256        ; CODE_BYTES of disk.py

bits 16
org 0x7c00
    cli
    xor ax, ax
    mov ds, ax
    in al, A20_PORT
    or al, A20_ENABLE
    out A20_PORT, al
    lgdt [gdt.pointer]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp CODE:flat

bits 32
flat:
    mov eax, DATA
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esp, STACK
    cld
    mov dx, ATA_CONTROL
    mov al, CONTROL_NIEN
    out dx, al
    mov esi, table.pieces
.piece:
    cmp dword [esi], 0
    je .rsdp
    call read_piece
    jmp .piece

.rsdp:
    mov edi, [table.rsdp]
    test edi, edi
    jz .enter
    mov esi, RSDP_LOW
.look:
    cmp dword [esi], 'RSD '
    je .copy
    add esi, RSDP_STEP
    jmp .look
.copy:
    mov ecx, RSDP_BYTES / 4
    rep movsd

.enter:
    mov eax, [table.magic]
    mov ebx, [table.information]
    jmp [table.entry]

; ESI: a piece: sectors, address, then what goes into count and LBA registers, high bytes first.
; Leaves ESI behind it.
read_piece:
    lodsd
    mov ebp, eax
    lodsd
    mov edi, eax
    mov dx, ATA_DEVICE
    mov al, DEVICE_LBA
    out dx, al
    mov ecx, 2
.registers:
    mov dx, ATA_COUNT
    outsb
    inc edx
    outsb
    inc edx
    outsb
    inc edx
    outsb
    loop .registers
    mov dx, ATA_COMMAND
    mov al, READ_EXT
    out dx, al
.sector:
    mov dx, ATA_COMMAND
.wait:
    in al, dx
    test al, STATUS_BSY
    jnz .wait
    test al, STATUS_ERR
    jnz .failed
    test al, STATUS_DRQ
    jz .wait
    mov dx, ATA_DATA
    mov ecx, 512 / 4
    rep insd
    dec ebp
    jnz .sector
    ret
.failed:
    ud2

align 8
gdt:
    dq 0
    dq 0x00cf9a000000ffff   ; CODE: 4 GiB, 32-bit
    dq 0x00cf92000000ffff   ; DATA
.pointer:
    dw $ - gdt - 1
    dd gdt

    times TABLE_AT - ($ - $$) db 0
table:
.information equ table
.entry equ table + 4
.magic equ table + 8
.rsdp equ table + 12    ; where to copy it; 0: nowhere
.pieces equ table + 16
