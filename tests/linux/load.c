/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of the Linux tests' load that a shell cannot do.
 *
 *   load memory UNTIL SEED   patterns in memory, vector registers and rounding modes
 *   load clock UNTIL         CLOCK_MONOTONIC, the TSC and /proc/uptime against each other
 *   load timers UNTIL        nanosleep and timerfd against CLOCK_MONOTONIC
 *   load lines               copies lines, each with ` crc=` and its CRC-32 behind it
 *   load tsc                 prints the TSC
 *   load drain               waits until the terminal has sent everything
 *
 * UNTIL is in seconds of /proc/uptime. The first three print `PASS|FAIL: area: text`.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <unistd.h>
#include <x86intrin.h>

#include "common.h"

#define PAGE_SIZE 4096U
#define PAGE_WORDS (PAGE_SIZE / sizeof(uint64_t))
#define PAGES 768U
#define SPIN_ROUNDS 300000U
#define VECTORS 32U
#define VECTOR_WORDS 8U

#define SLEEP_MAX (60 * NS_PER_MS)

/* --- memory and registers --- */

struct registers {
    uint64_t vector[VECTORS][VECTOR_WORDS];
    uint64_t mask[8];
    uint32_t mxcsr;
};

static uint64_t seed_of(uint64_t seed, uint64_t page, uint64_t generation)
{
    return (seed << 48 | page << 24 | (generation + 1)) * 0x9e3779b97f4a7c15ULL | 1;
}

static void page_fill(uint64_t *page, uint64_t state)
{
    for (size_t i = 0; i < PAGE_WORDS; i++) {
        page[i] = rand64(&state);
    }
}

static void page_check(const uint64_t *page, uint64_t state, uint64_t number)
{
    for (size_t i = 0; i < PAGE_WORDS; i++) {
        uint64_t expected = rand64(&state);

        if (page[i] != expected) {
            fail("memory", "page %" PRIu64 " word %zu: %" PRIx64 ", not %" PRIx64, number, i,
                 page[i], expected);
        }
    }
}

#define EACH_8(m, a) m(a##0) m(a##1) m(a##2) m(a##3) m(a##4) m(a##5) m(a##6) m(a##7)
#define EACH_16(m) \
    m(0) m(1) m(2) m(3) m(4) m(5) m(6) m(7) m(8) m(9) m(10) m(11) m(12) m(13) m(14) m(15)
#define EACH_HIGH(m) \
    m(16) m(17) m(18) m(19) m(20) m(21) m(22) m(23) m(24) m(25) m(26) m(27) m(28) m(29) m(30) m(31)
#define SPIN "1: dec %%rcx\n jnz 1b\n"
#define ROUNDING_SET "ldmxcsr %[mode]\n"
#define ROUNDING_GET "stmxcsr %[mode_after]\n"
#define OPERANDS(in, out, count, csr, csr_after)                                                  \
    [mode_after] "=m"(csr_after),                                                                 \
        "+c"(count)                                                                               \
        : [from] "r"(&(in)), [to] "r"(&(out)), [mode] "m"(csr)                                    \
        : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", \
          "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

#define SSE_LOAD(n) "movdqu " #n "*64(%[from]), %%xmm" #n "\n"
#define SSE_STORE(n) "movdqu %%xmm" #n ", " #n "*64(%[to])\n"
#define AVX_LOAD(n) "vmovdqu " #n "*64(%[from]), %%ymm" #n "\n"
#define AVX_STORE(n) "vmovdqu %%ymm" #n ", " #n "*64(%[to])\n"
#define AVX512_LOAD(n) "vmovdqu64 " #n "*64(%[from]), %%zmm" #n "\n"
#define AVX512_STORE(n) "vmovdqu64 %%zmm" #n ", " #n "*64(%[to])\n"
#define MASK_LOAD(n) "kmovw 2048+" #n "*8(%[from]), %%k" #n "\n"
#define MASK_STORE(n) "kmovw %%k" #n ", 2048+" #n "*8(%[to])\n"

