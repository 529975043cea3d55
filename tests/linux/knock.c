/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that reads the door's port without having asked for it: Linux has to end it.
 */
#include <stdint.h>
#include <stdio.h>

#include "public/hypercall.h"

int main(void)
{
    uint32_t eax = HC_YIELD;

    __asm__ volatile("inl %%dx, %%eax" : "+a"(eax) : "d"(HC_DOOR_PORT) : "memory");
    printf("knock: the door is open: %x\n", eax);
    return 0;
}
