/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256 and signatures by ECDSA over P-256.
 *
 * The work is BearSSL's, whose objects use vector registers: what a guest has in them is put away
 * first. Not for the pause of an update: it takes its time. hv_lock held; from cpu_init() on.
 */
#ifndef HV_CRYPTO_H
#define HV_CRYPTO_H

#include "hv/types.h"

#define SHA256_BYTES 32U

struct sha256 {
    uint64_t state[14]; /* core/crypto.c's own */
};

void sha256_begin(struct sha256 *s);
/* About 8 cycles a byte. */
void sha256_add(struct sha256 *s, const void *data, size_t bytes);
void sha256_end(const struct sha256 *s, uint8_t hash[SHA256_BYTES]);

#define ECDSA_KEY_BYTES 65U       /* 4, X, Y: big-endian */
#define ECDSA_SIGNATURE_BYTES 64U /* r, s: big-endian */

/* Is it a public key: a point of the curve? Half a million cycles. */
bool ecdsa_key_valid(const uint8_t key[ECDSA_KEY_BYTES]);

/* Is it the signature of this hash by that key? Any bytes may be given. Two million cycles. */
bool ecdsa_verify(const uint8_t key[ECDSA_KEY_BYTES], const uint8_t hash[SHA256_BYTES],
                  const uint8_t signature[ECDSA_SIGNATURE_BYTES]);

#endif
