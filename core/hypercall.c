/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hypercalls: one table, two ways in, results to guest memory. docs/HYPERCALLS.md
 */
#include "hv/audit.h"
#include "hv/buddy.h"
#include "hv/domctl.h"
#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/fault.h"
#include "hv/log.h"
#include "hv/lu.h"
#include "hv/machine.h"
#include "hv/sched.h"
#include "hv/seam.h"
#include "hv/string.h"
#include "hv/time.h"
#include "public/fault.h"
#include "public/hypercall.h"

_Static_assert(EPERM == HC_EPERM && ENOENT == HC_ENOENT && E2BIG == HC_E2BIG &&
                   ENOEXEC == HC_ENOEXEC && ENOMEM == HC_ENOMEM && EFAULT == HC_EFAULT &&
                   EBUSY == HC_EBUSY && EINVAL == HC_EINVAL && ENOSPC == HC_ENOSPC &&
                   ENOSYS == HC_ENOSYS && EPROTO == HC_EPROTO && EBADMSG == HC_EBADMSG,
               "handlers' results are the ABI's");

#define SLEEP_MAX_US (UINT64_C(3600) * 1000 * 1000)

/* Writes the caller's min(RCX, size) bytes of a structure to RBX. */
static int64_t give(struct vcpu *v, const void *data, uint64_t size)
{
    uint64_t want = v->gpr[GPR_RCX];

    if (want == 0) {
        return -EINVAL;
    }
    return domain_write(v->domain, v->gpr[GPR_RBX], data, MIN(want, size));
}

static int64_t do_info(struct vcpu *v)
{
    struct hc_info info = {
        .domain_id = v->domain->id,
        .flags = (v->domain->control ? HC_INFO_CONTROL : 0) |
                 (machine_shutdown_requested() ? HC_INFO_SHUTDOWN : 0),
        .updates = lu_updates(),
        .tsc_khz = tsc_khz,
        .memory_bytes = v->domain->memory_bytes,
    };

    str_copy(info.version, sizeof(info.version), lu_version);
    str_copy(info.build_id, sizeof(info.build_id), lu_build_id());
    return give(v, &info, sizeof(info));
}

static int64_t do_sleep(struct vcpu *v)
{
    uint64_t us = v->gpr[GPR_RBX];

    if (us > SLEEP_MAX_US) {
        return -EINVAL;
    }
    sched_sleep(v, tsc_read() + us_to_tsc(us));
    return 0;
}

static int64_t do_yield(struct vcpu *v)
{
    sched_give_way(v);
    return 0;
}

static int64_t do_lu_region(struct vcpu *v)
{
    struct hc_lu_region r;

    lu_get_region(&r);
    return give(v, &r, sizeof(r));
}

/* The time counts as the caller's own: the others' turns come as if it had hashed by itself. */
static int64_t load_slice(struct vcpu *v, const struct lu_source *source)
{
    char why[LU_REASON_MAX];
    uint64_t start = tsc_read();
    int rc;

    if (!buddy_opened()) { /* after an update: soon */
        return HYPERCALL_RESTART;
    }
    rc = lu_load_slice(source, why);
    v->vruntime += tsc_read() - start;
    return rc == LU_AGAIN ? HYPERCALL_RESTART : rc;
}

static int64_t do_lu_load(struct vcpu *v)
{
    char why[LU_REASON_MAX];
    struct hc_lu_load args;

    if (v->gpr[GPR_RCX] < sizeof(args)) {
        return lu_refuse(-EINVAL, HC_LU_R_ARGUMENTS, why, "arguments of %llu bytes are too short",
                         (unsigned long long)v->gpr[GPR_RCX]);
    }
    if (domain_read(v->domain, v->gpr[GPR_RBX], &args, sizeof(args)) != 0) {
        return lu_refuse(-EFAULT, HC_LU_R_ARGUMENTS, why, "arguments outside the domain's memory");
    }
    switch (args.source) {
    case HC_LU_SOURCE_MODULE:
        return load_slice(v, &(struct lu_source){.module = args.module});
    case HC_LU_SOURCE_PAGES:
        return load_slice(v, &(struct lu_source){.domain = v->domain,
                                                 .list_gpa = args.list,
                                                 .pages = args.pages,
                                                 .bytes = args.bytes});
    default:
        return lu_refuse(-EINVAL, HC_LU_R_ARGUMENTS, why,
                         "source %u is neither a module nor a page list", args.source);
    }
}

