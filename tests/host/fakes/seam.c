/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fakes of small services, see seam.h.
 */
#include "fakes/seam.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/domain.h"
#include "hv/lu.h"
#include "hv/machine.h"
#include "hv/phase.h"
#include "hv/time.h"
#include "hv/wallclock.h"
#include "public/lu_abi.h"

#define WEAK __attribute__((weak))
#define CPUID_MAX 64U

uint64_t tsc_khz = 1000000;
const char *phase = "";
const char lu_version[] = "0.1.0-test";

long fake_serial_left;
unsigned int fake_serial_fifo;
jmp_buf fake_end_jmp;
bool fake_end_armed;
struct fake_end fake_end;
const char *fake_build_id;
uint32_t fake_stream_newest = LU_STREAM_VERSION;
uint64_t fake_features;
bool fake_shutdown;
const void *fake_unmapped;
unsigned int fake_ended_domains;
void (*fake_poll)(void);

static struct {
    uint32_t leaf, subleaf;
    struct cpuid_values values;
} cpuid_table[CPUID_MAX];
static size_t cpuid_nr;
static struct cpuid_values cpuid_default;

static char *out;
static size_t out_len, out_capacity;
static char *typed;
static size_t typed_len, typed_at;

void fake_seam_reset(void)
{
    cpuid_nr = 0;
    cpuid_default = (struct cpuid_values){0, 0, 0, 0};
    fake_serial_left = -1;
    fake_serial_fifo = 16;
    fake_serial_clear();
    typed_len = typed_at = 0;
    fake_end = (struct fake_end){.offs = 0};
    fake_end_armed = false;
    fake_build_id = "00112233445566778899aabbccddeeff00112233";
    fake_stream_newest = LU_STREAM_VERSION;
    fake_features = LU_FEATURE_VMX | LU_FEATURE_VCPUS | LU_FEATURE_STATES | LU_FEATURE_X2APIC |
                    LU_FEATURE_CLOCK | LU_FEATURE_FRESH;
    fake_shutdown = false;
    fake_unmapped = NULL;
    fake_ended_domains = 0;
    fake_poll = NULL;
    tsc_khz = 1000000;
}

void fake_cpuid_set(uint32_t leaf, uint32_t subleaf, struct cpuid_values values)
{
    size_t i = 0;

    while (i < cpuid_nr && (cpuid_table[i].leaf != leaf || cpuid_table[i].subleaf != subleaf)) {
        i++;
    }
    if (i == CPUID_MAX) {
        abort();
    }
    cpuid_table[i].leaf = leaf;
    cpuid_table[i].subleaf = subleaf;
    cpuid_table[i].values = values;
    cpuid_nr += i == cpuid_nr ? 1 : 0;
}

void fake_cpuid_default(struct cpuid_values values)
{
    cpuid_default = values;
}

struct cpuid_values host_cpuid(uint32_t leaf, uint32_t subleaf)
{
    for (size_t i = 0; i < cpuid_nr; i++) {
        if (cpuid_table[i].leaf == leaf && cpuid_table[i].subleaf == subleaf) {
            return cpuid_table[i].values;
        }
    }
    return cpuid_default;
}

static void *grown(void *p, size_t *capacity, size_t need)
{
    if (need > *capacity) {
        *capacity = need * 2;
        p = realloc(p, *capacity);
        if (p == NULL) {
            abort();
        }
    }
    return p;
}

bool memory_mapped(const void *p, size_t bytes)
{
    uintptr_t at = (uintptr_t)p, hole = (uintptr_t)fake_unmapped;

    return at >= KIB(64) && at < BIT(47) && !(hole != 0 && at <= hole && hole - at < bytes);
}

unsigned int serial_room(void)
{
    return fake_serial_left < 0 ? fake_serial_fifo
                                : (unsigned int)MIN(fake_serial_left, (long)fake_serial_fifo);
}

