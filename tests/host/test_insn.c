/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MMIO instruction decoder: encodings and results written by hand, truncation, random bytes.
 * The notation of the tables is that of fakes/insn_text.h.
 */
#include "hv/insn.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/insn_text.h"
#include "fakes/random.h"
#include "hv/errno.h"
#include "hv/vcpu.h"
#include "hw/x86.h"

#define B(s) s, sizeof(s) - 1

static const struct {
    unsigned int mode;
    const char *bytes;
    size_t len;
    const char *text;
} good[] = {
    /* MOV, by address form: 64-bit */
    {8, B("\x88\x00"), "mov w1 al"},
    {8, B("\x89\x00"), "mov w4 eax"},
    {8, B("\x8a\x00"), "mov r1 al"},
    {8, B("\x8b\x00"), "mov r4 eax"},
    {8, B("\x8b\x0b"), "mov r4 ecx"},
    {8, B("\x8b\x3e"), "mov r4 edi"},
    {8, B("\x8b\x24\x24"), "mov r4 esp"},
    {8, B("\x8b\x44\x24\x08"), "mov r4 eax"},
    {8, B("\x8b\x84\x24\x78\x56\x34\x12"), "mov r4 eax"},
    {8, B("\x8b\x04\xc5\x78\x56\x34\x12"), "mov r4 eax"},
    {8, B("\x8b\x04\x25\x00\x03\xe0\xfe"), "mov r4 eax"},
    {8, B("\x8b\x44\x05\x10"), "mov r4 eax"},
    {8, B("\x8b\x84\x05\x78\x56\x34\x12"), "mov r4 eax"},
    {8, B("\x8b\x05\x78\x56\x34\x12"), "mov r4 eax"},
    {8, B("\x8b\x80\xf0\x00\x00\x00"), "mov r4 eax"},
    {8, B("\x8b\x40\x20"), "mov r4 eax"},
    {8, B("\x89\x14\x25\x80\xd3\x5f\xff"), "mov w4 edx"},
    {8, B("\x89\xb7\x00\xd0\x5f\xff"), "mov w4 esi"},
    /* REX */
    {8, B("\x48\x8b\x00"), "mov r8 rax"},
    {8, B("\x48\x89\x38"), "mov w8 rdi"},
    {8, B("\x44\x8b\x00"), "mov r4 r8d"},
    {8, B("\x4c\x8b\x38"), "mov r8 r15"},
    {8, B("\x44\x89\x20"), "mov w4 r12d"},
    {8, B("\x41\x8b\x04\x24"), "mov r4 eax"},
    {8, B("\x41\x8b\x45\x00"), "mov r4 eax"},
    {8, B("\x41\x8b\x05\x78\x56\x34\x12"), "mov r4 eax"},
    {8, B("\x43\x8b\x04\x25\x78\x56\x34\x12"), "mov r4 eax"},
    {8, B("\x4f\x8b\x54\x9d\x7f"), "mov r8 r10"},
    {8, B("\x40\x8b\x00"), "mov r4 eax"},
    /* byte registers */
    {8, B("\x88\x20"), "mov w1 ah"},
    {8, B("\x88\x28"), "mov w1 ch"},
    {8, B("\x8a\x30"), "mov r1 dh"},
    {8, B("\x8a\x38"), "mov r1 bh"},
    {8, B("\x40\x88\x20"), "mov w1 spl"},
    {8, B("\x40\x8a\x28"), "mov r1 bpl"},
    {8, B("\x41\x88\x30"), "mov w1 sil"},
    {8, B("\x48\x8a\x38"), "mov r1 dil"},
    {8, B("\x44\x88\x20"), "mov w1 r12b"},
    {8, B("\x88\x18"), "mov w1 bl"},
    /* prefixes */
    {8, B("\x66\x8b\x00"), "mov r2 ax"},
    {8, B("\x66\x44\x89\x30"), "mov w2 r14w"},
    {8, B("\x66\x48\x8b\x00"), "mov r8 rax"},
    {8, B("\x48\x66\x8b\x00"), "mov r2 ax"},
    {8, B("\x4f\x65\x88\x20"), "mov w1 ah"},
    {8, B("\x41\x44\x8b\x00"), "mov r4 r8d"},
    {8, B("\x44\x41\x8b\x00"), "mov r4 eax"},
    {8, B("\x66\x66\x66\x8b\x00"), "mov r2 ax"},
    {8, B("\x67\x8b\x00"), "mov r4 eax"},
    {8, B("\x67\x8b\x04\x25\x00\x00\xe0\xfe"), "mov r4 eax"},
    {8, B("\x67\x8b\x05\x00\x00\xe0\xfe"), "mov r4 eax"},
    {8, B("\x2e\x8b\x00"), "mov r4 eax"},
    {8, B("\x36\x8b\x00"), "mov r4 eax"},
    {8, B("\x3e\x8b\x00"), "mov r4 eax"},
    {8, B("\x26\x8b\x00"), "mov r4 eax"},
    {8, B("\x64\x48\x8b\x00"), "mov r8 rax"},
    {8, B("\x65\x66\x67\x45\x89\x00"), "mov w2 r8w"},
    {8, B("\xf3\x89\x00"), "mov w4 eax"},
    {8, B("\xf2\x8b\x00"), "mov r4 eax"},
    {8, B("\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x8b\x84\x24\x78\x56\x34\x12"), "mov r4 eax"},
    /* absolute address */
    {8, B("\xa0\x01\x02\x03\x04\x05\x06\x07\x08"), "mov r1 al"},
    {8, B("\xa1\x01\x02\x03\x04\x05\x06\x07\x08"), "mov r4 eax"},
    {8, B("\x48\xa1\x01\x02\x03\x04\x05\x06\x07\x08"), "mov r8 rax"},
    {8, B("\x66\xa3\x01\x02\x03\x04\x05\x06\x07\x08"), "mov w2 ax"},
    {8, B("\x67\xa2\x01\x02\x03\x04"), "mov w1 al"},
    {8, B("\x45\xa3\x01\x02\x03\x04\x05\x06\x07\x08"), "mov w4 eax"},
    {4, B("\xa1\x01\x02\x03\x04"), "mov r4 eax"},
    {4, B("\x66\xa3\x01\x02\x03\x04"), "mov w2 ax"},
    {4, B("\x67\xa0\x01\x02"), "mov r1 al"},
    {2, B("\xa1\x01\x02"), "mov r2 ax"},
    {2, B("\x66\xa3\x01\x02"), "mov w4 eax"},
    {2, B("\x67\xa2\x01\x02\x03\x04"), "mov w1 al"},
    /* immediates */
    {8, B("\xc6\x00\x80"), "mov w1 #80"},
    {8, B("\xc7\x00\x78\x56\x34\xf2"), "mov w4 #f2345678"},
    {8, B("\x66\xc7\x00\x34\xf2"), "mov w2 #f234"},
    {8, B("\x48\xc7\x00\x00\x00\x00\x80"), "mov w8 #ffffffff80000000"},
    {8, B("\x48\xc7\x00\x78\x56\x34\x12"), "mov w8 #12345678"},
    {8, B("\xc7\x05\x01\x02\x03\x04\x05\x06\x07\x08"), "mov w4 #8070605"},
    {8, B("\xc7\x84\x24\x01\x02\x03\x04\x05\x06\x07\x08"), "mov w4 #8070605"},
    {8, B("\x44\xc7\x00\x01\x00\x00\x00"), "mov w4 #1"},
    {4, B("\xc7\x05\xf0\x00\xe0\xfe\xff\x01\x00\x00"), "mov w4 #1ff"},
    {2, B("\xc7\x06\x34\x12\xcd\xab"), "mov w2 #abcd"},
    {2, B("\x66\xc7\x07\x01\x02\x03\x04"), "mov w4 #4030201"},
    /* MOVZX, MOVSX, MOVSXD */
    {8, B("\x0f\xb6\x00"), "mov r1 eax"},
    {8, B("\x0f\xb6\x20"), "mov r1 esp"},
    {8, B("\x0f\xb7\x48\x04"), "mov r2 ecx"},
    {8, B("\x48\x0f\xb6\x10"), "mov r1 rdx"},
    {8, B("\x4c\x0f\xb7\x10"), "mov r2 r10"},
    {8, B("\x66\x0f\xb6\x00"), "mov r1 ax"},
    {8, B("\x66\x0f\xb7\x00"), "mov r2 ax"},
    {8, B("\x0f\xbe\x00"), "mov r1s eax"},
    {8, B("\x0f\xbf\x00"), "mov r2s eax"},
    {8, B("\x48\x0f\xbe\x00"), "mov r1s rax"},
    {8, B("\x49\x0f\xbf\x7f\x01"), "mov r2s rdi"},
    {8, B("\x66\x0f\xbe\x00"), "mov r1s ax"},
    {8, B("\x63\x00"), "mov r4s eax"},
    {8, B("\x48\x63\x00"), "mov r4s rax"},
    {8, B("\x66\x63\x00"), "mov r2s ax"},
    {4, B("\x0f\xb6\x05\x01\x02\x03\x04"), "mov r1 eax"},
    {2, B("\x0f\xb6\x00"), "mov r1 ax"},
    {2, B("\x66\x0f\xbf\x00"), "mov r2s eax"},
    /* AND, OR, XOR, CMP, TEST */
    {8, B("\x20\x00"), "and rw1 al"},
    {8, B("\x21\x08"), "and rw4 ecx"},
    {8, B("\x22\x00"), "and r1 al"},
    {8, B("\x48\x23\x00"), "and r8 rax"},
    {8, B("\x08\x20"), "or rw1 ah"},
    {8, B("\x09\x00"), "or rw4 eax"},
    {8, B("\x0a\x00"), "or r1 al"},
    {8, B("\x66\x0b\x00"), "or r2 ax"},
    {8, B("\x30\x00"), "xor rw1 al"},
    {8, B("\x4d\x31\x00"), "xor rw8 r8"},
    {8, B("\x32\x00"), "xor r1 al"},
    {8, B("\x33\x00"), "xor r4 eax"},
    {8, B("\x38\x00"), "cmp r1 al"},
    {8, B("\x39\x00"), "cmp r4 eax"},
    {8, B("\x3a\x38"), "cmpreg r1 bh"},
    {8, B("\x48\x3b\x00"), "cmpreg r8 rax"},
    {8, B("\x84\x00"), "test r1 al"},
    {8, B("\x45\x85\x00"), "test r4 r8d"},
    {8, B("\x80\x20\xfe"), "and rw1 #fe"},
    {8, B("\x80\x08\x01"), "or rw1 #1"},
    {8, B("\x80\x30\x80"), "xor rw1 #80"},
    {8, B("\x80\x38\x05"), "cmp r1 #5"},
    {8, B("\x80\x3d\x01\x02\x03\x04\x05"), "cmp r1 #5"},
    {8, B("\x81\x20\xff\xff\xfe\xff"), "and rw4 #fffeffff"},
    {8, B("\x48\x81\x08\x00\x00\x00\x80"), "or rw8 #ffffffff80000000"},
    {8, B("\x66\x81\x30\x34\x12"), "xor rw2 #1234"},
    {8, B("\x81\x38\x01\x00\x00\x00"), "cmp r4 #1"},
    {8, B("\x83\x20\xfe"), "and rw4 #fffffffe"},
    {8, B("\x48\x83\x08\x80"), "or rw8 #ffffffffffffff80"},
    {8, B("\x66\x83\x30\xff"), "xor rw2 #ffff"},
    {8, B("\x83\x38\x7f"), "cmp r4 #7f"},
    {8, B("\xf6\x00\x01"), "test r1 #1"},
    {8, B("\xf6\x40\x05\x80"), "test r1 #80"},
    {8, B("\xf7\x00\x00\x10\x00\x00"), "test r4 #1000"},
    {8, B("\x66\xf7\x00\x00\x10"), "test r2 #1000"},
    {8, B("\x48\xf7\x00\x00\x00\x00\xf0"), "test r8 #fffffffff0000000"},
    {4, B("\xf7\x05\x00\x03\xe0\xfe\x00\x10\x00\x00"), "test r4 #1000"},
    {2, B("\x83\x0e\x34\x12\x01"), "or rw2 #1"},
    {8, B("\xf0\x83\x08\x01"), "or rw4 #1"},
    {8, B("\xf0\x48\x21\x00"), "and rw8 rax"},
    {8, B("\x66\xf0\x31\x00"), "xor rw2 ax"},
    /* XCHG */
    {8, B("\x86\x00"), "xchg rw1 al"},
    {8, B("\x86\x20"), "xchg rw1 ah"},
    {8, B("\x87\x00"), "xchg rw4 eax"},
    {8, B("\x4c\x87\x00"), "xchg rw8 r8"},
    {8, B("\xf0\x66\x87\x00"), "xchg rw2 ax"},
    {8, B("\xf2\xf0\x87\x00"), "xchg rw4 eax"},
    {4, B("\x87\x05\x80\x00\xe0\xfe"), "xchg rw4 eax"},
    /* STOS */
    {8, B("\xaa"), "stos w1 al a8"},
    {8, B("\xab"), "stos w4 eax a8"},
    {8, B("\x48\xab"), "stos w8 rax a8"},
    {8, B("\x66\x67\xab"), "stos w2 ax a4"},
    {8, B("\xf3\xab"), "stos w4 eax a8 rep"},
    {8, B("\xf2\xf3\x48\xab"), "stos w8 rax a8 rep"},
    {4, B("\xab"), "stos w4 eax a4"},
    {4, B("\x67\xaa"), "stos w1 al a2"},
    {2, B("\xab"), "stos w2 ax a2"},
    {2, B("\xf3\x66\x67\xab"), "stos w4 eax a4 rep"},
    /* 32-bit addresses */
    {4, B("\x8b\x05\x20\x00\xe0\xfe"), "mov r4 eax"},
    {4, B("\x8b\x04\x24"), "mov r4 eax"},
    {4, B("\x8b\x44\x8d\x00"), "mov r4 eax"},
    {4, B("\x8b\x83\x00\x00\xe0\xfe"), "mov r4 eax"},
    {4, B("\x66\x89\x4b\x10"), "mov w2 cx"},
    {4, B("\x88\x38"), "mov w1 bh"},
    {2, B("\x67\x8b\x04\x25\x00\x00\xe0\xfe"), "mov r2 ax"},
    {2, B("\x67\x66\x89\x83\xf0\x00\x00\x00"), "mov w4 eax"},
    /* 16-bit addresses */
    {2, B("\x8b\x00"), "mov r2 ax"},
    {2, B("\x8b\x04"), "mov r2 ax"},
    {2, B("\x8b\x05"), "mov r2 ax"},
    {2, B("\x8b\x0e\x34\x12"), "mov r2 cx"},
    {2, B("\x8b\x46\x10"), "mov r2 ax"},
    {2, B("\x8b\x44\x10"), "mov r2 ax"},
    {2, B("\x89\x97\x34\x12"), "mov w2 dx"},
    {2, B("\x64\x66\x8b\x86\x34\x12"), "mov r4 eax"},
    {2, B("\x88\x27"), "mov w1 ah"},
    {4, B("\x67\x8b\x0e\x34\x12"), "mov r4 ecx"},
    {4, B("\x67\x66\x89\x04"), "mov w2 ax"},
    {4, B("\x67\xc6\x06\x34\x12\x56"), "mov w1 #56"},
};

