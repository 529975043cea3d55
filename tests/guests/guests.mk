# SPDX-License-Identifier: Apache-2.0
#
# Guest payloads of the tests: GUESTS is the list of what is built, `guests` builds it.
#
# Included by the top Makefile; stands alone as well:
#     make -f tests/guests/guests.mk BUILD=build guests

BUILD ?= build
NASM ?= nasm
OBJCOPY ?= objcopy

GUEST_DIR := tests/guests
GUEST_OUT := $(BUILD)/guests

GUEST_CFLAGS := -std=c11 -O2 -ffreestanding -fno-builtin -fno-pic -fno-pie -fno-stack-protector \
    -fno-asynchronous-unwind-tables -fno-strict-aliasing -fno-delete-null-pointer-checks \
    -fno-tree-loop-distribute-patterns -fcf-protection=none -mgeneral-regs-only \
    -ffile-prefix-map=$(CURDIR)=. -Wall -Wextra -Wconversion -Wshadow -Wmissing-prototypes -Werror \
    -Iinclude -I$(GUEST_DIR)
GUEST_CFLAGS64 := $(GUEST_CFLAGS) -m64 -mno-red-zone -mcmodel=small
GUEST_CFLAGS32 := $(GUEST_CFLAGS) -m32 -march=i686
GUEST_LDFLAGS := -nostdlib -static --build-id=none -z noexecstack -z max-page-size=4096 \
    --no-warn-rwx-segments -T $(GUEST_DIR)/lib/guest.ld

GUEST_NASMFLAGS := -w+all -w-unknown-warning -Werror -i$(GUEST_DIR)/lib/

# Objects of every 64-bit and of every 32-bit payload.
GUEST_LIB64 := lib/string.o lib/printf.o lib/console.o lib/report.o lib/bootinfo.o lib/ram.o \
    lib/molt.o lib/clock.o lib/traps.o lib/cpu.o lib/paging.o
GUEST_LIB32 := lib/start32.o lib/string.o lib/printf.o lib/console.o lib/report.o lib/bootinfo.o \
    lib/ram.o lib/molt.o lib/clock.o

# Of those that use interrupts and more than one CPU.
GUEST_SMP := lib/apic.o lib/smp.o lib/trampoline.o

# Payloads: the objects that each has besides the library.
GUEST_OBJS_hello := hello.o
GUEST_OBJS_worker := worker.o lib/duty.o lib/mempat.o lib/gpr.o lib/gprwin.o lib/fpu.o \
    lib/fpuwin.o lib/cpustate.o
GUEST_OBJS_control := control.o lib/alone.o lib/image.o lib/mempat.o lib/gpr.o lib/gprwin.o lib/fpu.o \
    lib/fpuwin.o lib/cpustate.o
GUEST_OBJS_refuse := refuse.o lib/image.o lib/fpu.o lib/fpuwin.o
GUEST_OBJS_crash := crash.o
GUEST_OBJS_domains := domains.o lib/image.o
GUEST_OBJS_flood := flood.o
GUEST_OBJS_exits := exits.o $(GUEST_SMP)
GUEST_OBJS_echo := echo.o
GUEST_OBJS_faults := faults.o lib/alone.o
GUEST_OBJS_probe := probe.o probe/cpuid.o probe/msr.o probe/cr.o probe/ports.o probe/uart.o \
    probe/hypercalls.o probe/exceptions.o probe/instructions.o probe/step.o probe/steps.o \
    probe/strio.o lib/gpr.o lib/gprwin.o
GUEST_OBJS_modes := modes.o modes/call.o
GUEST_OBJS_chaos := chaos.o chaos/ops.o chaos/mmio.o chaos/calls.o chaos/system.o lib/mempat.o \
    lib/gpr.o lib/gprwin.o $(GUEST_SMP)
GUEST_OBJS_irqexact := irqexact.o irqexact/irq.o irqexact/alone.o irqexact/timer.o \
    irqexact/line.o irqexact/cross.o $(GUEST_SMP)
GUEST_OBJS_plain32 := plain32.o lib/duty.o lib/mempat.o lib/cpu32.o lib/regs32.o lib/state32.o

