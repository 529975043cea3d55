/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data in a guest's memory that a hypercall names by a list of pages: an array of 64-bit frame
 * numbers, any frames in any order.
 */
#ifndef HV_GUEST_PAGES_H
#define HV_GUEST_PAGES_H

#include "hv/compiler.h"
#include "hv/types.h"

struct domain;

struct guest_pages {
    uint64_t list_gpa; /* of the array */
    uint64_t pages;    /* entries */
    uint64_t bytes;    /* of the data: more than all pages but the last hold */
};

/* 0; -EINVAL (bytes and pages do not fit each other); -E2BIG (more pages than the domain has). */
MUST_CHECK int guest_pages_check(const struct domain *d, const struct guest_pages *p);

/* The data in memory of molt's own, so that nobody changes it while it is read; guest_pages_check()
 * was successful. 0, -EFAULT (list or a page outside the domain's memory), -ENOMEM. To be
 * freed with vfree(). */
MUST_CHECK int guest_pages_copy(struct domain *d, const struct guest_pages *p, void **out);

/* The data where it is, side by side: the guest may change it at any time. As above; vunmap(). */
MUST_CHECK int guest_pages_map(struct domain *d, const struct guest_pages *p, void **out);

#endif
