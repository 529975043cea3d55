/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command line options, walked where they stand.
 *
 * State: what cmdline_learn() has seen.  Host test: tests/host/test_cmdline.c
 */
#include "hv/cmdline.h"

#include "hv/errno.h"
#include "hv/string.h"

/* Physical addresses have at most 52 bits (SDM, "Physical Address Space"), frame numbers 40. */
#define MFN_LIMIT BIT(40)

#define BADPAGE "badpage"

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool cmdline_word(const char **cursor, struct str_span *word)
{
    const char *p = *cursor;
    const char *start;

    while (is_space(*p)) {
        p++;
    }
    start = p;
    while (*p != '\0' && !is_space(*p)) {
        p++;
    }
    *cursor = p;
    if (p == start) {
        return false;
    }
    *word = (struct str_span){start, (size_t)(p - start)};
    return true;
}

/* True when the word is key or key=value. */
static bool word_is(struct str_span word, const char *key, struct str_span *value)
{
    size_t n = strlen(key);

    if (word.len < n || memcmp(word.s, key, n) != 0) {
        return false;
    }
    if (word.len == n) {
        *value = (struct str_span){word.s + n, 0};
        return true;
    }
    if (word.s[n] != '=') {
        return false;
    }
    *value = (struct str_span){word.s + n + 1, word.len - n - 1};
    return true;
}

/* Of the line that was learnt: a bit for the first letter and length of each word's key. */
static struct {
    const char *line;
    uint64_t keys;
} learnt;

static uint64_t key_bit(const char *key, size_t len)
{
    return BIT(((unsigned char)key[0] + 7 * len) % 64);
}

static size_t key_length(struct str_span word)
{
    size_t n = 0;

    while (n < word.len && word.s[n] != '=') {
        n++;
    }
    return n;
}

void cmdline_learn(const char *cmdline)
{
    const char *cursor = cmdline;
    struct str_span word;

    learnt.line = cmdline;
    learnt.keys = 0;
    while (cmdline_word(&cursor, &word)) {
        learnt.keys |= key_bit(word.s, key_length(word));
    }
}

/* False: the line has no such word. True: it has to be walked. */
static bool may_have(const char *cmdline, const char *key)
{
    return cmdline != learnt.line || (learnt.keys & key_bit(key, strlen(key)));
}

bool cmdline_get(const char *cmdline, const char *key, struct str_span *value)
{
    struct str_span word;
    struct str_span v;
    bool found = false;

    if (!may_have(cmdline, key)) {
        return false;
    }
    while (cmdline_word(&cmdline, &word)) {
        if (word_is(word, key, &v)) {
            *value = v;
            found = true;
        }
    }
    return found;
}

bool span_eq(struct str_span span, const char *text)
{
    return span.len == strlen(text) && memcmp(span.s, text, span.len) == 0;
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return 16;
}

static bool has_0x(struct str_span text)
{
    return text.len >= 2 && text.s[0] == '0' && (text.s[1] == 'x' || text.s[1] == 'X');
}

/* All of text as a number of the base, without prefix. */
static int parse_digits(struct str_span text, unsigned int base, uint64_t *out)
{
    uint64_t v = 0;

    if (text.len == 0) {
        return -EINVAL;
    }
    for (size_t i = 0; i < text.len; i++) {
        unsigned int d = (unsigned int)digit_value(text.s[i]);

        if (d >= base || __builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, d, &v)) {
            return -EINVAL;
        }
    }
    *out = v;
    return 0;
}

int parse_hex(struct str_span text, uint8_t *out, size_t bytes)
{
    uint64_t byte;

    if (text.len != 2 * bytes) {
        return -EINVAL;
    }
    for (size_t i = 0; i < bytes; i++) {
        if (parse_digits((struct str_span){text.s + 2 * i, 2}, 16, &byte) != 0) {
            return -EINVAL;
        }
        out[i] = (uint8_t)byte;
    }
    return 0;
}

static unsigned int suffix_shift(char c)
{
    switch (c) {
    case 'K':
    case 'k':
        return 10;
    case 'M':
    case 'm':
        return 20;
    case 'G':
    case 'g':
        return 30;
    case 'T':
    case 't':
        return 40;
    default:
        return 0;
    }
}