static const struct {
    unsigned int mode;
    const char *bytes;
    size_t len;
} bad[] = {
    /* registers */
    {8, B("\x88\xc0")},
    {8, B("\x8b\xc1")},
    {8, B("\x0f\xb6\xc0")},
    {8, B("\x63\xc0")},
    {8, B("\x83\xe0\x01")},
    {8, B("\xf6\xc0\x01")},
    {8, B("\xc7\xc0\x01\x00\x00\x00")},
    {8, B("\x87\xc0")},
    {8, B("\xc7\xf8\x00\x00\x00\x00")},
    /* other operations */
    {8, B("\x00\x00")},
    {8, B("\x01\x00")},
    {8, B("\x11\x00")},
    {8, B("\x29\x00")},
    {8, B("\x24\x00")},
    {8, B("\x3c\x00")},
    {8, B("\x80\x00\x01")},
    {8, B("\x80\x10\x01")},
    {8, B("\x81\x18\x01\x00\x00\x00")},
    {8, B("\x82\x20\x01")},
    {4, B("\x82\x20\x01")},
    {8, B("\x83\x28\x01")},
    {8, B("\xc6\x08\x01")},
    {8, B("\xc7\x38\x01\x00\x00\x00")},
    {8, B("\xf6\x08\x01")},
    {8, B("\xf6\x10")},
    {8, B("\xf7\x20")},
    {8, B("\xff\x00")},
    {8, B("\xfe\x00")},
    {8, B("\x8c\x00")},
    {8, B("\x8e\x00")},
    {8, B("\x8d\x00")},
    {8, B("\x8f\x00")},
    {8, B("\xa4")},
    {8, B("\xa5")},
    {8, B("\xa8\x01")},
    {8, B("\xac")},
    {8, B("\x90")},
    {8, B("\xcc")},
    {8, B("\x0f\x05")},
    {8, B("\x0f\xb0\x00")},
    {8, B("\x0f\xb8\x00")},
    {8, B("\x0f\xba\x20\x01")},
    {8, B("\x0f\xbc\x00")},
    {8, B("\x0f\xc7\x08")},
    {8, B("\x0f\x38\xf0\x00")},
    {8, B("\x0f\x6f\x00")},
    /* VEX, EVEX, XOP, REX2 */
    {8, B("\xc5\xf8\x10\x00")},
    {8, B("\xc4\xe2\x79\x18\x00")},
    {8, B("\x62\xf1\x7c\x48\x10\x00")},
    {8, B("\x8f\xe8\x78\xa2\x00\x00")},
    {8, B("\xd5\x00\x8b\x00")},
    {4, B("\xc5\x00")},
    /* modes */
    {4, B("\x63\x00")},
    {2, B("\x63\x00")},
    {4, B("\x48\x8b\x00")},
    {2, B("\x40\x88\x00")},
    {0, B("\x8b\x00")},
    {1, B("\x8b\x00")},
    {16, B("\x8b\x00")},
    /* LOCK without a memory destination that is read and written */
    {8, B("\xf0\x8b\x00")},
    {8, B("\xf0\x89\x00")},
    {8, B("\xf0\x23\x00")},
    {8, B("\xf0\x83\x38\x01")},
    {8, B("\xf0\x39\x00")},
    {8, B("\xf0\x85\x00")},
    {8, B("\xf0\xf7\x00\x01\x00\x00\x00")},
    {8, B("\xf0\xc6\x00\x01")},
    {8, B("\xf0\xab")},
    {8, B("\xf0\xa1\x01\x02\x03\x04\x05\x06\x07\x08")},
    /* REPNE */
    {8, B("\xf2\xab")},
    {8, B("\xf3\xf2\xaa")},
    /* more than 15 bytes */
    {8, B("\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x8b\x84\x24\x78\x56\x34\x12")},
    {8, B("\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x8b\x00")},
    {8, B("\x2e\x2e\x2e\x2e\x2e\xc7\x84\x24\x01\x02\x03\x04\x05\x06\x07\x08")},
};

