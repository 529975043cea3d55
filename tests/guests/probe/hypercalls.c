/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hypercalls as public/hypercall.h promises them: numbers, rights, pointers, registers, sleep.
 */
#include "probe/probe.h"

#include "lib/clock.h"
#include "lib/gpr.h"
#include "lib/molt.h"

#define FILLER 0xa5
#define GIB ((uint64_t)0x40000000)

static uint8_t buffer[3 * PAGE_SIZE] __attribute__((aligned(4096)));
static struct hc_info info;

/* First address behind the guest's memory, and whether there is a hole at 3 GiB. */
static uint64_t memory_end(void)
{
    return info.memory_bytes > 3 * GIB ? info.memory_bytes + GIB : info.memory_bytes;
}

static bool untouched(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != FILLER) {
            return false;
        }
    }
    return true;
}

static void check_numbers(void)
{
    static const uint64_t unknown[] = {3, 4, 7, 14, 15};
    static const uint64_t control_or_unknown[] = {
        20,
        21,
        63,
        64,
        1000,
        0x7fffffff,
        0x80000000,
        0xffffffff,
        (uint64_t)1 << 32,
        ((uint64_t)1 << 32) + 1,
        (uint64_t)1 << 63,
        UINT64_MAX,
    };

    group_begin("hypercall");
    for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
        int64_t r = molt_call(unknown[i], 0, 0, 0, 0);

        check(r == -HC_ENOSYS, "number %" P64 "u returned %" P64 "d", unknown[i], r);
    }
    for (size_t i = 0; i < ARRAY_SIZE(control_or_unknown); i++) {
        int64_t r = molt_call(control_or_unknown[i], (uintptr_t)buffer, 64, 0, 0);

        check(r == -HC_ENOSYS || r == -HC_EPERM, "number 0x%" P64 "x returned %" P64 "d",
              control_or_unknown[i], r);
    }
    check(molt_call(HC_YIELD, 0, 0, 0, 0) == 0, "HC_YIELD failed");
    group_end("numbers");
}

static void check_rights(void)
{
    group_begin("hypercall");
    if ((info.flags & HC_INFO_CONTROL) == 0) {
        for (uint64_t n = HC_LU_REGION; n <= HC_LU_STATUS; n++) {
            int64_t r;

            memset(buffer, FILLER, sizeof(buffer));
            r = molt_call(n, (uintptr_t)buffer, PAGE_SIZE, 0, 0);
            check(r == -HC_EPERM, "number %" P64 "u returned %" P64 "d", n, r);
            check(untouched(buffer, sizeof(buffer)), "number %" P64 "u wrote to memory", n);
        }
    }
    group_end("control calls from an ordinary domain");
}

static uint64_t user_vmcall(uint64_t number)
{
    return (uint64_t)molt_call(number, (uintptr_t)buffer, sizeof(struct hc_info), 0, 0);
}

static void do_user_vmcall(void *arg)
{
    uint64_t *number = arg;

    *number = user_call(user_vmcall, *number);
}

static void check_ring3(void)
{
    struct hc_info after;

    group_begin("hypercall");
    for (uint64_t n = 0; n < 24; n++) {
        uint64_t r = n;

        memset(buffer, FILLER, sizeof(buffer));
        if (!expect_vectors("VMCALL in ring 3", do_user_vmcall, &r, NO_FAULT)) {
            check(r == (uint64_t)-HC_EPERM, "number %" P64 "u in ring 3 returned %" P64 "d", n,
                  (int64_t)r);
        }
        check(untouched(buffer, sizeof(buffer)), "number %" P64 "u in ring 3 wrote to memory", n);
    }
    check(molt_info(&after) == 0 && after.updates == info.updates, "an update was made");
    group_end("ring 3");
}

static void check_pointers(void)
{
    const uint64_t size = sizeof(struct hc_info);
    const uint64_t outside[] = {
        memory_end(),
        memory_end() + PAGE_SIZE,
        (uint64_t)1 << 36,
        (uint64_t)1 << 46,
        (uint64_t)1 << 52,
        (uint64_t)1 << 63,
        UINT64_MAX - PAGE_SIZE + 1,
        UINT64_MAX - 64,
        UINT64_MAX,
        info.memory_bytes > 3 * GIB ? 3 * GIB : 0xfee00000U,
    };
    static const size_t offsets[] = {0, 1, 7, PAGE_SIZE - 112, PAGE_SIZE - 1, PAGE_SIZE - 56};
    uint8_t *last = (uint8_t *)(uintptr_t)(memory_end() - 64);
    uint8_t saved[64];

    group_begin("hypercall");
    for (size_t i = 0; i < ARRAY_SIZE(outside); i++) {
        int64_t r = molt_call(HC_INFO, outside[i], size, 0, 0);

        check(r == -HC_EFAULT || r == -HC_EINVAL, "HC_INFO to 0x%" P64 "x returned %" P64 "d",
              outside[i], r);
    }
    /* Straddling the end: nothing before the end may be written either. */
    memcpy(saved, last, sizeof(saved));
    memset(last, FILLER, sizeof(saved));
    check(molt_call(HC_INFO, (uintptr_t)last, size, 0, 0) == -HC_EFAULT,
          "HC_INFO across the end of memory does not give HC_EFAULT");
    check(untouched(last, sizeof(saved)), "HC_INFO across the end wrote before the end");
    memcpy(last, saved, sizeof(saved));
    /* Any alignment, across pages. */
    for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
        uint8_t *p = buffer + offsets[i];

        memset(buffer, FILLER, sizeof(buffer));
        check(molt_call(HC_INFO, (uintptr_t)p, size, 0, 0) == 0, "HC_INFO at offset %u failed",
              (unsigned int)offsets[i]);
        check(untouched(buffer, offsets[i]) && untouched(p + size, PAGE_SIZE) &&
                  strcmp((char *)p, info.version) == 0,
              "HC_INFO at offset %u wrote elsewhere", (unsigned int)offsets[i]);
    }
    group_end("pointers");
}

