/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command line: words "key" or "key=value" separated by spaces. None is stored, lines of any
 * length are walked where they stand; the last of several equal keys wins (badpage= adds up).
 */
#ifndef HV_CMDLINE_H
#define HV_CMDLINE_H

#include "hv/compiler.h"
#include "hv/types.h"

struct str_span {
    const char *s; /* not terminated */
    size_t len;
};

/* The value of key ("" for a word without "="). False when the key is not there. */
bool cmdline_get(const char *cmdline, const char *key, struct str_span *value);

/* Notes which words this line can have: to look there for a key that it has not costs nothing then.
 * The line stays as it is and where it is; at most one is noted. */
void cmdline_learn(const char *cmdline);

/* Next word from *cursor (start with the line itself); false at the end. */
bool cmdline_word(const char **cursor, struct str_span *word);

bool span_eq(struct str_span span, const char *text);

/* Number, decimal or 0x..., with an optional suffix K, M, G, T (powers of 1024). 0 or -EINVAL
 * (empty, other characters, overflow). */
MUST_CHECK int parse_size(struct str_span text, uint64_t *out);

/* Exactly two hexadecimal digits for each of the bytes. 0 or -EINVAL. */
MUST_CHECK int parse_hex(struct str_span text, uint8_t *out, size_t bytes);

/* liveupdate=SIZE[@BASE]: 0, -ENOENT (not given) or -EINVAL. Without @BASE, *base is 0. */
MUST_CHECK int cmdline_liveupdate(const char *cmdline, uint64_t *size, paddr_t *base);

/*
 * Next range of all badpage=MFN[-MFN],... options, half-open; *cursor starts as the line. Numbers
 * are hexadecimal with or without 0x; the second MFN is included. Returns 1 for a range, 0 at the
 * end, -EINVAL for a malformed item (*bad names it; the cursor has moved past it).
 */
int cmdline_badpage_next(const char **cursor, mfn_t *start, mfn_t *end, struct str_span *bad);

/* For boot_alloc: the end of the last bad frame in [start, end), 0 when there is none. */
paddr_t cmdline_bad_in_range(const char *cmdline, paddr_t start, paddr_t end);

#endif