/* Decodes in a buffer that ends where the bytes end. */
static int decode(const void *bytes, size_t len, unsigned int mode, struct insn_mmio *out)
{
    uint8_t *copy = malloc(len);
    int rc;

    memcpy(copy, bytes, len);
    rc = insn_decode_mmio(copy, len, mode, out);
    free(copy);
    return rc;
}

static void test_insn_decode_mmio__known_forms__as_written(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct insn_mmio insn, longer;
        char text[INSN_TEXT], more[32];

        if (decode(good[i].bytes, good[i].len, good[i].mode, &insn) != 0) {
            fail_msg("good[%zu] (%s) is refused", i, good[i].text);
        }
        insn_text(&insn, text);
        if (strcmp(text, good[i].text) != 0 || insn.length != good[i].len) {
            fail_msg("good[%zu]: %s, %u bytes; not %s, %zu", i, text, insn.length, good[i].text,
                     good[i].len);
        }
        /* What follows does not matter. */
        memset(more, 0xf0, sizeof(more));
        memcpy(more, good[i].bytes, good[i].len);
        assert_int_equal(decode(more, sizeof(more), good[i].mode, &longer), 0);
        assert_memory_equal(&insn, &longer, sizeof(insn));
    }
}

static void test_insn_decode_mmio__truncated_at_every_byte__enospc(void **state)
{
    struct insn_mmio insn, before;

    (void)state;
    memset(&insn, 0x5a, sizeof(insn));
    before = insn;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        for (size_t len = 0; len < good[i].len; len++) {
            int rc = decode(good[i].bytes, len, good[i].mode, &insn);

            if (rc != -ENOSPC) {
                fail_msg("good[%zu] (%s) cut to %zu bytes: %d", i, good[i].text, len, rc);
            }
            assert_memory_equal(&insn, &before, sizeof(insn));
        }
    }
    assert_int_equal(insn_decode_mmio(NULL, 0, 8, &insn), -ENOSPC);
}

