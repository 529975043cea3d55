/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoder of instructions that exit: each form, prefixes in any order, too short, too long, others.
 */
#include "hv/insn_exit.h"

#include <string.h>

#include "fakes/cmocka_inc.h"
#include "hv/errno.h"
#include "hv/insn.h"

struct row {
    const char *bytes;
    size_t len;
    unsigned int mode;
    uint16_t opcode;
    uint8_t reg, rm, segment;
};

#define ROW(text, mode, opcode, reg, rm, segment)              \
    {                                                          \
        text, sizeof(text) - 1, mode, opcode, reg, rm, segment \
    }

/* Encodings by hand from APM volume 3, "General-Purpose Instruction Reference". */
static const struct row rows[] = {
    ROW("\xf4", 2, 0xf4, 0, 0, SEG_DS),
    ROW("\x0f\xa2", 4, 0x0fa2, 0, 0, SEG_DS),
    ROW("\x48\x0f\xa2", 8, 0x0fa2, 0, 0, SEG_DS),     /* REX */
    ROW("\x66\xf3\x0f\x32", 8, 0x0f32, 0, 0, SEG_DS), /* legacy prefixes */
    ROW("\xe4\x60", 4, 0xe4, 0, 0, SEG_DS),
    ROW("\x66\xef", 4, 0xef, 0, 0, SEG_DS),
    ROW("\x65\xf3\x6e", 8, INSN_OUTS_B, 0, 0, SEG_GS),
    ROW("\x2e\x36\x6f", 4, INSN_OUTS, 0, 0, SEG_SS),              /* the last one counts */
    ROW("\x0f\x22\xc0", 2, INSN_MOV_TO_CR, 0, 0, SEG_DS),         /* CR0, eAX */
    ROW("\x0f\x22\xe3", 8, INSN_MOV_TO_CR, 4, 3, SEG_DS),         /* CR4, RBX */
    ROW("\x44\x0f\x22\xc0", 8, INSN_MOV_TO_CR, 8, 0, SEG_DS),     /* REX.R: CR8 */
    ROW("\xf0\x0f\x22\xc1", 4, INSN_MOV_TO_CR, 8, 1, SEG_DS),     /* LOCK: CR8 */
    ROW("\x45\x0f\x20\xc7", 8, INSN_MOV_FROM_CR, 8, 15, SEG_DS),  /* REX.R, REX.B: R15 */
    ROW("\x48\x66\x0f\x22\xd8", 8, INSN_MOV_TO_CR, 3, 0, SEG_DS), /* a REX that does not count */
    ROW("\x0f\x23\xf9", 8, INSN_MOV_TO_DR, 7, 1, SEG_DS),
    ROW("\x0f\x06", 4, INSN_CLTS, 0, 0, SEG_DS),
    ROW("\x0f\x01\xf0", 4, INSN_GROUP7, 6, 0, SEG_DS),     /* LMSW AX */
    ROW("\x0f\x01\xc1", 8, INSN_GROUP7, 0, 1, SEG_DS),     /* VMCALL */
    ROW("\x0f\x01\xd9", 8, INSN_GROUP7, 3, 1, SEG_DS),     /* VMMCALL */
    ROW("\x0f\x01\xd1", 8, INSN_GROUP7, 2, 1, SEG_DS),     /* XSETBV */
    ROW("\x41\x0f\x01\xf1", 8, INSN_GROUP7, 6, 9, SEG_DS), /* LMSW R9W */
    ROW("\xf3\x0f\x09", 8, 0x0f09, 0, 0, SEG_DS),          /* WBNOINVD */
    ROW("\x0f\x22\x00", 4, INSN_MOV_TO_CR, 0, 0, SEG_DS),  /* any ModRM.mod */
    ROW("\x2e\x6f", 8, INSN_OUTS, 0, 0, SEG_DS),           /* ignored in 64-bit code, */
    ROW("\x64\x2e\x6f", 8, INSN_OUTS, 0, 0, SEG_FS),       /* also behind one that is not */
    ROW("\x64\x2e\x6f", 4, INSN_OUTS, 0, 0, SEG_CS),
};

