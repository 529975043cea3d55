/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the self-checking guests do beside their windows: ticks, polls, counters, code, sleep.
 */
#include "lib/duty.h"

#include "lib/bootinfo.h"
#include "lib/clock.h"
#include "lib/mempat.h"
#include "lib/molt.h"

#define DEFAULT_TICK_MS 500U
#define DEFAULT_SECONDS 5U
#define DEFAULT_SLEEP_US 1000U
#define POLL_MS 20U

static struct area code_area = {"code", 0};
static struct area hypercall_area = {"hypercall", 0};
static struct area sleep_area = {"sleep", 0};
static struct area counter_area = {"counter", 0};
static struct area console_area = {"console", 0};

static uint64_t tick_ms;
static uint64_t next_tick_ms;
static uint64_t next_poll_ms;
static uint64_t ticks;
static uint64_t end_ms;
static uint64_t sleep_us;
static uint64_t code_sum;
static struct hc_info first;
static struct hc_info latest;
static bool shutdown;

/* Counters in memory, kept thrice in different forms. */
static volatile uint64_t counter;
static volatile uint64_t counter_inverse = ~(uint64_t)0;
static volatile uint64_t counter_sum;

static uint64_t sum_of_code(void)
{
    const uint64_t *p = (const uint64_t *)(uintptr_t)__const_start;
    const uint64_t *end = (const uint64_t *)(uintptr_t)__const_end;
    uint64_t sum = 0;

    for (; p < end; p++) {
        sum = (sum << 7 | sum >> 57) + *(const volatile uint64_t *)p;
    }
    return sum;
}

void duty_check_code(void)
{
    uint64_t sum = sum_of_code();

    if (sum != code_sum) {
        damage("code", "sum of text and constants: expected 0x%" P64 "x, got 0x%" P64 "x", code_sum,
               sum);
    }
    code_area.checks++;
}

void duty_check_counter(void)
{
    if (counter != ~counter_inverse || counter_sum != counter * 3) {
        damage("counter", "%" P64 "u, its inverse %" P64 "u, its triple %" P64 "u", counter,
               ~counter_inverse, counter_sum);
    }
    counter++;
    counter_inverse--;
    counter_sum += 3;
    counter_area.checks++;
}

static void poll(void)
{
    struct hc_info info;
    int64_t r;

    memset(&info, 0xa5, sizeof(info));
    r = molt_info(&info);
    if (r != 0) {
        damage("hypercall", "HC_INFO returned %" P64 "d", r);
    }
    if (info.domain_id != first.domain_id || info.memory_bytes != first.memory_bytes ||
        info.tsc_khz != first.tsc_khz || ((info.flags ^ first.flags) & HC_INFO_CONTROL) != 0) {
        damage("hypercall",
               "HC_INFO changed: domain %u -> %u, memory %" P64 "u -> %" P64 "u, kHz %" P64
               "u -> %" P64 "u, flags 0x%x -> 0x%x",
               first.domain_id, info.domain_id, first.memory_bytes, info.memory_bytes,
               first.tsc_khz, info.tsc_khz, first.flags, info.flags);
    }
    if (info.updates < latest.updates ||
        (info.updates == latest.updates && strcmp(info.build_id, latest.build_id) != 0)) {
        damage("hypercall", "updates went from %" P64 "u (build %s) to %" P64 "u (build %s)",
               latest.updates, latest.build_id, info.updates, info.build_id);
    }
    if (info.updates != latest.updates) {
        print_crc("update updates=%" P64 "u version=%s build=%s", info.updates, info.version,
                  info.build_id);
    }
    shutdown = (info.flags & HC_INFO_SHUTDOWN) != 0;
    latest = info;
    hypercall_area.checks++;
}

static void tick(uint64_t now)
{
    ticks++;
    print_crc("tick n=%" P64 "u t=%" P64 "u passes=%" P64 "u updates=%" P64 "u gap=%" P64 "u",
              ticks, now, mempat_passes(), latest.updates - first.updates, clock_largest_gap_us());
    next_tick_ms += tick_ms;
    if (next_tick_ms <= now) {
        next_tick_ms = now + tick_ms;
    }
    console_area.checks++;
}

uint64_t duty_service(void)
{
    uint64_t now = clock_ms();

    if (now >= next_tick_ms) {
        tick(now);
    }
    if (molt_present() && now >= next_poll_ms) {
        poll();
        next_poll_ms = now + POLL_MS;
    }
    return now;
}

void duty_check_sleep(void)
{
    uint64_t from;
    uint64_t slept;
    int64_t r;

    if (sleep_us == 0 || !molt_present()) {
        return;
    }
    from = clock_check();
    r = molt_sleep(sleep_us);
    slept = clock_cycles_to_us(clock_check() - from);
    if (r != 0 || slept < sleep_us) {
        damage("sleep", "HC_SLEEP of %" P64 "u us returned %" P64 "d after %" P64 "u us", sleep_us,
               r, slept);
    }
    sleep_area.checks++;
}

static void watch_clock(void)
{
    (void)clock_check();
}

static void each_page(void)
{
    (void)duty_service();
}

bool duty_over(void)
{
    return shutdown || clock_ms() >= end_ms;
}

uint64_t duty_init(const char *name)
{
    uint64_t seconds = cmdline_number("seconds", molt_present() ? 0 : DEFAULT_SECONDS);
    uint64_t seed;

    code_sum = sum_of_code();
    if (molt_present()) {
        int64_t r = molt_info(&first);

        if (r != 0) {
            damage("hypercall", "HC_INFO returned %" P64 "d", r);
        }
        latest = first;
    }
    seed = cmdline_number("seed", 1 + first.domain_id);
    tick_ms = cmdline_number("tick", DEFAULT_TICK_MS);
    sleep_us = cmdline_number("sleep", DEFAULT_SLEEP_US);
    mempat_init(rand64(&seed));
    print_crc("%s domain=%u pages=%" P64 "u khz=%" P64 "u boot=multiboot%u updates=%" P64
              "u version=%s build=%s",
              name, first.domain_id, mempat_pages(), clock_khz(), boot.protocol, first.updates,
              molt_present() ? first.version : "none", molt_present() ? first.build_id : "none");
    clock_restart_gap();
    console_idle = watch_clock;
    next_tick_ms = tick_ms;
    end_ms = seconds != 0 ? seconds * 1000 : UINT64_MAX;
    return seed;
}

void duty_finish(struct area *const *areas, size_t count, uint64_t windows)
{
    struct area *const own[] = {&mempat_area,  &clock_area,     &code_area, &counter_area,
                                &console_area, &hypercall_area, &sleep_area};
    uint64_t checks = 0;

    duty_check_code();
    mempat_verify_all(each_page);
    for (size_t i = 0; i < ARRAY_SIZE(own); i++) {
        report_area(own[i]);
        checks += own[i]->checks;
    }
    for (size_t i = 0; i < count; i++) {
        report_area(areas[i]);
        checks += areas[i]->checks;
    }
    print_crc("figures ticks=%" P64 "u passes=%" P64 "u pages=%" P64 "u updates=%" P64
              "u gap_us=%" P64 "u windows=%" P64 "u checks=%" P64 "u",
              ticks, mempat_passes(), mempat_pages(), latest.updates - first.updates,
              clock_largest_gap_us(), windows, checks);
    report_end();
}
