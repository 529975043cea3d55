/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line: one table of commands, one of options.
 */
#include "options.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "public/hypercall.h"

#define DEFAULT_MEMORY (UINT64_C(64) << 20)
#define VCPUS_MAX 255U
#define PAGE UINT64_C(4096)

const char options_help[] =
    "usage: moltctl COMMAND [--json]\n"
    "\n"
    "  list                  domains, their states and sizes\n"
    "  status                the running image, the last update\n"
    "  log [-f]              molt's own lines and steps, of this image and those before; -f: and\n"
    "                        what comes, until Ctrl-C\n"
    "  update FILE           replaces the running image by FILE, under the running guests\n"
    "  audit                 does everybody in molt agree on whose each frame of memory is?\n"
    "  create NAME --kernel FILE [--mem 64M] [--vcpus 1] [--module FILE] [--cmdline TEXT]\n"
    "         [--start]      a new domain; FILE: bzImage, PVH or multiboot ELF\n"
    "  start NAME            starts a domain that was created\n"
    "  pause NAME            it stands still\n"
    "  resume NAME           it goes on\n"
    "  destroy NAME          it is gone, its memory is free\n"
    "  stat NAME             what it did: time, exits, memory\n"
    "  console NAME [--dump] its console; Ctrl-] or Ctrl-\\ leaves, --dump shows what is there\n"
    "\n"
    "NAME is a domain's name or number.\n";

static const struct {
    const char *word;
    bool operand;
} commands[COMMANDS] = {
    [COMMAND_HELP] = {"help", false},      [COMMAND_LIST] = {"list", false},
    [COMMAND_STATUS] = {"status", false},  [COMMAND_STAT] = {"stat", true},
    [COMMAND_CREATE] = {"create", true},   [COMMAND_START] = {"start", true},
    [COMMAND_PAUSE] = {"pause", true},     [COMMAND_RESUME] = {"resume", true},
    [COMMAND_DESTROY] = {"destroy", true}, [COMMAND_CONSOLE] = {"console", true},
    [COMMAND_UPDATE] = {"update", true},   [COMMAND_AUDIT] = {"audit", false},
    [COMMAND_LOG] = {"log", false},
};

__attribute__((format(printf, 2, 3))) static bool wrong(char why[OPTIONS_WHY_MAX], const char *fmt,
                                                        ...)
{
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(why, OPTIONS_WHY_MAX, fmt, args);
    va_end(args);
    return false;
}

/* Decimal digits, at least one, nothing else, no overflow; *end: behind them. */
static bool digits(const char *text, uint64_t *value, const char **end)
{
    uint64_t n = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(n, (uint64_t)10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(*at - '0'), &n)) {
            return false;
        }
    }
    *value = n;
    *end = at;
    return at != text;
}

bool size_parse(const char *text, uint64_t *bytes)
{
    static const char units[] = "KMGT";
    const char *end, *unit;
    uint64_t n;
    unsigned int shift = 0;

    if (!digits(text, &n, &end)) {
        return false;
    }
    if (*end != '\0') {
        unit = strchr(units, *end >= 'a' && *end <= 'z' ? *end - 'a' + 'A' : *end);
        if (unit == NULL || end[1] != '\0') {
            return false;
        }
        shift = 10 * (unsigned int)(unit - units + 1);
    }
    if (n > UINT64_MAX >> shift) {
        return false;
    }
    *bytes = n << shift;
    return true;
}

static bool set_memory(struct options *o, const char *value, char *why)
{
    if (!size_parse(value, &o->memory_bytes) || o->memory_bytes == 0 ||
        o->memory_bytes % PAGE != 0) {
        return wrong(why, "--mem %s: not a size in whole pages, such as 64M", value);
    }
    return true;
}

static bool set_vcpus(struct options *o, const char *value, char *why)
{
    const char *end;
    uint64_t n;

    if (!digits(value, &n, &end) || *end != '\0' || n == 0 || n > VCPUS_MAX) {
        return wrong(why, "--vcpus %s: not a number from 1 to %u", value, VCPUS_MAX);
    }
    o->vcpus = (uint32_t)n;
    return true;
}

static bool set_kernel(struct options *o, const char *value, char *why)
{
    (void)why;
    o->kernel = value;
    return true;
}

static bool set_module(struct options *o, const char *value, char *why)
{
    (void)why;
    o->module = value;
    return true;
}