/* Sets all registers from `in`, spins, stores them into `out`. Returns the words of a vector. */
static size_t registers_hold(const struct registers *in, struct registers *out, bool avx,
                             bool avx512)
{
    uint64_t count = SPIN_ROUNDS;
    uint32_t old = _mm_getcsr();
    size_t words;

    if (avx512) {
        __asm__ volatile(EACH_16(AVX512_LOAD) EACH_HIGH(AVX512_LOAD) EACH_8(MASK_LOAD, )
                             ROUNDING_SET SPIN ROUNDING_GET EACH_16(AVX512_STORE)
                                 EACH_HIGH(AVX512_STORE) EACH_8(MASK_STORE, ) "vzeroupper\n"
                         : OPERANDS(*in, *out, count, in->mxcsr, out->mxcsr));
        words = 8;
    } else if (avx) {
        __asm__ volatile(EACH_16(AVX_LOAD)
                             ROUNDING_SET SPIN ROUNDING_GET EACH_16(AVX_STORE) "vzeroupper\n"
                         : OPERANDS(*in, *out, count, in->mxcsr, out->mxcsr));
        words = 4;
    } else {
        __asm__ volatile(EACH_16(SSE_LOAD) ROUNDING_SET SPIN ROUNDING_GET EACH_16(SSE_STORE)
                         : OPERANDS(*in, *out, count, in->mxcsr, out->mxcsr));
        words = 2;
    }
    _mm_setcsr(old);
    return words;
}

static void registers_check(uint64_t *state, bool avx, bool avx512)
{
    static struct registers in;
    static struct registers out;
    size_t words;

    for (size_t n = 0; n < VECTORS; n++) {
        for (size_t i = 0; i < VECTOR_WORDS; i++) {
            in.vector[n][i] = rand64(state);
        }
    }
    for (size_t n = 0; n < ARRAY_SIZE(in.mask); n++) {
        in.mask[n] = rand64(state) & 0xffff;
    }
    in.mxcsr = 0x1f80U | (rand64(state) & 3) << 13; /* all masked, any rounding */
    memset(&out, 0, sizeof(out));
    words = registers_hold(&in, &out, avx, avx512);

    if (out.mxcsr != in.mxcsr) {
        fail("vectors", "mxcsr %x, not %x", out.mxcsr, in.mxcsr);
    }
    for (size_t n = 0; n < (avx512 ? VECTORS : VECTORS / 2); n++) {
        for (size_t i = 0; i < words; i++) {
            if (out.vector[n][i] != in.vector[n][i]) {
                fail("vectors", "register %zu word %zu: %" PRIx64 ", not %" PRIx64, n, i,
                     out.vector[n][i], in.vector[n][i]);
            }
        }
    }
    for (size_t n = 0; avx512 && n < ARRAY_SIZE(in.mask); n++) {
        if (out.mask[n] != in.mask[n]) {
            fail("vectors", "k%zu: %" PRIx64 ", not %" PRIx64, n, out.mask[n], in.mask[n]);
        }
    }
}

static void run_memory(uint64_t seed)
{
    static uint64_t generations[PAGES];
    bool avx = __builtin_cpu_supports("avx") != 0;
    bool avx512 = __builtin_cpu_supports("avx512f") != 0;
    const char *kind = avx512 ? "avx512" : avx ? "avx" : "sse";
    uint64_t state = seed_of(seed, 0, 0);
    uint64_t checks = 0;
    uint64_t windows = 0;
    uint64_t *memory = mmap(NULL, (size_t)PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        fail("memory", "mmap");
    }
    for (uint64_t i = 0; i < PAGES; i++) {
        page_fill(memory + i * PAGE_WORDS, seed_of(seed, i, 0));
    }
    while (!over()) {
        for (unsigned int n = 0; n < 32; n++) {
            uint64_t i = rand64(&state) % PAGES;
            uint64_t *page = memory + i * PAGE_WORDS;

            page_check(page, seed_of(seed, i, generations[i]), i);
            page_fill(page, seed_of(seed, i, ++generations[i]));
            checks++;
        }
        registers_check(&state, avx, avx512);
        windows++;
    }
    for (uint64_t i = 0; i < PAGES; i++) {
        page_check(memory + i * PAGE_WORDS, seed_of(seed, i, generations[i]), i);
    }
    printf("PASS: memory: seed %" PRIu64 ", %" PRIu64 " pages\n", seed, checks);
    printf("PASS: vectors: seed %" PRIu64 ", %" PRIu64 " windows, %s\n", seed, windows, kind);
}