int parse_size(struct str_span text, uint64_t *out)
{
    unsigned int shift = text.len > 0 ? suffix_shift(text.s[text.len - 1]) : 0;
    bool hex = has_0x(text);
    uint64_t v;
    int rc;

    if (shift != 0) {
        text.len--;
    }
    if (hex) {
        text = (struct str_span){text.s + 2, text.len - 2};
    }
    rc = parse_digits(text, hex ? 16 : 10, &v);
    if (rc != 0) {
        return rc;
    }
    if (v > UINT64_MAX >> shift) {
        return -EINVAL;
    }
    *out = v << shift;
    return 0;
}

/* Cuts `text` at the first `c`: the part before, and what follows in *rest (false: no c). */
static bool split(struct str_span *text, char c, struct str_span *rest)
{
    for (size_t i = 0; i < text->len; i++) {
        if (text->s[i] == c) {
            *rest = (struct str_span){text->s + i + 1, text->len - i - 1};
            text->len = i;
            return true;
        }
    }
    return false;
}

int cmdline_liveupdate(const char *cmdline, uint64_t *size, paddr_t *base)
{
    struct str_span size_text;
    struct str_span base_text;
    uint64_t size_value;
    paddr_t base_value = 0;

    if (!cmdline_get(cmdline, "liveupdate", &size_text)) {
        return -ENOENT;
    }
    /* An explicit base of 0 is no place for a region, and 0 says "none" here. */
    if (split(&size_text, '@', &base_text) &&
        (parse_size(base_text, &base_value) != 0 || base_value == 0)) {
        return -EINVAL;
    }
    if (parse_size(size_text, &size_value) != 0) {
        return -EINVAL;
    }
    *size = size_value;
    *base = base_value;
    return 0;
}

static int parse_mfn(struct str_span text, uint64_t *out)
{
    if (has_0x(text)) {
        text = (struct str_span){text.s + 2, text.len - 2};
    }
    if (parse_digits(text, 16, out) != 0 || *out >= MFN_LIMIT) {
        return -EINVAL;
    }
    return 0;
}

/* One MFN or MFN-MFN. */
static int parse_bad_item(struct str_span item, mfn_t *start, mfn_t *end)
{
    struct str_span last_text;
    uint64_t first;
    uint64_t last;

    if (split(&item, '-', &last_text)) {
        if (parse_mfn(last_text, &last) != 0 || parse_mfn(item, &first) != 0 || last < first) {
            return -EINVAL;
        }
    } else {
        if (parse_mfn(item, &first) != 0) {
            return -EINVAL;
        }
        last = first;
    }
    *start = mfn_from(first);
    *end = mfn_from(last + 1);
    return 0;
}

int cmdline_badpage_next(const char **cursor, mfn_t *start, mfn_t *end, struct str_span *bad)
{
    struct str_span word;
    struct str_span item;

    if (!may_have(*cursor, BADPAGE)) {
        return 0;
    }
    /* A cursor at a comma stands inside a list; elsewhere it stands between words. Only the item
     * itself is looked at: lists are long. */
    if (**cursor == ',') {
        item.s = *cursor + 1;
    } else {
        do {
            if (!cmdline_word(cursor, &word)) {
                return 0;
            }
        } while (!word_is(word, BADPAGE, &item));
    }
    item.len = 0;
    while (item.s[item.len] != ',' && !is_space(item.s[item.len]) && item.s[item.len] != '\0') {
        item.len++;
    }
    *cursor = item.s + item.len;
    if (parse_bad_item(item, start, end) != 0) {
        *bad = item;
        return -EINVAL;
    }
    return 1;
}

paddr_t cmdline_bad_in_range(const char *cmdline, paddr_t start, paddr_t end)
{
    struct str_span bad;
    paddr_t found = 0;
    mfn_t s;
    mfn_t e;
    int rc;

    end = MIN(end, MFN_LIMIT << PAGE_SHIFT); /* rounding up cannot wrap then */
    if (start >= end) {
        return 0;
    }
    while ((rc = cmdline_badpage_next(&cmdline, &s, &e, &bad)) != 0) {
        /* Malformed items are reported where the bad pages are claimed. */
        if (rc == 1 && ranges_overlap(mfn_to_pa(s), mfn_to_pa(e), start, end)) {
            found = MAX(found, MIN(mfn_to_pa(e), align_up(end, PAGE_SIZE)));
        }
    }
    return found;
}
