# SPDX-License-Identifier: Apache-2.0
#
# The instruction decoders: by hand, against objdump and capstone, against this machine's processor.

INSN_SRCS := core/insn.c core/insn_bytes.c tests/host/fakes/insn_text.c

HOST_TESTS += test_insn test_insn_ref test_insn_cpu
test_insn_SRCS     := $(INSN_SRCS)
test_insn_ref_SRCS := $(INSN_SRCS)
test_insn_cpu_SRCS := $(INSN_SRCS)

HOST_TESTS += test_insn_exit test_insn_capstone
test_insn_exit_SRCS := core/insn_exit.c core/insn_bytes.c
test_insn_capstone_SRCS := $(INSN_SRCS) core/insn_exit.c tests/host/fakes/insn_capstone.c
test_insn_capstone_LIBS := -lcapstone

FUZZ_TARGETS += fuzz_insn
fuzz_insn_SRCS := core/insn.c core/insn_exit.c core/insn_bytes.c
