; SPDX-License-Identifier: Apache-2.0
;
; Multiboot2 header: relocatable, modules on page boundaries.
; Multiboot2 specification, "OS image format".

MB2_MAGIC           equ 0xe85250d6
MB2_ARCH_I386       equ 0
MB2_TAG_ALIGN       equ 6
MB2_TAG_RELOCATABLE equ 10

section .boot.header progbits alloc noexec nowrite align=8

header_start:
    dd MB2_MAGIC, MB2_ARCH_I386, header_end - header_start
    dd 0x100000000 - (MB2_MAGIC + MB2_ARCH_I386 + (header_end - header_start))

    dw MB2_TAG_RELOCATABLE, 0
    dd 24
    dd 0x100000, 0xffffffff     ; anywhere from 1 MiB to 4 GiB
    dd 0x1000                   ; page aligned
    dd 0                        ; no preference

    align 8, db 0
    dw MB2_TAG_ALIGN, 0
    dd 8

    dw 0, 0
    dd 8
header_end:

section .note.GNU-stack noalloc noexec nowrite progbits
