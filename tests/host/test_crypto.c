/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/crypto.c: the standards' own examples, and the openssl of this machine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/context.h"
#include "hv/crypto.h"

/* ---- the registers are asked for, and given back ---- */

static bool lent;
static unsigned int lendings;

void context_lend(void)
{
    assert_false(lent);
    lent = true;
    lendings++;
}

void context_take_back(void)
{
    assert_true(lent);
    lent = false;
}

/* ---- bytes ---- */

static void unhex(const char *text, uint8_t *out, size_t n)
{
    assert_int_equal(strlen(text), 2 * n);
    for (size_t i = 0; i < n; i++) {
        unsigned int byte;

        assert_int_equal(sscanf(text + 2 * i, "%2x", &byte), 1);
        out[i] = (uint8_t)byte;
    }
}

static void hash_of(const void *data, size_t n, uint8_t out[SHA256_BYTES])
{
    struct sha256 s;

    sha256_begin(&s);
    sha256_add(&s, data, n);
    sha256_end(&s, out);
}

static uint64_t seed = 7;

static uint8_t random_byte(void)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
    return (uint8_t)(seed >> 56);
}

/* ---- SHA-256: FIPS 180-4's examples ---- */

static const struct {
    const char *text, *hash;
} fips[] = {
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
};

static void test_sha256__fips_examples__as_printed_there(void **state)
{
    uint8_t want[SHA256_BYTES], hash[SHA256_BYTES];
    struct sha256 s;

    (void)state;
    lendings = 0;
    for (size_t i = 0; i < sizeof(fips) / sizeof(fips[0]); i++) {
        unhex(fips[i].hash, want, sizeof(want));
        hash_of(fips[i].text, strlen(fips[i].text), hash);
        assert_memory_equal(hash, want, sizeof(want));
    }
    assert_int_equal(lendings, 9);
    /* A million times "a", in pieces of every length. */
    sha256_begin(&s);
    for (size_t done = 0, n = 1; done < 1000000; done += n, n = n % 200 + 1) {
        char as[200];

        n = done + n > 1000000 ? 1000000 - done : n;
        memset(as, 'a', sizeof(as));
        sha256_add(&s, as, n);
    }
    unhex("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0", want, sizeof(want));
    sha256_end(&s, hash);
    assert_memory_equal(hash, want, sizeof(want));
    sha256_end(&s, hash); /* the state is as it was */
    assert_memory_equal(hash, want, sizeof(want));
    assert_false(lent);
}

/* ---- ECDSA: RFC 6979, A.2.5, the signatures with SHA-256 ---- */

#define RFC_X "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6"
#define RFC_Y "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299"

static const struct {
    const char *text, *signature;
} rfc[] = {
    {"sample", "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
               "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"},
    {"test", "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367"
             "019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083"},
};

struct vector {
    uint8_t key[ECDSA_KEY_BYTES], hash[SHA256_BYTES], signature[ECDSA_SIGNATURE_BYTES];
};

static struct vector rfc_vector(size_t i)
{
    struct vector v;

    unhex("04" RFC_X RFC_Y, v.key, sizeof(v.key));
    unhex(rfc[i].signature, v.signature, sizeof(v.signature));
    hash_of(rfc[i].text, strlen(rfc[i].text), v.hash);
    return v;
}

static bool good(const struct vector *v)
{
    return ecdsa_verify(v->key, v->hash, v->signature);
}

static void test_ecdsa_verify__rfc_examples__good_and_each_bit_matters(void **state)
{
    (void)state;
    lendings = 0;
    for (size_t i = 0; i < 2; i++) {
        struct vector v = rfc_vector(i);

        assert_true(ecdsa_key_valid(v.key));
        assert_true(good(&v));
        for (size_t bit = i; bit < sizeof(v) * 8; bit += 7) {
            uint8_t *bytes = (uint8_t *)&v;

            bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
            assert_false(good(&v));
            bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        }
        assert_true(good(&v));
    }
    struct vector crossed = rfc_vector(0);
    memcpy(crossed.hash, rfc_vector(1).hash, SHA256_BYTES);
    assert_false(good(&crossed));
    assert_true(lendings > 100);
    assert_false(lent);
}

