/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VMCB's layout and clean bits against the manual's tables; what it tells of instructions.
 */
#include "hv/vmcb.h"

#include "fakes/cmocka_inc.h"

/* APM volume 2, "Layout of VMCB", and "VMCB Clean Field": what the bits cover, by offset.
 * Here NP_ENABLE counts to the nested page tables as well. All others have no bit. */
static const struct {
    unsigned int bit;
    size_t first, end;
} covered[] = {
    {0, 0x000, 0x040}, /* intercepts, pause filter */
    {0, 0x050, 0x058}, /* TSC offset */
    {1, 0x040, 0x050}, /* IOPM_BASE_PA, MSRPM_BASE_PA */
    {2, 0x058, 0x05c}, /* ASID */
    {3, 0x060, 0x068}, /* V_TPR, V_IRQ, ..., V_INTR_VECTOR */
    {4, 0x090, 0x098}, /* NP_ENABLE */
    {4, 0x0b0, 0x0b8}, /* N_CR3 */
    {4, 0x668, 0x670}, /* G_PAT */
    {5, 0x4d0, 0x4d8}, /* EFER */
    {5, 0x548, 0x560}, /* CR4, CR3, CR0 */
    {6, 0x560, 0x570}, /* DR7, DR6 */
    {7, 0x460, 0x470}, /* GDTR */
    {7, 0x480, 0x490}, /* IDTR */
    {8, 0x400, 0x440}, /* ES, CS, SS, DS */
    {8, 0x4cb, 0x4cc}, /* CPL */
    {9, 0x640, 0x648}, /* CR2 */
};

static uint32_t expected(size_t offset)
{
    for (size_t i = 0; i < sizeof(covered) / sizeof(covered[0]); i++) {
        if (offset >= covered[i].first && offset < covered[i].end) {
            return 1U << covered[i].bit;
        }
    }
    return 0;
}

static void test_vmcb_clean_bit__each_byte__as_the_manual_says(void **state)
{
    uint32_t all = 0;

    (void)state;
    for (size_t offset = 0; offset < sizeof(struct vmcb); offset++) {
        uint32_t bit = vmcb_clean_bit(offset);

        if (bit != expected(offset)) {
            fail_msg("offset 0x%zx: 0x%x, not 0x%x", offset, bit, expected(offset));
        }
        all |= bit;
    }
    assert_int_equal(all, SVM_CLEAN_ALL);
}

static void test_vmcb__layout__as_the_manual_says(void **state)
{
    (void)state;
    assert_int_equal(offsetof(struct vmcb, exit_code), 0x70);
    assert_int_equal(offsetof(struct vmcb, exit_int_info), 0x88);
    assert_int_equal(offsetof(struct vmcb, event_inject), 0xa8);
    assert_int_equal(offsetof(struct vmcb, clean), 0xc0);
    assert_int_equal(offsetof(struct vmcb, next_rip), 0xc8);
    assert_int_equal(offsetof(struct vmcb, insn_count), 0xd0);
    assert_int_equal(offsetof(struct vmcb, insn_bytes), 0xd1);
    assert_int_equal(offsetof(struct vmcb, tr), 0x490);
    assert_int_equal(offsetof(struct vmcb, rip), 0x578);
    assert_int_equal(offsetof(struct vmcb, rsp), 0x5d8);
    assert_int_equal(offsetof(struct vmcb, star), 0x600);
    assert_int_equal(offsetof(struct vmcb, sysenter_eip), 0x638);
}

static void test_vmcb_insn_length__next_rip__1_to_15_bytes(void **state)
{
    static const struct {
        uint64_t rip, next;
        uint8_t length;
    } cases[] = {
        {0x1000, 0x1001, 1}, {0x1000, 0x100f, 15}, {0x1000, 0x1010, 0}, /* too long */
        {0x1000, 0, 0},      {0x1000, 0x1000, 0},  {0x1000, 0xfff, 0},  /* not written */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct vmcb c = {.rip = cases[i].rip, .next_rip = cases[i].next};

        assert_int_equal(vmcb_insn_length(&c), cases[i].length);
    }
}

/* APM volume 2, "Decode Assists": EXITINFO1 of MOV CR has bit 63 and the register in 3:0; of MOV DR
 * the register alone; of CLTS and LMSW nothing. Exit codes: 00h-0Fh and 10h-1Fh, 30h-3Fh. */
static void test_vmcb_mov__decode_assists__as_decoded_from_the_bytes(void **state)
{
    static const struct {
        uint64_t exit_code, info;
        uint8_t bytes[4], length;
    } cases[] = {
        {0x10, 1UL << 63 | 3, {0x0f, 0x22, 0xc3}, 3},        /* mov cr0, rbx */
        {0x14, 1UL << 63 | 4, {0x0f, 0x22, 0xe4}, 3},        /* mov cr4, rsp */
        {0x18, 1UL << 63 | 15, {0x45, 0x0f, 0x22, 0xc7}, 4}, /* mov cr8, r15 */
        {0x08, 1UL << 63 | 9, {0x45, 0x0f, 0x20, 0xc1}, 4},  /* mov r9, cr8 */
        {0x31, 3, {0x0f, 0x23, 0xcb}, 3},                    /* mov dr1, rbx */
        {0x37, 6, {0x0f, 0x23, 0xfe}, 3},                    /* mov dr7, rsi */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct vmcb c = {.exit_code = cases[i].exit_code,
                               .exit_info1 = cases[i].info,
                               .rip = 0x1000,
                               .next_rip = 0x1000UL + cases[i].length};
        struct insn_exit told, decoded;

        assert_true(vmcb_mov(&c, &told));
        assert_int_equal(insn_decode_exit(cases[i].bytes, cases[i].length, 8, &decoded), 0);
        assert_int_equal(told.length, decoded.length);
        assert_int_equal(told.opcode, decoded.opcode);
        assert_int_equal(told.reg, decoded.reg);
        assert_int_equal(told.rm, decoded.rm);
    }
}

static void test_vmcb_mov__another_instruction_or_no_length__not_told(void **state)
{
    const struct vmcb clts = {.exit_code = 0x10, .rip = 0x1000, .next_rip = 0x1002};
    const struct vmcb bare = {.exit_code = 0x10, .exit_info1 = 1UL << 63, .rip = 0x1000};
    struct insn_exit insn;

    (void)state;
    assert_false(vmcb_mov(&clts, &insn));
    assert_false(vmcb_mov(&bare, &insn));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vmcb_clean_bit__each_byte__as_the_manual_says),
        cmocka_unit_test(test_vmcb__layout__as_the_manual_says),
        cmocka_unit_test(test_vmcb_insn_length__next_rip__1_to_15_bytes),
        cmocka_unit_test(test_vmcb_mov__decode_assists__as_decoded_from_the_bytes),
        cmocka_unit_test(test_vmcb_mov__another_instruction_or_no_length__not_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
