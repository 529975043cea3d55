/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MMIO instruction decoder against objdump: random encodings of the known forms, and random bytes.
 * What objdump says is brought into the notation of fakes/insn_text.h. Where it is wrong or of
 * another opinion the comments say so.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fakes/cmocka_inc.h"
#include "fakes/insn_text.h"
#include "fakes/random.h"
#include "hv/errno.h"

#define FORMS 80000U   /* for each of the three modes */
#define SLOTS 12000U   /* of random bytes, likewise */
#define SLOT_BYTES 16U /* and as many NOPs behind them, so that the next slot starts in step */
#define NOP 0x90

struct binary {
    uint8_t *bytes;
    size_t size;
    size_t *starts; /* of what is to be compared, ascending */
    size_t count;
};

static bool one_in(unsigned int n)
{
    return random_below(n) == 0;
}

/* ---- encodings, by the manual's rules and with none of the decoder's code ---- */

enum { NO_MODRM, ANY_REG, DIGIT_0, DIGIT_ALU };
enum { NO_IMM, IMM_8, IMM_Z, IMM_ADDRESS };

static const struct form {
    uint8_t first, last; /* opcodes */
    uint8_t escape;
    uint8_t modrm, imm;
    bool lock; /* allowed, except with CMP */
    bool only64;
} forms[] = {
    {0x88, 0x8b, 0, ANY_REG, NO_IMM, false, false},
    {0xa0, 0xa3, 0, NO_MODRM, IMM_ADDRESS, false, false},
    {0xc6, 0xc6, 0, DIGIT_0, IMM_8, false, false},
    {0xc7, 0xc7, 0, DIGIT_0, IMM_Z, false, false},
    {0xb6, 0xb7, 0x0f, ANY_REG, NO_IMM, false, false},
    {0xbe, 0xbf, 0x0f, ANY_REG, NO_IMM, false, false},
    {0x63, 0x63, 0, ANY_REG, NO_IMM, false, true},
    {0x80, 0x80, 0, DIGIT_ALU, IMM_8, true, false},
    {0x81, 0x81, 0, DIGIT_ALU, IMM_Z, true, false},
    {0x83, 0x83, 0, DIGIT_ALU, IMM_8, true, false},
    {0x20, 0x21, 0, ANY_REG, NO_IMM, true, false},
    {0x22, 0x23, 0, ANY_REG, NO_IMM, false, false},
    {0x08, 0x09, 0, ANY_REG, NO_IMM, true, false},
    {0x0a, 0x0b, 0, ANY_REG, NO_IMM, false, false},
    {0x30, 0x31, 0, ANY_REG, NO_IMM, true, false},
    {0x32, 0x33, 0, ANY_REG, NO_IMM, false, false},
    {0x38, 0x3b, 0, ANY_REG, NO_IMM, false, false},
    {0x84, 0x85, 0, ANY_REG, NO_IMM, false, false},
    {0xf6, 0xf6, 0, DIGIT_0, IMM_8, false, false},
    {0xf7, 0xf7, 0, DIGIT_0, IMM_Z, false, false},
    {0x86, 0x87, 0, ANY_REG, NO_IMM, true, false},
    {0xaa, 0xab, 0, NO_MODRM, NO_IMM, false, false},
};

static size_t put_random(uint8_t *at, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        at[i] = (uint8_t)random_below(256);
    }
    return n;
}

/* SDM volume 2, tables "16-Bit / 32-Bit Addressing Forms with the ModR/M Byte" and "with SIB". */
static size_t put_modrm(uint8_t *at, unsigned int address_size, unsigned int reg)
{
    unsigned int mod = random_below(3), rm = random_below(8), base = rm;
    size_t n = 0;

    at[n++] = (uint8_t)(mod << 6 | reg << 3 | rm);
    if (address_size == 2) {
        return n + put_random(&at[n], mod == 0 ? (rm == 6 ? 2 : 0) : mod);
    }
    if (rm == 4) {
        n += put_random(&at[n], 1);
        base = at[1] & 7;
    }
    return n + put_random(&at[n], mod == 0 ? (base == 5 ? 4 : 0) : mod == 1 ? 1 : 4);
}

