/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fake backend, see hvm.h.
 */
#include "fakes/hvm.h"

#include "hv/context.h"
#include "hv/errno.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hv/string.h"
#include "hw/x86.h"
#include "public/lu_abi.h"

#define XSAVE_MXCSR 24U
#define XSAVE_HEADER 512U
#define XSAVE_HEADER_END 576U
#define MXCSR_RESET 0x1f80U
#define MXCSR_MASK 0xffffU

const struct hvm_ops *hvm;
struct fake_hvm fake_hvm;
struct percpu fake_cpu, fake_cpu2;
struct percpu *fake_this = &fake_cpu;
uint64_t fake_xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
uint32_t fake_xsave_bytes = 832;

void fake_hvm_reset(bool present)
{
    fake_hvm = (struct fake_hvm){.maps = 0};
    fake_cpu = (struct percpu){.self = &fake_cpu};
    fake_cpu2 = (struct percpu){.self = &fake_cpu2, .id = 1};
    fake_this = &fake_cpu;
    fake_xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    fake_xsave_bytes = 832;
    hvm = present ? &fake_hvm_ops : NULL;
    fake_hvm.found = hvm;
    cpu_list = &fake_cpu;
    nr_cpus = 1;
    cpus_expected = 1;
}

struct vcpu_state *fake_hvm_state(struct vcpu *v)
{
    return v->hvm_data;
}

struct percpu *this_cpu(void)
{
    return fake_this;
}

uint64_t host_guest_xcr0(void)
{
    return fake_xcr0;
}

uint32_t host_xsave_size(void)
{
    return fake_xsave_bytes;
}

/* ---- hvm_ops ---- */

static int probe(const char **why)
{
    (void)why;
    return 0;
}

static int cpu_on(void)
{
    fake_hvm.ons++;
    return 0;
}

static void cpu_off(void)
{
    fake_hvm.offs++;
}

static int domain_init(struct domain *d)
{
    if (fake_hvm.fail_domain_init != 0) {
        return fake_hvm.fail_domain_init;
    }
    d->stage2 = kzalloc(32);
    return d->stage2 != NULL ? 0 : -ENOMEM;
}

static void domain_fini(struct domain *d)
{
    kfree(d->stage2);
    d->stage2 = NULL;
}

static int map(struct domain *d, gfn_t gfn, mfn_t mfn, unsigned int order)
{
    (void)d;
    if (fake_hvm.fail_map != 0) {
        return fake_hvm.fail_map;
    }
    if (fake_hvm.maps < FAKE_MAPS_MAX) {
        fake_hvm.map[fake_hvm.maps] = (struct fake_map){gfn.v, mfn.v, order};
    }
    fake_hvm.maps++;
    return 0;
}

/* It keeps no tables. */
static uint64_t walk_tables(struct domain *d, const struct hvm_walk *walk)
{
    (void)d;
    (void)walk;
    return 0;
}

static int vcpu_init(struct vcpu *v)
{
    if (fake_hvm.fail_vcpu_init != 0) {
        return fake_hvm.fail_vcpu_init;
    }
    v->hvm_data = kzalloc(sizeof(struct vcpu_state));
    fake_hvm.inits += v->hvm_data != NULL ? 1 : 0;
    return v->hvm_data != NULL ? 0 : -ENOMEM;
}

static void vcpu_fini(struct vcpu *v)
{
    fake_hvm.finis++;
    kfree(v->hvm_data);
    v->hvm_data = NULL;
}

static void run(struct vcpu *v, uint64_t slice, struct hvm_exit *exit)
{
    fake_hvm.runs++;
    *exit = (struct hvm_exit){.reason = HVM_EXIT_TIMER};
    if (fake_hvm.run != NULL) {
        fake_hvm.run(v, slice, exit);
    }
    fake_this->last_exit_tsc = tsc_read();
}

static uint64_t *reg(struct vcpu *v, enum hvm_reg which)
{
    struct vcpu_state *s = fake_hvm_state(v);

    switch (which) {
    case HVM_REG_RIP:
        return &s->rip;
    case HVM_REG_RSP:
        return &s->gpr[GPR_RSP];
    case HVM_REG_RFLAGS:
        return &s->rflags;
    case HVM_REG_CR0:
        return &s->cr0;
    case HVM_REG_CR3:
        return &s->cr3;
    case HVM_REG_CR4:
        return &s->cr4;
    case HVM_REG_EFER:
        return &s->efer;
    case HVM_REG_PAT:
        return &s->pat;
    case HVM_REG_DR7:
        return &s->dr7;
    case HVM_REG_TSC_OFFSET:
        return &s->tsc_offset;
    case HVM_REG_CS_BASE:
        return &s->seg[SEG_CS].base;
    case HVM_REG_PDPTE0:
    case HVM_REG_PDPTE1:
    case HVM_REG_PDPTE2:
    case HVM_REG_PDPTE3:
        return &s->pdpte[which - HVM_REG_PDPTE0];
    }
    panic("fake hvm: register %d", (int)which);
}

static uint64_t reg_get(struct vcpu *v, enum hvm_reg which)
{
    return *reg(v, which);
}

static void reg_set(struct vcpu *v, enum hvm_reg which, uint64_t value)
{
    *reg(v, which) = value;
}

static void inject(struct vcpu *v, uint32_t event, uint32_t error_code)
{
    struct vcpu_state *s = fake_hvm_state(v);

    fake_hvm.injects++;
    fake_hvm.event = event;
    fake_hvm.event_error = error_code;
    s->event = event;
    s->event_error = error_code;
}

