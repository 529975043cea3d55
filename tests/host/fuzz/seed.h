/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seeds made by code: a fuzz target defines seed_make(), and every now and then (and whenever the
 * input is too short to be anything) the mutator starts over from what it makes. A target that
 * knows the form of its input defines SEED_MUTATES and seed_mutate(), which every second time
 * changes the input instead of libFuzzer's own ways.
 */
#ifndef FUZZ_SEED_H
#define FUZZ_SEED_H

#include <stddef.h>
#include <stdint.h>

#define SEED_EVERY 256U
#define SEED_SHORTEST 8U

/* Writes a good input of at most max bytes, one of several by `choice`; returns its size, 0 when it
 * does not fit. */
size_t seed_make(uint8_t *data, size_t max, unsigned int choice);

#ifdef SEED_MUTATES
size_t seed_mutate(uint8_t *data, size_t size, size_t max, unsigned int seed);
#endif

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    if (size < SEED_SHORTEST || seed % SEED_EVERY == 0) {
        size_t made = seed_make(data, max_size, seed / SEED_EVERY);

        if (made > 0) {
            return made;
        }
    }
#ifdef SEED_MUTATES
    if (seed % 2 != 0) {
        return seed_mutate(data, size, max_size, seed / 2);
    }
#endif
    return LLVMFuzzerMutate(data, size, max_size);
}

#endif
