/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMX on and off; what the CPU must have and has.
 *
 * SDM volume 3, "Discovering Support for VMX", "Enabling and Entering VMX Operation", "VMX
 * Capability Reporting Facility".
 */
#include "vmx_priv.h"

#include "asm/cpu.h"
#include "asm/machine.h"
#include "hv/boot_alloc.h"
#include "hv/errno.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hv/smp.h"
#include "hw/cpuid.h"
#include "hw/vmx.h"
#include "hw/x86.h"
#include "vmx_asm.h"

struct vmx_caps vmx_caps;
static bool have_caps;

enum need {
    SET,      /* must be 1 */
    CLEAR,    /* must be 0; needs a row only where the CPU might force it to 1 */
    OPTIONAL, /* 1 where the CPU can */
};

enum control { PIN, PRIMARY, SECONDARY, EXIT, ENTRY, NR_CONTROLS };

static const uint32_t control_msr[NR_CONTROLS] = {
    [PIN] = MSR_VMX_TRUE_PIN_CTLS,        [PRIMARY] = MSR_VMX_TRUE_PRIMARY_CTLS,
    [SECONDARY] = MSR_VMX_SECONDARY_CTLS, [EXIT] = MSR_VMX_TRUE_EXIT_CTLS,
    [ENTRY] = MSR_VMX_TRUE_ENTRY_CTLS,
};

/* Everything that molt asks of the control words. The words are made from this table. */
static const struct {
    uint8_t control;
    uint8_t need;
    uint32_t bit;
    const char *name;
} control_table[] = {
    {PIN, SET, PIN_EXTINT_EXITING, "external-interrupt exiting"},
    {PIN, SET, PIN_NMI_EXITING, "NMI exiting"},
    {PIN, SET, PIN_VIRTUAL_NMIS, "virtual NMIs"},
    {PIN, SET, PIN_PREEMPTION_TIMER, "VMX preemption timer"},
    {PRIMARY, SET, PRI_TSC_OFFSETTING, "TSC offsetting"},
    {PRIMARY, SET, PRI_HLT_EXITING, "HLT exiting"},
    {PRIMARY, SET, PRI_MWAIT_EXITING, "MWAIT exiting"},
    {PRIMARY, SET, PRI_MONITOR_EXITING, "MONITOR exiting"},
    {PRIMARY, SET, PRI_RDPMC_EXITING, "RDPMC exiting"},
    {PRIMARY, SET, PRI_CR8_LOAD_EXITING, "CR8-load exiting"},
    {PRIMARY, SET, PRI_CR8_STORE_EXITING, "CR8-store exiting"},
    {PRIMARY, SET, PRI_IO_BITMAPS, "I/O bitmaps"},
    {PRIMARY, SET, PRI_MSR_BITMAPS, "MSR bitmaps"},
    {PRIMARY, SET, PRI_SECONDARY, "secondary controls"},
    {PRIMARY, CLEAR, PRI_CR3_LOAD_EXITING, "MOV to CR3 without exit"},
    {PRIMARY, CLEAR, PRI_CR3_STORE_EXITING, "MOV from CR3 without exit"},
    {PRIMARY, CLEAR, PRI_INVLPG_EXITING, "INVLPG without exit"},
    {PRIMARY, CLEAR, PRI_RDTSC_EXITING, "RDTSC without exit"},
    {PRIMARY, CLEAR, PRI_MOV_DR_EXITING, "MOV DR without exit"},
    {SECONDARY, SET, SEC_EPT, "EPT"},
    {SECONDARY, SET, SEC_VPID, "VPID"},
    {SECONDARY, SET, SEC_UNRESTRICTED_GUEST, "unrestricted guest"},
    {SECONDARY, OPTIONAL, SEC_RDTSCP, "RDTSCP"},
    {SECONDARY, OPTIONAL, SEC_INVPCID, "INVPCID"},
    {SECONDARY, OPTIONAL, SEC_WBINVD_EXITING, "WBINVD exiting"},
    {EXIT, SET, EXIT_CTL_HOST_64, "64-bit host"},
    {EXIT, SET, EXIT_CTL_ACK_INTERRUPT, "acknowledge interrupt on exit"},
    {EXIT, SET, EXIT_CTL_SAVE_DEBUG, "save debug controls"},
    {EXIT, SET, EXIT_CTL_SAVE_PAT, "save PAT"},
    {EXIT, SET, EXIT_CTL_LOAD_PAT, "load PAT on exit"},
    {EXIT, SET, EXIT_CTL_SAVE_EFER, "save EFER"},
    {EXIT, SET, EXIT_CTL_LOAD_EFER, "load EFER on exit"},
    {ENTRY, SET, ENTRY_CTL_LOAD_DEBUG, "load debug controls"},
    {ENTRY, SET, ENTRY_CTL_LOAD_PAT, "load PAT on entry"},
    {ENTRY, SET, ENTRY_CTL_LOAD_EFER, "load EFER on entry"},
    {ENTRY, CLEAR, ENTRY_CTL_IA32E, "guests outside IA-32e mode"},
};

