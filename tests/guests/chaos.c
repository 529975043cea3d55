/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random instructions with random operands, all that leave the guest and more: molt must do with
 * each what a machine would, and with its other guests nothing.
 *
 * Checks that its memory holds its patterns, that no instruction changes a register which is not
 * its result, and that only such exceptions come as the instruction has.
 *
 * Command line: ops=N (20000), seed=N (1), end=hole (the last operation is an access outside the
 * memory, which must end the domain), until=molt (further operations until molt ends the run).
 */
#include "chaos/chaos.h"

#include "lib/apic.h"
#include "lib/bootinfo.h"
#include "lib/clock.h"
#include "lib/cpu.h"
#include "lib/mempat.h"
#include "lib/molt.h"
#include "lib/uart.h"

#define USER_GATE_VECTOR 0x80U
#define STORM 16U /* interrupts in one operation: more than it can have caused by itself */
#define CHECK_EVERY 64U
#define CHECK_PAGES 4U
#define TSC_SLACK 20000U

struct code_pages {
    uint8_t bytes[2 * PAGE_SIZE];
} __attribute__((aligned(4096)));

extern const uintptr_t trap_entries[256];
extern char user_gate[];

struct chaos_limits limits;
uint8_t scratch[SCRATCH_BYTES] __attribute__((aligned(4096)));
uint64_t chaos_random;
static struct code_pages code;
static struct op op;
static uintptr_t op_start;
static uint32_t raised; /* vectors that the running operation has raised */
static uint32_t interrupts;
static uint64_t exceptions;
static uint64_t all_interrupts;

static const struct {
    uint32_t weight;
    void (*fill)(struct op *op);
} kinds[] = {
    {10, op_cpuid}, {12, op_rdmsr}, {12, op_wrmsr}, {8, op_in},      {8, op_out},   {6, op_string},
    {20, op_mmio},  {8, op_call},   {2, op_door},   {3, op_xsetbv}, {8, op_control}, {4, op_debug},
    {16, op_other},
};

/* ---- exceptions and interrupts ---- */

static void end_of_interrupt(void)
{
    uint64_t base = rdmsr(MSR_APIC_BASE);

    if ((base & APIC_BASE_EXTD) != 0) {
        wrmsr(APIC_MSR(APIC_EOI), 0);
    } else if ((base & APIC_BASE_EN) != 0) {
        *(volatile uint32_t *)(apic_page() + APIC_EOI) = 0;
    }
}

/* A period shorter than a handler, or a line that stays up: nothing else would ever run. */
static void calm_down(void)
{
    uint64_t base = rdmsr(MSR_APIC_BASE);

    if ((base & APIC_BASE_EXTD) != 0) {
        wrmsr(APIC_MSR(APIC_LVT_TIMER), APIC_MASKED);
    } else if ((base & APIC_BASE_EN) != 0) {
        *(volatile uint32_t *)(apic_page() + APIC_LVT_TIMER) = APIC_MASKED;
    }
    ioapic_route(IOAPIC_PIN_COM1, IOAPIC_MASKED);
}

/* Random values leave the APIC off more often than on. */
static void wake_apic(void)
{
    uint64_t base = rdmsr(MSR_APIC_BASE);

    if ((base & APIC_BASE_EXTD) != 0) {
        wrmsr(APIC_MSR(APIC_SVR), APIC_SVR_ENABLE | APIC_SPURIOUS_VECTOR);
    } else {
        wrmsr(MSR_APIC_BASE, base | APIC_BASE_EN);
        *(volatile uint32_t *)(apic_page() + APIC_SVR) = APIC_SVR_ENABLE | APIC_SPURIOUS_VECTOR;
    }
    write_cr8(0);
}

static bool trap(struct trap_frame *frame)
{
    bool in_op = frame->rip >= op_start && frame->rip < op_start + op.length;

    if (frame->vector == VEC_NMI) {
        return true;
    }
    if (frame->vector >= 32) {
        all_interrupts++;
        end_of_interrupt();
        if (++interrupts > STORM) {
            calm_down();
        }
        return true;
    }
    if (frame->vector == VEC_DB || frame->vector == VEC_BP) {
        /* A breakpoint at an address that a random register names; DR7.GD; INT3 and INT1. */
        frame->rflags = (frame->rflags | FLAG_RF) & ~FLAG_TF;
    } else if (!in_op) {
        console_init();
        damage("chaos", "%s: vector %" P64 "u, error 0x%" P64 "x, at 0x%" P64 "x", op.name,
               frame->vector, frame->error, frame->rip);
    }
    exceptions++;
    if (in_op) {
        raised |= RAISES(frame->vector);
        frame->rip = op_start + op.length;
    }
    return true;
}

/* ---- one operation ---- */

static const char *hex(char *text, size_t size)
{
    size_t n = 0;

    text[0] = '\0';
    for (unsigned int i = 0; i < op.length; i++) {
        n += str_format(text + n, size - n, "%02x", op.bytes[i]);
    }
    return text;
}

