/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both instruction decoders against capstone: more than 10^6 encodings, made in order (every opcode
 * of four maps with every ModRM byte, every sequence of up to three prefixes, every SIB byte) with
 * the rest drawn from a fixed seed. What one of them accepts the other has to call the same; where
 * capstone is of another opinion than the manuals, fakes/insn_capstone.c says so.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/insn_capstone.h"
#include "fakes/insn_text.h"
#include "fakes/random.h"
#include "hv/errno.h"

static const unsigned int modes[] = {2, 4, 8};

static void exit_text(const struct insn_exit *e, char text[INSN_TEXT])
{
    const struct insn_memory *m = &e->memory;
    int n = snprintf(text, INSN_TEXT, "%u %x", e->length, e->opcode);

    if (e->opcode >= 0x6c && e->opcode <= INSN_OUTS) { /* INS has ES, whatever the prefixes */
        snprintf(text + n, INSN_TEXT - (size_t)n, " seg %u a%u",
                 e->opcode < INSN_OUTS_B ? SEG_ES : e->segment, e->address_size);
    } else if (e->in_memory) {
        snprintf(text + n, INSN_TEXT - (size_t)n, " [%u %u<<%u rip%d a%u seg%u %" PRIx64 "]",
                 m->base, m->index, m->index == INSN_NO_GPR ? 0U : m->shift, m->rip, m->size,
                 m->segment, m->displacement);
    } else if (e->opcode == INSN_GROUP7 && e->modrm >> 3 != (0xc0 >> 3 | INSN_DIGIT_LMSW)) {
        snprintf(text + n, INSN_TEXT - (size_t)n, " %x", e->modrm);
    } else if (e->opcode > 0xff) {
        snprintf(text + n, INSN_TEXT - (size_t)n, " reg %u rm %u", e->reg, e->rm);
    }
}

static void put(struct encoding *e, uint8_t byte)
{
    e->bytes[e->n++] = byte;
}

static const uint8_t legacy[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3};

static void put_prefixes(struct encoding *e)
{
    unsigned int count = random_below(4);

    for (unsigned int i = 0; i < count; i++) {
        put(e, random_below(5) == 0 ? (uint8_t)(0x40 + random_below(16))
                                    : legacy[random_below(sizeof(legacy))]);
    }
    if (random_below(64) == 0) { /* up to the longest, and beyond */
        for (unsigned int i = random_below(12); i > 0; i--) {
            put(e, legacy[random_below(8)]);
        }
    }
}

/* Opcode maps by what leads to them: none, 0F, 0F 38, 0F 3A. */
#define MAPS 4U

static void put_opcode(struct encoding *e, unsigned int map, uint8_t opcode)
{
    if (map > 0) {
        put(e, 0x0f);
    }
    if (map > 1) {
        put(e, map == 2 ? 0x38 : 0x3a);
    }
    put(e, opcode);
}

static void fill(struct encoding *e)
{
    while (e->n < ENCODING_BYTES) {
        put(e, (uint8_t)random_below(256));
    }
}

/* ---- comparison ---- */

static struct {
    size_t made, mmio, exits, different;
} tally;
static uint8_t *cut_bytes[INSN_MAX]; /* as many bytes each as its index says */

#define SHOWN_MAX 20

static void differ(const struct encoding *e, const char *decoder, int rc, const char *mine,
                   const char *theirs)
{
    char hex[3 * INSN_MAX + 1];

    if (tally.different++ >= SHOWN_MAX) {
        return;
    }
    for (size_t i = 0; i < INSN_MAX; i++) {
        snprintf(&hex[3 * i], 4, "%02x ", e->bytes[i]);
    }
    print_error("%s, mode %u, %s: %d, \"%s\"; capstone: \"%s\"\n", decoder, e->mode, hex, rc, mine,
                theirs);
}

/* Cut anywhere, in memory that ends there, it says that there is more. */
static void check_cuts(const struct encoding *e, size_t length, bool mmio)
{
    for (size_t len = 0; len < length; len++) {
        const uint8_t *bytes = memcpy(cut_bytes[len], e->bytes, len);
        struct insn_mmio i;
        struct insn_exit x;

        assert_int_equal(mmio ? insn_decode_mmio(bytes, len, e->mode, &i)
                              : insn_decode_exit(bytes, len, e->mode, &x),
                         -ENOSPC);
    }
}

static void compare_mmio(const struct encoding *e, const struct insn_said *said)
{
    char mine[INSN_TEXT] = "", theirs[INSN_TEXT] = "";
    struct insn_mmio insn = {0};
    int rc = insn_decode_mmio(e->bytes, e->n, e->mode, &insn);
    bool same = rc == (said->mmio ? 0 : -EINVAL);

    if (rc == 0) {
        insn_text(&insn, mine);
        check_cuts(e, insn.length, true);
        tally.mmio++;
    }
    if (said->mmio) {
        insn_text(&said->as_mmio, theirs);
        same = same && insn.length == said->as_mmio.length &&
               insn.address_size == said->as_mmio.address_size;
    }
    if (!same || strcmp(mine, theirs) != 0) {
        differ(e, "mmio", rc, mine, theirs);
    }
}

