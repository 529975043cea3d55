# SPDX-License-Identifier: Apache-2.0
#
# Host tests of core/, dev/ and of live update as a whole.
#
# WORLD_SRCS: everything of the hypervisor but the machine under it (tests/host/fakes/world.h).

WORLD_SRCS = $(MM_SRCS) $(LU_MB2) core/crc32c.c core/cmdline.c core/format.c core/memory.c \
	core/modules.c core/guest_load.c core/guests.c core/domain.c core/vcpu.c core/sched.c \
	core/exit.c core/cpuid.c core/msr.c core/pio.c core/hypercall.c core/console.c core/commands.c \
	dev/vuart.c lu/region.c lu/load.c lu/kimage.c lu/reloc.c lu/save.c lu/vcpu_record.c \
	lu/stream_write.c lu/mfn_list.c lu/breadcrumb.c lu/adopt.c lu/stream_map.c lu/stream_read.c \
	lu/restore_check.c lu/restore.c lu/finish.c lu/status.c arch/x86_64/relocator.asm \
	tests/host/fakes/alloc_fail.c tests/host/fakes/hvm.c tests/host/fakes/seam.c \
	tests/host/fakes/world.c

WORLD_TESTS := test_restore

HOST_TESTS += $(WORLD_TESTS)
$(foreach t,$(WORLD_TESTS),$(eval $(t)_SRCS = $$(WORLD_SRCS) lu/update.c)\
	$(eval $(t)_LDFLAGS := $(ALLOC_FAIL_LDFLAGS)))