static void check_sizes(void)
{
    static const uint64_t sizes[] = {1, 31, 32, 80, 111, 112, 113, 4096, UINT32_MAX, UINT64_MAX};
    int64_t r;

    group_begin("hypercall");
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        size_t n = sizes[i] < sizeof(info) ? (size_t)sizes[i] : sizeof(info);

        memset(buffer, FILLER, sizeof(buffer));
        r = molt_call(HC_INFO, (uintptr_t)buffer, sizes[i], 0, 0);
        check(r == 0, "HC_INFO of size 0x%" P64 "x returned %" P64 "d", sizes[i], r);
        check(memcmp(buffer, &info, n < 80 ? n : 80) == 0 &&
                  untouched(buffer + n, sizeof(buffer) - n),
              "HC_INFO of size 0x%" P64 "x wrote something else", sizes[i]);
    }
    memset(buffer, FILLER, sizeof(buffer));
    r = molt_call(HC_INFO, (uintptr_t)buffer, 0, 0, 0);
    check((r == 0 || r == -HC_EINVAL) && untouched(buffer, sizeof(buffer)),
          "HC_INFO of size 0 returned %" P64 "d", r);
    group_end("sizes");
}

/* No register but RAX may change, in success and in failure; CPUID changes its four only. */
static void check_registers(void)
{
    static const uint64_t numbers[] = {HC_INFO, HC_YIELD, HC_SLEEP, 15, HC_LU_EXEC + 100};
    uint64_t rng = 12345;

    group_begin("hypercall");
    for (unsigned int round = 0; round < 50; round++) {
        uint64_t number = numbers[round % ARRAY_SIZE(numbers)];
        unsigned int bad;

        gpr_fill(&rng, gpr_flags_kernel());
        gpr_in[GPR_RAX] = number;
        gpr_in[GPR_RBX] = number == HC_INFO ? (uintptr_t)buffer : round;
        gpr_in[GPR_RCX] = number == HC_INFO ? sizeof(info) : gpr_in[GPR_RCX];
        gpr_vmcall();
        bad = gpr_difference(1U << GPR_RAX);
        check(bad == GPR_COUNT, "number %" P64 "u changed %s", number,
              bad == GPR_COUNT ? "nothing" : gpr_name(bad));
        gpr_fill(&rng, gpr_flags_kernel());
        gpr_in[GPR_RAX] = round % 8;
        gpr_in[GPR_RCX] = 0;
        gpr_cpuid();
        bad = gpr_difference(1U << GPR_RAX | 1U << GPR_RBX | 1U << GPR_RCX | 1U << GPR_RDX);
        check(bad == GPR_COUNT, "CPUID changed %s", bad == GPR_COUNT ? "nothing" : gpr_name(bad));
        check((gpr_out[GPR_RAX] | gpr_out[GPR_RBX] | gpr_out[GPR_RCX] | gpr_out[GPR_RDX]) >> 32 ==
                  0,
              "CPUID left bits in an upper half");
    }
    group_end("registers over VMCALL and CPUID");
}

static void check_sleep(void)
{
    static const uint64_t times[] = {0, 1, 100, 1000, 5000, 20000, 50000};

    group_begin("hypercall");
    for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
        uint64_t from = clock_us();
        int64_t r = molt_sleep(times[i]);
        uint64_t slept = clock_us() - from;

        check(r == 0, "HC_SLEEP of %" P64 "u us returned %" P64 "d", times[i], r);
        /* Both ends are rounded down to a microsecond. */
        check(slept + 1 >= times[i] && slept <= times[i] + clock_max_allowed_us(),
              "HC_SLEEP of %" P64 "u us took %" P64 "u us", times[i], slept);
    }
    group_end("sleep");
}

static void check_info(void)
{
    group_begin("hypercall");
    check(info.version[0] != '\0' && info.build_id[0] != '\0', "version \"%s\", build \"%s\"",
          info.version, info.build_id);
    for (const char *c = info.build_id; *c != '\0'; c++) {
        check((*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'f'), "build id has a '%c'", *c);
    }
    check((info.flags & ~(HC_INFO_CONTROL | HC_INFO_SHUTDOWN)) == 0, "flags 0x%x", info.flags);
    check(info.memory_bytes % PAGE_SIZE == 0 && info.memory_bytes >= (18U << 20),
          "memory %" P64 "u bytes", info.memory_bytes);
    group_end("HC_INFO");
}

void probe_hypercalls(void)
{
    int64_t r = molt_info(&info);

    if (r != 0) {
        report(false, "hypercall", "HC_INFO returned %" P64 "d", r);
        return;
    }
    check_info();
    check_numbers();
    check_rights();
    check_ring3();
    check_pointers();
    check_sizes();
    check_registers();
    check_sleep();
}
