/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: any bytes as an update image; what is accepted and small is placed in both ways.
 */
#include <stdlib.h>

#include "fakes/elf_image.h"
#include "fakes/heap.h"
#include "hv/errno.h"
#include "hv/kimage.h"
#include "hv/seam.h"
#include "seed.h"

#define PLACE_MAX KIB(256)

size_t seed_make(uint8_t *data, size_t max, unsigned int choice)
{
    static struct elf_image e;

    elf_image_make(&e);
    if (choice % 2 != 0) {
        /* Small: code alone. */
        e.ph[0].filesz = 0x200;
        e.ph[0].memsz = 0x200;
        e.ph[1].type = 0;
        e.ph[2].type = 0;
    }
    if (IMAGE_FILE_BYTES > max) {
        if (choice % 2 == 0 || max < IMAGE_CODE + 0x200) {
            return 0;
        }
        memcpy(data, &e, IMAGE_CODE + 0x200);
        return IMAGE_CODE + 0x200;
    }
    memcpy(data, &e, IMAGE_FILE_BYTES);
    return IMAGE_FILE_BYTES;
}

static void place(const struct kimage_info *info, const uint8_t *data)
{
    size_t bytes = align_up(info->mem_size, PAGE_SIZE);
    struct reloc_list list;
    void *dest = NULL;

    if (posix_memalign(&dest, PAGE_SIZE, bytes) != 0) {
        abort();
    }
    if (kimage_place(info, data, (uintptr_t)dest, true, NULL) != 0) {
        abort();
    }
    reloc_init(&list);
    heap_fail_after((long)(data[0x30] % 16));
    if (kimage_place(info, data, (uintptr_t)dest, false, &list) == 0 && reloc_done(&list) != 0 &&
        list.error != -ENOMEM) {
        abort();
    }
    heap_fail_after(-1);
    reloc_free(&list);
    if (heap_in_use() != 0) {
        abort();
    }
    free(dest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kimage_info info;
    struct kimage_fault fault;

    if (kimage_parse(data, size, &info, &fault) != 0) {
        return 0;
    }
    if (info.mem_size == 0 || info.entry >= info.mem_size || info.paddr_base % PAGE_SIZE != 0 ||
        info.segments == 0 || strnlen(info.version, sizeof(info.version)) == sizeof(info.version) ||
        info.seal_at == 0 || size < sizeof(info.seal) || info.seal_at > size - sizeof(info.seal) ||
        strnlen(info.build_id, sizeof(info.build_id)) == sizeof(info.build_id)) {
        abort();
    }
    if (info.mem_size <= PLACE_MAX) {
        place(&info, data);
    }
    return 0;
}
