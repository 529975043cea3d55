/* SPDX-License-Identifier: Apache-2.0 */
/*
 * String I/O between ports and guest memory, through the guest's own page tables.
 *
 * The UART in loopback gives back what is written, so OUTS and INS can be compared byte by byte.
 */
#include "probe/probe.h"

#include "lib/uart.h"

#define FIFO_BYTES 16U
#define EMPTY_PORT 0x2e8U

static uint8_t pages[2][PAGE_SIZE] __attribute__((aligned(4096)));

struct string_io {
    uint64_t rdi_or_rsi;
    uint64_t rcx;
    uint16_t port;
    bool backwards;
};

static void do_outsb(void *arg)
{
    struct string_io *s = arg;

    /* Stored even when a fault ends it: RSI and RCX say how far it came. */
    if (s->backwards) {
        __asm__ volatile("std; rep outsb; cld"
                         : "+S"(s->rdi_or_rsi), "+c"(s->rcx)
                         : "d"(s->port)
                         : "memory");
    } else {
        __asm__ volatile("rep outsb" : "+S"(s->rdi_or_rsi), "+c"(s->rcx) : "d"(s->port) : "memory");
    }
}

static void do_insb(void *arg)
{
    struct string_io *s = arg;

    if (s->backwards) {
        __asm__ volatile("std; rep insb; cld"
                         : "+D"(s->rdi_or_rsi), "+c"(s->rcx)
                         : "d"(s->port)
                         : "memory");
    } else {
        __asm__ volatile("rep insb" : "+D"(s->rdi_or_rsi), "+c"(s->rcx) : "d"(s->port) : "memory");
    }
}

static void loopback(bool on)
{
    console_drain();
    outb(UART_IIR, FCR_ENABLE | FCR_CLEAR);
    outb(UART_MCR, on ? MCR_LOOP : MCR_DTR | MCR_RTS);
}

/* Single INSB and OUTSB: RCX plays no part. */
static void check_single(void)
{
    uint8_t in[4] = {0, 0, 0, 0};
    const uint8_t out = 0x5c;
    const uint8_t *from = &out;
    uint8_t *to = &in[1];
    uint64_t rcx = 77;

    loopback(true);
    __asm__ volatile("outsb" : "+S"(from), "+c"(rcx) : "d"(UART_DATA) : "memory");
    while ((inb(UART_LSR) & LSR_DR) == 0) {
        cpu_pause();
    }
    __asm__ volatile("insb" : "+D"(to), "+c"(rcx) : "d"(UART_DATA) : "memory");
    loopback(false);
    group_begin("strio");
    check(from == &out + 1 && to == &in[2] && rcx == 77,
          "RSI moved by %" P64 "d, RDI by %" P64 "d, RCX is %" P64 "u", (int64_t)(from - &out),
          (int64_t)(to - &in[1]), rcx);
    check(in[0] == 0 && in[1] == out && in[2] == 0, "got %02x %02x %02x", in[0], in[1], in[2]);
    group_end("single OUTSB and INSB");
}

/* Sixteen bytes there and back, across two pages that are neighbours only in the window. */
static void check_repeated(bool backwards)
{
    const uint64_t border = WINDOW_VA + 5 * PAGE_SIZE;
    struct string_io out = {border - 7, FIFO_BYTES, UART_DATA, backwards};
    struct string_io in = {border - 9, FIFO_BYTES, UART_DATA, backwards};
    uint8_t want[FIFO_BYTES];
    bool same = true;

    if (backwards) {
        out.rdi_or_rsi += FIFO_BYTES - 1;
        in.rdi_or_rsi += FIFO_BYTES - 1;
    }
    /* In reverse order physically. */
    window_set(0, 4, (uintptr_t)pages[1] | PTE_P | PTE_W);
    window_set(0, 5, (uintptr_t)pages[0] | PTE_P | PTE_W);
    for (unsigned int i = 0; i < FIFO_BYTES; i++) {
        want[i] = (uint8_t)(0x30 + i * 11);
        *(volatile uint8_t *)(border - 7 + i) = want[i];
    }
    loopback(true);
    do_outsb(&out);
    console_drain();
    for (unsigned int i = 0; i < FIFO_BYTES; i++) {
        *(volatile uint8_t *)(border - 9 + i) = 0;
    }
    do_insb(&in);
    loopback(false);
    for (unsigned int i = 0; i < FIFO_BYTES; i++) {
        same = same && *(volatile uint8_t *)(border - 9 + i) == want[i];
    }
    group_begin("strio");
    check(out.rcx == 0 && in.rcx == 0, "RCX is %" P64 "u and %" P64 "u", out.rcx, in.rcx);
    check(out.rdi_or_rsi == (backwards ? border - 8 : border - 7 + FIFO_BYTES),
          "RSI is 0x%" P64 "x", out.rdi_or_rsi);
    check(in.rdi_or_rsi == (backwards ? border - 10 : border - 9 + FIFO_BYTES),
          "RDI is 0x%" P64 "x", in.rdi_or_rsi);
    check(same, "the bytes differ");
    group_end(backwards ? "REP OUTSB and INSB backwards" : "REP OUTSB and INSB across pages");
}

