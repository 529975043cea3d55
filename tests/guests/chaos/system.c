/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control and debug registers, XSETBV, and the other instructions that may leave a guest.
 */
#include "chaos/chaos.h"

#include "lib/cpu.h"

#define CR4_PVI BIT64(1)
#define CR3_NO_FLUSH BIT64(63)
#define DR7_GD BIT64(13)
#define DR7_ENABLE 0xffU

void op_xsetbv(struct op *op)
{
    op->name = "XSETBV";
    op_bytes(op, "\x0f\x01\xd1", 3);
    op->raises = RAISES(VEC_GP) | RAISES(VEC_UD);
    gpr_in[GPR_RCX] = below(4) == 0 ? any64() : 0;
    gpr_in[GPR_RAX] = below(2) != 0 ? below(0x400) | 1 : any64();
    gpr_in[GPR_RDX] = below(4) == 0 ? any64() : 0;
}

/* What the payload's own code needs is kept, or is refused in 64-bit code. */
static uint64_t cr_value(unsigned int number)
{
    uint64_t v = any64();

    switch (number) {
    case 0:
        return below(2) != 0 ? v : (v & UINT32_MAX) | CR0_PG | CR0_PE;
    case 3: /* its own tables, with any bits beside the address */
        return (paging_root(0) & ~(uint64_t)0xfff) | (v & 0x18) | (below(4) == 0 ? v & 0xfff : 0) |
               (below(8) == 0 ? CR3_NO_FLUSH : 0);
    case 4: /* its pages are the user's, too */
        v &= ~(CR4_SMEP | CR4_SMAP);
        return below(2) != 0 ? v : (v & 0x70fff) | CR4_PAE;
    case 8:
        return below(2) != 0 ? v : v & 15;
    default:
        return v;
    }
}

static void mov_cr(struct op *op)
{
    static const uint8_t numbers[] = {0, 0, 2, 3, 4, 4, 8, 8, 1, 5, 15};
    unsigned int number = numbers[below(ARRAY_SIZE(numbers))];
    unsigned int reg = below(4);
    bool to = below(4) != 0;

    op->name = to ? "MOV to CR" : "MOV from CR";
    if (number >= 8) {
        op_byte(op, 0x44);
    }
    op_bytes(op, to ? "\x0f\x22" : "\x0f\x20", 2);
    op_byte(op, (uint8_t)(0xc0 | (number & 7) << 3 | reg));
    op->raises = RAISES(VEC_GP) | RAISES(VEC_UD);
    if (to) {
        gpr_in[reg] = cr_value(number);
        op->changes = CHANGES(GPR_RFLAGS); /* the manual leaves the status flags undefined */
    } else {
        op->changes = CHANGES(reg) | CHANGES(GPR_RFLAGS);
    }
}

void op_control(struct op *op)
{
    op->raises = RAISES_USUAL;
    switch (below(6)) {
    case 0:
        op->name = "CLTS";
        op_bytes(op, "\x0f\x06", 2);
        break;
    case 1:
        op->name = "LMSW";
        op_bytes(op, "\x0f\x01\xf0", 3);
        break;
    case 2:
        op->name = "SMSW";
        op_bytes(op, "\x0f\x01\xe1", 3);
        op->changes = CHANGES(GPR_RCX);
        break;
    default:
        mov_cr(op);
        break;
    }
}

void op_debug(struct op *op)
{
    unsigned int number = below(8);
    bool to = below(4) != 0;
    unsigned int reg = below(4);

    op->name = to ? "MOV to DR" : "MOV from DR";
    op_bytes(op, to ? "\x0f\x23" : "\x0f\x21", 2);
    op_byte(op, (uint8_t)(0xc0 | number << 3 | reg));
    op->raises = RAISES_USUAL;
    op->changes = CHANGES(GPR_RFLAGS) | (to ? 0 : CHANGES(reg));
    if (!to) {
        return;
    }
    gpr_in[reg] = number < 4 && below(2) != 0 ? any_address() : any64();
    if (number == 5 || number == 7) { /* enabled now and then: breakpoints in the scratch pages */
        gpr_in[reg] &= below(8) == 0 ? UINT32_MAX : (uint64_t) ~(DR7_ENABLE | DR7_GD);
    }
}

#define NO_CALL (UINT64_C(1) << 40) /* in RAX: no number of a hypercall */