/* The same for single bits of other capability MSRs. */
static const struct {
    uint32_t msr;
    uint8_t need;
    uint64_t bit;
    const char *name;
} bit_table[] = {
    {MSR_VMX_BASIC, SET, VMX_BASIC_TRUE_CTLS, "true control capabilities"},
    {MSR_VMX_BASIC, SET, VMX_BASIC_INOUT_INFO, "INS/OUTS exit information"},
    {MSR_VMX_BASIC, CLEAR, VMX_BASIC_32BIT, "VMX structures above 4 GiB"},
    {MSR_VMX_MISC, SET, VMX_MISC_SAVES_LMA, "saving of the IA-32e mode control"},
    {MSR_VMX_EPT_VPID_CAP, SET, EPT_CAP_WALK_4, "EPT with 4 levels"},
    {MSR_VMX_EPT_VPID_CAP, SET, EPT_CAP_WB, "write-back EPT"},
    {MSR_VMX_EPT_VPID_CAP, SET, EPT_CAP_INVEPT, "INVEPT"},
    {MSR_VMX_EPT_VPID_CAP, SET, EPT_CAP_INVEPT_ALL, "INVEPT of all contexts"},
    {MSR_VMX_EPT_VPID_CAP, SET, EPT_CAP_INVVPID, "INVVPID"},
    {MSR_VMX_EPT_VPID_CAP, SET, EPT_CAP_INVVPID_ALL, "INVVPID of all contexts"},
};

/* 0 where the CPU does not have the MSR: nothing is there then. */
static uint64_t read_capability(uint32_t msr)
{
    uint64_t value;

    return rdmsr_safe(msr, &value) ? value : 0;
}

/* Control words from their capability MSRs: low half, bits that must be 1; high half, that may. */
static int make_controls(uint32_t words[NR_CONTROLS], const char **missing)
{
    uint64_t capability[NR_CONTROLS];

    for (unsigned int i = 0; i < NR_CONTROLS; i++) {
        capability[i] = read_capability(control_msr[i]);
        words[i] = (uint32_t)capability[i];
    }
    for (size_t i = 0; i < ARRAY_SIZE(control_table); i++) {
        unsigned int c = control_table[i].control;
        uint32_t bit = control_table[i].bit;
        bool may_set = (uint32_t)(capability[c] >> 32) & bit;
        bool must_set = (uint32_t)capability[c] & bit;

        if ((control_table[i].need == SET && !may_set) ||
            (control_table[i].need == CLEAR && must_set)) {
            *missing = control_table[i].name;
            return -ENOSYS;
        }
        if (control_table[i].need != CLEAR && may_set) {
            words[c] |= bit;
        }
    }
    return 0;
}

static int check_bits(const char **missing)
{
    for (size_t i = 0; i < ARRAY_SIZE(bit_table); i++) {
        bool set = read_capability(bit_table[i].msr) & bit_table[i].bit;

        if (set != (bit_table[i].need == SET)) {
            *missing = bit_table[i].name;
            return -ENOSYS;
        }
    }
    return 0;
}

/* FEATURE_CONTROL: firmware may have locked VMX away. */
static bool firmware_allows(void)
{
    uint64_t control = read_capability(MSR_FEATURE_CONTROL);

    return !(control & FEATURE_CONTROL_LOCK) || (control & FEATURE_CONTROL_VMXON);
}

