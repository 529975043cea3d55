/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of moltctl. Pure. Host test: tests/host/test_moltctl.c
 */
#ifndef MOLTCTL_OPTIONS_H
#define MOLTCTL_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum command {
    COMMAND_HELP,
    COMMAND_LIST,
    COMMAND_STATUS,
    COMMAND_STAT,
    COMMAND_CREATE,
    COMMAND_START,
    COMMAND_PAUSE,
    COMMAND_RESUME,
    COMMAND_DESTROY,
    COMMAND_CONSOLE,
    COMMAND_UPDATE,
    COMMAND_AUDIT,
    COMMAND_LOG,
    COMMANDS
};

#define OPTIONS_WHY_MAX 160

struct options {
    enum command command;
    bool json;
    const char *name; /* a domain's name or number; update: the image's file */
    uint64_t memory_bytes;
    uint32_t vcpus;
    const char *kernel;
    const char *module;  /* NULL: none */
    const char *cmdline; /* never NULL */
    bool start;
    bool dump;
    bool follow;
};

/* Reads argv[1..]. False when it makes no sense: `why` says what. */
bool options_parse(int argc, char *const argv[], struct options *out, char why[OPTIONS_WHY_MAX]);

/* "64M", "1g", "65536": bytes, powers of 1024. False for anything else. */
bool size_parse(const char *text, uint64_t *bytes);

/* What can be typed, for a terminal. */
extern const char options_help[];

#endif
