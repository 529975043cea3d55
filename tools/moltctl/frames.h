/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frame numbers of a program's pages. Pure. Host test: tests/host/test_moltctl.c
 */
#ifndef MOLTCTL_FRAMES_H
#define MOLTCTL_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 4096U

/* Pages for so many bytes. */
size_t pages_for(uint64_t bytes);

/* The frame in a word of /proc/PID/pagemap: false when the page is not in memory, or its frame is
 * hidden from this caller. */
bool frame_from_pagemap(uint64_t word, uint64_t *frame);

/*
 * Looks for `want` frames with consecutive numbers among frames[0..n). True: run[i] is the index of
 * the i-th of them, rising. False: there are none, or memory is short.
 */
bool frames_find_run(const uint64_t *frames, size_t n, size_t want, size_t *run);

#endif
