/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of molt by its own fault: says where, and stops the machine.
 *
 * Needs no heap and no locks; a second panic while printing stops at once.
 */
#include "asm/cpu.h"
#include "asm/machine.h"
#include "asm/traps.h"
#include "hv/console.h"
#include "hv/machine.h"
#include "hv/percpu.h"
#include "hv/phase.h"
#include "hv/printk.h"

#define BACKTRACE_MAX 24

const char *phase = "boot: early";

static struct percpu *panicking; /* the CPU that does */

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

static NORETURN void finish(const char *what, uint64_t rip, uint64_t rbp)
{
    struct percpu *first = NULL;

    if (!__atomic_compare_exchange_n(&panicking, &first, this_cpu(), false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST)) {
        if (first != this_cpu()) {
            cpu_halt_forever();
        }
        machine_end(false);
    }
    apic_stop_others();
    console_pause_end();
    printk("panic: cpu=%u phase=\"%s\" rip=%016llx %s", this_cpu() != NULL ? this_cpu()->id : 0,
           phase, (unsigned long long)rip, what);
    backtrace(rbp);
    machine_end(false);
}

void panic(const char *fmt, ...)
{
    char text[256];
    va_list args;

    va_start(args, fmt);
    (void)fmt_vstr(text, sizeof(text), fmt, args);
    va_end(args);
    finish(text, (uint64_t)(uintptr_t)__builtin_return_address(0),
           (uint64_t)(uintptr_t)__builtin_frame_address(0));
}

void panic_trap(const struct trap_frame *f, const char *name, uint64_t fault_va)
{
    if (panicking == NULL) {
        console_pause_end();
        printk("panic: %s error=%llx cr2=%016llx rsp=%016llx rflags=%llx", name,
               (unsigned long long)f->error, (unsigned long long)fault_va,
               (unsigned long long)f->rsp, (unsigned long long)f->rflags);
        printk("panic: rax=%016llx rbx=%016llx rcx=%016llx rdx=%016llx", (unsigned long long)f->rax,
               (unsigned long long)f->rbx, (unsigned long long)f->rcx, (unsigned long long)f->rdx);
        printk("panic: rsi=%016llx rdi=%016llx rbp=%016llx r8=%016llx", (unsigned long long)f->rsi,
               (unsigned long long)f->rdi, (unsigned long long)f->rbp, (unsigned long long)f->r8);
    }
    finish(name, f->rip, f->rbp);
}
