# SPDX-License-Identifier: Apache-2.0
#
# Host tests of moltctl's pure parts.

HOST_TESTS += test_moltctl
test_moltctl_SRCS := $(addprefix tools/moltctl/,options.c json.c frames.c show.c)