static void test_decode__each_form__length_and_operands(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct row *r = &rows[i];
        uint8_t bytes[INSN_MAX];
        struct insn_exit insn;

        memset(bytes, 0x90, sizeof(bytes)); /* what follows does not matter */
        memcpy(bytes, r->bytes, r->len);
        assert_int_equal(insn_decode_exit(bytes, sizeof(bytes), r->mode, &insn), 0);
        assert_int_equal(insn.length, r->len);
        assert_int_equal(insn.opcode, r->opcode);
        assert_int_equal(insn.reg, r->reg);
        assert_int_equal(insn.rm, r->rm);
        assert_int_equal(insn.segment, r->segment);
    }
}

static void test_decode__address_size__of_the_mode_or_the_prefix(void **state)
{
    static const uint8_t plain[] = "\xf3\x6d", prefixed[] = "\xf3\x67\x6d";
    static const struct {
        unsigned int mode, plain, prefixed;
    } sizes[] = {{2, 2, 4}, {4, 4, 2}, {8, 8, 4}};
    struct insn_exit insn;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        assert_int_equal(insn_decode_exit(plain, 2, sizes[i].mode, &insn), 0);
        assert_int_equal(insn.address_size, sizes[i].plain);
        assert_int_equal(insn_decode_exit(prefixed, 3, sizes[i].mode, &insn), 0);
        assert_int_equal(insn.address_size, sizes[i].prefixed);
    }
}

static void test_decode__cut_at_every_byte__enospc(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct insn_exit insn;

        for (size_t len = 0; len < rows[i].len; len++) {
            assert_int_equal(
                insn_decode_exit((const uint8_t *)rows[i].bytes, len, rows[i].mode, &insn),
                -ENOSPC);
        }
    }
}

static void test_decode__others_and_too_long__einval(void **state)
{
    static const uint8_t longest[] = "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\xf4";
    static const uint8_t longer[] =
        "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\xf4";
    static const struct row others[] = {
        ROW("\x90", 8, 0, 0, 0, 0),
        ROW("\x0f\x0b", 8, 0, 0, 0, 0),
        ROW("\x0f\x01\x38", 8, 0, 0, 0, 0),         /* INVLPG */
        ROW("\x0f\x01\xf8", 8, 0, 0, 0, 0),         /* SWAPGS */
        ROW("\x0f\x01\xc8", 8, 0, 0, 0, 0),         /* MONITOR */
        ROW("\x0f\x22\xc8", 8, 0, 0, 0, 0),         /* CR1 */
        ROW("\x0f\x20\xe8", 8, 0, 0, 0, 0),         /* CR5 */
        ROW("\x44\x0f\x22\xd8", 8, 0, 0, 0, 0),     /* CR11 */
        ROW("\x44\x0f\x23\xf8", 8, 0, 0, 0, 0),     /* DR15 */
        ROW("\xf0\x0f\xa2", 8, 0, 0, 0, 0),         /* LOCK CPUID */
        ROW("\xf0\x0f\x01\xc1", 8, 0, 0, 0, 0),     /* LOCK VMCALL */
        ROW("\xf0\x0f\x22\xd8", 8, 0, 0, 0, 0),     /* LOCK: CR11 */
        ROW("\xf0\x44\x0f\x22\xc0", 8, 0, 0, 0, 0), /* LOCK and REX.R: CR16 */
        ROW("\xf4", 0, 0, 0, 0, 0),
        ROW("\xf4", 16, 0, 0, 0, 0),
        ROW("\x48\xf4", 4, 0, 0, 0, 0), /* DEC EAX, and not REX */
    };
    struct insn_exit insn;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        assert_int_equal(insn_decode_exit((const uint8_t *)others[i].bytes, others[i].len,
                                          others[i].mode, &insn),
                         -EINVAL);
    }
    assert_int_equal(insn_decode_exit(longest, sizeof(longest) - 1, 8, &insn), 0);
    assert_int_equal(insn.length, 14);
    assert_int_equal(insn_decode_exit(longer, sizeof(longer) - 1, 8, &insn), -EINVAL);
}