static bool set_cmdline(struct options *o, const char *value, char *why)
{
    if (strlen(value) >= PAGE) {
        return wrong(why, "--cmdline: longer than %u characters", (unsigned int)PAGE - 1);
    }
    o->cmdline = value;
    return true;
}

static bool set_start(struct options *o, const char *value, char *why)
{
    (void)value;
    (void)why;
    o->start = true;
    return true;
}

static bool set_dump(struct options *o, const char *value, char *why)
{
    (void)value;
    (void)why;
    o->dump = true;
    return true;
}

static bool set_follow(struct options *o, const char *value, char *why)
{
    (void)value;
    (void)why;
    o->follow = true;
    return true;
}

static bool set_json(struct options *o, const char *value, char *why)
{
    (void)value;
    (void)why;
    o->json = true;
    return true;
}

static const struct option {
    const char *word;
    bool value;           /* takes one, behind a blank or a = */
    enum command command; /* COMMANDS: goes with all */
    bool (*set)(struct options *o, const char *value, char *why);
} table[] = {
    {"--json", false, COMMANDS, set_json},
    {"--mem", true, COMMAND_CREATE, set_memory},
    {"--vcpus", true, COMMAND_CREATE, set_vcpus},
    {"--kernel", true, COMMAND_CREATE, set_kernel},
    {"--module", true, COMMAND_CREATE, set_module},
    {"--cmdline", true, COMMAND_CREATE, set_cmdline},
    {"--start", false, COMMAND_CREATE, set_start},
    {"--dump", false, COMMAND_CONSOLE, set_dump},
    {"--follow", false, COMMAND_LOG, set_follow},
    {"-f", false, COMMAND_LOG, set_follow},
};

/* The option that argv[*at] is; *at moves to its value's word. */
static bool take_option(int argc, char *const argv[], int *at, struct options *o, char *why)
{
    const char *word = argv[*at];
    const char *equals = strchr(word, '=');
    size_t length = equals != NULL ? (size_t)(equals - word) : strlen(word);
    const char *value = equals != NULL ? equals + 1 : NULL;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const struct option *t = &table[i];

        if (strlen(t->word) != length || strncmp(t->word, word, length) != 0) {
            continue;
        }
        if (t->command != COMMANDS && t->command != o->command) {
            return wrong(why, "%s does not go with %s", t->word, commands[o->command].word);
        }
        if (!t->value) {
            return value == NULL ? t->set(o, NULL, why) : wrong(why, "%s takes no value", t->word);
        }
        if (value == NULL && ++*at < argc) {
            value = argv[*at];
        }
        return value != NULL ? t->set(o, value, why)
                             : wrong(why, "%s: its value is missing", t->word);
    }
    return wrong(why, "%s is no option", word);
}

static bool find_command(const char *word, enum command *out)
{
    for (unsigned int i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].word, word) == 0) {
            *out = (enum command)i;
            return true;
        }
    }
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static bool complete(const struct options *o, char *why)
{
    const char *word = commands[o->command].word;

    if (commands[o->command].operand && o->name == NULL) {
        return wrong(why, "%s: %s is missing", word,
                     o->command == COMMAND_UPDATE ? "the image's file" : "the domain's name");
    }
    if (o->follow && o->json) {
        return wrong(why, "log: --json does not go with -f");
    }
    if (o->command == COMMAND_CREATE) {
        if (o->kernel == NULL) {
            return wrong(why, "create: --kernel FILE is missing");
        }
        if (o->name[0] == '\0' || strlen(o->name) >= sizeof(((struct hc_domain *)0)->name)) {
            return wrong(why, "create: a name has 1 to 31 characters");
        }
    }
    return true;
}

bool options_parse(int argc, char *const argv[], struct options *out, char why[OPTIONS_WHY_MAX])
{
    struct options o = {.memory_bytes = DEFAULT_MEMORY, .vcpus = 1, .cmdline = ""};

    if (argc < 2) {
        return wrong(why, "no command");
    }
    if (!find_command(argv[1], &o.command)) {
        return wrong(why, "%s is no command", argv[1]);
    }
    for (int at = 2; at < argc; at++) {
        if (argv[at][0] == '-' && argv[at][1] != '\0') {
            if (!take_option(argc, argv, &at, &o, why)) {
                return false;
            }
        } else if (commands[o.command].operand && o.name == NULL) {
            o.name = argv[at];
        } else {
            return wrong(why, "%s: what is %s for?", commands[o.command].word, argv[at]);
        }
    }
    if (!complete(&o, why)) {
        return false;
    }
    *out = o;
    return true;
}
