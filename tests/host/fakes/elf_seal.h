/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seal of a synthesised image: its hash, as tools/seal makes it.
 */
#ifndef FAKES_ELF_SEAL_H
#define FAKES_ELF_SEAL_H

#include "fakes/elf_image.h"
#include "hv/crypto.h"

/* The last thing that is done to an image that shall be taken. */
static inline void elf_image_seal(struct elf_image *e)
{
    uint8_t hash[SHA256_BYTES];
    struct sha256 s;

    memset(e->notes.seal.sha256, 0, sizeof(e->notes.seal.sha256));
    memset(e->notes.seal.signature, 0, sizeof(e->notes.seal.signature));
    sha256_begin(&s);
    sha256_add(&s, e, IMAGE_FILE_BYTES);
    sha256_end(&s, hash);
    memcpy(e->notes.seal.sha256, hash, sizeof(hash));
}

#endif
