/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: records of a stream, framing and checksum always right.
 *
 * Input: a byte for the version, odd: 1; records one after the other, each {u8 type, u16 length,
 * payload}; a type above the known ones is an unknown optional or mandatory record. The mutator
 * knows that form: it changes payloads at random and by field, and drops, doubles, swaps and cuts
 * records. What the check refuses must have changed nothing; what it accepts must be applied, or
 * fail only at what the backend says of a vCPU's registers.
 */
#include <stdlib.h>
#include <string.h>

#include "../../../lu/lu_priv.h"
#include "fakes/alloc_fail.h"
#include "fakes/machine.h"
#include "fakes/seam.h"
#include "fakes/stream_copy.h"
#include "fakes/world.h"
#include "hv/buddy.h"
#include "hv/domain.h"
#include "hv/frametable.h"
#include "hv/memory.h"
#include "hv/modules.h"
#include "hv/seam.h"

#define HEAD 3U
#define KNOWN_MAX 23U

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* No allocation fails here. */
void fake_fail_alloc_after(long n)
{
    (void)n;
}

static uint32_t type_of(uint8_t byte)
{
    bool optional = byte == 11 || byte == 18 || byte == 19 || (byte >= 21 && byte <= 23);
    uint32_t type = byte | (optional ? LU_REC_OPTIONAL : 0);

    if (byte == 0 || byte == LU_REC_END) { /* framing's business */
        type = LU_REC_HOST;
    } else if (byte > KNOWN_MAX) {
        type = (byte & 1 ? LU_REC_OPTIONAL : 0) | byte;
    }
    return type;
}

static uint8_t byte_of(uint32_t type)
{
    return (uint8_t)(type & 0x7f);
}

static void decode(struct stream_copy *c, const uint8_t *data, size_t size)
{
    c->nr = 0;
    c->version = size > 0 && data[0] % 2 != 0 ? 1 : 2;
    for (size_t at = 1; at + HEAD <= size && c->nr < COPY_RECORDS_MAX;) {
        size_t length = data[at + 1] | (size_t)data[at + 2] << 8;

        length = length > size - at - HEAD ? size - at - HEAD : length;
        copy_insert(c, c->nr, type_of(data[at]), data + at + HEAD, length);
        at += HEAD + length;
    }
}

/* 0 when it does not fit. */
static size_t encode(const struct stream_copy *c, uint8_t *data, size_t max)
{
    size_t at = 1;

    if (max < 1) {
        return 0;
    }
    data[0] = (uint8_t)(c->version % 2);
    for (size_t i = 0; i < c->nr; i++) {
        const struct copy_record *r = &c->records[i];

        if (r->length > 0xffff || at + HEAD + r->length > max) {
            return 0;
        }
        data[at] = byte_of(r->type);
        data[at + 1] = (uint8_t)r->length;
        data[at + 2] = (uint8_t)(r->length >> 8);
        memcpy(data + at + HEAD, r->data, r->length);
        at += HEAD + r->length;
    }
    return at;
}

/* ---- seeds ---- */

static void world_once(void)
{
    static bool done;

    if (!done) {
        world_reset();
        done = true;
    }
}

/* Version 1; 2 with a recorder and digests; 2 without vCPUs. */
static struct stream_copy seeds[3];

static void drop_vcpus(struct domain *d)
{
    while (d->vcpus != NULL) {
        struct vcpu *v = d->vcpus;

        d->vcpus = v->next_in_domain;
        d->nr_vcpus--;
        vcpu_destroy(v);
    }
}

static void add_optional(struct stream_copy *c)
{
    struct lu_rec_recorder recorder = {WORLD_HIGH_END - KIB(128), KIB(64)};
    struct lu_rec_digest digest = {.domain = 1, .flags = LU_DIGEST_MEMORY, .memory_crc = 1};
    struct lu_stop stops[] = {{LU_STOP_CPU, 0, 0, 1}, {1, 0, 0, 2}};

    copy_insert(c, 1, LU_REC_RECORDER, &recorder, sizeof(recorder));
    copy_insert(c, c->nr, LU_REC_DIGEST, &digest, sizeof(digest));
    copy_insert(c, c->nr, LU_REC_STOPS, stops, sizeof(stops));
}

static void make_seeds(void)
{
    if (seeds[0].nr != 0) {
        return;
    }
    world_once();
    for (unsigned int i = 0; i < ARRAY_SIZE(seeds); i++) {
        struct stream_reader reader;
        const char *why = "";
        size_t length;

        world_boot(0, true);
        fake_stream_newest = i == 0 ? 1 : 2;
        world_sample(true);
        if (i == 2) {
            drop_vcpus(domain_list);
        }
        uint8_t *stream = world_stream(&length);
        if (stream_open(&reader, stream, length, &why) != 0) {
            abort();
        }
        copy_take(&seeds[i], &reader);
        free(stream);
    }
    add_optional(&seeds[1]);
}