/* Taken with interrupts on and nothing else queued, as real hardware would. */
static bool interrupt(struct vcpu *v, int vector)
{
    struct vcpu_state *s = fake_hvm_state(v);

    if (vector < 0 || !(s->rflags & RFLAGS_IF) || (s->event & EVENT_VALID)) {
        return false;
    }
    s->event = EVENT_VALID | EVENT_TYPE_EXTINT << 8 | (uint32_t)vector;
    return true;
}

/* Taken with nothing queued and no NMI being handled. */
static bool nmi(struct vcpu *v, bool waiting)
{
    struct vcpu_state *s = fake_hvm_state(v);

    if (!waiting || (s->interruptibility & INTR_BLOCK_NMI) || (s->event & EVENT_VALID)) {
        return false;
    }
    s->event = EVENT_VALID | EVENT_TYPE_NMI << 8 | 2;
    return true;
}

static void unload(struct vcpu *v)
{
    if (fake_hvm.unload != NULL) {
        fake_hvm.unload(v);
    }
}

static void skip(struct vcpu *v, unsigned int insn_length)
{
    struct vcpu_state *s = fake_hvm_state(v);

    fake_hvm.skips++;
    fake_hvm.skipped = insn_length;
    s->rip += insn_length;
}

/* Fields that a real control block does not have carry rubbish here, so that nobody takes them from
 * the backend. */
static void state_save(struct vcpu *v, struct vcpu_state *state)
{
    struct vcpu_state s = *fake_hvm_state(v);

    fake_hvm.saves++;
    memcpy(s.gpr, state->gpr, sizeof(s.gpr));
    s.gpr[GPR_RSP] = fake_hvm_state(v)->gpr[GPR_RSP];
    memset(s.dr, 0xdb, sizeof(s.dr));
    memset(s.msr, 0xdb, sizeof(s.msr));
    s.dr6 = s.cr2 = s.cr8 = s.xcr0 = UINT64_C(0xdbdbdbdb);
    *state = s;
}

static int state_check(const struct vcpu_state *state)
{
    return state->rip == FAKE_BAD_RIP ? -EINVAL : 0;
}

static int state_load(struct vcpu *v, const struct vcpu_state *state)
{
    fake_hvm.loads++;
    if (state_check(state) != 0) {
        return -EINVAL;
    }
    if (fake_hvm.fail_state_load != 0) {
        return fake_hvm.fail_state_load;
    }
    *fake_hvm_state(v) = *state;
    return 0;
}

const struct hvm_ops *hvm_find(void)
{
    return fake_hvm.found;
}

struct hvm_features hvm_features = {true, true};

const struct hvm_ops fake_hvm_ops = {
    .name = "FAKE",
    .feature = LU_FEATURE_VMX,
    .probe = probe,
    .cpu_on = cpu_on,
    .cpu_off = cpu_off,
    .domain_init = domain_init,
    .domain_fini = domain_fini,
    .map = map,
    .walk = walk_tables,
    .vcpu_init = vcpu_init,
    .vcpu_fini = vcpu_fini,
    .run = run,
    .reg_get = reg_get,
    .reg_set = reg_set,
    .inject = inject,
    .interrupt = interrupt,
    .nmi = nmi,
    .unload = unload,
    .skip = skip,
    .state_save = state_save,
    .state_load = state_load,
    .state_check = state_check,
};

/* ---- hv/context.h ---- */

int context_init(struct vcpu_context *ctx)
{
    uint32_t mxcsr = MXCSR_RESET;

    ctx->xsave = kzalloc(fake_xsave_bytes);
    if (ctx->xsave == NULL) {
        return -ENOMEM;
    }
    memcpy((uint8_t *)ctx->xsave + XSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
    ctx->dr6 = DR6_INIT;
    ctx->xcr0 = XCR0_X87;
    return 0;
}

void context_fini(struct vcpu_context *ctx)
{
    kfree(ctx->xsave);
    ctx->xsave = NULL;
}

void context_load(struct vcpu *v)
{
    fake_this->loaded = v;
}

void context_unload(void)
{
    fake_this->loaded = NULL;
}

void context_lend(void)
{
    if (fake_hvm.lent) {
        panic("fake context: lent twice");
    }
    fake_hvm.lent = true;
    context_unload();
}

void context_take_back(void)
{
    if (!fake_hvm.lent) {
        panic("fake context: not lent");
    }
    fake_hvm.lent = false;
}

void context_set_xcr0(struct vcpu_context *ctx, uint64_t xcr0)
{
    ctx->xcr0 = xcr0;
}

void context_set_cr2(struct vcpu_context *ctx, uint64_t cr2)
{
    ctx->cr2 = cr2;
}

int context_check_xsave(const void *image, size_t bytes)
{
    const uint8_t *in = image;
    uint64_t features;
    uint32_t mxcsr;

    if (bytes < XSAVE_HEADER_END || bytes > fake_xsave_bytes) {
        return -EINVAL;
    }
    memcpy(&features, in + XSAVE_HEADER, sizeof(features));
    memcpy(&mxcsr, in + XSAVE_MXCSR, sizeof(mxcsr));
    if ((features & ~fake_xcr0) || (mxcsr & ~MXCSR_MASK)) {
        return -EINVAL;
    }
    for (size_t i = XSAVE_HEADER + sizeof(features); i < XSAVE_HEADER_END; i++) {
        if (in[i] != 0) {
            return -EINVAL;
        }
    }
    return 0;
}

int context_set_xsave(struct vcpu_context *ctx, const void *image, size_t bytes)
{
    int rc = context_check_xsave(image, bytes);

    if (rc == 0) {
        memset(ctx->xsave, 0, fake_xsave_bytes);
        memcpy(ctx->xsave, image, bytes);
    }
    return rc;
}
