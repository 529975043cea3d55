/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Identity of this image: version, build id, and the ELF note that tells the image before it.
 */
#include "hv/compiler.h"
#include "hv/lu.h"
#include "hv/printk.h"
#include "public/lu_abi.h"

#ifndef MOLT_VERSION
#error "MOLT_VERSION comes from the Makefile"
#endif

const char lu_version[] = MOLT_VERSION;

/* The newest stream version that this image speaks: a test image says less. */
#ifndef MOLT_STREAM_NEWEST
#define MOLT_STREAM_NEWEST LU_STREAM_VERSION
#endif

#define FEATURES                                                                                  \
    (LU_FEATURE_VMX | LU_FEATURE_SVM | LU_FEATURE_VCPUS | LU_FEATURE_STATES | LU_FEATURE_X2APIC | \
     LU_FEATURE_CLOCK | (MOLT_STREAM_NEWEST >= 2 ? LU_FEATURE_FRESH : 0))

struct PACKED note_head {
    uint32_t namesz;
    uint32_t descsz;
    uint32_t type;
    char name[8]; /* padded to 4 */
};

#define HEAD(desc_type, note_type)                                              \
    {                                                                           \
        sizeof(LU_NOTE_NAME), sizeof(struct desc_type), note_type, LU_NOTE_NAME \
    }

struct PACKED molt_notes {
    struct note_head head;
    struct lu_note note;
    struct note_head seal_head;
    struct lu_note_seal seal; /* tools/seal puts in the hash, and the signature if there is one */
};

extern const struct molt_notes molt_notes;
__attribute__((section(".note.molt"), used, aligned(4))) const struct molt_notes molt_notes = {
    .head = HEAD(lu_note, LU_NOTE_TYPE),
    .note =
        {
            .machine = LU_NOTE_MACHINE_X86_64,
            .stream_min = LU_STREAM_VERSION_MIN,
            .stream_max = MOLT_STREAM_NEWEST,
            .flags = LU_NOTE_TAKES_CPUS | LU_NOTE_WAY_BACK,
            .version = MOLT_VERSION,
        },
    .seal_head = HEAD(lu_note_seal, LU_NOTE_SEAL_TYPE),
    .seal = {.features = FEATURES, .counter = MOLT_COUNTER},
};

uint32_t lu_stream_newest(void)
{
    return MOLT_STREAM_NEWEST;
}

uint64_t lu_features(void)
{
    return FEATURES;
}

/* .note.gnu.build-id as the linker writes it: header, "GNU", then the id. */
extern const uint8_t __build_id_start[], __build_id_end[];
#define BUILD_ID_OFFSET 16U

const char *lu_build_id(void)
{
    static char hex[48];

    for (size_t i = 0; hex[0] == '\0' || i != 0; i++) {
        const uint8_t *p = __build_id_start + BUILD_ID_OFFSET + i;

        if (p >= __build_id_end || 2 * i + 3 > sizeof(hex)) {
            break;
        }
        fmt_str(hex + 2 * i, 3, "%02x", *p);
    }
    return hex;
}