/* Memory operands are [rdi], registers are as they come; lengths are known to nobody else. */
static const struct other {
    const char *name;
    const char *bytes;
    uint8_t length;
    uint32_t changes;
} others[] = {
    {"INVLPG", "\x0f\x01\x3f", 3, 0},
    {"INVPCID", "\x66\x0f\x38\x82\x07", 5, 0},
    {"WBINVD", "\x0f\x09", 2, 0},
    {"INVD", "\x0f\x08", 2, 0},
    {"MONITOR", "\x0f\x01\xc8", 3, 0},
    {"MWAIT", "\x0f\x01\xc9", 3, 0},
    {"RDPMC", "\x0f\x33", 2, CHANGES(GPR_RAX) | CHANGES(GPR_RDX)},
    {"RDTSC", "\x0f\x31", 2, CHANGES(GPR_RAX) | CHANGES(GPR_RDX)},
    {"RDTSCP", "\x0f\x01\xf9", 3, CHANGES_A_TO_D},
    {"VMXON", "\xf3\x0f\xc7\x37", 4, CHANGES(GPR_RFLAGS)},
    {"VMXOFF", "\x0f\x01\xc4", 3, CHANGES(GPR_RFLAGS)},
    {"VMPTRLD", "\x0f\xc7\x37", 3, CHANGES(GPR_RFLAGS)},
    {"VMPTRST", "\x0f\xc7\x3f", 3, CHANGES(GPR_RFLAGS)},
    {"VMCLEAR", "\x66\x0f\xc7\x37", 4, CHANGES(GPR_RFLAGS)},
    {"VMREAD", "\x0f\x78\xc8", 3, CHANGES(GPR_RFLAGS)},
    {"VMWRITE", "\x0f\x79\xc8", 3, CHANGES(GPR_RFLAGS)},
    {"VMLAUNCH", "\x0f\x01\xc2", 3, CHANGES(GPR_RFLAGS)},
    {"VMRESUME", "\x0f\x01\xc3", 3, CHANGES(GPR_RFLAGS)},
    {"VMFUNC", "\x0f\x01\xd4", 3, 0},
    {"INVEPT", "\x66\x0f\x38\x80\x07", 5, CHANGES(GPR_RFLAGS)},
    {"INVVPID", "\x66\x0f\x38\x81\x07", 5, CHANGES(GPR_RFLAGS)},
    {"VMRUN", "\x0f\x01\xd8", 3, 0},
    {"VMMCALL", "\x0f\x01\xd9", 3, CHANGES(GPR_RAX)}, /* of AMD's CPUs: another hypercall */
    {"VMLOAD", "\x0f\x01\xda", 3, 0},
    {"STGI", "\x0f\x01\xdc", 3, 0},
    {"CLGI", "\x0f\x01\xdd", 3, 0},
    {"SKINIT", "\x0f\x01\xde", 3, 0},
    {"GETSEC", "\x0f\x37", 2, 0},
    {"ENCLS", "\x0f\x01\xcf", 3, 0},
    {"RSM", "\x0f\xaa", 2, 0},
    {"XSAVE", "\x48\x0f\xae\x27", 4, 0},
    {"XSAVEC", "\x48\x0f\xc7\x27", 4, 0},
    {"XSAVES", "\x48\x0f\xc7\x2f", 4, 0},
    {"XRSTOR", "\x48\x0f\xae\x2f", 4, 0},
    {"XRSTORS", "\x48\x0f\xc7\x1f", 4, 0},
    {"XGETBV", "\x0f\x01\xd0", 3, CHANGES(GPR_RAX) | CHANGES(GPR_RDX)},
    {"PAUSE", "\xf3\x90", 2, 0},
    {"CLFLUSH", "\x0f\xae\x3f", 3, 0},
    {"RDRAND", "\x0f\xc7\xf1", 3, CHANGES(GPR_RCX) | CHANGES(GPR_RFLAGS)},
    {"RDSEED", "\x0f\xc7\xf9", 3, CHANGES(GPR_RCX) | CHANGES(GPR_RFLAGS)},
    {"SGDT", "\x0f\x01\x07", 3, 0},
    {"SIDT", "\x0f\x01\x0f", 3, 0},
    {"STR", "\x0f\x00\xc9", 3, CHANGES(GPR_RCX)},
    {"SLDT", "\x0f\x00\xc1", 3, CHANGES(GPR_RCX)},
    {"LAR", "\x0f\x02\xc8", 3, CHANGES(GPR_RCX) | CHANGES(GPR_RFLAGS)},
    {"LSL", "\x0f\x03\xc8", 3, CHANGES(GPR_RCX) | CHANGES(GPR_RFLAGS)},
    {"VERR", "\x0f\x00\xe0", 3, CHANGES(GPR_RFLAGS)},
    {"LLDT", "\x0f\x00\xd0", 3, 0},
    {"RDFSBASE", "\xf3\x48\x0f\xae\xc1", 5, CHANGES(GPR_RCX)},
    {"WRGSBASE", "\xf3\x48\x0f\xae\xd9", 5, 0},
    {"SWAPGS", "\x0f\x01\xf8", 3, 0},
    {"INT3", "\xcc", 1, 0},
    {"INT1", "\xf1", 1, 0},
    {"UD2", "\x0f\x0b", 2, 0},
    {"UD1", "\x0f\xb9\xc0", 3, 0},
    {"CLI", "\xfa", 1, CHANGES(GPR_RFLAGS)},
    {"STI", "\xfb", 1, CHANGES(GPR_RFLAGS)},
    {"RDPID", "\xf3\x0f\xc7\xf9", 4, CHANGES(GPR_RCX)},
    {"CLAC", "\x0f\x01\xca", 3, CHANGES(GPR_RFLAGS)},
};

void op_other(struct op *op)
{
    const struct other *other = &others[below(ARRAY_SIZE(others))];

    op->name = other->name;
    op_bytes(op, other->bytes, other->length);
    op->changes = other->changes;
    op->raises = RAISES_USUAL;
    gpr_in[GPR_RDI] = any_address();
    if (other->bytes[0] == '\x48') { /* 64-byte alignment and room for all of XSAVE's area */
        gpr_in[GPR_RDI] = (uintptr_t)scratch + (uint64_t)below(64) * 64;
    }
    if (below(2) != 0) {
        gpr_in[GPR_RCX] = below(8);
    }
    if (below(2) != 0) {
        gpr_in[GPR_RAX] = any64();
    }
    if (strcmp(other->name, "VMMCALL") == 0) {
        gpr_in[GPR_RAX] |= NO_CALL;
    }
}