/* Every unit size from an empty port, counts from 0 up, nothing beside the target touched. */
static void check_sizes(void)
{
    uint8_t *target = pages[0];

    group_begin("strio");
    if (inl(EMPTY_PORT) != UINT32_MAX) {
        group_end("sizes and counts");
        return;
    }
    for (uint64_t count = 0; count < 40; count += 13) {
        for (unsigned int size = 1; size <= 4; size *= 2) {
            uint8_t *to = target + 64;
            uint64_t rcx = count;
            bool ok = true;

            memset(target, 0x11, PAGE_SIZE);
            if (size == 1) {
                __asm__ volatile("rep insb" : "+D"(to), "+c"(rcx) : "d"(EMPTY_PORT) : "memory");
            } else if (size == 2) {
                __asm__ volatile("rep insw" : "+D"(to), "+c"(rcx) : "d"(EMPTY_PORT) : "memory");
            } else {
                __asm__ volatile("rep insl" : "+D"(to), "+c"(rcx) : "d"(EMPTY_PORT) : "memory");
            }
            for (unsigned int i = 0; i < PAGE_SIZE; i++) {
                bool inside = i >= 64 && i < 64 + count * size;

                ok = ok && target[i] == (inside ? 0xff : 0x11);
            }
            check(ok && rcx == 0 && to == target + 64 + count * size,
                  "%" P64 "u units of %u bytes: RCX %" P64 "u, RDI moved by %" P64 "d", count, size,
                  rcx, (int64_t)(to - target - 64));
        }
    }
    group_end("sizes and counts");
}

static volatile uint64_t fault_rcx;
static volatile uint64_t fault_reg;
static bool fault_out;

static bool on_fault(struct trap_frame *frame)
{
    if (frame->vector == VEC_PF) {
        fault_rcx = frame->rcx;
        fault_reg = fault_out ? frame->rsi : frame->rdi;
    }
    return false;
}

static void expect_string_fault(const char *what, bool out, struct string_io s, uint64_t error,
                                uint64_t cr2, uint64_t left)
{
    fault_out = out;
    trap_hook = on_fault;
    expect_fault(what, out ? do_outsb : do_insb, &s, VEC_PF, error);
    trap_hook = NULL;
    check(last_fault.cr2 == cr2, "%s: CR2 is 0x%" P64 "x, expected 0x%" P64 "x", what,
          last_fault.cr2, cr2);
    check(fault_rcx == left && fault_reg == cr2, "%s: RCX %" P64 "u, pointer 0x%" P64 "x", what,
          fault_rcx, fault_reg);
}

static void check_faults(void)
{
    const uint64_t border = WINDOW_VA + 5 * PAGE_SIZE;
    struct string_io s = {UNMAPPED_VA, 4, EMPTY_PORT, false};

    window_set(0, 4, (uintptr_t)pages[0] | PTE_P | PTE_W);
    window_set(0, 5, 0);
    window_set(0, 6, (uintptr_t)pages[1] | PTE_P);
    group_begin("strio");
    expect_string_fault("INSB to nothing", false, s, PF_WRITE, UNMAPPED_VA, 4);
    expect_string_fault("OUTSB from nothing", true, s, 0, UNMAPPED_VA, 4);
    s.rdi_or_rsi = border - 3;
    s.rcx = 8;
    expect_string_fault("INSB into an absent page", false, s, PF_WRITE, border, 5);
    expect_string_fault("OUTSB into an absent page", true, s, 0, border, 5);
    s.rdi_or_rsi = border + PAGE_SIZE;
    expect_string_fault("INSB to a read-only page", false, s, PF_PRESENT | PF_WRITE,
                        border + PAGE_SIZE, 8);
    s.rcx = 0;
    expect_vectors("INSB of nothing to nowhere", do_insb, &s, NO_FAULT);
    group_end("faults");
}

static void check_addressing(void)
{
    /* Three pieces, none longer than a FIFO. */
    static const char text[] = "strio: by FS, address size, plain\n";
    const char *from = text;
    uint64_t n = sizeof(text) - 1;
    uint64_t old = rdmsr(MSR_FS_BASE);
    uint64_t offset = 0x40;
    uint64_t count = 14;

    console_drain();

    wrmsr(MSR_FS_BASE, (uintptr_t)text - offset);
    __asm__ volatile("rep outsb %%fs:(%%rsi), %%dx"
                     : "+S"(offset), "+c"(count)
                     : "d"(UART_DATA)
                     : "memory");
    wrmsr(MSR_FS_BASE, old);
    from += 14;
    n -= 14;
    count = 14;
    console_drain();
    __asm__ volatile("addr32 rep outsb" : "+S"(from), "+c"(count) : "d"(UART_DATA) : "memory");
    n -= 14;
    console_drain();
    __asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(UART_DATA) : "memory");
    group_begin("strio");
    check(from == text + sizeof(text) - 1 && n == 0, "RSI is off by %" P64 "d",
          (int64_t)(from - text - (int64_t)sizeof(text) + 1));
    group_end("segment override and address size");
}

void probe_strings(void)
{
    check_single();
    check_repeated(false);
    check_repeated(true);
    check_sizes();
    check_faults();
    check_addressing();
}
