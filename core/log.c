/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who reads the flight recorder.
 *
 * Host test: tests/host/test_recorder.c, and of the call tests/host/test_hypercall.c
 */
#include "hv/log.h"

#include "hv/console.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/printk.h"
#include "hv/recorder.h"
#include "public/hypercall.h"

#define PREFIX "molt: log: "
#define CALL_BYTES_MAX 16384U /* for one call: hv_lock is held */
#define LINE_BYTES 256U       /* the ABI's: any line fits */

_Static_assert(RECORDER_LINE_MAX < LINE_BYTES, "any line and its end fit");

void log_print(uint64_t lines, uint64_t before)
{
    char text[sizeof(PREFIX) + RECORDER_LINE_MAX] = PREFIX;
    uint64_t from = before > lines ? before - lines : 0;
    struct lu_log_entry e;

    while (from < before && recorder_read(&from, &e) && e.number < before) {
        console_line(text, sizeof(PREFIX) - 1 + recorder_format(&e, text + sizeof(PREFIX) - 1));
    }
}

/* Lines from *from on into the caller's buffer: bytes, or -EFAULT. */
static int64_t give_lines(struct domain *d, uint64_t *from, uint64_t buffer, uint64_t bytes)
{
    struct lu_log_entry e;
    char line[LINE_BYTES];
    uint64_t done = 0;

    while (bytes - done >= LINE_BYTES && recorder_read(from, &e)) {
        size_t length = recorder_format(&e, line);

        line[length++] = '\n';
        if (buffer > UINT64_MAX - done || domain_write(d, buffer + done, line, length) != 0) {
            return -EFAULT;
        }
        done += length;
    }
    return (int64_t)done;
}

int64_t log_call(struct vcpu *v)
{
    struct hc_log args;
    int64_t done;

    if (v->gpr[GPR_RCX] < sizeof(args)) {
        return -EINVAL;
    }
    if (domain_read(v->domain, v->gpr[GPR_RBX], &args, sizeof(args)) != 0) {
        return -EFAULT;
    }
    if (args.bytes < LINE_BYTES) {
        return -EINVAL;
    }
    done = give_lines(v->domain, &args.from, args.buffer, MIN(args.bytes, CALL_BYTES_MAX));
    if (done >= 0 && domain_write(v->domain, v->gpr[GPR_RBX], &args, sizeof(args)) != 0) {
        return -EFAULT;
    }
    return done;
}