static int read_caps(struct vmx_caps *caps, const char **missing)
{
    uint32_t words[NR_CONTROLS];
    int rc;

    if (!(cpuid(1, 0).ecx & CPUID_1_ECX_VMX)) {
        *missing = "VMX";
        return -ENOSYS;
    }
    if (!firmware_allows()) {
        *missing = "VMX (the firmware has locked it off in FEATURE_CONTROL)";
        return -ENOSYS;
    }
    rc = check_bits(missing);
    if (rc == 0) {
        rc = make_controls(words, missing);
    }
    if (rc != 0) {
        return rc;
    }
    uint64_t basic = read_capability(MSR_VMX_BASIC);
    if ((basic >> VMX_BASIC_SIZE_SHIFT & VMX_BASIC_SIZE_MASK) > PAGE_SIZE) {
        *missing = "VMCS of at most one page";
        return -ENOSYS;
    }
    *caps = (struct vmx_caps){
        .revision = (uint32_t)(basic & VMX_BASIC_REVISION),
        .pin = words[PIN],
        .primary = words[PRIMARY],
        .secondary = words[SECONDARY],
        .exit = words[EXIT],
        .entry = words[ENTRY],
        .cr0_fixed0 = read_capability(MSR_VMX_CR0_FIXED0),
        .cr0_fixed1 = read_capability(MSR_VMX_CR0_FIXED1),
        .cr4_fixed0 = read_capability(MSR_VMX_CR4_FIXED0),
        .cr4_fixed1 = read_capability(MSR_VMX_CR4_FIXED1),
        .ept_vpid = read_capability(MSR_VMX_EPT_VPID_CAP),
        .timer_shift = (unsigned int)(read_capability(MSR_VMX_MISC) & VMX_MISC_TIMER_SHIFT_MASK),
    };
    return 0;
}

int vmx_probe(const char **why)
{
    struct vmx_caps caps;

    return read_caps(&caps, why);
}

/* This CPU's structure and VMXON region; they stay when VMX goes off. */
static struct vmx_cpu *cpu_alloc(void)
{
    struct percpu *this = this_cpu();
    struct vmx_cpu *cpu = this->hvm_data;

    if (cpu == NULL) {
        cpu = kzalloc(sizeof(*cpu));
        this->hvm_data = cpu;
    }
    if (cpu != NULL && cpu->vmxon_region == NULL) {
        cpu->vmxon_region = pool_alloc();
    }
    return cpu != NULL && cpu->vmxon_region != NULL ? cpu : NULL;
}

/* VMXON raises #GP instead of failing when these do not fit, so they are looked at first. */
static bool fit_control_registers(void)
{
    uint64_t cr0 = read_cr0() | vmx_caps.cr0_fixed0;
    uint64_t cr4 = read_cr4() | vmx_caps.cr4_fixed0 | CR4_VMXE;

    if ((cr0 & ~vmx_caps.cr0_fixed1) || (cr4 & ~vmx_caps.cr4_fixed1)) {
        printk("vmx: CR0 0x%llx or CR4 0x%llx has bits that VMX does not allow",
               (unsigned long long)cr0, (unsigned long long)cr4);
        return false;
    }
    write_cr0(cr0);
    write_cr4(cr4);
    return true;
}

static bool open_feature_control(void)
{
    uint64_t control = read_capability(MSR_FEATURE_CONTROL);

    if (control & FEATURE_CONTROL_LOCK) {
        return true; /* read_caps() has seen that VMXON is allowed */
    }
    if (!wrmsr_safe(MSR_FEATURE_CONTROL, control | FEATURE_CONTROL_VMXON | FEATURE_CONTROL_LOCK)) {
        printk("vmx: FEATURE_CONTROL is open but cannot be written");
        return false;
    }
    return true;
}

/* What the table's bit says of the first CPU must hold for all: vCPUs move between them. */
static const char *control_difference(const struct vmx_caps *caps)
{
    const uint32_t mine[NR_CONTROLS] = {caps->pin, caps->primary, caps->secondary, caps->exit,
                                        caps->entry};
    const uint32_t first[NR_CONTROLS] = {vmx_caps.pin, vmx_caps.primary, vmx_caps.secondary,
                                         vmx_caps.exit, vmx_caps.entry};

    for (size_t i = 0; i < ARRAY_SIZE(control_table); i++) {
        unsigned int c = control_table[i].control;

        if ((mine[c] ^ first[c]) & control_table[i].bit) {
            return control_table[i].name;
        }
    }
    for (unsigned int c = 0; c < NR_CONTROLS; c++) {
        if (mine[c] != first[c]) {
            return "controls that are forced to 1";
        }
    }
    return NULL;
}

