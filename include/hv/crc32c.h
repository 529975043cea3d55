/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C (Castagnoli), by instruction where the CPU has it.
 */
#ifndef HV_CRC32C_H
#define HV_CRC32C_H

#include "hv/types.h"

/* Continues a checksum over n bytes; start with crc = 0. So for two pieces that follow each other
 * crc32c(crc32c(0, a), b) == crc32c(0, ab). */
uint32_t crc32c(uint32_t crc, const void *data, size_t n);

/* The same by table; crc32c() falls back to it, tests compare the two. */
uint32_t crc32c_table(uint32_t crc, const void *data, size_t n);

#endif
