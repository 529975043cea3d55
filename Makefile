# SPDX-License-Identifier: Apache-2.0
#
# molt: two images of one source, guest payloads, tests. `make help` lists the targets.

BUILD   := build
VERSION := 0.1.0
# molt-next is the same source as a later version with other internal layouts: what it is replaced
# by, and replaces, in the tests.
NEXT_VERSION := 0.2.0

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

CFLAGS := -std=c11 -O2 -g -ffreestanding -fno-pic -fno-pie -fno-stack-protector \
	-fno-omit-frame-pointer -fno-asynchronous-unwind-tables -fno-strict-aliasing \
	-fno-delete-null-pointer-checks -fno-tree-loop-distribute-patterns -fcf-protection=none \
	-mcmodel=kernel -mno-red-zone -mgeneral-regs-only -mcrc32 \
	-ffile-prefix-map=$(CURDIR)=. -Wall -Wextra -Wconversion -Wshadow -Wmissing-prototypes \
	-Werror -Iinclude
LDFLAGS := -nostdlib -static --build-id=sha1 -z noexecstack -z max-page-size=4096 -T linker.ld

BOOT_SRC := boot/mb2_header.asm boot/entry.asm boot/ap_trampoline.asm boot/madt.c boot/mb2_parse.c boot/mb2_build.c boot/place.c
ARCH_SRC := arch/x86_64/cpu.c arch/x86_64/traps.c arch/x86_64/isr.asm arch/x86_64/paging.c \
	arch/x86_64/relocator.asm arch/x86_64/apic.c arch/x86_64/smp.c \
	arch/x86_64/context.c arch/x86_64/serial.c arch/x86_64/tsc.c arch/x86_64/rtc.c
CORE_SRC := core/main.c core/version.c core/memory.c core/modules.c core/guests.c \
	core/guest_load.c core/domain.c core/vcpu.c core/lock.c core/sched.c core/hvm.c core/exit.c core/exit_stats.c core/wallclock.c core/cpuid.c \
	core/domain_memory.c core/domctl.c core/domain_calls.c core/guest_pages.c \
	core/msr.c core/pio.c core/guest_walk.c core/irq.c core/mmio.c core/insn.c core/acpi.c core/guest_elf.c core/linux_load.c core/pvh_load.c core/hypercall.c core/machine.c core/console.c core/commands.c \
	core/printk.c core/panic.c core/format.c core/string.c core/crc32c.c core/cmdline.c core/selftest.c
MM_SRC   := mm/e820.c mm/boot_alloc.c mm/frametable.c mm/buddy.c mm/slab.c mm/vmap.c mm/extent.c
LU_SRC   := lu/region.c lu/load.c lu/kimage.c lu/reloc.c lu/update.c lu/others.c lu/save.c lu/vcpu_record.c \
	lu/stream_write.c lu/mfn_list.c lu/breadcrumb.c lu/adopt.c lu/stream_map.c lu/stream_read.c \
	lu/restore_check.c lu/check_devices.c lu/restore.c lu/irq_record.c lu/finish.c lu/status.c
VMX_SRC  := vmx/vmx.c vmx/vmcs.c vmx/ept.c vmx/exit_decode.c vmx/inject.c vmx/event.c \
	vmx/regs.c vmx/state.c vmx/state_check.c vmx/ops.c vmx/entry.asm
DEV_SRC  := dev/vuart.c dev/output.c dev/vlapic.c dev/vioapic.c dev/vlapic_irq.c dev/vlapic_timer.c dev/pvclock.c
SRC := $(BOOT_SRC) $(ARCH_SRC) $(CORE_SRC) $(MM_SRC) $(LU_SRC) $(VMX_SRC) $(DEV_SRC)

IMAGES := $(BUILD)/molt.elf $(BUILD)/molt-next.elf

.PHONY: all
all: $(IMAGES) guests ## both images and the guest payloads

include tests/guests/guests.mk
include tests/host/host.mk
include tools/linux/linux.mk

# One image: $(1) is its name, objects in build/NAME/.
define image
$(1)_OBJ := $$(patsubst %,$$(BUILD)/$(1)/%.o,$$(SRC))

$$(BUILD)/$(1).elf: $$(BUILD)/$(1).debug
	$$(call SAY,STRIP $$@)
	$$(Q)$$(OBJCOPY) --strip-all $$< $$@

$$(BUILD)/$(1).debug: $$($(1)_OBJ) linker.ld
	$$(call SAY,LD    $$@)
	$$(Q)$$(LD) $$(LDFLAGS) --defsym=IMAGE_VA=$$($(1)_VA) -o $$@ $$($(1)_OBJ)

$$(BUILD)/$(1)/%.c.o: %.c Makefile
	@mkdir -p $$(@D)
	$$(call SAY,CC    $$@)
	$$(Q)$$(CC) $$(CFLAGS) $$($(1)_DEFS) -MMD -MP -c -o $$@ $$<

$$(BUILD)/$(1)/%.asm.o: %.asm $$(BUILD)/$(1)/asm_offsets.inc Makefile
	@mkdir -p $$(@D)
	$$(call SAY,NASM  $$@)
	$$(Q)$$(NASM) -f elf64 -Werror -i$$(BUILD)/$(1)/ -DIMAGE_VA=$$($(1)_VA) -DBOOT_PA=$$(BOOT_PA) -o $$@ $$<

$$(BUILD)/$(1)/asm_offsets.inc: arch/x86_64/asm_offsets.c Makefile
	@mkdir -p $$(@D)
	$$(call SAY,GEN   $$@)
	$$(Q)$$(CC) $$(CFLAGS) $$($(1)_DEFS) -MMD -MP -MT $$@ -MF $$(@:.inc=.d) -S -o - $$< | \
		sed -n 's/^@DEFINE \([A-Z0-9_]*\) \(.*\)/\1 equ \2/p' > $$@

-include $$($(1)_OBJ:.o=.d) $$(BUILD)/$(1)/asm_offsets.d
endef
$(foreach i,molt molt-next,$(eval $(call image,$(i))))

# ---- running and testing ----

.PHONY: run
run: deps-run ## boot molt with guests on the best engine here, console live
	@$(PARALLEL) all
	@$(PARALLEL) linux || echo "make: no Linux guest (see above): small test guests run" >&2
	@tools/molt run $(ARGS)

.PHONY: test test-host test-emu lint fuzz-run soak bench
test: deps ## everything but the long runs; last line: N passed, N failed
	@$(PARALLEL) all host fuzz
	@tests/run host fuzz lint build emu

test-host: deps ## host tests only
	@$(PARALLEL) host
	@tests/run host

test-emu: deps ## emulator tests only
	@$(PARALLEL) all
	@tests/run emu

lint: deps ## layering, headers, sizes, format, reproducible build
	@$(PARALLEL) all
	@tests/run lint build

fuzz-run: deps ## fuzz targets, FUZZ_SECONDS each
	@$(PARALLEL) fuzz
	@tests/run fuzz

soak: deps ## the long runs
	@$(PARALLEL) all fuzz
	@FUZZ_SECONDS=120 tests/run fuzz soak

bench: deps-run ## figures in emulator instructions: boot, blackout by phase
	@$(PARALLEL) all
	@tools/bench

.PHONY: deps deps-run
deps: ## install what is missing (Debian packages)
	@tools/deps
deps-run:
	@tools/deps run

.PHONY: clean
clean: ## remove everything that was made
	rm -rf $(BUILD)
	find tools tests -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12 | sort -u

print-%:
	@echo $($*)
