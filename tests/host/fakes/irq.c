/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for core/irq.c, and for mm/slab.c, where only a device model is linked.
 */
#include "hv/irq.h"

#include <stdlib.h>

#include "hv/slab.h"

bool fake_irq_line;

__attribute__((weak)) void *kzalloc(size_t bytes)
{
    return calloc(1, bytes);
}

__attribute__((weak)) void kfree(void *p)
{
    free(p);
}

void irq_set_line(struct domain *d, unsigned int pin, bool up)
{
    (void)d;
    (void)pin;
    fake_irq_line = up;
}