/* Values at the ends of the ranges that r, s and the coordinates may have. */
static void test_ecdsa_verify__odd_numbers__bad(void **state)
{
    static const char *const numbers[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000001",
        "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551", /* the order */
        "FFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF", /* the prime */
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF",
    };
    uint8_t number[32];

    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct vector v = rfc_vector(0);

        unhex(numbers[i], number, sizeof(number));
        memcpy(v.signature, number, 32);
        assert_false(good(&v));
        memcpy(v.signature + 32, number, 32);
        assert_false(good(&v));
        v = rfc_vector(0);
        memcpy(v.key + 1, number, 32);
        assert_false(good(&v) || ecdsa_key_valid(v.key));
        memcpy(v.key + 33, number, 32);
        assert_false(good(&v) || ecdsa_key_valid(v.key));
    }
    for (unsigned int first = 0; first < 256; first++) {
        struct vector v = rfc_vector(0);

        v.key[0] = (uint8_t)first;
        assert_int_equal(ecdsa_key_valid(v.key), first == 4);
        assert_int_equal(good(&v), first == 4);
    }
}

/* ---- openssl ---- */

static char folder[] = "/tmp/test_crypto.XXXXXX";

static void to_file(const char *name, const void *data, size_t n)
{
    FILE *f = fopen(name, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* What a command prints; its length. */
static size_t output_of(const char *command, uint8_t *out, size_t max)
{
    FILE *f = popen(command, "r");
    size_t n;

    assert_non_null(f);
    n = fread(out, 1, max, f);
    assert_int_equal(pclose(f), 0);
    return n;
}

/* One INTEGER of a DER signature, to 32 bytes. */
static size_t take_integer(const uint8_t *der, uint8_t out[32])
{
    size_t n = der[1], from = n > 32 ? n - 32 : 0;

    assert_int_equal(der[0], 2);
    memset(out, 0, 32);
    memcpy(out + 32 - (n - from), der + 2 + from, n - from);
    return n + 2;
}

static void openssl_vector(struct vector *v)
{
    uint8_t out[256], message[300];
    size_t n = random_byte() + 1U;

    for (size_t i = 0; i < n; i++) {
        message[i] = random_byte();
    }
    to_file("message", message, n);
    n = output_of("openssl ecparam -name prime256v1 -genkey -noout -out key.pem 2>&1", out, 256);
    assert_int_equal(n, 0);
    n = output_of("openssl ec -in key.pem -pubout -outform DER 2>/dev/null", out, sizeof(out));
    assert_true(n > ECDSA_KEY_BYTES && n < sizeof(out));
    memcpy(v->key, out + n - ECDSA_KEY_BYTES, ECDSA_KEY_BYTES);
    assert_int_equal(output_of("openssl dgst -sha256 -binary message", v->hash, 32), 32);
    n = output_of("openssl dgst -sha256 -sign key.pem message", out, sizeof(out));
    assert_true(n > 8 && n == out[1] + 2U && out[0] == 0x30);
    n = take_integer(out + 2, v->signature);
    (void)take_integer(out + 2 + n, v->signature + 32);
    hash_of(message, (size_t)message[0] % 8 + 1, out); /* of a part: not its hash */
    assert_memory_not_equal(out, v->hash, SHA256_BYTES);
}

static void test_openssl__keys_hashes_signatures__agree(void **state)
{
    char *top = getcwd(NULL, 0);

    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    for (unsigned int i = 0; i < 12; i++) {
        uint8_t message[300], hash[SHA256_BYTES];
        struct vector v;
        size_t n;

        openssl_vector(&v);
        n = output_of("cat message", message, sizeof(message));
        hash_of(message, n, hash);
        assert_memory_equal(hash, v.hash, SHA256_BYTES);
        assert_true(ecdsa_key_valid(v.key));
        assert_true(good(&v));
        v.hash[i] ^= 1;
        assert_false(good(&v));
    }
    assert_int_equal(system("rm -f message key.pem"), 0);
    assert_int_equal(chdir(top), 0);
    assert_int_equal(rmdir(folder), 0);
    free(top);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256__fips_examples__as_printed_there),
        cmocka_unit_test(test_ecdsa_verify__rfc_examples__good_and_each_bit_matters),
        cmocka_unit_test(test_ecdsa_verify__odd_numbers__bad),
        cmocka_unit_test(test_openssl__keys_hashes_signatures__agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
