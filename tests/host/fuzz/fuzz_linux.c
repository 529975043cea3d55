/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: any bytes as a guest payload of any kind; what is accepted must start inside its
 * memory.
 */
#include <stdlib.h>

#include "fakes/guest_ram.h"
#include "fakes/linux_image.h"
#include "hv/guest_load.h"
#include "hw/multiboot.h"
#include "seed.h"

size_t seed_make(uint8_t *data, size_t max, unsigned int choice)
{
    static const uint32_t mb1[3] = {MB1_HEADER_MAGIC, 0, 0U - MB1_HEADER_MAGIC};

    if (max < BZ_BYTES || max < PVH_BYTES) {
        return 0;
    }
    if (choice % 4 == 0) {
        bz_make(data);
        return BZ_BYTES;
    }
    pvh_make(data, choice % 4 == 1);
    if (choice % 4 == 3) {
        memcpy(data + PVH_CODE_AT, mb1, sizeof(mb1));
        pvh_notes(data)->name[0] = 'x';
    }
    return PVH_BYTES;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t file[] = "an initrd";
    static const struct guest_module module = {file, sizeof(file), "its words"};
    const struct guest_payload p = {.data = data,
                                    .bytes = size,
                                    .cmdline = "words",
                                    .modules = &module,
                                    .nr_modules = 1,
                                    .vcpus = 2};
    struct vcpu_state state;
    const char *why = NULL;
    struct domain d;

    guest_ram_init(&d, MIB(24));
    if (guest_load(&d, &p, &state, &why) != 0) {
        if (why == NULL) {
            abort();
        }
    } else {
        (void)guest_ram(&d, state.rip, 1);
    }
    if (guest_ram_objects() != 0) {
        abort();
    }
    return 0;
}