/* One encoding of a random form; 0 when the dice gave none. */
static size_t put_form(uint8_t *at, unsigned int mode)
{
    static const uint8_t segments[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    static const uint8_t alu_digits[] = {1, 4, 6, 7};
    const struct form *f = &forms[random_below(sizeof(forms) / sizeof(forms[0]))];
    bool p66 = one_in(4), p67 = one_in(4), wide = false;
    unsigned int operand, address, reg;
    size_t n = 0;

    if (f->only64 && mode != 8) {
        return 0;
    }
    if (p66) {
        at[n++] = 0x66;
    }
    if (one_in(6)) {
        at[n++] = segments[random_below(sizeof(segments))];
    }
    if (p67) {
        at[n++] = 0x67;
    }
    reg = f->modrm == DIGIT_0     ? 0
          : f->modrm == DIGIT_ALU ? alu_digits[random_below(4)]
                                  : random_below(8);
    if (f->lock && !(f->modrm == DIGIT_ALU && reg == 7) && one_in(4)) {
        at[n++] = 0xf0;
    }
    if (f->first == 0xaa && one_in(3)) {
        at[n++] = 0xf3;
    }
    if (mode == 8 && one_in(2)) {
        at[n] = (uint8_t)(0x40 | random_below(16));
        wide = (at[n++] & 8) != 0;
    }
    operand = wide ? 8 : (mode == 2) != p66 ? 2 : 4;
    address = mode == 8 ? (p67 ? 4 : 8) : (mode == 2) != p67 ? 2 : 4;
    if (f->escape != 0) {
        at[n++] = f->escape;
    }
    at[n++] = (uint8_t)(f->first + random_below(f->last - f->first + 1U));
    if (f->modrm != NO_MODRM) {
        n += put_modrm(&at[n], address, reg);
    }
    if (f->imm == IMM_8) {
        n += put_random(&at[n], 1);
    } else if (f->imm == IMM_Z) {
        n += put_random(&at[n], operand == 2 ? 2 : 4);
    } else if (f->imm == IMM_ADDRESS) {
        n += put_random(&at[n], address);
    }
    return n <= INSN_MAX ? n : 0;
}

static void make_forms(struct binary *b, unsigned int mode)
{
    b->bytes = malloc(FORMS * 32 + 32);
    b->starts = malloc(FORMS * sizeof(*b->starts));
    b->size = 0;
    b->count = 0;
    while (b->count < FORMS) {
        size_t n = put_form(&b->bytes[b->size], mode);

        if (n != 0) {
            b->starts[b->count++] = b->size;
            b->size += n;
        }
    }
    memset(&b->bytes[b->size], NOP, 32);
    b->size += 32;
}

static void make_random(struct binary *b)
{
    b->bytes = malloc(SLOTS * 2 * SLOT_BYTES);
    b->starts = malloc(SLOTS * sizeof(*b->starts));
    b->size = SLOTS * 2 * SLOT_BYTES;
    b->count = SLOTS;
    memset(b->bytes, NOP, b->size);
    for (size_t i = 0; i < SLOTS; i++) {
        uint8_t *slot = &b->bytes[i * 2 * SLOT_BYTES];

        b->starts[i] = i * 2 * SLOT_BYTES;
        put_random(slot, SLOT_BYTES);
        if (one_in(2)) { /* more of what is near the known forms */
            const struct form *f = &forms[random_below(sizeof(forms) / sizeof(forms[0]))];
            static const uint8_t prefixes[] = {0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x48, 0x45};
            size_t n = 0;

            if (one_in(2)) {
                slot[n++] = prefixes[random_below(sizeof(prefixes))];
            }
            if (f->escape != 0) {
                slot[n++] = f->escape;
            }
            slot[n++] = (uint8_t)((f->first & 0xf8) + random_below(8));
        }
    }
}

static void drop(struct binary *b)
{
    free(b->bytes);
    free(b->starts);
}

/* ---- what objdump says ---- */

struct said {
    unsigned int length;
    bool memory;        /* has a memory operand, of */
    unsigned int bytes; /* so many, 0 if it does not say */
    bool memory_first;
    char mnemonic[32];
    char other[32]; /* the other operand */
    bool lock, rep, repne;
    bool prefixes_only;
};

static unsigned int named_size(const char *operand)
{
    static const struct {
        const char *text;
        unsigned int bytes;
    } sizes[] = {{"BYTE PTR ", 1}, {"QWORD PTR ", 8}, {"DWORD PTR ", 4}, {"WORD PTR ", 2}};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        if (strncmp(operand, sizes[i].text, strlen(sizes[i].text)) == 0) {
            return sizes[i].bytes;
        }
    }
    return 0;
}

