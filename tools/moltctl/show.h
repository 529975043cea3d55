/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What molt tells, as text and as JSON. Pure. Host test: tests/host/test_moltctl.c
 */
#ifndef MOLTCTL_SHOW_H
#define MOLTCTL_SHOW_H

#include <stddef.h>
#include <stdio.h>

#include "public/hypercall.h"

/* Tenths of microseconds; 0 when the frequency is not known. */
uint64_t cycles_to_us10(uint64_t cycles, uint64_t tsc_khz);

const char *state_name(uint32_t state);
const char *refusal_name(uint32_t code); /* HC_LU_R_* */

void show_domains(FILE *out, const struct hc_domain *domains, size_t n);
void show_domains_json(FILE *out, const struct hc_domain *domains, size_t n);
void show_domain_json(FILE *out, const struct hc_domain *domain);

void show_stats(FILE *out, const struct hc_domain *d, const struct hc_dom_stats *s,
                uint64_t tsc_khz);
void show_stats_json(FILE *out, const struct hc_domain *d, const struct hc_dom_stats *s,
                     uint64_t tsc_khz);

/* All that there is to say of molt itself. */
struct molt_state {
    struct hc_info info;
    struct hc_lu_status lu;
    struct hc_lu_region region;
};

void show_status(FILE *out, const struct molt_state *m);
void show_status_json(FILE *out, const struct molt_state *m);

struct json;
/* A line of HC_LU_LOG, without its newline, as an object; if it is none, all of it is text. */
void show_log_line_json(struct json *j, const char *line, size_t n);

/* What an audit has found. */
void show_audit(FILE *out, const struct hc_audit *a);
void show_audit_json(FILE *out, const struct hc_audit *a);

/* An update that has succeeded. */
void show_update(FILE *out, const struct hc_info *before, const struct molt_state *now);
void show_update_json(FILE *out, const struct hc_info *before, const struct molt_state *now);

/* Output of a console, positions [from, to). */
void show_console_json(FILE *out, const struct hc_domain *d, uint64_t from, const void *bytes,
                       size_t n);

void show_error_json(FILE *out, const char *error, const char *text);

#endif