/* Why this CPU cannot take over a vCPU from the first one; NULL when it can. */
static const char *difference(const struct vmx_caps *caps)
{
    if (caps->revision != vmx_caps.revision) {
        return "VMCS revision";
    }
    if (caps->cr0_fixed0 != vmx_caps.cr0_fixed0 || caps->cr0_fixed1 != vmx_caps.cr0_fixed1 ||
        caps->cr4_fixed0 != vmx_caps.cr4_fixed0 || caps->cr4_fixed1 != vmx_caps.cr4_fixed1) {
        return "fixed bits of CR0 or CR4";
    }
    if (vmx_caps.ept_vpid & ~caps->ept_vpid) {
        return "EPT and VPID capabilities";
    }
    if (caps->timer_shift != vmx_caps.timer_shift) {
        return "rate of the VMX preemption timer";
    }
    if (host_has_xsave && xgetbv0() != host_xcr0) {
        return "XSAVE features";
    }
    return control_difference(caps);
}

/* This CPU's capabilities, or why it cannot be used. */
static int check_caps(void)
{
    const char *missing = NULL;
    struct vmx_caps caps;
    int rc = read_caps(&caps, &missing);

    if (rc == 0 && have_caps) {
        missing = difference(&caps);
        rc = missing != NULL ? -ENOSYS : 0;
    }
    if (rc != 0) {
        printk("vmx: CPU %u %s: %s", this_cpu()->id, have_caps ? "differs from the first" : "lacks",
               missing);
        return rc;
    }
    if (!have_caps) {
        vmx_caps = caps;
        have_caps = true;
    }
    return 0;
}

int vmx_cpu_on(void)
{
    int rc = check_caps();

    if (rc != 0) {
        return rc;
    }
    struct vmx_cpu *cpu = cpu_alloc();
    if (cpu == NULL || vmcs_bitmaps_init() != 0) {
        return -ENOMEM;
    }
    BUG_ON(cpu->on);
    if (!open_feature_control() || !fit_control_registers()) {
        return -ENOSYS;
    }
    *(uint32_t *)cpu->vmxon_region = vmx_caps.revision;
    if (!vmxon(mfn_to_pa(va_to_mfn(cpu->vmxon_region)))) {
        write_cr4(read_cr4() & ~CR4_VMXE);
        printk("vmx: VMXON failed");
        return -ENOSYS;
    }
    cpu->on = true;
    this_cpu()->nested_seen = NESTED_SEEN_NOTHING;
    hvm_features.rdtscp = vmx_caps.secondary & SEC_RDTSCP;
    hvm_features.invpcid = vmx_caps.secondary & SEC_INVPCID;
    /* Nothing else drops what an earlier owner of this CPU left cached; SDM volume 3, "Guidelines
     * for Use of the INVVPID Instruction", "Guidelines for Use of the INVEPT Instruction". */
    vmx_ept_flush();
    invvpid(INVVPID_ALL, 0);
    return 0;
}

void vmx_cpu_off(void)
{
    struct vmx_cpu *cpu = vmx_this_cpu();

    if (cpu == NULL || !cpu->on) {
        return;
    }
    while (cpu->active != NULL) {
        vmcs_clear(cpu->active);
    }
    vmxoff();
    cpu->on = false;
    write_cr4(read_cr4() & ~CR4_VMXE);
}

void vmx_ept_flush(void)
{
    invept(INVEPT_ALL, 0);
}

void vmx_vpid_invalidate(uint16_t vpid)
{
    if (vmx_caps.ept_vpid & EPT_CAP_INVVPID_SINGLE) {
        invvpid(INVVPID_SINGLE, vpid);
    } else {
        invvpid(INVVPID_ALL, 0);
    }
}

/* By hand and unchecked: a failing vmread() must not come back here. */
void vmx_insn_failed(const char *insn, uint64_t operand)
{
    uint64_t error = 0;

    __asm__ volatile("vmread %1, %0" : "+r"(error) : "r"((uint64_t)VMCS_INSN_ERROR) : "cc");
    panic("vmx: %s 0x%llx failed: VM-instruction error %u", insn, (unsigned long long)operand,
          (unsigned int)error);
}
