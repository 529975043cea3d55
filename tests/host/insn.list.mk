# SPDX-License-Identifier: Apache-2.0
#
# The MMIO instruction decoder: by hand, against objdump, against this machine's processor.

INSN_SRCS := core/insn.c tests/host/fakes/insn_text.c

HOST_TESTS += test_insn test_insn_ref test_insn_cpu
test_insn_SRCS     := $(INSN_SRCS)
test_insn_ref_SRCS := $(INSN_SRCS)
test_insn_cpu_SRCS := $(INSN_SRCS)
