# SPDX-License-Identifier: Apache-2.0
#
# Host tests of core/, dev/ and of live update as a whole.
#
# WORLD_SRCS: the hypervisor without the machine under it and without lu/update.c, which tests of
# several images in one process include (tests/host/fakes/world.h).

WORLD_SRCS := $(filter-out core/main.c core/panic.c core/printk.c core/version.c core/hvm.c \
	core/string.c core/selftest.c core/machine.c lu/update.c, $(sort $(wildcard core/*.c lu/*.c))) \
	$(wildcard mm/*.c dev/*.c) boot/mb2_parse.c boot/mb2_build.c arch/x86_64/relocator.asm \
	tests/host/fakes/machine.c tests/host/fakes/alloc_fail.c tests/host/fakes/hvm.c tests/host/fakes/smp.c \
	tests/host/fakes/seam.c tests/host/fakes/world.c

WORLD_TESTS := test_restore test_restore_check test_domain test_guest_load test_exit test_cpuid \
	test_hypercall test_domctl test_domctl_random test_door test_msr test_modules test_sched test_smp test_memory test_golden

HOST_TESTS += $(WORLD_TESTS) test_vcpu_record test_update test_vuart test_output test_console
$(foreach t,$(WORLD_TESTS) test_update,$(eval $(t)_SRCS := $(WORLD_SRCS))\
	$(eval $(t)_LDFLAGS := $(ALLOC_FAIL_LDFLAGS)))
$(foreach t,$(WORLD_TESTS),$(eval $(t)_SRCS += lu/update.c))
test_vcpu_record_SRCS := lu/vcpu_record.c tests/host/fakes/machine.c
test_vuart_SRCS       := dev/vuart.c dev/output.c tests/host/fakes/irq.c
test_output_SRCS      := dev/output.c
test_console_SRCS     := dev/vuart.c dev/output.c tests/host/fakes/seam.c tests/host/fakes/irq.c

FUZZ_TARGETS += fuzz_restore
fuzz_restore_SRCS := $(filter-out %.asm tests/host/fakes/alloc_fail.c,$(WORLD_SRCS)) lu/update.c
