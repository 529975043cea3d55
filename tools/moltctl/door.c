/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door: IN EAX, DX. The instruction needs a port that Linux gives to root only; that is the
 * whole protection, for molt sees that the control domain calls but not which of its programs.
 */
#include "door.h"

#include <cpuid.h>
#include <errno.h>
#include <string.h>
#include <sys/io.h>

#include "frames.h"
#include "memory.h"
#include "moltctl.h"

#define CPUID1_ECX_HYPERVISOR (1U << 31)
#define DOOR_PORTS 4

static struct pages own; /* page 0: structures; page 1: what they point to */

static bool under_molt(void)
{
    unsigned int eax, ebx, ecx, edx;

    __cpuid(1, eax, ebx, ecx, edx);
    if (!(ecx & CPUID1_ECX_HYPERVISOR)) {
        return false;
    }
    __cpuid(HC_CPUID_BASE, eax, ebx, ecx, edx);
    return ebx == HC_CPUID_SIG_EBX && ecx == HC_CPUID_SIG_ECX && edx == HC_CPUID_SIG_EDX;
}

int64_t door_call(uint64_t number, uint64_t rbx, uint64_t rcx, uint64_t rdx)
{
    uint64_t rax = number;

    __asm__ volatile("inl %%dx, %%eax"
                     : "+a"(rax)
                     : "b"(rbx), "c"(rcx), "d"(HC_DOOR_PORT), "S"(rdx), "D"(0)
                     : "memory");
    return (int32_t)rax;
}

int64_t door_exchange(uint64_t number, void *data, size_t bytes, uint64_t rdx)
{
    int64_t result;

    memcpy(own.data, data, bytes);
    result = door_call(number, own.frames[0] * PAGE_BYTES, bytes, rdx);
    memcpy(data, own.data, bytes);
    return result;
}

unsigned char *door_page(uint64_t *address)
{
    *address = own.frames[1] * PAGE_BYTES;
    return own.data + PAGE_BYTES;
}

void door_open(void)
{
    struct hc_info info = {.flags = 0};

    if (!under_molt()) {
        fail(EXIT_PLACE, 0, "this machine does not run under molt");
    }
    if (ioperm(HC_DOOR_PORT, DOOR_PORTS, 1) != 0) {
        fail(EXIT_PLACE, 0, "cannot use molt's port: %s%s", strerror(errno),
             errno == EPERM ? " (only root may)" : "");
    }
    pages_get(&own, 2);
    /* Elsewhere than in the control domain the port is empty, and reads as ones. */
    if (door_exchange(HC_INFO, &info, sizeof(info), 0) != 0 || !(info.flags & HC_INFO_CONTROL)) {
        fail(EXIT_PLACE, 0, "this is not the control domain: molt takes no commands from here");
    }
}

static const struct {
    int number;
    const char *name, *text;
} errors[] = {
    {HC_EPERM, "EPERM", "not allowed"},
    {HC_ENOENT, "ENOENT", "there is no such thing"},
    {HC_E2BIG, "E2BIG", "too many pages"},
    {HC_ENOEXEC, "ENOEXEC", "not a file that can be started"},
    {HC_ENOMEM, "ENOMEM", "molt has no memory left for it"},
    {HC_EFAULT, "EFAULT", "an address outside this domain's memory"},
    {HC_EBUSY, "EBUSY", "molt is busy with an update, or the domain is in use"},
    {HC_EEXIST, "EEXIST", "there is a domain of that name already"},
    {HC_EINVAL, "EINVAL", "that is not possible in this state or with these values"},
    {HC_ENOSPC, "ENOSPC", "it does not fit"},
    {HC_ENOSYS, "ENOSYS", "this molt does not know the call"},
    {HC_EPROTO, "EPROTO", "the image reads nothing that this molt writes"},
    {HC_EBADMSG, "EBADMSG", "molt's own check of the state has failed"},
};

const char *door_error_name(int64_t result)
{
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        if (errors[i].number == -result) {
            return errors[i].name;
        }
    }
    return "unknown";
}

const char *door_error_text(int64_t result)
{
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        if (errors[i].number == -result) {
            return errors[i].text;
        }
    }
    return "an unknown error";
}