static int64_t do_lu_exec(struct vcpu *v)
{
    char why[LU_REASON_MAX];

    return lu_request_exec(v, why);
}

static int64_t do_lu_status(struct vcpu *v)
{
    struct hc_lu_status s;

    lu_get_status(&s);
    return give(v, &s, sizeof(s));
}

/* What it found is given in either case. */
static int64_t do_lu_audit(struct vcpu *v)
{
    struct hc_audit found;
    int rc = audit_print(&found);
    int64_t given = give(v, &found, sizeof(found));

    return given != 0 ? given : rc;
}

struct handler {
    uint64_t number;
    bool control; /* for the control domain only */
    int64_t (*fn)(struct vcpu *v);
};

static const struct handler handlers[] = {
    {HC_INFO, false, do_info},
    {HC_SLEEP, false, do_sleep},
    {HC_YIELD, false, do_yield},
    {HC_LU_REGION, true, do_lu_region},
    {HC_LU_LOAD, true, do_lu_load},
    {HC_LU_EXEC, true, do_lu_exec},
    {HC_LU_STATUS, true, do_lu_status},
    {HC_LU_AUDIT, true, do_lu_audit},
    {HC_LU_LOG, true, log_call},
    {HC_DOM_LIST, true, domain_call},
    {HC_DOM_CREATE, true, domain_call},
    {HC_DOM_MEMORY, true, domain_call},
    {HC_DOM_LOAD, true, domain_call},
    {HC_DOM_START, true, domain_call},
    {HC_DOM_PAUSE, true, domain_call},
    {HC_DOM_RESUME, true, domain_call},
    {HC_DOM_DESTROY, true, domain_call},
    {HC_DOM_STATS, true, domain_call},
    {HC_CONSOLE_READ, true, domain_call},
    {HC_CONSOLE_WRITE, true, domain_call},
    FAULT_CALLS /* of test images */
};

int64_t hypercall(struct vcpu *v)
{
    for (size_t i = 0; i < ARRAY_SIZE(handlers); i++) {
        if (handlers[i].number == v->gpr[GPR_RAX]) {
            return !handlers[i].control || v->domain->control ? handlers[i].fn(v) : -EPERM;
        }
    }
    return -ENOSYS;
}

void hypercall_result(struct vcpu *v, int64_t result)
{
    v->gpr[GPR_RAX] = v->call32 ? (uint32_t)result : (uint64_t)result;
}

/* Outside 64-bit code the ABI's registers are 32 bits wide. */
static void narrow_arguments(struct vcpu *v)
{
    static const enum gpr registers[] = {GPR_RAX, GPR_RBX, GPR_RCX, GPR_RDX, GPR_RSI, GPR_RDI};

    for (size_t i = 0; i < ARRAY_SIZE(registers); i++) {
        v->gpr[registers[i]] &= UINT32_MAX;
    }
}

/* False: nothing is left, the call goes on when the instruction is executed again. */
static bool finish(struct vcpu *v, int64_t result)
{
    if (result == HYPERCALL_RESTART) {
        return false;
    }
    hypercall_result(v, result);
    return true;
}

bool hypercall_vmcall(struct vcpu *v, const struct hvm_exit *exit)
{
    v->call32 = !exit->code64;
    if (exit->cpl != 0) {
        return finish(v, -EPERM);
    }
    if (!exit->code64) {
        narrow_arguments(v);
    }
    return finish(v, hypercall(v));
}

/* RDX has the port, so the third and fourth argument are one register further. */
bool hypercall_door(struct vcpu *v, const struct hvm_exit *exit)
{
    uint64_t rdx = v->gpr[GPR_RDX], rsi = v->gpr[GPR_RSI];
    int64_t result;

    v->call32 = true; /* IN EAX clears the upper half in every mode */
    if (!exit->code64) {
        narrow_arguments(v);
    }
    v->gpr[GPR_RDX] = v->gpr[GPR_RSI];
    v->gpr[GPR_RSI] = v->gpr[GPR_RDI];
    result = hypercall(v);
    v->gpr[GPR_RDX] = rdx;
    v->gpr[GPR_RSI] = rsi;
    return finish(v, result);
}