void serial_put(uint8_t byte)
{
    if (fake_serial_left == 0) {
        fprintf(stderr, "fake serial: a byte without room\n");
        abort();
    }
    fake_serial_left -= fake_serial_left > 0 ? 1 : 0;
    out = grown(out, &out_capacity, out_len + 2);
    out[out_len++] = (char)byte;
    out[out_len] = '\0';
}

int serial_get(void)
{
    return typed_at < typed_len ? (uint8_t)typed[typed_at++] : -1;
}

bool serial_idle(void)
{
    return true;
}

void fake_serial_type(const char *keys, size_t len)
{
    static size_t capacity;

    if (typed_at == typed_len) {
        typed_at = typed_len = 0;
    }
    typed = grown(typed, &capacity, typed_len + len);
    memcpy(typed + typed_len, keys, len);
    typed_len += len;
}

const char *fake_serial_out(void)
{
    return out_len != 0 ? out : "";
}

size_t fake_serial_out_len(void)
{
    return out_len;
}

void fake_serial_clear(void)
{
    out_len = 0;
}

static NORETURN void end(const char *what)
{
    if (!fake_end_armed) {
        fprintf(stderr, "fake seam: %s outside FAKE_ENDS\n", what);
        abort();
    }
    longjmp(fake_end_jmp, 1);
}

void machine_off(bool ok)
{
    fake_end.offs++;
    fake_end.ok = ok;
    end("machine_off");
}

void machine_reset(void)
{
    fake_end.resets++;
    end("machine_reset");
}

void kexec_prepare(void)
{
    fake_end.prepares++;
}

void kexec_jump(paddr_t list_pa, paddr_t entry_pa, paddr_t info_pa)
{
    fake_end.jumps++;
    fake_end.list_pa = list_pa;
    fake_end.entry_pa = entry_pa;
    fake_end.info_pa = info_pa;
    if (fake_end.comes_back != NULL) {
        fake_end.comes_back();
        escape_now();
    }
    end("kexec_jump");
}

void kexec_set_way_back(paddr_t handover_pa, const struct lu_way_back *block, bool known)
{
    (void)known;
    fake_end.handover_pa = handover_pa;
    fake_end.deadline_tsc = block->deadline_tsc;
}

paddr_t kexec_back_entry(void)
{
    return FAKE_BACK_ENTRY;
}

void nmi_allow(void)
{
    fake_end.nmi_allowed++;
}

static jmp_buf escape_jmp;
static bool escape_armed;

bool escape_call(void (*fn)(void *), void *arg)
{
    escape_armed = true;
    if (setjmp(escape_jmp) != 0) {
        escape_armed = false;
        return false;
    }
    fn(arg);
    escape_armed = false;
    return true;
}

void escape_now(void)
{
    if (!escape_armed) {
        fprintf(stderr, "fake seam: escape_now() outside escape_call()\n");
        abort();
    }
    fake_end.escapes++;
    longjmp(escape_jmp, 1);
}

void kexec_go_back(paddr_t entry_pa, paddr_t handover_pa)
{
    fake_end.backs++;
    fake_end.entry_pa = entry_pa;
    fake_end.handover_pa = handover_pa;
    end("kexec_go_back");
}

/* No clock chip. */
uint8_t cmos_read(uint8_t index)
{
    (void)index;
    return 0xff;
}

uint64_t paging_bytes(paddr_t ram_end)
{
    return KIB(16) + ram_end / MIB(2) * 8;
}

const char *lu_build_id(void)
{
    return fake_build_id;
}

uint32_t lu_stream_newest(void)
{
    return fake_stream_newest;
}

uint64_t lu_features(void)
{
    return fake_features;
}

WEAK void machine_request_shutdown(void)
{
    fake_shutdown = true;
}

WEAK bool machine_shutdown_requested(void)
{
    return fake_shutdown;
}

WEAK void machine_domain_ended(const struct domain *d)
{
    (void)d;
    fake_ended_domains++;
}

WEAK void machine_report_digests(void)
{
}

WEAK void machine_poll(void)
{
    if (fake_poll != NULL) {
        fake_poll();
    }
}

WEAK void machine_end(bool ok)
{
    machine_off(ok);
}