static void test_insn_decode_mmio__other_instructions__einval(void **state)
{
    struct insn_mmio insn, before;

    (void)state;
    memset(&insn, 0x5a, sizeof(insn));
    before = insn;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        int rc = decode(bad[i].bytes, bad[i].len, bad[i].mode, &insn);

        if (rc != -EINVAL) {
            fail_msg("bad[%zu]: %d", i, rc);
        }
        assert_memory_equal(&insn, &before, sizeof(insn));
    }
}

/* A byte that is often a prefix or an opcode that leads on. */
static uint8_t random_byte(void)
{
    static const uint8_t often[] = {0x66, 0x67, 0xf0, 0xf3, 0x48, 0x44, 0x0f, 0x8b, 0x80,
                                    0x81, 0xc7, 0xf7, 0xa1, 0xb6, 0x04, 0x05, 0x84, 0x25};
    uint64_t r = random64() >> 8;

    return (r & 1) != 0 ? (uint8_t)(r >> 8) : often[(r >> 8) % sizeof(often)];
}

static bool well_formed(const struct insn_mmio *i)
{
    char text[INSN_TEXT];

    insn_text(i, text);
    return i->length >= 1 && i->length <= INSN_MAX && i->op <= INSN_CMP_REG && i->reg < 16 &&
           (i->size & (i->size - 1)) == 0 && i->size <= 8 && i->size >= 1 &&
           i->reg_size >= i->size && (i->read || i->write) && strchr(text, '?') == NULL &&
           (i->size == 8 || i->value >> (8 * i->size) == 0);
}

