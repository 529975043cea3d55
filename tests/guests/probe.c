/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks the virtual CPU and machine against the manuals and molt's own documentation.
 *
 * Command line: area=NAME (only that one), strio=1 (string I/O too), maxgap=MS (2000), engine=tcg
 * (leaves out what QEMU's TCG gets wrong by itself, whoever runs on it). Areas: cpuid, msr,
 * control, ports, uart, hypercall, exception, instruction, step, strio. Without molt the areas that
 * are about molt are skipped.
 */
#include "probe/probe.h"

#include "lib/bootinfo.h"
#include "lib/molt.h"

static const char *group_area;
static unsigned int group_checks;
static unsigned int group_failures;

void group_begin(const char *area)
{
    group_area = area;
    group_checks = 0;
    group_failures = 0;
}

bool check(bool ok, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    group_checks++;
    if (!ok) {
        group_failures++;
        va_start(ap, fmt);
        str_vformat(text, sizeof(text), fmt, ap);
        va_end(ap);
        report(false, group_area, "%s", text);
    }
    return ok;
}

void group_end(const char *what)
{
    if (group_checks == 0) {
        report_skip(group_area, "%s: nothing to check here", what);
    } else if (group_failures == 0) {
        report(true, group_area, "%s: %u checks", what, group_checks);
    }
}

bool expect_vectors(const char *what, void (*fn)(void *), void *arg, uint64_t allowed)
{
    bool faulted = fault_call(fn, arg);

    if (faulted) {
        check(last_fault.vector < 32 && (allowed & VECTOR(last_fault.vector)) != 0,
              "%s: vector %" P64 "u, error 0x%" P64 "x", what, last_fault.vector, last_fault.error);
    } else {
        check((allowed & NO_FAULT) != 0, "%s: no fault", what);
    }
    return faulted;
}

bool expect_fault(const char *what, void (*fn)(void *), void *arg, uint32_t vector, uint64_t error)
{
    if (!expect_vectors(what, fn, arg, VECTOR(vector)) || last_fault.vector != vector) {
        return false;
    }
    return check(last_fault.error == error, "%s: error code 0x%" P64 "x, expected 0x%" P64 "x",
                 what, last_fault.error, error);
}

bool vendor_is_intel(void)
{
    return cpuid(0, 0).ebx == 0x756e6547U;
}

bool engine_is_strict(void)
{
    return molt_present() || cpu_is_exact();
}

int guest_main(void)
{
    static const struct {
        const char *name;
        void (*run)(void);
        bool needs_molt;
    } areas[] = {
        {"cpuid", probe_cpuid, false},
        {"msr", probe_msrs, false},
        {"control", probe_control, false},
        {"ports", probe_ports, true},
        {"uart", probe_uart, false},
        {"hypercall", probe_hypercalls, true},
        {"exception", probe_exceptions, false},
        {"instruction", probe_instructions, false},
        {"step", probe_steps, false},
        {"strio", probe_strings, false},
    };
    char only[16];

    ram_init(true);
    paging_init();
    cmdline_text("area", only, sizeof(only), "");
    for (size_t i = 0; i < ARRAY_SIZE(areas); i++) {
        if (only[0] != '\0' && strcmp(only, areas[i].name) != 0) {
            continue;
        }
        if (strcmp(areas[i].name, "strio") == 0 && cmdline_number("strio", 0) == 0) {
            report_skip("strio", "not asked for (strio=1)");
        } else if (areas[i].needs_molt && !molt_present()) {
            report_skip(areas[i].name, "no molt here");
        } else {
            areas[i].run();
        }
    }
    report_end();
}