static void compare_exit(const struct encoding *e, const struct insn_said *said)
{
    char mine[INSN_TEXT] = "", theirs[INSN_TEXT] = "";
    struct insn_exit insn = {0};
    int rc = insn_decode_exit(e->bytes, e->n, e->mode, &insn);

    if (rc == 0) {
        exit_text(&insn, mine);
        check_cuts(e, insn.length, false);
        tally.exits++;
    }
    if (said->exits) {
        exit_text(&said->as_exit, theirs);
    }
    if (rc != (said->exits ? 0 : -EINVAL) || strcmp(mine, theirs) != 0) {
        differ(e, "exit", rc, mine, theirs);
    }
}

static void compare(const struct encoding *e)
{
    struct insn_said said;

    capstone_ask(e, &said);
    compare_mmio(e, &said);
    compare_exit(e, &said);
    tally.made++;
}

static void every_opcode_and_modrm(void)
{
    for (unsigned int n = 0; n < 2 * 3 * MAPS * 256 * 256; n++) {
        struct encoding e = {.mode = modes[n % 3]};

        put_prefixes(&e);
        put_opcode(&e, n / 3 % MAPS, (uint8_t)(n / 3 / MAPS));
        put(&e, (uint8_t)(n / 3 / MAPS / 256));
        fill(&e);
        compare(&e);
    }
}

static const struct {
    uint8_t map, first, last;
} known[] = {
    {0, 0x08, 0x0b}, {0, 0x20, 0x23}, {0, 0x30, 0x33}, {0, 0x38, 0x3b}, {0, 0x63, 0x63},
    {0, 0x6c, 0x6f}, {0, 0x80, 0x8b}, {0, 0xa0, 0xa3}, {0, 0xaa, 0xab}, {0, 0xc6, 0xc7},
    {0, 0xe4, 0xe7}, {0, 0xec, 0xef}, {0, 0xf4, 0xf4}, {0, 0xf6, 0xf7}, {1, 0x01, 0x01},
    {1, 0x06, 0x09}, {1, 0x20, 0x23}, {1, 0x30, 0x33}, {1, 0xa2, 0xa2}, {1, 0xb6, 0xbf},
};

static void put_known(struct encoding *e)
{
    unsigned int i = random_below(ARRAY_SIZE(known));

    put_opcode(e, known[i].map,
               (uint8_t)(known[i].first + random_below(known[i].last - known[i].first + 1U)));
}

/* Every sequence of up to three prefixes: all legacy ones, and REX with each of its bits. */
static void every_order_of_prefixes(void)
{
    static const uint8_t all[] = {0,    0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67,
                                  0xf0, 0xf2, 0xf3, 0x40, 0x41, 0x42, 0x44, 0x48};
    const unsigned int count = sizeof(all);

    for (unsigned int n = 0; n < 3 * count * count * count * 24; n++) {
        struct encoding e = {.mode = modes[n % 3]};

        for (unsigned int rest = n / 3, i = 0; i < 3; i++, rest /= count) {
            if (all[rest % count] != 0) {
                put(&e, all[rest % count]);
            }
        }
        put_known(&e);
        fill(&e);
        compare(&e);
    }
}

static void every_sib(void)
{
    for (unsigned int n = 0; n < 3 * 3 * 256 * 64; n++) {
        struct encoding e = {.mode = modes[n % 3]};

        put_prefixes(&e);
        put_known(&e);
        put(&e, (uint8_t)((n / 3 % 3) << 6 | random_below(8) << 3 | 4));
        put(&e, (uint8_t)(n / 9));
        fill(&e);
        compare(&e);
    }
}

static void test_insn__a_million_encodings__as_capstone(void **state)
{
    const char *rule;
    size_t times;

    (void)state;
    every_opcode_and_modrm();
    every_order_of_prefixes();
    every_sib();
    print_message("%zu encodings: %zu accepted for MMIO, %zu for exits\n", tally.made, tally.mmio,
                  tally.exits);
    for (unsigned int i = 0; (rule = capstone_rule(i, &times)) != NULL; i++) {
        print_message("capstone overruled by %s: %zu\n", rule, times);
        assert_true(times > 0);
    }
    assert_int_equal(tally.different, 0);
    assert_true(tally.made >= 1000000 && tally.mmio >= 100000 && tally.exits >= 50000);
}

static int set_up(void **state)
{
    (void)state;
    for (size_t len = 0; len < INSN_MAX; len++) {
        cut_bytes[len] = malloc(len);
    }
    return capstone_open() ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t len = 0; len < INSN_MAX; len++) {
        free(cut_bytes[len]);
    }
    capstone_close();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_insn__a_million_encodings__as_capstone),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