/* --- clocks --- */

struct moment {
    uint64_t tsc;
    int64_t ns;
};

/* A clock reading and the TSC at the same time: the best of some attempts. */
static struct moment moment_now(void)
{
    struct moment best = {0, 0};
    uint64_t shortest = UINT64_MAX;

    for (int i = 0; i < 20; i++) {
        uint64_t before = __rdtsc();
        int64_t ns = clock_ns();
        uint64_t after = __rdtsc();

        if (after < before) {
            fail("tsc", "%" PRIu64 " after %" PRIu64, after, before);
        }
        if (after - before < shortest) {
            shortest = after - before;
            best = (struct moment){before + shortest / 2, ns};
        }
    }
    return best;
}

static int64_t uptime_ns(void)
{
    long long seconds;
    int hundredths;
    FILE *file = fopen("/proc/uptime", "r");

    if (file == NULL || fscanf(file, "%lld.%2d", &seconds, &hundredths) != 2) {
        fail("uptime", "cannot be read");
    }
    fclose(file);
    return seconds * NS_PER_S + hundredths * (NS_PER_S / 100);
}

/* Both clocks read thousands of times: never back, never a jump. */
static int64_t clock_watch(int64_t *longest)
{
    int64_t last = clock_ns();
    uint64_t last_tsc = __rdtsc();

    for (int i = 0; i < 2000; i++) {
        int64_t now = clock_ns();
        uint64_t tsc = __rdtsc();

        if (now < last) {
            fail("clock", "%" PRId64 " ns after %" PRId64, now, last);
        }
        if (now - last > late_max()) {
            fail("clock", "a jump of %" PRId64 " ms", (now - last) / NS_PER_MS);
        }
        if (tsc < last_tsc) {
            fail("tsc", "%" PRIu64 " after %" PRIu64, tsc, last_tsc);
        }
        if (now - last > *longest) {
            *longest = now - last;
        }
        last = now;
        last_tsc = tsc;
    }
    return last;
}

static void run_clock(void)
{
    struct moment first = moment_now();
    struct moment window = first;
    int64_t last = first.ns;
    int64_t longest = 0;
    double least = 0;
    double most = 0;
    unsigned int windows = 0;
    unsigned int uptimes = 0;

    while (!over()) {
        struct timespec pause = timespec_of(5 * NS_PER_MS);
        int64_t now = clock_watch(&longest);
        int64_t uptime;
        struct moment moment;

        if (now < last) {
            fail("clock", "%" PRId64 " ns after %" PRId64, now, last);
        }
        uptime = uptime_ns();
        last = clock_ns();
        /* It is cut to hundredths. */
        if (uptime > last || uptime + NS_PER_S / 100 < now) {
            fail("uptime", "%" PRId64 " ns while the clock went from %" PRId64 " to %" PRId64,
                 uptime, now, last);
        }
        uptimes++;
        moment = moment_now();
        if (moment.ns - window.ns >= NS_PER_S / 2) {
            double rate = (double)(moment.tsc - window.tsc) / (double)(moment.ns - window.ns);

            least = windows == 0 || rate < least ? rate : least;
            most = rate > most ? rate : most;
            windows++;
            window = moment;
        }
        nanosleep(&pause, NULL);
    }
    if (windows < 2) {
        fail("clock", "only %u windows", windows);
    }
    if (most > least * 1.005) {
        fail("tsc", "from %.3f to %.3f MHz against the clock", least * 1000, most * 1000);
    }
    printf("PASS: clock: longest step %" PRId64 " us\n", longest / 1000);
    printf("PASS: uptime: %u readings\n", uptimes);
    printf("PASS: tsc: %u windows, %.3f to %.3f MHz\n", windows, least * 1000, most * 1000);
}

/* --- timers --- */

struct lateness {
    const char *area;
    unsigned int count;
    int64_t longest;
};

/* A timer set for `due` has gone off. */
static void timer_check(struct lateness *late, int64_t due)
{
    int64_t after = clock_ns() - due;

    if (after < 0) {
        fail(late->area, "%" PRId64 " ns early", -after);
    }
    if (after > late_max()) {
        fail(late->area, "%" PRId64 " ms late", after / NS_PER_MS);
    }
    late->count++;
    if (after > late->longest) {
        late->longest = after;
    }
}