static void test_insn_decode_mmio__random_bytes__in_bounds_and_well_formed(void **state)
{
    static const unsigned int modes[] = {2, 4, 8};
    unsigned int decoded = 0, refused = 0, cut = 0;

    (void)state;
    for (unsigned int n = 0; n < 300000; n++) {
        size_t len = random64() % 18;
        uint8_t *bytes = malloc(len);
        struct insn_mmio insn = {0};
        unsigned int mode = modes[n % 3];
        int rc;

        for (size_t i = 0; i < len; i++) {
            bytes[i] = random_byte();
        }
        rc = insn_decode_mmio(bytes, len, mode, &insn);
        if (rc == 0) {
            uint64_t gpr[16], flags = 2, write = 0;

            decoded++;
            assert_true(well_formed(&insn));
            assert_true(insn.length <= len);
            for (unsigned int i = 0; i < 16; i++) {
                gpr[i] = random64();
            }
            assert_true(insn_apply_mmio(&insn, random64(), gpr, &flags, &write) || insn.rep);
            assert_true(insn.size == 8 || write >> (8 * insn.size) == 0);
            assert_int_equal(decode(bytes, insn.length, mode, &insn), 0);
        } else if (rc == -ENOSPC) {
            cut++;
            assert_true(len < INSN_MAX);
        } else {
            refused++;
            assert_int_equal(rc, -EINVAL);
        }
        free(bytes);
    }
    assert_true(decoded > 20000 && refused > 20000 && cut > 20000);
}

