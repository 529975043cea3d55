/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load that makes the processors of a guest talk to each other. All of it runs on one, too.
 *
 *   smp UNTIL   UNTIL is in seconds of /proc/uptime; prints `PASS|FAIL: area: text`
 *
 * futex       two threads on different processors wake each other in turn
 * pipe        the same through two pipes
 * membarrier  of two processors that each write and then look, one sees the other's write, though
 *             one of the two has no barrier but the other's membarrier()
 * shootdown   a page changes under another processor's feet: never the old page, never a write
 *             into what was made read-only
 * hop         a thread goes where sched_setaffinity() sends it; clock and TSC go forward there
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <x86intrin.h>

#include "common.h"

#define PAGE_SIZE 4096U
#define SPINS 1000U /* then a waiting thread yields: its partner may be on the same processor */

static long cpus;

static void pin(long cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)(cpu % cpus), &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0) {
        fail("pin", "processor %ld: %s", cpu % cpus, strerror(errno));
    }
}

/* Waits in user mode until *word is no longer `old` or everything is over; the new value. */
static uint32_t spin_while(_Atomic uint32_t *word, uint32_t old)
{
    unsigned int n = 0;
    uint32_t now;

    while ((now = *word) == old && !over()) {
        if (++n % SPINS == 0) {
            sched_yield();
        }
    }
    return now;
}

/* --- futex --- */

static _Atomic uint32_t turn;

static void futex(int operation, uint32_t value)
{
    if (syscall(SYS_futex, &turn, operation, value, NULL, NULL, 0) < 0 && errno != EAGAIN &&
        errno != EINTR) {
        fail("futex", "%s", strerror(errno));
    }
}

/* Even numbers are one player's turn, odd ones the other's. */
static void *futex_player(void *argument)
{
    uint32_t me = (uint32_t)(uintptr_t)argument;
    uint32_t seen = 0;

    pin(me);
    for (;;) {
        uint32_t now = turn;
        bool ends = over();

        if (now < seen) {
            fail("futex", "%u after %u", now, seen);
        }
        seen = now;
        if (now % 2 != me) {
            futex(FUTEX_WAIT_PRIVATE, now);
            continue;
        }
        turn = now + 1;
        futex(FUTEX_WAKE_PRIVATE, 1);
        if (ends) { /* the other one has the turn now, and ends as well */
            return NULL;
        }
    }
}

/* --- pipe --- */

static int pipes[2][2];
static uint64_t pipe_turns;
static int64_t pipe_longest;

static void pipe_send(int fd, uint64_t value)
{
    if (write(fd, &value, sizeof(value)) != sizeof(value)) {
        fail("pipe", "write");
    }
}

static void *pipe_echo(void *unused)
{
    uint64_t value;

    (void)unused;
    pin(1);
    while (read(pipes[0][0], &value, sizeof(value)) == sizeof(value)) {
        pipe_send(pipes[1][1], ~value);
    }
    return NULL; /* the other end is closed */
}

static void *pipe_caller(void *unused)
{
    (void)unused;
    pin(0);
    while (!over()) {
        int64_t begin = clock_ns();
        uint64_t value;

        pipe_send(pipes[0][1], pipe_turns);
        if (read(pipes[1][0], &value, sizeof(value)) != sizeof(value) || value != ~pipe_turns) {
            fail("pipe", "round %" PRIu64 ": %" PRIx64 " came back", pipe_turns, value);
        }
        pipe_turns++;
        if (clock_ns() - begin > pipe_longest) {
            pipe_longest = clock_ns() - begin;
        }
    }
    close(pipes[0][1]);
    return NULL;
}

/* --- membarrier --- */

static struct {
    _Atomic uint32_t round; /* the slow side begins it, the fast side answers in `done` */
    _Atomic uint32_t done;
    _Atomic uint32_t slow_flag;
    _Atomic uint32_t fast_flag;
    uint32_t fast_saw;
} barrier;
static uint64_t barrier_rounds;

/* The fast side: a store and a load in program order, and no barrier between them. */
static void *barrier_fast(void *unused)
{
    uint32_t round = 0;

    (void)unused;
    pin(1);
    for (;;) {
        uint32_t next = spin_while(&barrier.round, round);

        if (next == round) {
            return NULL;
        }
        round = next;
        atomic_store_explicit(&barrier.fast_flag, round, memory_order_relaxed);
        atomic_signal_fence(memory_order_seq_cst);
        barrier.fast_saw = atomic_load_explicit(&barrier.slow_flag, memory_order_relaxed);
        barrier.done = round;
    }
}

static void *barrier_slow(void *unused)
{
    (void)unused;
    pin(0);
    for (uint32_t round = 1; !over(); round++) {
        uint32_t saw;

        barrier.round = round;
        atomic_store_explicit(&barrier.slow_flag, round, memory_order_relaxed);
        if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0) {
            fail("membarrier", "%s", strerror(errno));
        }
        saw = atomic_load_explicit(&barrier.fast_flag, memory_order_relaxed);
        if (spin_while(&barrier.done, round - 1) != round) {
            break;
        }
        if (saw != round && barrier.fast_saw != round) {
            fail("membarrier", "round %u: neither saw the other's write", round);
        }
        barrier_rounds++;
    }
    return NULL;
}

/* --- shootdown --- */

