; SPDX-License-Identifier: Apache-2.0
;
; x87, SSE, AVX, AVX-512 registers from and to a struct fpu_image.
;
; fpu_load(const struct fpu_image *, parts), fpu_store(struct fpu_image *, parts): parts as FPU_*.

global fpu_load
global fpu_store

FPU_AVX         equ 2
FPU_AVX512      equ 4
FPU_AVX512BW    equ 8

IMAGE_YMM       equ 512
IMAGE_ZMM       equ 1024
IMAGE_K         equ 3072

section .text
bits 64

fpu_load:
        fxrstor64 [rdi]
        test esi, FPU_AVX
        jz .done
%assign n 0
%rep 16
        vmovdqu ymm%+n, [rdi + IMAGE_YMM + n * 32]
%assign n n + 1
%endrep
        test esi, FPU_AVX512
        jz .done
%assign n 0
%rep 32
        vmovdqu64 zmm%+n, [rdi + IMAGE_ZMM + n * 64]
%assign n n + 1
%endrep
        test esi, FPU_AVX512BW
        jz .narrow
%assign n 0
%rep 8
        kmovq k%+n, [rdi + IMAGE_K + n * 8]
%assign n n + 1
%endrep
        ret
.narrow:
%assign n 0
%rep 8
        kmovw k%+n, [rdi + IMAGE_K + n * 8]
%assign n n + 1
%endrep
.done:
        ret

fpu_store:
        fxsave64 [rdi]
        test esi, FPU_AVX
        jz .done
%assign n 0
%rep 16
        vmovdqu [rdi + IMAGE_YMM + n * 32], ymm%+n
%assign n n + 1
%endrep
        test esi, FPU_AVX512
        jz .done
%assign n 0
%rep 32
        vmovdqu64 [rdi + IMAGE_ZMM + n * 64], zmm%+n
%assign n n + 1
%endrep
        test esi, FPU_AVX512BW
        jz .narrow
%assign n 0
%rep 8
        kmovq [rdi + IMAGE_K + n * 8], k%+n
%assign n n + 1
%endrep
        ret
.narrow:
%assign n 0
%rep 8
        kmovw [rdi + IMAGE_K + n * 8], k%+n
%assign n n + 1
%endrep
.done:
        ret
