/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports where nothing is: all ones in every size, writes go nowhere.
 */
#include "probe/probe.h"

static const uint16_t empty[] = {
    0x00,   0x0f,   0x20,   0x21,   0x40,   0x41,   0x42,   0x43,   0x60,  0x61,  0x64,
    0x70,   0x71,   0x80,   0x92,   0xa0,   0xa1,   0xb2,   0xe9,   0xed,  0x170, 0x1f0,
    0x1f7,  0x278,  0x2e8,  0x2f8,  0x2fd,  0x378,  0x3b0,  0x3c0,  0x3d4, 0x3e8, 0x3f0,
    0x402,  0x4d0,  0x501,  0x510,  0x511,  0x514,  0x604,  0xb004, 0xcd8, 0xcf8, 0xcfc,
    0x1000, 0x5658, 0x5659, 0x8900, 0xc000, 0xfff0, 0xfffc,
};

void probe_ports(void)
{
    volatile uint64_t sink;

    group_begin("ports");
    for (unsigned int round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_SIZE(empty); i++) {
            uint16_t port = empty[i];

            check(inb(port) == 0xff, "byte at port 0x%x is 0x%x", port, inb(port));
            check(inw(port) == 0xffff, "word at port 0x%x is 0x%x", port, inw(port));
            check(inl(port) == UINT32_MAX, "doubleword at port 0x%x is 0x%x", port, inl(port));
            /* What a real machine would do on these: nothing must come of it here. */
            if (port != 0x8900) {
                outb(port, 0x00);
                outw(port, 0x1234);
                outl(port, 0x80000006U);
            }
        }
    }
    group_end("empty ports");

    /* Accesses that overlap a device or the end of the port space: any value, no harm. */
    group_begin("ports");
    sink = inw(0x3f7);
    sink = sink + inl(0x3f5);
    sink = sink + inw(0x3ff);
    sink = sink + inl(0x3fd);
    sink = sink + inb(0xf4) + inw(0xf4) + inl(0xf4) + inl(0xf2);
    sink = sink + inw(0xffff) + inl(0xfffd) + inl(0xffff);
    outl(0xffff, 0);
    outw(0xffff, 0);
    check(true, "survived");
    group_end("odd sizes and ends do no harm");
    (void)sink;

    /* IN leaves the rest of RAX alone: AL and AX only, EAX clears the upper half. */
    group_begin("ports");
    for (unsigned int i = 0; i < 4; i++) {
        uint64_t old = 0x1122334455667700 + i;
        uint64_t rax = old;

        __asm__ volatile("inb %%dx, %%al" : "+a"(rax) : "d"(0x2e8));
        check(rax == (old | 0xff), "RAX 0x%" P64 "x after INB", rax);
        rax = old;
        __asm__ volatile("inw %%dx, %%ax" : "+a"(rax) : "d"(0x2e8));
        check(rax == (old | 0xffff), "RAX 0x%" P64 "x after INW", rax);
        rax = old;
        __asm__ volatile("inl %%dx, %%eax" : "+a"(rax) : "d"(0x2e8));
        check(rax == UINT32_MAX, "RAX 0x%" P64 "x after INL", rax);
        rax = old;
        __asm__ volatile("inb $0x80, %%al" : "+a"(rax));
        check(rax == (old | 0xff), "RAX 0x%" P64 "x after INB of an immediate port", rax);
    }
    group_end("the rest of RAX");
}
