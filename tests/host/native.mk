# SPDX-License-Identifier: Apache-2.0
#
# The real mm/ and lu/ on this machine's processor, for tools/bench: no sanitizers, molt's -O2.

NATIVE_OBJ    := $(BUILD)/native/obj
NATIVE_CFLAGS = $(filter-out -g -O1,$(HOST_CFLAGS)) -O2
NATIVE_BENCH  := $(BUILD)/native/bench_frames

$(NATIVE_BENCH): $(call objs,tests/host/bench_frames.c $(WORLD_SRCS) lu/update.c,$(NATIVE_OBJ))
	$(call SAY,LD    $@)
	$(Q)$(HOST_CC) $(ALLOC_FAIL_LDFLAGS) -o $@ $^ $(BEARSSL)

$(NATIVE_OBJ)/%.o: %.c
	@mkdir -p $(@D)
	$(call SAY,CC    $@)
	$(Q)$(HOST_CC) $(NATIVE_CFLAGS) -MMD -MP -c -o $@ $<

$(NATIVE_OBJ)/%.asm.o: %.asm
	@mkdir -p $(@D)
	$(call SAY,NASM  $@)
	$(Q)nasm -f elf64 -Werror -DMOLT_HOST -o $@ $<