static volatile uint32_t *page; /* the same address for many pages, one after the other */
static struct {
    _Atomic uint32_t round; /* what the page must hold, or with READ_ONLY: that it is read-only */
    _Atomic uint32_t done;
} shot;
#define READ_ONLY 0x80000000U
static uint64_t shots;
static _Thread_local sigjmp_buf *fault_return;

static void on_fault(int signal)
{
    (void)signal;
    if (fault_return == NULL) {
        fail("shootdown", "a fault outside of the test");
    }
    siglongjmp(*fault_return, 1);
}

static bool write_faults(void)
{
    sigjmp_buf back;
    volatile bool faults = true;

    fault_return = &back;
    if (sigsetjmp(back, 1) == 0) {
        page[1] = 0;
        faults = false;
    }
    fault_return = NULL;
    return faults;
}

static void *shot_target(void *unused)
{
    uint32_t round = 0;

    (void)unused;
    pin(1);
    for (;;) {
        uint32_t next = spin_while(&shot.round, round);

        if (next == round) {
            return NULL;
        }
        round = next;
        if (round & READ_ONLY) {
            if (!write_faults()) {
                fail("shootdown", "round %u: a write into a read-only page", round & ~READ_ONLY);
            }
        } else {
            if (page[0] != round) {
                fail("shootdown", "round %u: the page of round %u", round, page[0]);
            }
            page[1] = round; /* this processor may write, and knows it */
        }
        shot.done = round;
    }
}

static bool shoot(uint32_t round)
{
    uint32_t before = shot.done;

    shot.round = round;
    return spin_while(&shot.done, before) == round;
}

static void *shot_owner(void *unused)
{
    (void)unused;
    pin(0);
    for (uint32_t round = 1; !over(); round++) {
        void *at = mmap((void *)page, PAGE_SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

        if (at != (void *)page) {
            fail("shootdown", "mmap");
        }
        page[0] = round;
        if (!shoot(round)) {
            break;
        }
        if (page[1] != round) {
            fail("shootdown", "round %u: the other processor's write of %u", round, page[1]);
        }
        if (mprotect((void *)page, PAGE_SIZE, PROT_READ) != 0) {
            fail("shootdown", "mprotect");
        }
        if (!shoot(round | READ_ONLY)) {
            break;
        }
        shots++;
    }
    return NULL;
}

/* --- hop --- */

static uint64_t hops;

static void *hopper(void *unused)
{
    int64_t last = clock_ns();
    uint64_t last_tsc = __rdtsc();
    uint64_t state = 0x5eed;

    (void)unused;
    while (!over()) {
        long cpu = (long)(rand64(&state) % (uint64_t)cpus);
        int64_t now;
        uint64_t tsc;

        pin(cpu);
        if (sched_getcpu() != cpu) {
            fail("hop", "on processor %d, not %ld", sched_getcpu(), cpu);
        }
        now = clock_ns();
        tsc = __rdtsc();
        if (now < last || tsc < last_tsc) {
            fail("hop", "clock %" PRId64 " after %" PRId64 ", TSC %" PRIu64 " after %" PRIu64, now,
                 last, tsc, last_tsc);
        }
        if (now - last > late_max()) {
            fail("hop", "%" PRId64 " ms for one", (now - last) / NS_PER_MS);
        }
        last = now;
        last_tsc = tsc;
        hops++;
    }
    return NULL;
}

static void prepare(void)
{
    struct sigaction action = {.sa_handler = on_fault};

    cpus = sysconf(_SC_NPROCESSORS_ONLN);
    page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (cpus < 1 || page == MAP_FAILED || pipe(pipes[0]) != 0 || pipe(pipes[1]) != 0 ||
        sigaction(SIGSEGV, &action, NULL) != 0) {
        fail("smp", "%s", strerror(errno));
    }
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0) {
        fail("membarrier", "%s", strerror(errno));
    }
}

static void report(const char *area, uint64_t count, const char *what)
{
    if (count == 0) {
        fail(area, "not one of its %s", what);
    }
    printf("PASS: %s: %" PRIu64 " %s\n", area, count, what);
}

int main(int argc, char **argv)
{
    static const struct {
        void *(*run)(void *);
        uintptr_t argument;
    } threads[] = {
        {futex_player, 0}, {futex_player, 1}, {pipe_caller, 0}, {pipe_echo, 0},   {barrier_slow, 0},
        {barrier_fast, 0}, {shot_owner, 0},   {shot_target, 0}, {hopper, 0},
    };
    pthread_t ids[ARRAY_SIZE(threads)];

    if (argc != 2) {
        fprintf(stderr, "usage: smp UNTIL\n");
        return 2;
    }
    until = atoll(argv[1]) * NS_PER_S;
    prepare();
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        if (pthread_create(&ids[i], NULL, threads[i].run, (void *)threads[i].argument) != 0) {
            fail("smp", "pthread_create");
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        pthread_join(ids[i], NULL);
    }
    report("futex", turn, "turns");
    printf("PASS: pipe: %" PRIu64 " rounds, at most %" PRId64 " us\n", pipe_turns,
           pipe_longest / 1000);
    report("membarrier", barrier_rounds, "rounds");
    report("shootdown", shots, "pages");
    report("hop", hops, "hops");
    return 0;
}