/* A field of 2, 4 or 8 bytes: a value at which checks like to be wrong, or another field's. */
static void mutate_field(struct copy_record *r, const struct copy_record *other, unsigned int seed)
{
    static const uint64_t values[] = {0,
                                      1,
                                      2,
                                      0x7f,
                                      0xff,
                                      0xffff,
                                      0x10000,
                                      0xfff,
                                      0x1000,
                                      UINT32_MAX,
                                      UINT64_MAX,
                                      INT64_MAX,
                                      1 << 9,
                                      UINT64_C(1) << 40,
                                      WORLD_REGION,
                                      WORLD_HIGH};
    size_t bytes = (size_t)2 << seed % 3;
    uint64_t value;

    if (r->length < bytes) {
        return;
    }
    size_t at = seed / 3 % (r->length / bytes) * bytes;

    value = values[seed / 512 % ARRAY_SIZE(values)];
    if (seed / 8192 % 4 == 0 && other->length >= bytes) {
        memcpy(&value, other->data + seed / 32768 % (other->length / bytes) * bytes, bytes);
    } else if (seed / 8192 % 4 == 1) {
        uint64_t old = 0;

        memcpy(&old, r->data + at, bytes);
        value = seed & 4096 ? old + 1 : old - 1;
    }
    memcpy(r->data + at, &value, bytes);
}

static void mutate_payload(struct copy_record *r, unsigned int seed)
{
    size_t length = r->length;

    if (seed % 8 != 0 && length > 0) { /* mostly the length stays */
        (void)LLVMFuzzerMutate(r->data, length, length);
        return;
    }
    copy_resize(r, length + 64);
    r->length = LLVMFuzzerMutate(r->data, length, length + 64);
}

static void swap(struct copy_record *a, struct copy_record *b)
{
    struct copy_record t = *a;

    *a = *b;
    *b = t;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    struct stream_copy c;
    size_t made, a, b;

    make_seeds();
    if (size < 64 || seed % 128 == 0) {
        made = encode(&seeds[seed / 128 % ARRAY_SIZE(seeds)], data, max_size);
        return made > 0 ? made : size;
    }
    decode(&c, data, size);
    if (c.nr == 0) {
        return size;
    }
    a = seed / 16 % c.nr;
    b = seed / 4096 % c.nr;
    switch (seed % 16) {
    case 1:
        copy_remove(&c, a);
        break;
    case 2:
        if (c.nr < COPY_RECORDS_MAX) {
            copy_insert(&c, b, c.records[a].type, c.records[a].data, c.records[a].length);
        }
        break;
    case 3:
        swap(&c.records[a], &c.records[b]);
        break;
    case 4:
        c.records[a].type = type_of((uint8_t)(seed >> 20));
        break;
    case 5:
        c.version = c.version == 1 ? 2 : 1;
        break;
    case 6:
    case 7:
    case 8:
        mutate_field(&c.records[a], &c.records[b], (unsigned int)rand_r(&seed));
        break;
    default:
        mutate_payload(&c.records[a], seed >> 8);
        break;
    }
    made = encode(&c, data, max_size);
    copy_free(&c);
    return made > 0 ? made : size;
}

/* ---- what is tested ---- */

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void give_back(void)
{
    while (!buddy_open_step(~0U)) {
    }
    must(memory_account());
    while (domain_list != NULL) {
        domain_destroy(domain_list);
    }
    must(frametable_count(FRAME_GUEST) == 0);
    must(memory_account());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stream_reader reader;
    struct stream_copy c;
    const char *why = NULL;
    size_t length;

    world_once();
    fake_log_clear();
    decode(&c, data, size);
    uint8_t *stream = copy_build(&c, &length);
    copy_free(&c);
    world_boot_closed(1, true);
    struct world_count before = world_count();
    must(stream_open(&reader, stream, length, &why) == 0);
    if (restore_check(&reader, &adopt_keeper, &why) != 0) {
        struct world_count after = world_count();

        must(why != NULL && why[0] != '\0');
        must(world_count_equal(&before, &after));
        must(domain_list == NULL && image_modules == NULL);
    } else {
        restore_host(&reader);
        if (restore_apply(&reader, &why) == 0) {
            give_back();
        } else {
            must(strncmp(why, "a vCPU's state", 14) == 0);
        }
    }
    free(stream);
    return 0;
}
