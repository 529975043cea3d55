# SPDX-License-Identifier: Apache-2.0
#
# Boot and live update: tests and fuzz targets of core/, boot/ and lu/.

LU_HEAP := tests/host/fakes/heap.c core/crc32c.c
LU_MB2  := boot/mb2_parse.c boot/mb2_build.c

HOST_TESTS += test_string test_format test_crc32c test_cmdline test_mb2 test_region \
	test_breadcrumb test_stream test_mfn_list test_kimage test_reloc test_crypto
test_string_SRCS     :=
test_format_SRCS     := core/format.c
test_crc32c_SRCS     := core/crc32c.c
test_cmdline_SRCS    := core/cmdline.c
test_mb2_SRCS        := $(LU_MB2)
test_region_SRCS     := lu/region.c core/cmdline.c $(LU_MB2)
test_breadcrumb_SRCS := lu/breadcrumb.c lu/reloc.c arch/x86_64/relocator.asm $(LU_HEAP)
test_stream_SRCS     := lu/stream_write.c lu/stream_read.c lu/mfn_list.c $(LU_HEAP)
test_mfn_list_SRCS   := lu/mfn_list.c $(LU_HEAP)
test_kimage_SRCS     := lu/kimage.c lu/reloc.c arch/x86_64/relocator.asm $(LU_HEAP)
test_reloc_SRCS      := lu/reloc.c arch/x86_64/relocator.asm $(LU_HEAP)
test_crypto_SRCS     := core/crypto.c

FUZZ_TARGETS += fuzz_mb2 fuzz_elf fuzz_stream fuzz_mfn_list
fuzz_mb2_SRCS    := $(LU_MB2) lu/region.c core/cmdline.c
fuzz_elf_SRCS    := lu/kimage.c lu/reloc.c $(LU_HEAP)
fuzz_stream_SRCS := lu/stream_read.c $(LU_HEAP)
fuzz_mfn_list_SRCS := lu/mfn_list.c $(LU_HEAP)

HOST_TESTS += test_madt
test_madt_SRCS := boot/madt.c
FUZZ_TARGETS += fuzz_madt
fuzz_madt_SRCS := boot/madt.c
