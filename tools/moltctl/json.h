/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON, written as it comes: the writer knows where commas belong. Pure.
 * Host test: tests/host/test_moltctl.c
 */
#ifndef MOLTCTL_JSON_H
#define MOLTCTL_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct json {
    FILE *out;
    bool comma; /* something stands before in this object or array */
};

/* An object or array as a value: with its key in an object, NULL in an array or at the top. */
void json_open(struct json *j, const char *key, char bracket);
void json_close(struct json *j, char bracket); /* '}' or ']' */
void json_end(struct json *j);                 /* behind the outermost one */

void json_text(struct json *j, const char *key, const char *value);
/* Any bytes: what is no UTF-8 becomes the character with that number. */
void json_bytes(struct json *j, const char *key, const void *bytes, size_t n);
void json_number(struct json *j, const char *key, uint64_t value);
void json_tenths(struct json *j, const char *key, uint64_t tenths); /* one decimal */
void json_bool(struct json *j, const char *key, bool value);
void json_null(struct json *j, const char *key);

#endif