/* ---- what they do ---- */

#define CF RFLAGS_CF
#define PF RFLAGS_PF
#define AF RFLAGS_AF
#define ZF RFLAGS_ZF
#define SF RFLAGS_SF
#define OF RFLAGS_OF
#define ALL (CF | PF | AF | ZF | SF | OF)
#define KEEP (RFLAGS_FIXED | RFLAGS_IF)
#define OLD 0x1122334455667788U

/* All in 64-bit mode, on rAX = OLD; flags before are KEEP | ALL, and untouched where 0 is said. */
static const struct {
    const char *bytes;
    size_t len;
    uint64_t device, rax, write, flags;
} effects[] = {
    {B("\x8a\x00"), 0xfedcba98, 0x1122334455667798, 0, 0},
    {B("\x8a\x20"), 0xfedcba98, 0x1122334455669888, 0, 0},
    {B("\x66\x8b\x00"), 0xfedcba98, 0x112233445566ba98, 0, 0},
    {B("\x8b\x00"), 0xffffffffffffffff, 0xffffffff, 0, 0},
    {B("\x48\x8b\x00"), 0xfedcba9876543210, 0xfedcba9876543210, 0, 0},
    {B("\x88\x00"), 0, OLD, 0x88, 0},
    {B("\x88\x20"), 0, OLD, 0x77, 0},
    {B("\x66\x89\x00"), 0, OLD, 0x7788, 0},
    {B("\x89\x00"), 0, OLD, 0x55667788, 0},
    {B("\x48\x89\x00"), 0, OLD, OLD, 0},
    {B("\x48\xc7\x00\xfe\xff\xff\xff"), 0, OLD, 0xfffffffffffffffe, 0},
    {B("\x0f\xb6\x00"), 0x1ff, 0xff, 0, 0},
    {B("\x66\x0f\xb6\x00"), 0x1ff, 0x11223344556600ff, 0, 0},
    {B("\x48\x0f\xb7\x00"), 0xfffff, 0xffff, 0, 0},
    {B("\x0f\xbe\x00"), 0x180, 0xffffff80, 0, 0},
    {B("\x66\x0f\xbe\x00"), 0x80, 0x112233445566ff80, 0, 0},
    {B("\x48\x0f\xbe\x00"), 0x80, 0xffffffffffffff80, 0, 0},
    {B("\x48\x0f\xbf\x00"), 0x7fff, 0x7fff, 0, 0},
    {B("\x48\x63\x00"), 0x80000000, 0xffffffff80000000, 0, 0},
    {B("\x63\x00"), 0x80000000, 0x80000000, 0, 0},
    {B("\x87\x00"), 0xfedcba98, 0xfedcba98, 0x55667788, 0},
    {B("\x86\x20"), 0xfedcba98, 0x1122334455669888, 0x77, 0},
    {B("\x21\x00"), 0xffff0000, OLD, 0x55660000, KEEP | PF},
    {B("\x23\x00"), 0xffff0000, 0x55660000, 0, KEEP | PF},
    {B("\x22\x20"), 0x0f, 0x1122334455660788, 0, KEEP},
    {B("\x48\x09\x00"), 0x8000000000000000, OLD, 0x9122334455667788, KEEP | SF | PF},
    {B("\x31\x00"), 0x55667788, OLD, 0, KEEP | ZF | PF},
    {B("\x66\x33\x00"), 0x7789, 0x1122334455660001, 0, KEEP},
    {B("\x83\x08\x80"), 0, OLD, 0xffffff80, KEEP | SF},
    {B("\x85\x00"), 0, OLD, 0, KEEP | ZF | PF},
    {B("\xf6\x00\x80"), 0x80, OLD, 0, KEEP | SF},
    {B("\x39\x00"), 0x55667788, OLD, 0, KEEP | ZF | PF},
    {B("\x39\x00"), 0x55667787, OLD, 0, KEEP | CF | SF | AF | PF},
    {B("\x3b\x00"), 0x55667787, OLD, 0, KEEP},
    {B("\x80\x38\x01"), 0x80, OLD, 0, KEEP | OF | AF},
    {B("\x83\x38\xff"), 0, OLD, 0, KEEP | CF | AF},
    {B("\x48\x83\x38\xff"), 0x7fffffffffffffff, OLD, 0, KEEP | OF | CF | SF | PF},
};

