/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moltctl: manages molt and its domains from Linux in the control domain. docs/MOLTCTL.md
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "door.h"
#include "moltctl.h"
#include "show.h"

struct options options;

void fail(int code, int64_t result, const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)fflush(stdout);
    if (options.json) {
        const char *name = result != 0          ? door_error_name(result)
                           : code == EXIT_USAGE ? "usage"
                           : code == EXIT_PLACE ? "place"
                                                : "failed";

        show_error_json(stdout, name, text);
    }
    fprintf(stderr, "moltctl: %s\n", text);
    exit(code);
}

static int (*const functions[COMMANDS])(void) = {
    [COMMAND_LIST] = cmd_list,     [COMMAND_STATUS] = cmd_status,   [COMMAND_STAT] = cmd_stat,
    [COMMAND_CREATE] = cmd_create, [COMMAND_START] = cmd_start,     [COMMAND_PAUSE] = cmd_pause,
    [COMMAND_RESUME] = cmd_resume, [COMMAND_DESTROY] = cmd_destroy, [COMMAND_CONSOLE] = cmd_console,
    [COMMAND_UPDATE] = cmd_update, [COMMAND_AUDIT] = cmd_audit,     [COMMAND_LOG] = cmd_log,
};

/* Wrong command lines are not parsed to their end: whoever asks for JSON gets it all the same. */
static bool wants_json(int argc, char *argv[])
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            return true;
        }
    }
    return false;
}

int main(int argc, char *argv[])
{
    char why[OPTIONS_WHY_MAX];
    int code;

    if (!options_parse(argc, argv, &options, why)) {
        options.json = wants_json(argc, argv);
        fail(EXIT_USAGE, 0, "%s; `moltctl help` lists the commands", why);
    }
    if (options.command == COMMAND_HELP) {
        fputs(options_help, stdout);
        return EXIT_OK;
    }
    door_open();
    code = functions[options.command]();
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fail(EXIT_REFUSED, 0, "cannot write the output");
    }
    return code;
}
