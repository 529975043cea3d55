# SPDX-License-Identifier: Apache-2.0
#
# Host tests of the pure parts of vmx/.

HOST_TESTS += test_ept test_vmx_event test_vmx_state

test_ept_SRCS        = vmx/ept.c $(MM_SRCS) tests/host/fakes/alloc_fail.c
test_ept_LDFLAGS    := $(ALLOC_FAIL_LDFLAGS)
test_vmx_event_SRCS := vmx/event.c
test_vmx_state_SRCS := vmx/state_check.c vmx/event.c

HOST_TESTS += test_vcpu_state
test_vcpu_state_SRCS     = $(WORLD_SRCS) lu/update.c vmx/state_check.c vmx/event.c
test_vcpu_state_LDFLAGS := $(ALLOC_FAIL_LDFLAGS)
