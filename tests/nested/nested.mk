# SPDX-License-Identifier: Apache-2.0
#
# Level 1 of the runs under nested KVM, in build/nested/: docs/TESTING.md, "Nested KVM".

NESTED := $(BUILD)/nested

$(NESTED)/vmlinux: tools/linux/fetch
	$(call SAY,FETCH $(NESTED))
	$(Q)tools/linux/fetch kvm
	$(Q)touch $@

$(NESTED)/kvmcpuid: tests/nested/kvmcpuid.c
	@mkdir -p $(@D)
	$(call SAY,CC    $@)
	$(Q)$(CC) -std=gnu11 -O2 -static -s -Wall -Wextra -Werror -Wl,--build-id=none -o $@ $<

$(NESTED)/base.cpio: tests/nested/level1 tests/nested/init tools/moltlib/cpio.py \
    $(NESTED)/kvmcpuid $(NESTED)/vmlinux $(LINUX)/busybox $(wildcard /usr/bin/qemu-system-x86_64)
	$(call SAY,CPIO  $@)
	$(Q)tests/nested/level1

.PHONY: nested
nested: $(NESTED)/base.cpio $(DISK_BOOT) $(LINUX)/vmlinuz $(LINUX)/initramfs.cpio
