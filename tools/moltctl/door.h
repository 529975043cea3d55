/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hypercalls of a Linux program, through the door (docs/HYPERCALLS.md).
 */
#ifndef MOLTCTL_DOOR_H
#define MOLTCTL_DOOR_H

#include <stddef.h>
#include <stdint.h>

/* Finds molt, gets the port and sees that this is the control domain; else ends the program. */
void door_open(void);

/* One call. Addresses are guest-physical. The result, negative for an error. */
int64_t door_call(uint64_t number, uint64_t rbx, uint64_t rcx, uint64_t rdx);

/* A call with a structure or array, of a page at most, in RBX and RCX: it goes in and comes out. */
int64_t door_exchange(uint64_t number, void *data, size_t bytes, uint64_t rdx);

/* A page of its own for what a structure points to, and its guest-physical address. */
unsigned char *door_page(uint64_t *address);

/* Name of an error number of molt's ("EPERM"), and what it says. */
const char *door_error_name(int64_t result);
const char *door_error_text(int64_t result);

#endif
