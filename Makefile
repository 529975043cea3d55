# SPDX-License-Identifier: Apache-2.0
#
# molt: two images of one source, guest payloads, tests. `make help` lists the targets.

BUILD   := build
VERSION := 0.1.0
# molt-next is the same source as a later version with other internal layouts: what it is replaced
# by, and replaces, in the tests.
NEXT_VERSION := 0.2.0
# Raised by a release that must not be gone back behind: lu_counter= refuses images with less.
ROLLBACK_COUNTER := 0

CC      := gcc
LD      := ld
NASM    := nasm
OBJCOPY := objcopy
PARALLEL = $(MAKE) --no-print-directory -j$(shell nproc)

# Short lines; V=1 shows whole commands.
Q := $(if $(V),,@)
SAY = @$(if $(V),:,echo "  $(1)")

BOOT_PA       := 0x200000
molt_VA       := 0xffffffff80000000
molt-next_VA  := 0xffffffffa0000000
molt_DEFS     := -DMOLT_VERSION='"$(VERSION)"'
molt-next_DEFS := -DMOLT_VERSION='"$(NEXT_VERSION)"' -DMOLT_LAYOUT_NEXT
# The same two with faults to be injected: see docs/TESTING.md.
molt-test_VA        := $(molt_VA)
molt-test_DEFS      := $(molt_DEFS) -DMOLT_FAULTS
molt-test-next_VA   := $(molt-next_VA)
molt-test-next_DEFS := $(molt-next_DEFS) -DMOLT_FAULTS
# molt as if it knew version 1 of the stream only: but for what it says of itself, molt's objects.
molt-v1_VA   := $(molt_VA)
molt-v1_DEFS := -DMOLT_VERSION='"0.0.9"' -DMOLT_STREAM_NEWEST=1

CFLAGS := -std=c11 -O2 -g -ffreestanding -fno-pic -fno-pie -fno-stack-protector \
	-fno-omit-frame-pointer -fno-asynchronous-unwind-tables -fno-strict-aliasing \
	-fno-delete-null-pointer-checks -fno-tree-loop-distribute-patterns -fcf-protection=none \
	-falign-functions=1 -falign-jumps=1 -falign-loops=1 -falign-labels=1 \
	-mcmodel=kernel -mno-red-zone -mgeneral-regs-only -mcrc32 \
	-ffile-prefix-map=$(CURDIR)=. -Wall -Wextra -Wconversion -Wshadow -Wmissing-prototypes \
	-Werror -Iinclude -DMOLT_COUNTER=$(ROLLBACK_COUNTER)
LDFLAGS := -nostdlib -static --build-id=sha1 -z noexecstack -z max-page-size=4096 -T linker.ld

# Neither in the pause of an update nor at a guest's exits: small rather than fast.
COLD_SRC := boot/madt.c boot/mb2_build.c arch/x86_64/ioapic.c arch/x86_64/physical.c \
	arch/x86_64/rtc.c arch/x86_64/tsc.c core/acpi.c core/audit.c core/bearssl_glue.c \
	core/commands.c core/console.c core/crypto.c core/domain_calls.c core/domain_memory.c \
	core/domctl.c core/format.c core/fresh.c core/guest_elf.c core/guest_load.c core/guests.c \
	core/linux_load.c core/log.c core/lost.c core/modules.c core/panic.c core/printk.c \
	core/pvh_load.c core/selftest.c core/version.c core/wallclock.c mm/audit.c \
	mm/audit_tables.c lu/audit.c lu/finish.c lu/kimage.c lu/load.c lu/reloc.c lu/seal.c \
	lu/status.c lu/timeline.c

# SHA-256 and ECDSA: of the archive only the objects that core/crypto.c needs come along. Asked for late:
# the compiler may have to be installed first.
BEARSSL = $(shell $(CC) -print-file-name=libbearssl.a)

BOOT_SRC := boot/mb2_header.asm boot/entry.asm boot/ap_trampoline.asm boot/madt.c \
	boot/mb2_parse.c boot/mb2_build.c boot/place.c
ARCH_SRC := arch/x86_64/cpu.c arch/x86_64/traps.c arch/x86_64/isr.asm arch/x86_64/paging.c \
	arch/x86_64/relocator.asm arch/x86_64/jump.asm arch/x86_64/jump.c arch/x86_64/apic.c \
	arch/x86_64/ioapic.c arch/x86_64/smp.c arch/x86_64/physical.c arch/x86_64/watchdog.c \
	arch/x86_64/context.c arch/x86_64/serial.c arch/x86_64/tsc.c arch/x86_64/rtc.c
