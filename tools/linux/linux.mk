# SPDX-License-Identifier: Apache-2.0
#
# Linux as control guest: moltctl, and what `make run` boots, in build/linux/.

MOLTCTL_SRC := $(addprefix tools/moltctl/,main.c options.c json.c frames.c show.c memory.c door.c log.c \
	update.c domains.c console.c)
MOLTCTL_CFLAGS := -std=c11 -D_GNU_SOURCE -O2 -static -s -ffile-prefix-map=$(CURDIR)=. -Wall \
	-Wextra -Wconversion -Wshadow -Wmissing-prototypes -Werror -Iinclude -Wl,--build-id=none

LINUX := $(BUILD)/linux
# /lib/molt in the control guest.
LINUX_FILES := $(IMAGES) $(addprefix $(BUILD)/guests/,hello.elf worker.elf echo.elf)

$(BUILD)/moltctl: $(MOLTCTL_SRC) $(wildcard tools/moltctl/*.h) include/public/hypercall.h \
    tools/linux/linux.mk
	@mkdir -p $(@D)
	$(call SAY,CC    $@)
	$(Q)$(CC) $(MOLTCTL_CFLAGS) -o $@ $(MOLTCTL_SRC)

$(LINUX)/busybox $(LINUX)/vmlinuz &: tools/linux/fetch
	$(call SAY,FETCH $(LINUX))
	$(Q)tools/linux/fetch
	$(Q)touch $(LINUX)/busybox $(LINUX)/vmlinuz

$(LINUX)/control.cpio: $(BUILD)/moltctl $(LINUX)/busybox $(LINUX_FILES) tools/linux/init \
    tools/linux/initramfs tools/moltlib/cpio.py
	$(call SAY,CPIO  $@)
	$(Q)tools/linux/initramfs $@ $(LINUX)/busybox $(BUILD)/moltctl $(LINUX_FILES)

# For the tests: the same with a Linux guest's files, a program that looks at moltctl's pages, and
# one that has no business at the door.
PIN_SRC := tests/linux/pin.c $(addprefix tools/moltctl/,memory.c frames.c)
$(LINUX)/pin: $(PIN_SRC) $(wildcard tools/moltctl/*.h) tools/linux/linux.mk
	@mkdir -p $(@D)
	$(call SAY,CC    $@)
	$(Q)$(CC) $(MOLTCTL_CFLAGS) -Itools/moltctl -o $@ $(PIN_SRC)

$(LINUX)/initramfs.cpio: $(LINUX)/busybox $(wildcard tests/linux/*) tools/moltlib/cpio.py
	$(call SAY,CPIO  $@)
	$(Q)tests/linux/initramfs

$(LINUX)/knock: tests/linux/knock.c include/public/hypercall.h tools/linux/linux.mk
	@mkdir -p $(@D)
	$(call SAY,CC    $@)
	$(Q)$(CC) $(MOLTCTL_CFLAGS) -o $@ $<

LINUX_TEST_FILES := $(addprefix $(LINUX)/,vmlinuz initramfs.cpio pin knock)
$(LINUX)/control-test.cpio: $(LINUX)/control.cpio $(LINUX_TEST_FILES)
	$(call SAY,CPIO  $@)
	$(Q)tools/linux/initramfs $@ $(LINUX)/busybox $(BUILD)/moltctl $(LINUX_FILES) $(LINUX_TEST_FILES)

.PHONY: linux linux-test
linux-test: linux $(LINUX)/control-test.cpio
linux: $(LINUX)/vmlinuz $(LINUX)/control.cpio
