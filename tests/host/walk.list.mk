# SPDX-License-Identifier: Apache-2.0
HOST_TESTS += test_guest_walk
test_guest_walk_SRCS    := $(WORLD_SRCS) lu/update.c
test_guest_walk_LDFLAGS := $(ALLOC_FAIL_LDFLAGS)
