# SPDX-License-Identifier: Apache-2.0
#
# Host tests of the Linux boot path: loaders, ACPI tables, paravirtual clock.

LINUX_SRCS := core/guest_load.c core/guest_elf.c core/linux_load.c core/pvh_load.c core/acpi.c \
	tests/host/fakes/guest_ram.c

HOST_TESTS += test_linux_load test_acpi test_pvclock test_wallclock
test_linux_load_SRCS := $(LINUX_SRCS) core/state_check.c core/event.c
test_acpi_SRCS       := core/acpi.c
test_wallclock_SRCS  := core/wallclock.c dev/pvclock.c tests/host/fakes/guest_ram.c \
	tests/host/fakes/machine.c
test_pvclock_SRCS    := dev/pvclock.c tests/host/fakes/guest_ram.c

FUZZ_TARGETS += fuzz_linux
fuzz_linux_SRCS := $(LINUX_SRCS)
