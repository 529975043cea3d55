/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers that look random and are the same in each run: xorshift64. A test that wants others than
 * its neighbours sets random_state first; not to 0.
 */
#ifndef FAKES_RANDOM_H
#define FAKES_RANDOM_H

#include <stdint.h>

static uint64_t random_state = 0x9e3779b97f4a7c15;

static inline uint64_t random64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* 0 to n - 1. */
static inline unsigned int random_below(unsigned int n)
{
    return (unsigned int)((random64() >> 16) % n);
}

#endif
