/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address and frame types, page arithmetic and small helpers used everywhere.
 *
 * mfn_t (machine frame) and gfn_t (guest frame) are one-member structs so that one can never be
 * passed for the other; physical byte addresses are plain 64-bit numbers named `_pa`.
 */
#ifndef HV_TYPES_H
#define HV_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t v;
} mfn_t;

typedef struct {
    uint64_t v;
} gfn_t;

typedef uint64_t paddr_t;

#define PAGE_SHIFT 12U
#define PAGE_SIZE 4096UL
#define PAGE_MASK (~(PAGE_SIZE - 1))
#define ORDER_4K 0U
#define ORDER_2M 9U
#define ORDER_1G 18U
#define MAX_ORDER ORDER_1G

#define INVALID_MFN_X (~UINT64_C(0))
#define INVALID_MFN ((mfn_t){INVALID_MFN_X})

static inline mfn_t mfn_from(uint64_t v)
{
    return (mfn_t){v};
}

static inline gfn_t gfn_from(uint64_t v)
{
    return (gfn_t){v};
}

static inline bool mfn_valid(mfn_t m)
{
    return m.v != INVALID_MFN_X;
}

static inline paddr_t mfn_to_pa(mfn_t m)
{
    return m.v << PAGE_SHIFT;
}

static inline mfn_t pa_to_mfn(paddr_t pa)
{
    return (mfn_t){pa >> PAGE_SHIFT};
}

/* Alignment must be a power of two; align_up() wraps on overflow, callers check ranges first. */
static inline uint64_t align_down(uint64_t v, uint64_t align)
{
    return v & ~(align - 1);
}

static inline uint64_t align_up(uint64_t v, uint64_t align)
{
    return (v + align - 1) & ~(align - 1);
}

static inline bool is_aligned(uint64_t v, uint64_t align)
{
    return (v & (align - 1)) == 0;
}

/* True when the half-open ranges [a, a_end) and [b, b_end) share a byte. */
static inline bool ranges_overlap(uint64_t a, uint64_t a_end, uint64_t b, uint64_t b_end)
{
    return a < b_end && b < a_end;
}

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n) (UINT64_C(1) << (n))
#define BITS(high, low) ((~UINT64_C(0) >> (63 - (high))) & (~UINT64_C(0) << (low)))

#endif
