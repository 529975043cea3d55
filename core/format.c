/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text formatting: the printf subset of hv/printk.h.
 *
 * No state, no allocation, safe at any stage.  Host test: tests/host/test_format.c
 */
#include "hv/printk.h"

#include "hv/string.h"

struct sink {
    char *buf;
    size_t size;
    size_t length; /* of the whole text, also of what did not fit */
};

struct spec {
    bool left;
    bool zero;
    size_t width;
    size_t precision;   /* SIZE_MAX: none given */
    unsigned int bytes; /* size of an integer argument */
};

#define DIGITS_MAX 20 /* 2^64 - 1 in decimal */

static void put(struct sink *out, char c)
{
    if (out->length + 1 < out->size) {
        out->buf[out->length] = c;
    }
    out->length++;
}

static void put_run(struct sink *out, char c, size_t n)
{
    for (; n > 0; n--) {
        put(out, c);
    }
}

/* `prefix` (sign or 0x) stands before zero padding but behind space padding. */
static void put_field(struct sink *out, const struct spec *spec, const char *prefix,
                      const char *text, size_t len)
{
    size_t prefix_len = strlen(prefix);
    size_t pad = spec->width > prefix_len + len ? spec->width - prefix_len - len : 0;
    bool zeros = spec->zero && !spec->left;

    if (!spec->left && !zeros) {
        put_run(out, ' ', pad);
    }
    for (; *prefix != '\0'; prefix++) {
        put(out, *prefix);
    }
    if (zeros) {
        put_run(out, '0', pad);
    }
    for (size_t i = 0; i < len; i++) {
        put(out, text[i]);
    }
    if (spec->left) {
        put_run(out, ' ', pad);
    }
}

static void put_number(struct sink *out, const struct spec *spec, const char *prefix,
                       uint64_t value, unsigned int base, bool upper)
{
    const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    char text[DIGITS_MAX];
    size_t at = sizeof(text);

    do {
        text[--at] = digits[value % base];
        value /= base;
    } while (value != 0);
    put_field(out, spec, prefix, text + at, sizeof(text) - at);
}

static uint64_t cut(uint64_t value, unsigned int bytes)
{
    return bytes == 8 ? value : value & (BIT(8 * bytes) - 1);
}

static void put_signed(struct sink *out, const struct spec *spec, uint64_t raw)
{
    uint64_t value = cut(raw, spec->bytes);
    bool negative = (value >> (8 * spec->bytes - 1)) != 0;

    put_number(out, spec, negative ? "-" : "", negative ? cut(0 - value, spec->bytes) : value, 10,
               false);
}

static void put_string(struct sink *out, struct spec *spec, const char *s)
{
    spec->zero = false;
    if (s == NULL) {
        s = "(null)";
    }
    put_field(out, spec, "", s, strnlen(s, spec->precision));
}

/* Arguments behind a pointer: a va_list parameter itself cannot be advanced by a callee. */
struct args {
    va_list ap;
};

static uint64_t arg_integer(struct args *args, unsigned int bytes)
{
    /* The argument's own type matters only for its size: cut() and the sign come later. */
    return bytes == 8 ? va_arg(args->ap, uint64_t) : va_arg(args->ap, unsigned int);
}

/* A width or precision: digits or '*'. */
static const char *parse_count(const char *f, struct args *args, size_t *out, bool *negative)
{
    size_t n = 0;

    *negative = false;
    if (*f == '*') {
        int v = va_arg(args->ap, int);

        *negative = v < 0;
        *out = v < 0 ? 0 - (size_t)v : (size_t)v;
        return f + 1;
    }
    for (; *f >= '0' && *f <= '9'; f++) {
        n = n * 10 + (size_t)(*f - '0');
    }
    *out = n;
    return f;
}

static const char *parse_spec(const char *f, struct args *args, struct spec *spec)
{
    bool negative;

    *spec = (struct spec){.precision = SIZE_MAX, .bytes = sizeof(int)};
    for (; *f == '-' || *f == '0'; f++) {
        spec->left = spec->left || *f == '-';
        spec->zero = spec->zero || *f == '0';
    }
    f = parse_count(f, args, &spec->width, &negative);
    spec->left = spec->left || negative;
    if (*f == '.') {
        f = parse_count(f + 1, args, &spec->precision, &negative);
        if (negative) {
            spec->precision = SIZE_MAX;
        }
    }
    if (*f == 'h') {
        spec->bytes = f[1] == 'h' ? 1 : 2;
        f += f[1] == 'h' ? 2 : 1;
    } else if (*f == 'l') {
        spec->bytes = 8;
        f += f[1] == 'l' ? 2 : 1;
    } else if (*f == 'z') {
        spec->bytes = 8;
        f++;
    }
    return f;
}

/* Handles the conversion that starts behind '%'; returns where the text goes on. */
static const char *convert(struct sink *out, const char *start, struct args *args)
{
    struct spec spec;
    const char *f = parse_spec(start, args, &spec);
    char c;

    switch (*f) {
    case 'd':
    case 'i':
        put_signed(out, &spec, arg_integer(args, spec.bytes));
        break;
    case 'u':
        put_number(out, &spec, "", cut(arg_integer(args, spec.bytes), spec.bytes), 10, false);
        break;
    case 'x':
    case 'X':
        put_number(out, &spec, "", cut(arg_integer(args, spec.bytes), spec.bytes), 16, *f == 'X');
        break;
    case 'p':
        put_number(out, &spec, "0x", (uintptr_t)va_arg(args->ap, void *), 16, false);
        break;
    case 'c':
        c = (char)va_arg(args->ap, int);
        spec.zero = false;
        put_field(out, &spec, "", &c, 1);
        break;
    case 's':
        put_string(out, &spec, va_arg(args->ap, const char *));
        break;
    case '%':
        put(out, '%');
        break;
    default:
        /* Unknown: shown as it stands, so that the mistake is seen. */
        put(out, '%');
        return start;
    }
    return f + 1;
}

size_t fmt_vstr(char *buf, size_t size, const char *fmt, va_list args)
{
    struct sink out = {.buf = buf, .size = size, .length = 0};
    struct args copy;

    va_copy(copy.ap, args);
    while (*fmt != '\0') {
        if (*fmt == '%') {
            fmt = convert(&out, fmt + 1, &copy);
        } else {
            put(&out, *fmt++);
        }
    }
    va_end(copy.ap);
    if (size > 0) {
        buf[MIN(out.length, size - 1)] = '\0';
    }
    return out.length;
}

size_t fmt_str(char *buf, size_t size, const char *fmt, ...)
{
    va_list args;
    size_t n;

    va_start(args, fmt);
    n = fmt_vstr(buf, size, fmt, args);
    va_end(args);
    return n;
}