CORE_SRC := core/main.c core/version.c core/memory.c core/modules.c core/guests.c \
	core/guest_load.c core/domain.c core/vcpu.c core/lock.c core/sched.c core/hvm.c core/exit.c \
	core/exit_stats.c core/wallclock.c core/cpuid.c core/audit.c core/domain_memory.c core/domctl.c \
	core/domain_calls.c core/guest_pages.c core/msr.c core/pio.c core/event.c core/asid.c core/nested_sync.c \
	core/fresh.c \
	core/state_check.c core/guest_walk.c core/irq.c core/mmio.c core/insn.c core/insn_exit.c \
	core/insn_bytes.c core/acpi.c core/guest_elf.c core/linux_load.c core/pvh_load.c core/hypercall.c core/machine.c \
	core/console.c core/commands.c core/printk.c core/recorder.c core/log.c core/lost.c \
	core/panic.c core/format.c core/string.c core/crc32c.c core/cmdline.c core/crypto.c \
	core/bearssl_glue.c core/selftest.c
MM_SRC   := mm/e820.c mm/boot_alloc.c mm/frametable.c mm/buddy.c mm/slab.c mm/vmap.c mm/extent.c \
	mm/nested.c mm/bulk.c mm/audit.c mm/audit_tables.c
LU_SRC   := lu/audit.c lu/audit_gate.c lu/region.c lu/load.c lu/features.c lu/seal.c lu/kimage.c \
	lu/reloc.c lu/update.c lu/others.c lu/own_check.c lu/way_back.c lu/save.c lu/vcpu_record.c \
	lu/stream_write.c lu/mfn_list.c lu/breadcrumb.c lu/recorder_ref.c lu/adopt.c lu/stream_map.c \
	lu/stream_read.c lu/restore_check.c lu/check_devices.c lu/check_machine.c lu/restore.c \
	lu/irq_record.c lu/finish.c lu/timeline.c lu/status.c
VMX_SRC  := vmx/vmx.c vmx/vmcs.c vmx/exit_decode.c vmx/inject.c vmx/regs.c vmx/state.c vmx/ops.c \
	vmx/entry.asm
SVM_SRC  := svm/svm.c svm/vmcb.c svm/exit_decode.c svm/inject.c svm/regs.c svm/ops.c \
	svm/entry.asm
DEV_SRC  := dev/vuart.c dev/output.c dev/vlapic.c dev/vioapic.c dev/vlapic_irq.c \
	dev/vlapic_timer.c dev/pvclock.c
SRC := $(BOOT_SRC) $(ARCH_SRC) $(CORE_SRC) $(MM_SRC) $(LU_SRC) $(VMX_SRC) $(SVM_SRC) $(DEV_SRC)
molt_SRC := $(SRC)
molt-next_SRC := $(SRC)
molt-test_SRC := $(SRC) core/fault.c
molt-test-next_SRC := $(SRC) core/fault.c
molt-v1_SRC := core/version.c
molt-v1_SHARED := $(patsubst %,$(BUILD)/molt/%.o,$(filter-out $(molt-v1_SRC),$(SRC)))

IMAGES := $(BUILD)/molt.elf $(BUILD)/molt-next.elf
TEST_IMAGES := $(BUILD)/molt-test.elf $(BUILD)/molt-test-next.elf $(BUILD)/molt-v1.elf

# What starts molt from a disk under Bochs.
DISK_BOOT := $(BUILD)/disk-boot.bin

# An image without its hash is no image.
.DELETE_ON_ERROR:

.PHONY: all
all: $(IMAGES) guests $(DISK_BOOT) ## both images and the guest payloads

.PHONY: test-images
test-images: $(TEST_IMAGES) ## images with faults to be injected, one of stream version 1

include tests/guests/guests.mk
include tests/host/host.mk
include tools/linux/linux.mk
include tests/nested/nested.mk

# One image: $(1) is its name, objects in build/NAME/.
define image
$(1)_OBJ := $$(patsubst %,$$(BUILD)/$(1)/%.o,$$($(1)_SRC)) $$($(1)_SHARED)

$$(BUILD)/$(1).elf: $$(BUILD)/$(1).debug tools/seal tools/moltlib/seal.py
	$$(call SAY,STRIP $$@)
	$$(Q)$$(OBJCOPY) --strip-all $$< $$@
	$$(Q)tools/seal $$@

