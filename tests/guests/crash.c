/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests that go wrong: each way must stop this domain alone.
 *
 * Command line: how=exit (code=N), triple, ept, ept-exec, hlt, loop, ud-loop, vmxon, stack, badcr3.
 * vmxon ends with 0 if both CR4.VMXE and VMXON fault as they must; loop and ud-loop never end; what
 * comes back although it should not ends with 99. `at=ADDRESS` (0xe0000000) is the address outside
 * the memory.
 */
#include "lib/bootinfo.h"
#include "lib/cpu.h"
#include "lib/lib.h"
#include "lib/x86.h"

#define CODE_UNKNOWN 98
#define CODE_SURVIVED 99
#define OUTSIDE 0xe0000000U

static uintptr_t outside;

static void do_triple(void)
{
    struct table_ptr none = {0, 0};

    write_idtr(none);
    __asm__ volatile("ud2" ::: "memory");
}

static void do_ept(void)
{
    *(volatile uint64_t *)outside = 1;
}

static void do_ept_exec(void)
{
    ((void (*)(void))outside)();
}

static void do_hlt(void)
{
    __asm__ volatile("cli; hlt" ::: "memory");
}

static void do_loop(void)
{
    for (;;) {
        __asm__ volatile("" ::: "memory");
    }
}

static bool resume_always(struct trap_frame *frame)
{
    return frame->vector == VEC_UD;
}

static void do_ud_loop(void)
{
    trap_hook = resume_always;
    __asm__ volatile("ud2" ::: "memory");
}

/* The exception's frame goes to memory that is not there. */
static void do_stack(void)
{
    __asm__ volatile("mov %0, %%rsp\n\tud2" ::"r"(outside + PAGE_SIZE) : "memory");
}

static void do_badcr3(void)
{
    write_cr3(outside);
}

static void set_vmxe(void *arg)
{
    (void)arg;
    write_cr4(read_cr4() | CR4_VMXE);
}

static void vmxon(void *arg)
{
    __asm__ volatile("vmxon %0" ::"m"(*(uint64_t *)arg) : "memory", "cc");
}

static void do_vmxon(void)
{
    uint64_t operand = 0x1000;

    report(fault_call(set_vmxe, NULL) && last_fault.vector == VEC_GP, "crash",
           "CR4.VMXE raises #GP");
    report(fault_call(vmxon, &operand) &&
               (last_fault.vector == VEC_UD || last_fault.vector == VEC_GP),
           "crash", "VMXON raises an exception");
    report_end();
}

static void do_exit(void)
{
    guest_exit((uint32_t)cmdline_number("code", 0));
}

int guest_main(void)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } ways[] = {
        {"exit", do_exit},     {"triple", do_triple}, {"ept", do_ept},   {"ept-exec", do_ept_exec},
        {"hlt", do_hlt},       {"loop", do_loop},     {"ud-loop", do_ud_loop},
        {"vmxon", do_vmxon},   {"stack", do_stack},   {"badcr3", do_badcr3},
    };
    char how[16];

    cmdline_text("how", how, sizeof(how), "exit");
    outside = cmdline_number("at", OUTSIDE);
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        if (strcmp(how, ways[i].name) == 0) {
            print("crash: about to %s\n", how);
            console_drain();
            ways[i].run();
            print("crash: survived %s\n", how);
            return CODE_SURVIVED;
        }
    }
    print("crash: how=%s is unknown\n", how);
    return CODE_UNKNOWN;
}