GUEST_NAMES64 := hello worker control refuse crash probe exits irqexact echo
GUEST_NAMES64 += domains flood chaos faults modes
GUESTS := $(patsubst %,$(GUEST_OUT)/%.elf,$(GUEST_NAMES64) worker64 plain32)

.PHONY: guests
guests: $(GUESTS)

guest_objs64 = $(addprefix $(GUEST_OUT)/obj64/,$(1))
guest_objs32 = $(addprefix $(GUEST_OUT)/obj32/,$(1))

$(GUEST_OUT)/obj64/%.o: $(GUEST_DIR)/%.c
	@mkdir -p $(@D)
	$(call SAY,GUEST $@)
	$(Q)$(CC) $(GUEST_CFLAGS64) -MMD -MP -c -o $@ $<

$(GUEST_OUT)/obj64/%.o: $(GUEST_DIR)/%.asm
	@mkdir -p $(@D)
	$(call SAY,GUEST $@)
	$(Q)$(NASM) -f elf64 $(GUEST_NASMFLAGS) -MD $(@:.o=.d) -o $@ $<

# The same entry without a multiboot 1 header.
$(GUEST_OUT)/obj64/lib/start-mb2.o: $(GUEST_DIR)/lib/start.asm
	@mkdir -p $(@D)
	$(call SAY,GUEST $@)
	$(Q)$(NASM) -f elf64 -DMB2_ONLY $(GUEST_NASMFLAGS) -MD $(@:.o=.d) -o $@ $<

$(GUEST_OUT)/obj32/%.o: $(GUEST_DIR)/%.c
	@mkdir -p $(@D)
	$(call SAY,GUEST $@)
	$(Q)$(CC) $(GUEST_CFLAGS32) -MMD -MP -c -o $@ $<

$(GUEST_OUT)/obj32/%.o: $(GUEST_DIR)/%.asm
	@mkdir -p $(@D)
	$(call SAY,GUEST $@)
	$(Q)$(NASM) -f elf32 $(GUEST_NASMFLAGS) -MD $(@:.o=.d) -o $@ $<

# 64-bit payloads go into an ELF32 container: multiboot 1 loaders want that.
define GUEST_RULE64
$(GUEST_OUT)/$(1).elf64: $(call guest_objs64,lib/start.o $(GUEST_OBJS_$(1)) $(GUEST_LIB64)) \
    $(GUEST_DIR)/lib/guest.ld
	$$(call SAY,GUEST $$@)
	$$(Q)$(LD) -m elf_x86_64 $(GUEST_LDFLAGS) -o $$@ $$(filter %.o,$$^)
$(GUEST_OUT)/$(1).elf: $(GUEST_OUT)/$(1).elf64
	$$(call SAY,GUEST $$@)
	$$(Q)$(OBJCOPY) -O elf32-i386 $$< $$@
endef
$(foreach name,$(GUEST_NAMES64),$(eval $(call GUEST_RULE64,$(name))))

# The worker as ELF64, multiboot 2 only.
$(GUEST_OUT)/worker64.elf: \
    $(call guest_objs64,lib/start-mb2.o $(GUEST_OBJS_worker) $(GUEST_LIB64)) \
    $(GUEST_DIR)/lib/guest.ld
	$(call SAY,GUEST $@)
	$(Q)$(LD) -m elf_x86_64 $(GUEST_LDFLAGS) -o $@ $(filter %.o,$^)

$(GUEST_OUT)/plain32.elf: $(call guest_objs32,$(GUEST_OBJS_plain32) $(GUEST_LIB32)) \
    $(GUEST_DIR)/lib/guest.ld
	$(call SAY,GUEST $@)
	$(Q)$(LD) -m elf_i386 $(GUEST_LDFLAGS) -o $@ $(filter %.o,$^)

GUEST_ALL_OBJS := lib/start.o lib/start-mb2.o $(GUEST_LIB64) \
    $(foreach name,$(GUEST_NAMES64),$(GUEST_OBJS_$(name)))
-include $(patsubst %.o,%.d,$(call guest_objs64,$(sort $(GUEST_ALL_OBJS))))
-include $(patsubst %.o,%.d,$(call guest_objs32,$(GUEST_OBJS_plain32) $(GUEST_LIB32)))
