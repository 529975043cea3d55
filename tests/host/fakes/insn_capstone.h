/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What capstone says of an encoding, in the decoders' terms; where it is of another opinion than
 * the manuals, theirs counts, by rules that have names.
 */
#ifndef FAKES_INSN_CAPSTONE_H
#define FAKES_INSN_CAPSTONE_H

#include "hv/insn.h"
#include "hv/insn_exit.h"

#define ENCODING_BYTES 32U

struct encoding {
    unsigned int mode; /* 2, 4, 8 */
    uint8_t bytes[ENCODING_BYTES];
    unsigned int n; /* bytes; at least INSN_MAX + 1 when it is asked about */
};

struct insn_said {
    bool mmio; /* one of the forms that insn_decode_mmio() promises, */
    struct insn_mmio as_mmio;
    bool exits; /* that insn_decode_exit() promises */
    struct insn_exit as_exit;
};

bool capstone_open(void);
void capstone_close(void);
void capstone_ask(const struct encoding *e, struct insn_said *said);

/* Rules, and how often each has overruled capstone; NULL behind the last one. */
const char *capstone_rule(unsigned int rule, size_t *times);

#endif
