# SPDX-License-Identifier: Apache-2.0
#
# Host tests and fuzz targets: pure code as ordinary programs under ASan and UBSan.
#
# tests/host/*.list.mk add to HOST_TESTS and FUZZ_TARGETS and name each one's sources:
#   HOST_TESTS += test_buddy
#   test_buddy_SRCS := mm/buddy.c mm/frametable.c tests/host/fakes/machine.c

HOST_CC     := gcc
FUZZ_CC     := clang-14
HOST_SAN    := -fsanitize=address,undefined -fno-sanitize-recover=all
HOST_CFLAGS := -std=gnu11 -g -O1 -fno-omit-frame-pointer -Wall -Wextra -Wshadow -Wconversion \
	-Iinclude -Itests/host -DMOLT_HOST -msse4.2
# For tests that link tests/host/fakes/alloc_fail.c: test_x_LDFLAGS := $(ALLOC_FAIL_LDFLAGS)
# Libraries besides: test_x_LIBS := -lcapstone
ALLOC_FAIL_LDFLAGS := -Wl,--wrap=pool_alloc,--wrap=buddy_alloc,--wrap=kzalloc
HOST_OBJ    := $(BUILD)/host/obj
FUZZ_SECONDS ?= 5

HOST_TESTS   :=
FUZZ_TARGETS :=
include $(wildcard tests/host/*.list.mk)

HOST_BINS := $(HOST_TESTS:%=$(BUILD)/host/%)
FUZZ_BINS := $(FUZZ_TARGETS:%=$(BUILD)/fuzz/%)

# $(call objs,sources,objdir)
objs = $(patsubst %.asm,$(2)/%.asm.o,$(patsubst %.c,$(2)/%.o,$(1)))

define host_test
$(BUILD)/host/$(1): $(call objs,tests/host/$(1).c $($(1)_SRCS),$(HOST_OBJ))
	$$(call SAY,LD    $$@)
	$$(Q)$$(HOST_CC) $$(HOST_SAN) $$($(1)_LDFLAGS) -o $$@ $$^ $$(BEARSSL) $$($(1)_LIBS) \
		-lcmocka
endef
define fuzz_target
$(BUILD)/fuzz/$(1): $(call objs,tests/host/fuzz/$(1).c $($(1)_SRCS),$(BUILD)/fuzz/obj)
	$$(call SAY,LD    $$@)
	$$(Q)$$(FUZZ_CC) $$(HOST_SAN) -fsanitize=fuzzer -o $$@ $$^ $$(BEARSSL)
endef
$(foreach t,$(HOST_TESTS),$(eval $(call host_test,$(t))))
$(foreach t,$(FUZZ_TARGETS),$(eval $(call fuzz_target,$(t))))

$(HOST_OBJ)/%.o: %.c
	@mkdir -p $(@D)
	$(call SAY,CC    $@)
	$(Q)$(HOST_CC) $(HOST_CFLAGS) $(HOST_SAN) -MMD -MP -c -o $@ $<

$(HOST_OBJ)/%.asm.o: %.asm
	@mkdir -p $(@D)
	$(call SAY,NASM  $@)
	$(Q)nasm -f elf64 -Werror -DMOLT_HOST -o $@ $<

$(BUILD)/fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call SAY,CC    $@)
	$(Q)$(FUZZ_CC) $(HOST_CFLAGS) $(HOST_SAN) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<

.PHONY: host fuzz
host: $(HOST_BINS)
fuzz: $(FUZZ_BINS)

-include $(shell find $(BUILD)/host/obj $(BUILD)/fuzz/obj -name '*.d' 2>/dev/null)

include tests/host/native.mk
