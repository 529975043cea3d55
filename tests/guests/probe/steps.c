/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Single-stepping: an instruction that the hypervisor completes must still raise #DB after it, and
 * the shadows of STI and MOV SS must end with it.
 */
#include "probe/probe.h"

#include "lib/molt.h"

#define STOPS 6U
#define DR6_CLEAR 0xffff0ff0U
#define DR6_BS BIT64(14)

struct step_case {
    void (*run)(void);
    const char *name;
    uint64_t stops[STOPS];
};

extern const struct step_case step_table[];
extern uint64_t step_regs[5]; /* rax, rcx, rdx, rbx, rdi */

static volatile unsigned int seen;
static uint64_t rips[STOPS * 2];
static uint64_t dr6s[STOPS * 2];

static bool on_step(struct trap_frame *frame)
{
    if (frame->vector != VEC_DB) {
        return false;
    }
    if (seen < ARRAY_SIZE(rips)) {
        rips[seen] = frame->rip;
        dr6s[seen] = read_dr6();
    }
    seen = seen + 1;
    write_dr6(DR6_CLEAR);
    if (seen > ARRAY_SIZE(rips)) {
        frame->rflags &= ~FLAG_TF;
    }
    return true;
}

static void set_regs(const char *name)
{
    uint64_t xcr0 = cpu_xcr0();

    memset(step_regs, 0, sizeof(step_regs));
    step_regs[4] = (uintptr_t)rips;
    if (strcmp(name, "in_dx") == 0) {
        step_regs[2] = 0x3fd;
    } else if (strcmp(name, "out_dx") == 0) {
        step_regs[2] = 0x80;
    } else if (strcmp(name, "rdmsr") == 0 || strcmp(name, "wrmsr") == 0) {
        step_regs[1] = MSR_FS_BASE;
    } else if (strcmp(name, "xsetbv") == 0) {
        step_regs[0] = (uint32_t)xcr0;
        step_regs[2] = xcr0 >> 32;
    } else if (strcmp(name, "mov_to_cr0") == 0 || strcmp(name, "lmsw") == 0) {
        step_regs[3] = read_cr0();
    } else if (strcmp(name, "mov_to_cr3") == 0) {
        step_regs[3] = read_cr3();
    } else if (strcmp(name, "mov_to_cr4") == 0) {
        step_regs[3] = read_cr4();
    } else if (strncmp(name, "mov_ss", 6) == 0) {
        step_regs[0] = SEL_DATA;
    } else if (strcmp(name, "vmcall") == 0) {
        step_regs[0] = 15; /* no such call */
    }
}

static void step_one(const struct step_case *c)
{
    set_regs(c->name);
    seen = 0;
    c->run();
    if (!check(seen == STOPS, "%s: %u stops, expected %u", c->name, seen, STOPS)) {
        return;
    }
    for (unsigned int i = 0; i < STOPS; i++) {
        check(rips[i] == c->stops[i], "%s: stop %u at 0x%" P64 "x, expected 0x%" P64 "x", c->name,
              i, rips[i], c->stops[i]);
        check((dr6s[i] & DR6_BS) != 0, "%s: stop %u: DR6 0x%" P64 "x", c->name, i, dr6s[i]);
    }
}

/* An instruction in the shadow of STI or MOV SS that exits must end the shadow. */
static void check_shadows(void)
{
    uint32_t a;
    uint32_t b;
    uint32_t c;
    uint32_t d;

    group_begin("step");
    for (unsigned int i = 0; i < 20; i++) {
        __asm__ volatile("sti\n\tcpuid\n\tcli"
                         : "=a"(a), "=b"(b), "=c"(c), "=d"(d)
                         : "a"(0), "c"(0)
                         : "memory");
        __asm__ volatile("sti\n\tinb $0x80, %%al\n\tcli" : "=a"(a)::"memory");
        __asm__ volatile("mov %1, %%ss\n\tinb $0x80, %%al" : "=a"(a) : "r"(SEL_DATA) : "memory");
        __asm__ volatile("sti\n\tvmcall\n\tcli" : "=a"(a) : "a"(15) : "memory");
    }
    check(true, "survived");
    group_end("exits in the shadow of STI and MOV SS");
}

void probe_steps(void)
{
    trap_hook = on_step;
    write_dr6(DR6_CLEAR);
    group_begin("step");
    for (const struct step_case *c = step_table; c->run != NULL; c++) {
        bool vmcall = strcmp(c->name, "vmcall") == 0;
        bool xsetbv_case = strcmp(c->name, "xsetbv") == 0;

        /* TCG ends its block at PAUSE without looking at TF. */
        if (strcmp(c->name, "pause") == 0 && !cpu_is_exact()) {
            continue;
        }
        if ((!vmcall || molt_present()) && (!xsetbv_case || cpu_xcr0() != 0)) {
            step_one(c);
        }
    }
    group_end("single steps over instructions");
    trap_hook = NULL;
    if (molt_present()) {
        check_shadows();
    } else {
        report_skip("step", "shadows of STI and MOV SS: no molt here");
    }
}