static bool is_memory(const char *operand)
{
    return strchr(operand, '[') != NULL || strchr(operand, ':') != NULL;
}

static bool take_prefix(struct said *s, const char *word)
{
    static const char *const ignored[] = {"cs",  "ds",       "es",       "ss",     "fs",
                                          "gs",  "data16",   "data32",   "addr16", "addr32",
                                          "bnd", "xacquire", "xrelease", "notrack"};

    if (strcmp(word, "lock") == 0) {
        s->lock = true;
        return true;
    }
    if (strcmp(word, "rep") == 0 || strcmp(word, "repz") == 0) {
        s->rep = true; /* the last one counts */
        s->repne = false;
        return true;
    }
    if (strcmp(word, "repnz") == 0) {
        s->rep = false;
        s->repne = true;
        return true;
    }
    if (strncmp(word, "rex", 3) == 0) {
        return true;
    }
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++) {
        if (strcmp(word, ignored[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* "mov    DWORD PTR [rax],ecx        # 0x10", with prefixes before it. */
static void parse_text(struct said *s, char *text)
{
    char *comma, *memory, *end = strchr(text, '#');

    if (end != NULL) {
        *end = 0;
    }
    text[strcspn(text, "\n")] = 0;
    s->prefixes_only = true;
    while (*text != 0) {
        size_t n = strcspn(text, " ");
        char word[32];

        snprintf(word, sizeof(word), "%.*s", (int)n, text);
        text += n;
        text += strspn(text, " ");
        if (!take_prefix(s, word)) {
            snprintf(s->mnemonic, sizeof(s->mnemonic), "%s", word);
            s->prefixes_only = false;
            break;
        }
    }
    for (end = text + strlen(text); end > text && end[-1] == ' '; end--) {
        end[-1] = 0;
    }
    comma = strchr(text, ','); /* Intel's syntax has none within an address */
    if (comma == NULL || strchr(comma + 1, ',') != NULL) {
        return;
    }
    *comma = 0;
    s->memory_first = is_memory(text);
    s->memory = s->memory_first || is_memory(comma + 1);
    memory = s->memory_first ? text : comma + 1;
    s->bytes = named_size(memory);
    snprintf(s->other, sizeof(s->other), "%s", s->memory_first ? comma + 1 : text);
}

/* A line "  1c:\t89 08 \tmov ..."; false for others. */
static bool parse_line(char *line, size_t *address, struct said *s)
{
    char *end, *tab;
    unsigned long value = strtoul(line, &end, 16);

    if (end == line || end[0] != ':' || end[1] != '\t') {
        return false;
    }
    memset(s, 0, sizeof(*s));
    *address = value;
    tab = strchr(end + 2, '\t');
    for (char *p = end + 2; p != tab && *p != 0 && *p != '\n'; p++) {
        s->length += *p == ' ' && p[-1] != ' ';
    }
    if (tab == NULL) {
        s->prefixes_only = true;
        return true;
    }
    parse_text(s, tab + 1);
    return true;
}

static uint64_t cut(uint64_t value, unsigned int bytes)
{
    return bytes == 8 ? value : value & ((UINT64_C(1) << (8 * bytes)) - 1);
}

/* The text that the decoder should give for it; false when it should refuse. */
static bool expected(const struct said *s, char text[INSN_TEXT])
{
    static const char *const same[] = {"mov", "and", "or", "xor", "test", "cmp", "xchg", "stos"};
    const char *op = s->mnemonic, *dir, *sign = "";
    unsigned int reg_bytes = insn_register_bytes(s->other), bytes = s->bytes;
    bool rmw = false, known = false, immediate = strncmp(s->other, "0x", 2) == 0;
    char operand[32];

    if (!s->memory || (reg_bytes == 0 && !immediate)) {
        return false;
    }
    if (strcmp(op, "movsx") == 0 || strcmp(op, "movsxd") == 0) {
        op = "mov";
        sign = "s";
    } else if (strcmp(op, "movzx") == 0 || strcmp(op, "movabs") == 0) {
        op = "mov";
    }
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        known = known || strcmp(op, same[i]) == 0;
    }
    if (!known) {
        return false;
    }
    if (bytes == 0) {
        bytes = reg_bytes;
    }
    if (strcmp(s->mnemonic, "movsxd") == 0) {
        bytes = reg_bytes < 4 ? reg_bytes
                              : 4; /* objdump lets 66 win over REX.W in the memory's size */
    }
    if (strcmp(op, "xchg") == 0) {
        rmw = true;
    } else if (strcmp(op, "and") == 0 || strcmp(op, "or") == 0 || strcmp(op, "xor") == 0) {
        rmw = s->memory_first;
    }
    dir = rmw ? "rw" : "r";
    if ((strcmp(op, "mov") == 0 && s->memory_first) || strcmp(op, "stos") == 0) {
        dir = "w";
    }
    if (s->lock && !rmw) {
        return false;
    }
    if (strcmp(op, "cmp") == 0 && !s->memory_first) {
        op = "cmpreg";
    }
    snprintf(operand, sizeof(operand), "%s", s->other);
    if (immediate) {
        snprintf(operand, sizeof(operand), "#%" PRIx64, cut(strtoull(s->other, NULL, 16), bytes));
    }
    snprintf(text, INSN_TEXT, "%.6s %s%u%s %s", op, dir, bytes, sign, operand);
    return true;
}

/* STOS: what objdump calls the address register, and the repetition. */
static bool expected_stos(const struct said *s, const char *line, char text[INSN_TEXT])
{
    const char *at = strstr(line, "es:[");
    unsigned int bytes;

    if (s->repne || at == NULL) {
        return false;
    }
    bytes = at[4] == 'r' ? 8 : at[4] == 'e' ? 4 : 2;
    snprintf(text + strlen(text), INSN_TEXT - strlen(text), " a%u%s", bytes, s->rep ? " rep" : "");
    return true;
}

static const char *hex(const uint8_t *bytes)
{
    static char text[3 * INSN_MAX + 1];

    for (unsigned int i = 0; i < INSN_MAX; i++) {
        snprintf(&text[3 * i], 4, "%02x ", bytes[i]);
    }
    return text;
}

/* Forms that objdump knows and the decoder refuses on purpose. */
static bool left_out(const uint8_t *bytes, unsigned int length)
{
    for (unsigned int i = 0; i + 1 < length; i++) {
        /* F6 /1 and F7 /1, TEST again, and 82, 80 again: in no manual, or a leftover. */
        if (((bytes[i] & 0xfe) == 0xf6 && (bytes[i + 1] >> 3 & 7) == 1) || bytes[i] == 0x82) {
            return true;
        }
    }
    return false;
}

struct tally {
    size_t accepted, refused, passed_over;
};

static void compare(const struct binary *b, size_t at, unsigned int mode, const struct said *s,
                    const char *line, struct tally *t)
{
    char text[INSN_TEXT] = "", want[INSN_TEXT] = "";
    struct insn_mmio insn;
    size_t len = b->size - at < INSN_MAX ? b->size - at : INSN_MAX;
    int rc = insn_decode_mmio(&b->bytes[at], len, mode, &insn);
    bool ok;

    if (s->prefixes_only) { /* a REX that does not count, or too many: objdump stops short */
        t->passed_over++;
        return;
    }
    ok = expected(s, want);
    if (ok && strncmp(want, "stos", 4) == 0) {
        ok = expected_stos(s, line, want);
    }
    if (rc == 0) {
        insn_text(&insn, text);
        t->accepted++;
    } else {
        t->refused++;
    }
    if (rc != 0 && (!ok || left_out(&b->bytes[at], s->length))) {
        assert_int_equal(rc, -EINVAL);
        return;
    }
    if (rc != 0 || !ok || strcmp(text, want) != 0 || insn.length != s->length) {
        fail_msg("mode %u, %s: \"%s\", %d, %u bytes; objdump: \"%s\", %u bytes:\n%s", mode,
                 hex(&b->bytes[at]), text, rc, rc == 0 ? insn.length : 0U, ok ? want : "other",
                 s->length, line);
    }
}

static void run_objdump(const struct binary *b, unsigned int mode, struct tally *t)
{
    char name[] = "/tmp/molt-insn-XXXXXX", command[160], line[512], copy[512];
    int fd = mkstemp(name);
    size_t next = 0, address;
    struct said s;
    FILE *pipe;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, b->bytes, b->size), b->size);
    close(fd);
    snprintf(command, sizeof(command),
             "LC_ALL=C objdump -D -z -b binary -m %s -M intel%s --insn-width=16 %s",
             mode == 8   ? "i386:x86-64"
             : mode == 4 ? "i386"
                         : "i8086",
             mode == 8 ? ",intel64" : "", name);
    pipe = popen(command, "r");
    assert_non_null(pipe);
    while (fgets(line, sizeof(line), pipe) != NULL) {
        if (name[0] != 0) {
            unlink(name); /* objdump has it open by now */
            name[0] = 0;
        }
        strcpy(copy, line);
        if (!parse_line(copy, &address, &s) || next == b->count || address < b->starts[next]) {
            continue;
        }
        if (address > b->starts[next]) {
            fail_msg("mode %u, at %#zx: objdump is out of step, %s", mode, b->starts[next],
                     hex(&b->bytes[b->starts[next]]));
        }
        compare(b, address, mode, &s, line, t);
        next++;
    }
    assert_int_equal(pclose(pipe), 0);
    assert_int_equal(next, b->count);
}

static const unsigned int modes[] = {8, 4, 2};

static void test_insn_decode_mmio__random_encodings_of_known_forms__as_objdump(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct tally t = {0};
        struct binary b;

        make_forms(&b, modes[i]);
        run_objdump(&b, modes[i], &t);
        drop(&b);
        assert_int_equal(t.accepted, FORMS);
    }
}

static void test_insn_decode_mmio__random_bytes__known_forms_and_no_others(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct tally t = {0};
        struct binary b;

        make_random(&b);
        run_objdump(&b, modes[i], &t);
        drop(&b);
        assert_true(t.accepted > SLOTS / 10 && t.refused > SLOTS / 10);
        assert_true(t.passed_over < SLOTS / 50);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_insn_decode_mmio__random_encodings_of_known_forms__as_objdump),
        cmocka_unit_test(test_insn_decode_mmio__random_bytes__known_forms_and_no_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
