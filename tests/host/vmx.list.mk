# SPDX-License-Identifier: Apache-2.0
#
# Host tests of what the backends share.

HOST_TESTS += test_nested test_event test_state_check test_asid test_vmcb test_svm_event

test_nested_SRCS      = mm/nested.c $(MM_SRCS) tests/host/fakes/alloc_fail.c
test_nested_LDFLAGS   := $(ALLOC_FAIL_LDFLAGS)
test_event_SRCS := core/event.c
test_asid_SRCS  := core/asid.c
test_vmcb_SRCS  := core/insn_exit.c core/insn_bytes.c
test_state_check_SRCS := core/state_check.c core/event.c svm/regs.c svm/inject.c
test_svm_event_SRCS := core/event.c svm/inject.c

HOST_TESTS += test_vcpu_state
test_vcpu_state_SRCS     = $(WORLD_SRCS) lu/update.c core/state_check.c core/event.c
test_vcpu_state_LDFLAGS := $(ALLOC_FAIL_LDFLAGS)