/* LMSW with its operand in memory. */
static const struct {
    const char *bytes;
    size_t len;
    unsigned int mode;
    struct insn_memory memory;
    uint64_t offset; /* with register n holding n << 40 | n << 12, RIP 0x100000 */
} in_memory[] = {
    {"\x0f\x01\x30", 3, 8, {.base = GPR_RAX, .index = INSN_NO_GPR, .size = 8, .segment = SEG_DS},
     0},
    {"\x0f\x01\x75\xf8", 4, 8,
     {.base = GPR_RBP, .index = INSN_NO_GPR, .size = 8, .segment = SEG_SS,
      .displacement = UINT64_MAX - 7},
     0x50000004ff8},
    {"\x43\x0f\x01\x74\x9c\x10", 6, 8, /* R12 + R11 * 4: REX.B and REX.X */
     {.base = GPR_R12, .index = GPR_R11, .shift = 2, .size = 8, .segment = SEG_DS,
      .displacement = 0x10},
     0x380000038010},
    {"\x0f\x01\x34\x24", 4, 8,
     {.base = GPR_RSP, .index = INSN_NO_GPR, .size = 8, .segment = SEG_SS}, 0x40000004000},
    {"\x0f\x01\x35\xf0\xff\xff\xff", 7, 8, /* RIP */
     {.base = INSN_NO_GPR, .index = INSN_NO_GPR, .rip = true, .size = 8, .segment = SEG_DS,
      .displacement = UINT64_MAX - 15},
     0xffff7},
    {"\x67\x0f\x01\xb1\x00\x00\x00\xff", 8, 8, /* wraps at 4 GiB */
     {.base = GPR_RCX, .index = INSN_NO_GPR, .size = 4, .segment = SEG_DS,
      .displacement = 0xffffffffff000000},
     0xff001000},
    {"\x2e\x0f\x01\x35\x04\x00\x00\x00", 8, 4, /* the displacement alone */
     {.base = INSN_NO_GPR, .index = INSN_NO_GPR, .size = 4, .segment = SEG_CS, .displacement = 4},
     4},
    {"\x0f\x01\x72\xff", 4, 2, /* BP + SI, wraps at 64 KiB */
     {.base = GPR_RBP, .index = GPR_RSI, .size = 2, .segment = SEG_SS, .displacement = UINT64_MAX},
     0xafff},
    {"\x0f\x01\x36\x34\x12", 5, 2,
     {.base = INSN_NO_GPR, .index = INSN_NO_GPR, .size = 2, .segment = SEG_DS,
      .displacement = 0x1234},
     0x1234},
};

static void test_decode__lmsw_of_memory__where_it_is(void **state)
{
    uint64_t gpr[16];

    (void)state;
    for (uint64_t i = 0; i < 16; i++) {
        gpr[i] = i << 40 | i << 12;
    }
    for (size_t i = 0; i < ARRAY_SIZE(in_memory); i++) {
        const struct insn_memory *want = &in_memory[i].memory;
        const uint8_t *bytes = (const uint8_t *)in_memory[i].bytes;
        struct insn_exit insn;

        for (size_t len = 0; len < in_memory[i].len; len++) {
            assert_int_equal(insn_decode_exit(bytes, len, in_memory[i].mode, &insn), -ENOSPC);
        }
        assert_int_equal(insn_decode_exit(bytes, in_memory[i].len, in_memory[i].mode, &insn), 0);
        assert_int_equal(insn.length, in_memory[i].len);
        assert_true(insn.in_memory && insn.opcode == INSN_GROUP7);
        assert_int_equal(insn.memory.base, want->base);
        assert_int_equal(insn.memory.index, want->index);
        assert_int_equal(insn.memory.shift, want->shift);
        assert_int_equal(insn.memory.rip, want->rip);
        assert_int_equal(insn.memory.size, want->size);
        assert_int_equal(insn.memory.segment, want->segment);
        assert_int_equal(insn.memory.displacement, want->displacement);
        assert_int_equal(insn_offset(&insn.memory, gpr, 0x100000 + insn.length),
                         in_memory[i].offset);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode__each_form__length_and_operands),
        cmocka_unit_test(test_decode__address_size__of_the_mode_or_the_prefix),
        cmocka_unit_test(test_decode__cut_at_every_byte__enospc),
        cmocka_unit_test(test_decode__others_and_too_long__einval),
        cmocka_unit_test(test_decode__lmsw_of_memory__where_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
