/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of molt by its own fault: says where, what happened before, what is lost, and stops or
 * resets the machine (panic=).
 *
 * Needs no heap and no locks; a second panic while printing stops at once. All that is printed goes
 * to the flight recorder as well, where the next boot may find it.
 */
#include "asm/cpu.h"
#include "asm/machine.h"
#include "asm/traps.h"
#include "hv/console.h"
#include "hv/log.h"
#include "hv/lost.h"
#include "hv/machine.h"
#include "hv/percpu.h"
#include "hv/phase.h"
#include "hv/printk.h"
#include "hv/recorder.h"
#include "hv/seam.h"
#include "hv/way_back.h"

#define BACKTRACE_MAX 24
#define LOG_LINES 24U
#define ULL(x) ((unsigned long long)(x))

const char *phase = "boot: early";

static struct percpu *panicking; /* the CPU that does */
static uint64_t log_end;         /* what the flight recorder has is from before */

/* Follows frame pointers: [rbp] is the caller's, [rbp + 8] the return address. */
static void backtrace(uint64_t rbp)
{
    char line[BACKTRACE_MAX * 20];
    size_t len = 0;

    for (int i = 0; i < BACKTRACE_MAX && cpu_owns_stack(rbp) && cpu_owns_stack(rbp + 8); i++) {
        const uint64_t *frame = (const uint64_t *)(uintptr_t)rbp;

        if (frame[1] < (uintptr_t)__text_start || frame[1] >= (uintptr_t)__text_end) {
            break;
        }
        len += fmt_str(line + len, sizeof(line) - len, " %016llx", (unsigned long long)frame[1]);
        if (frame[0] <= rbp) {
            break;
        }
        rbp = frame[0];
    }
    line[MIN(len, sizeof(line) - 1)] = '\0';
    printk("panic: backtrace:%s", line);
}

bool panic_in_progress(void)
{
    return panicking != NULL;
}

static NORETURN void stop(void)
{
    switch (machine_panic_policy()) {
    case PANIC_RESET:
        machine_reset();
    case PANIC_HALT:
        cpu_halt_forever();
    default:
        machine_off(false);
    }
}

/* Something that the panic itself uses is broken. What is in the console's ring may still get out;
 * if not even that does, nothing more is tried. */
static NORETURN void stop_again(void)
{
    static bool drained;

    recorder_detach();
    if (!drained) {
        drained = true;
        console_drain();
    }
    stop();
}

/* One CPU prints, and once. */
static void begin(void)
{
    struct percpu *first = NULL;

    if (!__atomic_compare_exchange_n(&panicking, &first, this_cpu(), false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST)) {
        if (first != this_cpu()) {
            cpu_halt_forever();
        }
        stop_again();
    }
    apic_stop_others();
    console_pause_end();
    log_end = recorder_next();
}

static NORETURN void finish(const char *what, uint64_t rip, uint64_t rbp)
{
    printk("panic: cpu=%u phase=\"%s\" rip=%016llx %s", this_cpu() != NULL ? this_cpu()->id : 0,
           phase, (unsigned long long)rip, what);
    backtrace(rbp);
    log_print(LOG_LINES, log_end);
    lost_report();
    if (machine_panic_policy() == PANIC_OFF) {
        machine_end(false);
    }
    printk("panic: %s", machine_panic_policy() == PANIC_RESET ? "reset" : "halt");
    console_drain();
    stop();
}

void panic(const char *fmt, ...)
{
    char text[256];
    va_list args;

    va_start(args, fmt);
    (void)fmt_vstr(text, sizeof(text), fmt, args);
    va_end(args);
    way_back_take(LU_FAIL_PANIC, 0, (uint64_t)(uintptr_t)__builtin_return_address(0), text);
    begin();
    finish(text, (uint64_t)(uintptr_t)__builtin_return_address(0),
           (uint64_t)(uintptr_t)__builtin_frame_address(0));
}

void panic_trap(const struct trap_frame *f, const char *name, uint64_t fault_va)
{
    char text[64];

    fmt_str(text, sizeof(text), "%s error=%llx cr2=%016llx", name, (unsigned long long)f->error,
            (unsigned long long)fault_va);
    way_back_take(LU_FAIL_EXCEPTION, (uint32_t)f->vector, f->rip, text);
    begin();
    printk("panic: %s error=%llx cr2=%016llx rsp=%016llx rflags=%llx", name, ULL(f->error),
           ULL(fault_va), ULL(f->rsp), ULL(f->rflags));
    printk("panic: rax=%016llx rbx=%016llx rcx=%016llx rdx=%016llx", ULL(f->rax), ULL(f->rbx),
           ULL(f->rcx), ULL(f->rdx));
    printk("panic: rsi=%016llx rdi=%016llx rbp=%016llx r8=%016llx", ULL(f->rsi), ULL(f->rdi),
           ULL(f->rbp), ULL(f->r8));
    printk("panic: r9=%016llx r10=%016llx r11=%016llx r12=%016llx", ULL(f->r9), ULL(f->r10),
           ULL(f->r11), ULL(f->r12));
    printk("panic: r13=%016llx r14=%016llx r15=%016llx cr3=%016llx", ULL(f->r13), ULL(f->r14),
           ULL(f->r15), ULL(read_cr3()));
    finish(name, f->rip, f->rbp);
}