$$(BUILD)/$(1).debug: $$($(1)_OBJ) linker.ld
	$$(call SAY,LD    $$@)
	$$(Q)$$(LD) $$(LDFLAGS) --defsym=IMAGE_VA=$$($(1)_VA) -o $$@ $$($(1)_OBJ) $$(BEARSSL)

$$(BUILD)/$(1)/%.c.o: %.c Makefile
	@mkdir -p $$(@D)
	$$(call SAY,CC    $$@)
	$$(Q)$$(CC) $$(CFLAGS) $$(if $$(filter $$<,$$(COLD_SRC)),-Os) $$($(1)_DEFS) -MMD -MP -c \
		-o $$@ $$<

$$(BUILD)/$(1)/%.asm.o: %.asm $$(BUILD)/$(1)/asm_offsets.inc Makefile
	@mkdir -p $$(@D)
	$$(call SAY,NASM  $$@)
	$$(Q)$$(NASM) -f elf64 -Werror -Iinclude/ -i$$(BUILD)/$(1)/ -DIMAGE_VA=$$($(1)_VA) -DBOOT_PA=$$(BOOT_PA) \
		$$(filter -DMOLT_FAULTS,$$($(1)_DEFS)) -o $$@ $$<

$$(BUILD)/$(1)/asm_offsets.inc: arch/x86_64/asm_offsets.c Makefile
	@mkdir -p $$(@D)
	$$(call SAY,GEN   $$@)
	$$(Q)$$(CC) $$(CFLAGS) $$($(1)_DEFS) -MMD -MP -MT $$@ -MF $$(@:.inc=.d) -S -o - $$< | \
		sed -n 's/^@DEFINE \([A-Z0-9_]*\) \(.*\)/\1 equ \2/p' > $$@

-include $$($(1)_OBJ:.o=.d) $$(BUILD)/$(1)/asm_offsets.d
endef
$(foreach i,molt molt-next molt-test molt-test-next molt-v1,$(eval $(call image,$(i))))

$(DISK_BOOT): tools/disk/boot.asm
	@mkdir -p $(@D)
	$(call SAY,NASM  $@)
	$(Q)$(NASM) -f bin -w+all -Werror -o $@ $<

.PHONY: sign
sign: $(IMAGES) ## sign both images: KEY=FILE.pem, a P-256 key
	@test -n "$(KEY)" || { echo "usage: make sign KEY=FILE.pem" >&2; exit 2; }
	@tools/seal --key "$(KEY)" $(IMAGES)

# ---- running and testing ----

.PHONY: run
run: deps-run ## boot molt with guests on the best engine here, console live
	@$(PARALLEL) all
	@$(PARALLEL) linux || echo "make: no Linux guest (see above): small test guests run" >&2
	@tools/molt run $(ARGS)

.PHONY: test test-host test-emu test-nested lint fuzz-run soak bench
test: deps ## everything but the long runs; last line: N passed, N failed
	@$(PARALLEL) all test-images host fuzz
	@tests/run host fuzz lint build emu nested

test-host: deps ## host tests only
	@$(PARALLEL) host
	@tests/run host

test-emu: deps ## emulator tests only
	@$(PARALLEL) all test-images
	@tests/run emu

test-nested: deps ## molt under nested KVM of both vendors, without hardware for it
	@$(PARALLEL) all test-images nested
	@tests/run nested

lint: deps ## layering, headers, sizes, format, reproducible build
	@$(PARALLEL) all test-images
	@tests/run lint build

fuzz-run: deps ## fuzz targets, FUZZ_SECONDS each
	@$(PARALLEL) fuzz
	@tests/run fuzz

soak: deps ## the long runs
	@$(PARALLEL) all test-images fuzz
	@FUZZ_SECONDS=120 tests/run fuzz soak

bench: deps-bench ## figures of molt and its peers: a table, build/bench.json, build/bench.svg
	@$(PARALLEL) all linux nested $(NATIVE_BENCH)
	@tools/bench

.PHONY: deps deps-run deps-bench
deps: ## install what is missing (Debian packages)
	@tools/deps
deps-run deps-bench:
	@tools/deps $(@:deps-%=%)

.PHONY: clean
clean: ## remove everything that was made
	rm -rf $(BUILD)
	find tools tests -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12 | sort -u

print-%:
	@echo $($*)
