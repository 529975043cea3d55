/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON as RFC 8259 has it.
 */
#include "json.h"

#include <inttypes.h>
#include <string.h>

/* Length of the UTF-8 sequence at `s`, as RFC 3629 allows it; 0 when there is none. */
static size_t utf8(const unsigned char *s, size_t n)
{
    size_t more = s[0] < 0x80 ? 0 : s[0] < 0xe0 ? 1 : s[0] < 0xf0 ? 2 : 3;

    if ((s[0] >= 0x80 && s[0] < 0xc2) || s[0] > 0xf4 || more >= n) {
        return 0;
    }
    for (size_t i = 1; i <= more; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) {
        return 0;
    }
    return more + 1;
}

static void quoted(FILE *out, const void *bytes, size_t n)
{
    const unsigned char *s = bytes;

    fputc('"', out);
    for (size_t i = 0; i < n;) {
        size_t length = utf8(s + i, n - i);

        if (s[i] == '"' || s[i] == '\\') {
            fprintf(out, "\\%c", s[i]);
        } else if (s[i] == '\n') {
            fputs("\\n", out);
        } else if (s[i] < ' ' || s[i] == 0x7f || length == 0) {
            fprintf(out, "\\u%04x", s[i]);
        } else {
            fwrite(s + i, 1, length, out);
        }
        i += length == 0 ? 1 : length;
    }
    fputc('"', out);
}

static void begin(struct json *j, const char *key)
{
    if (j->comma) {
        fputs(", ", j->out);
    }
    j->comma = true;
    if (key != NULL) {
        quoted(j->out, key, strlen(key));
        fputs(": ", j->out);
    }
}

void json_open(struct json *j, const char *key, char bracket)
{
    begin(j, key);
    fputc(bracket, j->out);
    j->comma = false;
}

void json_close(struct json *j, char bracket)
{
    fputc(bracket, j->out);
    j->comma = true;
}

void json_end(struct json *j)
{
    fputc('\n', j->out);
    j->comma = false;
}

void json_text(struct json *j, const char *key, const char *value)
{
    json_bytes(j, key, value, strlen(value));
}

void json_bytes(struct json *j, const char *key, const void *bytes, size_t n)
{
    begin(j, key);
    quoted(j->out, bytes, n);
}

void json_number(struct json *j, const char *key, uint64_t value)
{
    begin(j, key);
    fprintf(j->out, "%" PRIu64, value);
}

void json_tenths(struct json *j, const char *key, uint64_t tenths)
{
    begin(j, key);
    fprintf(j->out, "%" PRIu64 ".%" PRIu64, tenths / 10, tenths % 10);
}

void json_bool(struct json *j, const char *key, bool value)
{
    begin(j, key);
    fputs(value ? "true" : "false", j->out);
}

void json_null(struct json *j, const char *key)
{
    begin(j, key);
    fputs("null", j->out);
}
