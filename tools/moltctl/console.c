/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moltctl console: a domain's COM1 on this terminal.
 *
 * molt keeps the last part of what a domain has written and tells it by position, so nothing is
 * lost or doubled while moltctl keeps up; what was overwritten before is skipped, with a line.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "door.h"
#include "frames.h"
#include "moltctl.h"
#include "show.h"

#define KEY_LEAVE 0x1d     /* Ctrl-] */
#define KEY_LEAVE_TOO 0x1c /* Ctrl-\: where whatever this terminal is in takes Ctrl-] */
#define POLL_MS 50         /* output is asked for as often */
#define KEYS 16            /* taken from the terminal at once: a UART's FIFO */
#define LOOKS_PER_SECOND (1000 / POLL_MS)

static struct termios terminal_before;

static void terminal_restore(void)
{
    (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal_before);
}

/* Every key goes to the guest. False: stdin is no terminal. */
static bool terminal_raw(void)
{
    struct termios raw;

    if (tcgetattr(STDIN_FILENO, &terminal_before) != 0) {
        return false;
    }
    raw = terminal_before;
    cfmakeraw(&raw);
    raw.c_oflag |= OPOST; /* a payload's lines end with a bare newline */
    (void)atexit(terminal_restore);
    return tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

/* Bytes from position *at on into the shared page; *at moves behind them. */
static size_t read_some(const struct hc_domain *d, uint64_t *at, const unsigned char **bytes)
{
    struct hc_console args = {.at = *at, .bytes = PAGE_BYTES};
    int64_t n;

    *bytes = door_page(&args.buffer);
    n = door_exchange(HC_CONSOLE_READ, &args, sizeof(args), d->id);
    if (n < 0 || n > PAGE_BYTES) {
        fail(EXIT_REFUSED, n, "%s: console: %s", options.name, door_error_text(n));
    }
    *at = args.at;
    return (size_t)n;
}

static void write_all(const unsigned char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t done = write(STDOUT_FILENO, bytes, n);

        if (done < 0 && errno != EINTR) {
            fail(EXIT_REFUSED, 0, "cannot write the output: %s", strerror(errno));
        }
        bytes += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
}

/* All output from *at on. */
static void show_output(const struct hc_domain *d, uint64_t *at)
{
    const unsigned char *bytes;
    uint64_t before = *at;
    size_t n;

    while ((n = read_some(d, at, &bytes)) != 0) {
        if (*at - n != before && before != 0) {
            fprintf(stderr, "\r\n[%llu bytes skipped]\r\n", (unsigned long long)(*at - n - before));
        }
        write_all(bytes, n);
        before = *at;
    }
}

static int dump_json(const struct hc_domain *d)
{
    unsigned char *all = NULL;
    const unsigned char *bytes;
    size_t nr = 0, n;
    uint64_t at = 0, from = 0;

    while ((n = read_some(d, &at, &bytes)) != 0) {
        unsigned char *more = realloc(all, nr + n);

        if (more == NULL) {
            fail(EXIT_REFUSED, 0, "out of memory");
        }
        all = more;
        if (at - n != from + nr) { /* overwritten while it was read: begin anew there */
            from = at - n;
            nr = 0;
        }
        memcpy(all + nr, bytes, n);
        nr += n;
    }
    show_console_json(stdout, d, from, all, nr);
    free(all);
    return EXIT_OK;
}

/* Keys to the guest; what does not fit into its UART stays in keys[]. */
static size_t send_keys(const struct hc_domain *d, unsigned char keys[KEYS], size_t n)
{
    struct hc_console args = {.bytes = n};
    unsigned char *page = door_page(&args.buffer);
    int64_t done;

    memcpy(page, keys, n);
    done = door_exchange(HC_CONSOLE_WRITE, &args, sizeof(args), d->id);
    if (done < 0 || (uint64_t)done > n) {
        return 0; /* it has ended: its keys are nobody's */
    }
    memmove(keys, keys + done, n - (size_t)done);
    return n - (size_t)done;
}

static bool over(uint32_t state)
{
    return state == HC_DOM_EXITED || state == HC_DOM_STOPPED || state == HC_DOM_DYING;
}

/* True when the user wants to leave. Keys from the terminal are added to keys[]. */
static bool read_keys(unsigned char keys[KEYS], size_t *n, bool *open)
{
    ssize_t got = read(STDIN_FILENO, keys + *n, KEYS - *n);

    if (got <= 0) {
        *open = false; /* nobody types any more; the output goes on */
        return false;
    }
    for (ssize_t i = 0; i < got; i++) {
        if (keys[*n] == KEY_LEAVE || keys[*n] == KEY_LEAVE_TOO) {
            return true; /* keys before it are still to be sent */
        }
        (*n)++;
    }
    return false;
}

static int follow(struct hc_domain *d)
{
    unsigned char keys[KEYS];
    size_t nr_keys = 0;
    uint64_t at = 0;
    bool open = true;

    if (terminal_raw()) {
        fprintf(stderr, "[console of %.*s; Ctrl-] or Ctrl-\\ leaves]\r\n",
                (int)strnlen(d->name, sizeof(d->name)), d->name);
    }
    for (unsigned int look = 1;; look++) {
        struct pollfd in = {.fd = open && nr_keys < KEYS ? STDIN_FILENO : -1, .events = POLLIN};
        bool ended = over(d->state), leave;

        show_output(d, &at);
        if (ended) {
            fprintf(stderr, "\r\n[%s]\r\n", state_name(d->state));
            return EXIT_OK;
        }
        leave = poll(&in, 1, POLL_MS) > 0 && read_keys(keys, &nr_keys, &open);
        if (nr_keys != 0) {
            nr_keys = send_keys(d, keys, nr_keys);
        }
        if (leave) {
            fputs("\r\n", stderr);
            return EXIT_OK;
        }
        if (look % LOOKS_PER_SECOND == 0 && !domain_get(d->id, d)) {
            fputs("\r\n[destroyed]\r\n", stderr);
            return EXIT_OK;
        }
    }
}

int cmd_console(void)
{
    struct hc_domain d = domain_wanted();
    uint64_t at = 0;

    if (options.dump && options.json) {
        return dump_json(&d);
    }
    if (options.json) {
        fail(EXIT_USAGE, 0, "console: --json goes with --dump only");
    }
    if (options.dump) {
        show_output(&d, &at);
        return EXIT_OK;
    }
    return follow(&d);
}
