/* SPDX-License-Identifier: Apache-2.0 */
/*
 * molt seen from a guest: detection and hypercalls.
 */
#include "lib/molt.h"

#include "lib/bootinfo.h"
#include "lib/lib.h"
#include "lib/x86.h"

#define TCG_SIGNATURE_EBX 0x54474354U /* "TCGT" */

bool molt_present(void)
{
    static int known; /* 0: not asked, 1: no, 2: yes */

    if (known == 0) {
        struct cpuid_regs r = {0, 0, 0, 0};

        if ((cpuid(1, 0).ecx & CPUID1_ECX_HYPERVISOR) != 0) {
            r = cpuid(HC_CPUID_BASE, 0);
        }
        known = r.ebx == HC_CPUID_SIG_EBX && r.ecx == HC_CPUID_SIG_ECX && r.edx == HC_CPUID_SIG_EDX
                    ? 2
                    : 1;
    }
    return known == 2;
}

bool cpu_is_exact(void)
{
    char engine[16];

    cmdline_text("engine", engine, sizeof(engine), "");
    return strcmp(engine, "tcg") != 0 && cpuid(HC_CPUID_BASE, 0).ebx != TCG_SIGNATURE_EBX;
}

bool breakpoints_work(void)
{
    struct cpuid_regs r = cpuid(0x80000002U, 0);

    return cpu_is_exact() && (r.eax != 0x554d4551U || r.ebx != 0x47435420U); /* "QEMU", " TCG" */
}

/* Outside of what payloads take sums of: see guest.ld. */
__attribute__((noipa, section(".vmcall"))) int64_t
molt_call(uint64_t number, uint64_t rbx, uint64_t rcx, uint64_t rdx, uint64_t rsi)
{
#ifdef __x86_64__
    int64_t result;

    __asm__ volatile("vmcall"
                     : "=a"(result)
                     : "a"(number), "b"(rbx), "c"(rcx), "d"(rdx), "S"(rsi)
                     : "memory");
#else
    int32_t result;

    __asm__ volatile("vmcall"
                     : "=a"(result)
                     : "a"((uint32_t)number), "b"((uint32_t)rbx), "c"((uint32_t)rcx),
                       "d"((uint32_t)rdx), "S"((uint32_t)rsi)
                     : "memory");
#endif
    return result;
}

int64_t molt_info(struct hc_info *info)
{
    return molt_call(HC_INFO, (uintptr_t)info, sizeof(*info), 0, 0);
}

int64_t molt_status(struct hc_lu_status *status)
{
    return molt_call(HC_LU_STATUS, (uintptr_t)status, sizeof(*status), 0, 0);
}

int64_t molt_load(const struct hc_lu_load *load)
{
    return molt_call(HC_LU_LOAD, (uintptr_t)load, sizeof(*load), 0, 0);
}

int64_t molt_sleep(uint64_t us)
{
    return molt_call(HC_SLEEP, us, 0, 0, 0);
}

bool molt_shutdown(void)
{
    struct hc_info info;

    if (!molt_present()) {
        return false;
    }
    return molt_info(&info) == 0 && (info.flags & HC_INFO_SHUTDOWN) != 0;
}
