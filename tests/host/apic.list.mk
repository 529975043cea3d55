# SPDX-License-Identifier: Apache-2.0
#
# Host tests of the interrupt controllers in dev/.

VLAPIC_SRCS := dev/vlapic.c dev/vlapic_irq.c dev/vlapic_timer.c tests/host/fakes/apic_domain.c

HOST_TESTS += test_vlapic test_vlapic_timer
test_vlapic_SRCS       := $(VLAPIC_SRCS)
test_vlapic_timer_SRCS := $(VLAPIC_SRCS)

HOST_TESTS += test_vioapic
test_vioapic_SRCS := $(VLAPIC_SRCS) dev/vioapic.c

HOST_TESTS += test_vlapic_smp
test_vlapic_smp_SRCS := dev/vlapic.c dev/vlapic_irq.c dev/vlapic_timer.c lu/irq_record.c
