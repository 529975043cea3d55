/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moltctl log: molt's flight recorder.
 *
 * Each line has a number, so nothing is lost or doubled while lines are added or overwritten.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "door.h"
#include "frames.h"
#include "json.h"
#include "moltctl.h"
#include "show.h"

#define FOLLOW_MS 200

/* Lines from number *from on into the shared page: bytes; *from moves behind them. */
static size_t read_lines(uint64_t *from, const char **lines)
{
    struct hc_log args = {.from = *from, .bytes = PAGE_BYTES};
    int64_t n;

    *lines = (const char *)door_page(&args.buffer);
    n = door_exchange(HC_LU_LOG, &args, sizeof(args), 0);
    if (n < 0 || n > PAGE_BYTES) {
        fail(EXIT_REFUSED, n, "log: %s", door_error_text(n));
    }
    *from = args.from;
    return (size_t)n;
}

static void show_all(uint64_t *from)
{
    const char *lines;
    size_t n;

    while ((n = read_lines(from, &lines)) != 0) {
        if (fwrite(lines, 1, n, stdout) != n) {
            fail(EXIT_REFUSED, 0, "cannot write the output");
        }
    }
}

static void show_json(void)
{
    struct json j = {.out = stdout};
    uint64_t from = 0;
    const char *lines;
    size_t n;

    json_open(&j, NULL, '[');
    while ((n = read_lines(&from, &lines)) != 0) {
        for (const char *end; n != 0 && (end = memchr(lines, '\n', n)) != NULL;) {
            show_log_line_json(&j, lines, (size_t)(end - lines));
            n -= (size_t)(end - lines) + 1;
            lines = end + 1;
        }
    }
    json_close(&j, ']');
    json_end(&j);
}

int cmd_log(void)
{
    uint64_t from = 0;

    if (options.json) {
        show_json();
        return EXIT_OK;
    }
    show_all(&from);
    while (options.follow) {
        if (fflush(stdout) != 0) {
            fail(EXIT_REFUSED, 0, "cannot write the output");
        }
        (void)poll(NULL, 0, FOLLOW_MS);
        show_all(&from);
    }
    return EXIT_OK;
}
