/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any physical memory, a page at a time: ACPI tables, which lie outside the direct map.
 *
 * Lock: hv_lock.
 */
#include "asm/cpu.h"
#include "asm/machine.h"
#include "hv/string.h"
#include "hv/vmap.h"
#include "hw/cpuid.h"

static struct {
    void *area;
    mfn_t mfn;
} window;

static bool window_move(mfn_t mfn)
{
    if (window.area != NULL && window.mfn.v == mfn.v) {
        return true;
    }
    vunmap(window.area);
    window.area = vmap_reserve(1);
    window.mfn = mfn;
    if (window.area != NULL && vmap_set(window.area, 0, mfn) != 0) {
        vunmap(window.area);
        window.area = NULL;
    }
    return window.area != NULL;
}

bool physical_read(paddr_t pa, void *to, size_t bytes)
{
    unsigned int bits = cpuid(CPUID_ADDRESS_SIZES, 0).eax & CPUID_PHYSICAL_BITS;
    uint8_t *out = to;

    if (pa >= BIT(bits) || bytes > BIT(bits) - pa) {
        return false;
    }
    while (bytes > 0) {
        size_t n = MIN(bytes, PAGE_SIZE - pa % PAGE_SIZE);

        if (!window_move(pa_to_mfn(pa))) {
            return false;
        }
        memcpy(out, (const uint8_t *)window.area + pa % PAGE_SIZE, n);
        out += n;
        pa += n;
        bytes -= n;
    }
    return true;
}

void physical_done(void)
{
    vunmap(window.area);
    window.area = NULL;
}