static void test_insn_apply_mmio__one_of_each__registers_flags_and_write(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(effects); i++) {
        uint64_t gpr[16] = {[GPR_RAX] = OLD}, flags = KEEP | ALL, write = 1;
        uint64_t want = effects[i].flags != 0 ? effects[i].flags : (KEEP | ALL);
        struct insn_mmio insn;

        assert_int_equal(decode(effects[i].bytes, effects[i].len, 8, &insn), 0);
        assert_true(insn_apply_mmio(&insn, effects[i].device, gpr, &flags, &write));
        if (gpr[GPR_RAX] != effects[i].rax || write != effects[i].write || flags != want) {
            fail_msg("effects[%zu]: rax %#llx, write %#llx, flags %#llx", i,
                     (unsigned long long)gpr[GPR_RAX], (unsigned long long)write,
                     (unsigned long long)flags);
        }
        for (unsigned int r = 1; r < 16; r++) {
            assert_int_equal(gpr[r], 0);
        }
    }
}

static void test_insn_apply_mmio__stos__steps_by_direction_and_address_size(void **state)
{
    static const struct {
        unsigned int mode;
        const char *bytes;
        size_t len;
        uint64_t flags, rdi, rcx;
        bool done;
        uint64_t rdi_after, rcx_after, write;
    } cases[] = {
        {8, B("\xab"), 0, 0x1fffffffe, 9, true, 0x200000002, 9, 0x55667788},
        {8, B("\x48\xab"), RFLAGS_DF, 0x100, 9, true, 0xf8, 9, OLD},
        {8, B("\x67\xaa"), 0, 0x1ffffffff, 9, true, 0, 9, 0x88},
        {2, B("\xab"), 0, 0x1ffff, 9, true, 0x10001, 9, 0x7788},
        {8, B("\xf3\xab"), 0, 0x100, 2, false, 0x104, 1, 0x55667788},
        {8, B("\xf3\xab"), RFLAGS_DF, 0x100, 1, true, 0xfc, 0, 0x55667788},
        {8, B("\xf3\x67\xaa"), 0, 0x100, 0x700000002, false, 0x101, 1, 0x88},
        {2, B("\xf3\xaa"), 0, 0xffff, 0x10001, true, 0, 0x10000, 0x88},
        {8, B("\xf3\xab"), 0, 0x100, 0, true, 0x104, 0, 0x55667788},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t gpr[16] = {[GPR_RAX] = OLD, [GPR_RDI] = cases[i].rdi, [GPR_RCX] = cases[i].rcx};
        uint64_t flags = cases[i].flags, write = 0;
        struct insn_mmio insn;

        assert_int_equal(decode(cases[i].bytes, cases[i].len, cases[i].mode, &insn), 0);
        assert_int_equal(insn_apply_mmio(&insn, 0, gpr, &flags, &write), cases[i].done);
        assert_int_equal(gpr[GPR_RDI], cases[i].rdi_after);
        assert_int_equal(gpr[GPR_RCX], cases[i].rcx_after);
        assert_int_equal(gpr[GPR_RAX], OLD);
        assert_int_equal(write, cases[i].write);
        assert_int_equal(flags, cases[i].flags);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_insn_decode_mmio__known_forms__as_written),
        cmocka_unit_test(test_insn_decode_mmio__truncated_at_every_byte__enospc),
        cmocka_unit_test(test_insn_decode_mmio__other_instructions__einval),
        cmocka_unit_test(test_insn_decode_mmio__random_bytes__in_bounds_and_well_formed),
        cmocka_unit_test(test_insn_apply_mmio__one_of_each__registers_flags_and_write),
        cmocka_unit_test(test_insn_apply_mmio__stos__steps_by_direction_and_address_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
