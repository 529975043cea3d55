/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers of the host's clock chip. What they mean: core/wallclock.c
 */
#include "asm/cpu.h"
#include "hv/wallclock.h"
#include "hw/rtc.h"

uint8_t cmos_read(uint8_t index)
{
    outb(CMOS_INDEX_PORT, index); /* bit 7 clear: NMIs stay on */
    return inb(CMOS_DATA_PORT);
}
