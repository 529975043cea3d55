# SPDX-License-Identifier: Apache-2.0
#
# Host tests of core/, dev/ and of live update as a whole.
#
# WORLD_SRCS: the hypervisor without the machine under it and without lu/update.c, which tests of
# several images in one process include (tests/host/fakes/world.h).

WORLD_SRCS := $(filter-out core/main.c core/panic.c core/printk.c core/version.c core/hvm.c \
	core/string.c core/selftest.c core/fault.c core/bearssl_glue.c core/machine.c lu/update.c, $(sort $(wildcard core/*.c lu/*.c))) \
	$(wildcard mm/*.c dev/*.c) boot/mb2_parse.c boot/mb2_build.c arch/x86_64/relocator.asm \
	tests/host/fakes/machine.c tests/host/fakes/alloc_fail.c tests/host/fakes/hvm.c tests/host/fakes/smp.c \
	tests/host/fakes/watchdog.c tests/host/fakes/seam.c tests/host/fakes/world.c

WORLD_TESTS := test_restore test_restore_check test_domain test_guest_load test_exit test_cpuid \
	test_hypercall test_way_back test_domctl test_domctl_random test_door test_msr test_features test_seal test_versions test_modules test_sched test_cold_boot test_lost test_smp test_memory test_golden test_fresh test_bulk

# These include lu/update.c.
UPDATE_TESTS := test_update test_update_versions test_recorder_ref test_timeline test_audit test_audit_gate test_slices

HOST_TESTS += $(WORLD_TESTS) $(UPDATE_TESTS) test_vcpu_record test_vuart test_output test_console
$(foreach t,$(WORLD_TESTS) $(UPDATE_TESTS),$(eval $(t)_SRCS := $(WORLD_SRCS))\
	$(eval $(t)_LDFLAGS := $(ALLOC_FAIL_LDFLAGS)))
$(foreach t,$(WORLD_TESTS),$(eval $(t)_SRCS += lu/update.c))
test_fresh_LDFLAGS += -Wl,--wrap=memmove,--wrap=memcpy
test_slices_LDFLAGS += -Wl,--wrap=audit_name_extents,--wrap=vmap_set,--wrap=buddy_free \
	-Wl,--wrap=hv_unlock,--wrap=ecdsa_verify
test_vcpu_record_SRCS := lu/vcpu_record.c tests/host/fakes/machine.c
test_vuart_SRCS       := dev/vuart.c dev/output.c tests/host/fakes/irq.c
test_output_SRCS      := dev/output.c
test_console_SRCS     := dev/vuart.c dev/output.c tests/host/fakes/seam.c tests/host/fakes/irq.c

HOST_TESTS += test_recorder
test_recorder_SRCS := core/recorder.c core/crc32c.c core/format.c tests/host/fakes/machine.c

# Of test images alone.
HOST_TESTS += test_fault
test_fault_SRCS := core/fault.c core/cmdline.c core/format.c tests/host/fakes/machine.c \
	tests/host/fakes/guest_ram.c
$(HOST_OBJ)/core/fault.o $(HOST_OBJ)/tests/host/test_fault.o: HOST_CFLAGS += -DMOLT_FAULTS

FUZZ_TARGETS += fuzz_restore
fuzz_restore_SRCS := $(filter-out %.asm tests/host/fakes/alloc_fail.c,$(WORLD_SRCS)) lu/update.c

# With real nested tables.
test_audit_SRCS += mm/nested.c
