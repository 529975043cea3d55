# SPDX-License-Identifier: Apache-2.0
#
# Host tests of mm/. Other lists may use MM_SRCS, all of mm/ and the fake machine under it: with "="
# and not ":=", since they may be read before this one.

MM_SRCS := mm/e820.c mm/boot_alloc.c mm/frametable.c mm/buddy.c mm/slab.c mm/vmap.c mm/extent.c \
	tests/host/fakes/machine.c

HOST_TESTS += test_e820 test_boot_alloc test_frametable test_buddy test_slab test_vmap test_extent

test_e820_SRCS       := mm/e820.c tests/host/fakes/machine.c
test_boot_alloc_SRCS := $(MM_SRCS)
test_frametable_SRCS := $(MM_SRCS)
test_buddy_SRCS      := $(MM_SRCS)
test_slab_SRCS       := $(MM_SRCS) tests/host/fakes/alloc_fail.c
test_slab_LDFLAGS    := $(ALLOC_FAIL_LDFLAGS)
test_vmap_SRCS       := $(MM_SRCS) tests/host/fakes/alloc_fail.c
test_vmap_LDFLAGS    := $(ALLOC_FAIL_LDFLAGS)
test_extent_SRCS     := $(MM_SRCS) tests/host/fakes/alloc_fail.c
test_extent_LDFLAGS  := $(ALLOC_FAIL_LDFLAGS)
