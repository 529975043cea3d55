/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one file that knows BearSSL. Of its curves the one with 31-bit limbs: twice as fast as the
 * generic code for 5 KiB more, and guests may be waiting.
 *
 * Host test: tests/host/test_crypto.c
 */
#include "hv/crypto.h"

#include <bearssl.h>

#include "hv/context.h"

_Static_assert(sizeof(struct sha256) >= sizeof(br_sha256_context), "room for the state");
_Static_assert(_Alignof(struct sha256) >= _Alignof(br_sha256_context), "its alignment");

static br_sha256_context *context_of(struct sha256 *s)
{
    return (br_sha256_context *)(void *)s->state;
}

void sha256_begin(struct sha256 *s)
{
    context_lend();
    br_sha256_init(context_of(s));
    context_take_back();
}

void sha256_add(struct sha256 *s, const void *data, size_t bytes)
{
    context_lend();
    br_sha256_update(context_of(s), data, bytes);
    context_take_back();
}

void sha256_end(const struct sha256 *s, uint8_t hash[SHA256_BYTES])
{
    struct sha256 copy = *s;

    context_lend();
    br_sha256_out(context_of(&copy), hash);
    context_take_back();
}

bool ecdsa_key_valid(const uint8_t key[ECDSA_KEY_BYTES])
{
    static const uint8_t one[] = {1};
    uint8_t point[ECDSA_KEY_BYTES];
    uint32_t good = 0;

    if (key[0] != 4) {
        return false;
    }
    for (size_t i = 0; i < sizeof(point); i++) {
        point[i] = key[i];
    }
    context_lend();
    good = br_ec_p256_m31.mul(point, sizeof(point), one, sizeof(one), BR_EC_secp256r1);
    context_take_back();
    return good == 1;
}

bool ecdsa_verify(const uint8_t key[ECDSA_KEY_BYTES], const uint8_t hash[SHA256_BYTES],
                  const uint8_t signature[ECDSA_SIGNATURE_BYTES])
{
    uint8_t point[ECDSA_KEY_BYTES]; /* BearSSL's field is not const */
    br_ec_public_key pk = {.curve = BR_EC_secp256r1, .q = point, .qlen = sizeof(point)};
    uint32_t good = 0;

    for (size_t i = 0; i < sizeof(point); i++) {
        point[i] = key[i];
    }
    context_lend();
    good = br_ecdsa_i31_vrfy_raw(&br_ec_p256_m31, hash, SHA256_BYTES, &pk, signature,
                                 ECDSA_SIGNATURE_BYTES);
    context_take_back();
    return good == 1;
}
