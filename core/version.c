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

struct molt_note {
    uint32_t namesz;
    uint32_t descsz;
    uint32_t type;
    char name[8]; /* padded to 4 */
    struct lu_note desc;
};

extern const struct molt_note molt_note;
__attribute__((section(".note.molt"), used, aligned(4))) const struct molt_note molt_note = {
    .namesz = sizeof(LU_NOTE_NAME),
    .descsz = sizeof(struct lu_note),
    .type = LU_NOTE_TYPE,
    .name = LU_NOTE_NAME,
    .desc =
        {
            .machine = LU_NOTE_MACHINE_X86_64,
            .stream_min = LU_STREAM_VERSION_MIN,
            .stream_max = LU_STREAM_VERSION,
            .flags = LU_NOTE_TAKES_CPUS,
            .version = MOLT_VERSION,
        },
};

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
