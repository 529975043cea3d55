/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Formatted text into a buffer, integers and strings only.
 */
#include "lib/lib.h"

struct out {
    char *buf;
    size_t size;
    size_t len;
};

struct spec {
    bool left;
    bool zero;
    unsigned int width;
    unsigned int longs;
};

static void put(struct out *o, char c)
{
    if (o->len + 1 < o->size) {
        o->buf[o->len++] = c;
    }
}

static void put_field(struct out *o, const struct spec *s, const char *text, size_t n)
{
    size_t pad = s->width > n ? s->width - n : 0;

    if (!s->left) {
        for (; pad != 0; pad--) {
            put(o, s->zero ? '0' : ' ');
        }
    }
    for (size_t i = 0; i < n; i++) {
        put(o, text[i]);
    }
    for (; pad != 0; pad--) {
        put(o, ' ');
    }
}

static void put_number(struct out *o, struct spec *s, uint64_t value, uint32_t base, bool negative)
{
    char digits[24];
    size_t at = sizeof(digits);

    do {
        uint32_t digit;

        value = div64(value, base, &digit);
        digits[--at] = "0123456789abcdef"[digit];
    } while (value != 0);
    if (negative) {
        if (s->zero) {
            put(o, '-');
            s->width -= s->width != 0;
        } else {
            digits[--at] = '-';
        }
    }
    put_field(o, s, digits + at, sizeof(digits) - at);
}

static const char *parse_spec(const char *f, struct spec *s)
{
    for (;; f++) {
        if (*f == '-') {
            s->left = true;
        } else if (*f == '0') {
            s->zero = true;
        } else {
            break;
        }
    }
    for (; *f >= '0' && *f <= '9'; f++) {
        s->width = s->width * 10 + (unsigned int)(*f - '0');
    }
    for (; *f == 'l'; f++) {
        s->longs++;
    }
    return f;
}

size_t str_vformat(char *buf, size_t size, const char *fmt, va_list ap)
{
    struct out o = {buf, size, 0};

    for (const char *f = fmt; *f != '\0'; f++) {
        struct spec s = {false, false, 0, 0};

        if (*f != '%') {
            put(&o, *f);
            continue;
        }
        f = parse_spec(f + 1, &s);
        if (*f == 's') {
            const char *text = va_arg(ap, const char *);

            put_field(&o, &s, text, strlen(text));
        } else if (*f == 'c') {
            char c = (char)va_arg(ap, int);

            put_field(&o, &s, &c, 1);
        } else if (*f == 'd') {
            int64_t v;

            if (s.longs == 0) {
                v = va_arg(ap, int);
            } else if (s.longs == 1) {
                v = va_arg(ap, long);
            } else {
                v = va_arg(ap, long long);
            }
            put_number(&o, &s, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10, v < 0);
        } else if (*f == 'u' || *f == 'x') {
            uint64_t v;

            if (s.longs == 0) {
                v = va_arg(ap, unsigned int);
            } else if (s.longs == 1) {
                v = va_arg(ap, unsigned long);
            } else {
                v = va_arg(ap, unsigned long long);
            }
            put_number(&o, &s, v, *f == 'u' ? 10 : 16, false);
        } else if (*f == 'p') {
            put_number(&o, &s, (uintptr_t)va_arg(ap, void *), 16, false);
        } else if (*f == '%') {
            put(&o, '%');
        } else {
            break;
        }
    }
    if (size != 0) {
        buf[o.len] = '\0';
    }
    return o.len;
}

size_t str_format(char *buf, size_t size, const char *fmt, ...)
{
    va_list ap;
    size_t n;

    va_start(ap, fmt);
    n = str_vformat(buf, size, fmt, ap);
    va_end(ap);
    return n;
}