static _Noreturn void complain(const char *what, const char *name, uint64_t expected, uint64_t got)
{
    char text[2 * OP_BYTES + 1];

    console_init();
    print("\n");
    damage("chaos",
           "%s (%s), rax=%" P64 "x rcx=%" P64 "x rdx=%" P64 "x rbx=%" P64 "x: %s%s: "
           "expected 0x%" P64 "x, got 0x%" P64 "x",
           op.name, hex(text, sizeof(text)), gpr_in[GPR_RAX], gpr_in[GPR_RCX], gpr_in[GPR_RDX],
           gpr_in[GPR_RBX], what, name, expected, got);
}

static uint64_t in_user(uint64_t arg)
{
    gpr_call();
    return arg;
}

static void run_in_user(void)
{
    idt_set(USER_GATE_VECTOR, (uintptr_t)user_gate, GATE_USER_INTERRUPT, 0);
    (void)user_call(in_user, 0);
    idt_set(USER_GATE_VECTOR, trap_entries[USER_GATE_VECTOR], GATE_INTERRUPT, 0);
}

static void run_op(bool user)
{
    unsigned int i;

    op_start = (uintptr_t)code.bytes +
               (below(8) == 0 ? PAGE_SIZE - 1 - below(op.length) : below(PAGE_SIZE - OP_BYTES - 1));
    memcpy((void *)op_start, op.bytes, op.length);
    *(uint8_t *)(op_start + op.length) = 0xc3; /* RET */
    gpr_code = op_start;
    raised = 0;
    interrupts = 0;
    if (user) {
        run_in_user();
    } else {
        gpr_call();
    }
    if ((raised & ~(op.raises | RAISES(VEC_DB))) != 0) {
        complain("exceptions", "", op.raises, raised);
    }
    gpr_out[GPR_RFLAGS] &= ~FLAG_VIF; /* STI and CLI in ring 3 change it under CR4.PVI; it stays */
    i = gpr_difference(op.changes);
    if (i != GPR_COUNT) {
        complain("", gpr_name(i), gpr_in[i], gpr_out[i]);
    }
}

static void one(void)
{
    uint32_t pick = 0;
    uint32_t total = 0;
    bool user;

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        total += kinds[i].weight;
    }
    pick = below(total);
    memset(&op, 0, sizeof(op));
    gpr_fill(&chaos_random, gpr_flags_kernel());
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (pick < kinds[i].weight) {
            kinds[i].fill(&op);
            break;
        }
        pick -= kinds[i].weight;
    }
    user = below(8) == 0;
    if (user) { /* one more reason to fault */
        gpr_in[GPR_RFLAGS] = (gpr_in[GPR_RFLAGS] & gpr_flags_user()) | FLAG_ONE;
        op.raises |= RAISES(VEC_GP) | RAISES(VEC_UD) | RAISES(VEC_AC);
        op.changes |= CHANGES(GPR_RAX); /* HC_EPERM */
    }
    if (op_writes_tsc(&op)) {
        uint64_t before = rdtsc();

        run_op(user);
        wrmsr(MSR_TSC, before + TSC_SLACK);
    } else {
        run_op(user);
    }
}

/* ---- all of them ---- */

static void begin(void)
{
    struct hc_info info;

    ram_init(true);
    paging_init();
    trap_hook = trap;
    idt_set(USER_GATE_VECTOR, trap_entries[USER_GATE_VECTOR], GATE_INTERRUPT, 0);
    chaos_random = mix64(cmdline_number("seed", 1)) | 1;
    if (!molt_present() || molt_info(&info) != 0) {
        damage("chaos", "no molt here");
    }
    limits.control = (info.flags & HC_INFO_CONTROL) != 0;
    calls_note();
    mempat_init(rand64(&chaos_random));
    clock_restart_gap();
}

/* The console as it was, the CPU as C code wants it. */
static void restore(void)
{
    console_init();
    write_cr8(0);
    write_cr0(CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE);
    calm_down();
    print("\n");
}

int guest_main(void)
{
    uint64_t ops = cmdline_number("ops", 20000);
    char text[16];
    bool hole = cmdline_text("end", text, sizeof(text), "") && strcmp(text, "hole") == 0;
    bool until = cmdline_text("until", text, sizeof(text), "") && strcmp(text, "molt") == 0;
    uint64_t n;

    begin();
    print("chaos seed=%" P64 "u ops=%" P64 "u control=%u\n", cmdline_number("seed", 1), ops,
          limits.control);
    for (n = 0; n < ops || (until && (n % CHECK_EVERY != 0 || !molt_shutdown())); n++) {
        one();
        if (n % CHECK_EVERY == 0) {
            mempat_step(CHECK_PAGES);
            calls_note();
            wake_apic();
        }
    }
    calls_clean_up();
    mempat_verify_all(NULL);
    restore();
    report_area(&mempat_area);
    report(true, "chaos",
           "%" P64 "u operations, %" P64 "u exceptions, %" P64 "u interrupts, %" P64
           "u domains made",
           n, exceptions, all_interrupts, calls_made());
    if (hole) {
        hole_end();
    }
    report_end();
}
