/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiler attributes, and LAYOUT(): the switch that gives the two images different structures.
 */
#ifndef HV_COMPILER_H
#define HV_COMPILER_H

#define MUST_CHECK __attribute__((warn_unused_result))
#define NORETURN __attribute__((noreturn))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define PACKED __attribute__((packed))
#define ALIGNED(n) __attribute__((aligned(n)))
#define UNUSED __attribute__((unused))

/*
 * LAYOUT(a, b): two groups of members of an internal structure. The ordinary image lays them out
 * as written; molt-next swaps them around a hole. An internal structure that crosses an update by
 * mistake is then read at the wrong offsets, and the update tests break.
 */
#ifdef MOLT_LAYOUT_NEXT
#define LAYOUT_CAT2(x, y) x##y
#define LAYOUT_CAT(x, y) LAYOUT_CAT2(x, y)
#define LAYOUT(a, b)                                  \
    b uint64_t LAYOUT_CAT(layout_hole_, __LINE__)[3]; \
    a
#else
#define LAYOUT(a, b) a b
#endif

/* The same without the hole, for entries that there are very many of. */
#ifdef MOLT_LAYOUT_NEXT
#define LAYOUT_TIGHT(a, b) b a
#else
#define LAYOUT_TIGHT(a, b) a b
#endif

#endif
