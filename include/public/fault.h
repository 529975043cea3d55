/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fault injection: hypercalls of test images, for the control domain. A release image answers
 * HC_ENOSYS to all of them. docs/TESTING.md has the points and the kinds.
 */
#ifndef PUBLIC_FAULT_H
#define PUBLIC_FAULT_H

#include <stdint.h>

/* RBX: address of struct hc_fault, RCX: its size. HC_EINVAL: no such kind, or not terminated. */
#define HC_FAULT_ARM 0x1000
/* RBX: address of struct hc_fault_status, RCX: its size */
#define HC_FAULT_STATUS 0x1001
/* RBX: id of a domain; CRC-32C of its memory */
#define HC_FAULT_DIGEST 0x1002

/*
 * One fault, armed once: the one before is forgotten. A point "old..." is one of the running image.
 * Any other is one of the image that is loaded next, or of the jump to it: load after arming.
 */
struct hc_fault {
    char point[32]; /* NUL-terminated; "": nothing is armed any more */
    char kind[16];  /* NUL-terminated */
    uint64_t n;     /* which time, from 1 on; what it means else is the kind's */
    uint64_t seed;
};

struct hc_fault_status {
    uint64_t fired;       /* faults that came to pass, under any image */
    uint64_t allocations; /* that the kind "alloc" has counted last, the failed one included */
    uint64_t tsc;         /* of the host, now */
};

_Static_assert(sizeof(struct hc_fault) == 64, "hc_fault layout");
_Static_assert(sizeof(struct hc_fault_status) == 24, "hc_fault_status layout");

#endif