static void lateness_report(const struct lateness *late)
{
    printf("PASS: %s: %u, at most %" PRId64 " us late\n", late->area, late->count,
           late->longest / 1000);
}

static uint64_t timerfd_wait(int timer)
{
    uint64_t expirations;

    if (read(timer, &expirations, sizeof(expirations)) != sizeof(expirations)) {
        fail("timerfd", "read");
    }
    return expirations;
}

static void run_timers(void)
{
    struct lateness naps = {.area = "nanosleep"};
    struct lateness alarms = {.area = "timerfd"};
    uint64_t state = 0x1234567;
    const int64_t period = 20 * NS_PER_MS;
    int64_t start = clock_ns() + period;
    struct itimerspec every = {timespec_of(period), timespec_of(start)};
    int once = timerfd_create(CLOCK_MONOTONIC, 0);
    int beat = timerfd_create(CLOCK_MONOTONIC, 0);
    uint64_t beats = 0;

    if (once < 0 || beat < 0 || timerfd_settime(beat, TFD_TIMER_ABSTIME, &every, NULL) != 0) {
        fail("timerfd", "cannot be set");
    }
    while (!over()) {
        int64_t ns = (int64_t)(rand64(&state) % SLEEP_MAX) + 1000;
        int64_t due = clock_ns() + ns;
        struct timespec nap = timespec_of(ns);
        struct itimerspec alarm = {{0, 0}, {0, 0}};
        int64_t before;
        int64_t expected;

        if (nanosleep(&nap, NULL) != 0) {
            fail("nanosleep", "interrupted");
        }
        timer_check(&naps, due);

        due = clock_ns() + (int64_t)(rand64(&state) % SLEEP_MAX) + 1000;
        alarm.it_value = timespec_of(due);
        if (timerfd_settime(once, TFD_TIMER_ABSTIME, &alarm, NULL) != 0) {
            fail("timerfd", "cannot be set");
        }
        if (timerfd_wait(once) != 1) {
            fail("timerfd", "more than one expiration");
        }
        timer_check(&alarms, due);

        /* The periodic one has gone off exactly as often as the clock says. */
        before = clock_ns();
        beats += timerfd_wait(beat);
        expected = (before - start) / period + 1;
        if ((int64_t)beats < expected || start + (int64_t)(beats - 1) * period > clock_ns()) {
            fail("beat", "%" PRIu64 " beats, not %" PRId64, beats, expected);
        }
    }
    lateness_report(&naps);
    lateness_report(&alarms);
    printf("PASS: beat: %" PRIu64 " beats\n", beats);
}

/* --- lines --- */

static uint32_t crc32_of(const char *text, size_t size)
{
    uint32_t crc = ~0U;

    for (size_t i = 0; i < size; i++) {
        crc ^= (uint8_t)text[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320U : 0);
        }
    }
    return ~crc;
}

static void run_lines(void)
{
    static char line[4096];

    while (fgets(line, sizeof(line), stdin) != NULL) {
        size_t size = strcspn(line, "\n");

        printf("%.*s crc=%08x\n", (int)size, line, crc32_of(line, size));
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    if (argc >= 3) {
        until = atoll(argv[2]) * NS_PER_S;
    }
    if (argc == 4 && strcmp(argv[1], "memory") == 0) {
        run_memory(strtoull(argv[3], NULL, 10));
    } else if (argc == 3 && strcmp(argv[1], "clock") == 0) {
        run_clock();
    } else if (argc == 3 && strcmp(argv[1], "timers") == 0) {
        run_timers();
    } else if (argc == 2 && strcmp(argv[1], "lines") == 0) {
        run_lines();
    } else if (argc == 2 && strcmp(argv[1], "drain") == 0) {
        return tcdrain(STDOUT_FILENO) != 0;
    } else if (argc == 2 && strcmp(argv[1], "tsc") == 0) {
        printf("tsc=%llu\n", (unsigned long long)__rdtsc());
    } else {
        fprintf(
            stderr,
            "usage: load memory UNTIL SEED | clock UNTIL | timers UNTIL | lines | tsc | drain\n");
        return 2;
    }
    return 0;
}
