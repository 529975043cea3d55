/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small machine with a live-update region in which one image after the other "boots": all of mm/,
 * core/ and lu/ linked (WORLD_SRCS), brought up in the order of hv_main(). RAM keeps its contents
 * from one image to the next, module state does not.
 */
#ifndef FAKES_WORLD_H
#define FAKES_WORLD_H

#include "hv/domain.h"
#include "hv/frametable.h"
#include "hv/region.h"
#include "hv/types.h"

#define WORLD_REGION MIB(16)
#define WORLD_REGION_SIZE MIB(8)
#define WORLD_REGION_END (WORLD_REGION + WORLD_REGION_SIZE)
#define WORLD_HIGH GIB(4)
#define WORLD_HIGH_END (GIB(4) + MIB(32))
#define WORLD_BAD_MFN 0x2345U /* badpage=, in RAM */
#define WORLD_CMDLINE "badpage=2345 liveupdate=8M@0x1000000"

/* Empty machine: 640 KiB, 1 to 64 MiB with a reserved page, 32 MiB from 4 GiB on. No image runs. */
void world_reset(void);

/* The same without the RAM above 4 GiB: all of it can be mapped at its own addresses. */
void world_reset_low(void);

/* The same RAM, and an image comes up in `arena`, cold: heap open, nothing in it; with a backend or
 * without. */
void world_boot(unsigned int arena, bool virtualization);

/* The same up to where an update boot adopts: the heap is closed. */
void world_boot_closed(unsigned int arena, bool virtualization);

/*
 * The same RAM, and an image comes up in `arena` as hv_main() does it: boot information at `block`,
 * memory for itself from `start` on. After a breadcrumb (lu_update_boot()) the heap is closed and
 * lu_check() is next; else it is open.
 */
void world_boot_image(unsigned int arena, const void *block, size_t max, paddr_t start,
                      bool virtualization);

/* Boot information as a boot loader would leave it, in static memory. */
const void *world_info(size_t *bytes);

/* All frames by state, and what of the arena is left: equal before and after when nothing leaks. */
struct world_count {
    uint64_t frames[FRAME_STATES];
    uint64_t pool, mapped;
};
struct world_count world_count(void);
bool world_count_equal(const struct world_count *a, const struct world_count *b);

/* What the audit finds in the running image; NULL when everybody agrees. */
const char *world_audit(void);

/* A domain whose memory is of `frames` frames in extents of random order, at random places; its
 * contents are random too. */
struct domain *world_fragmented_domain(const char *name, uint16_t id, uint64_t frames);

/* A state that every check lets through, with something random in every field. */
void world_random_state(struct vcpu_state *s);

/* Adds a vCPU with that state and random XSAVE contents. */
struct vcpu *world_add_vcpu(struct domain *d, const struct vcpu_state *s);

/*
 * What an update has to carry: two image modules, three domains (running with two vCPUs, one of
 * them asleep; exited; stopped; all but the first without vCPU when `small`), unfinished lines,
 * waiting input, bytes in the console. World booted, heap open.
 */
void world_sample(bool small);

/* Every fact of the running image that an update has to carry, in text. The caller frees it. */
char *world_facts(void);

/* Where two texts of facts differ first, for a message; NULL when they are equal. Frees both. */
const char *world_facts_differ(char *before, char *after);

/* A module with these contents, as a boot loader leaves it and molt keeps it; its address. */
paddr_t world_add_module(const char *cmdline, const void *data, uint64_t bytes);

/* Writes the stream of the running image as an update does; the caller frees it (page-aligned) and
 * all heap pages are back. */
uint8_t *world_stream(size_t *length);

#endif
