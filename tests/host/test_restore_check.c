/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The check of the whole stream: each way in which it can be wrong is found, and nothing has
 * changed then.
 */
#include "../../lu/lu_priv.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/stream_copy.h"
#include "fakes/world.h"
#include "hv/boot_alloc.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/modules.h"
#include "hv/seam.h"
#include "hw/x86.h"

/* The sample's stream; the world stands where the next image checks it. */
static struct stream_copy good;
static mfn_t stream_page;

static void take_good(bool small)
{
    struct stream_reader reader;
    const char *why = "";
    size_t length;

    world_reset();
    world_boot(0, true);
    world_sample(small);
    uint8_t *stream = world_stream(&length);
    assert_int_equal(stream_open(&reader, stream, length, &why), 0);
    copy_take(&good, &reader);
    free(stream);
    world_boot_closed(1, true);
    /* Some page of the stream, above everything that the sample uses. */
    stream_page = pa_to_mfn(WORLD_HIGH_END - PAGE_SIZE);
    assert_int_equal(frametable_claim(stream_page, ORDER_4K, FRAME_STREAM, OWNER_NONE), 0);
}

static int setup(void **state)
{
    (void)state;
    take_good(false);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    copy_free(&good);
    return 0;
}

static int check(const uint8_t *stream, size_t length, const char **why)
{
    struct stream_reader reader;
    int rc = stream_open(&reader, stream, length, why);

    return rc == 0 ? restore_check(&reader, &adopt_keeper, why) : rc;
}

/* ---- what is changed ---- */

#define FIELD(type, record, nth) ((type *)copy_at(c, record, nth))
#define HOST FIELD(struct lu_rec_host, LU_REC_HOST, 0)
#define HOST_STATE FIELD(struct lu_rec_host_state, LU_REC_HOST_STATE, 0)
#define MODULE FIELD(struct lu_rec_module, LU_REC_MODULE, 0)
#define DOMAIN FIELD(struct lu_rec_domain, LU_REC_DOMAIN, 0)
#define DOMAIN2 FIELD(struct lu_rec_domain, LU_REC_DOMAIN, 1)
#define EXTENTS FIELD(struct lu_rec_extents, LU_REC_EXTENTS, 0)
#define EXTENT(domain, i)                                                 \
    ((struct lu_extent *)((uint8_t *)copy_at(c, LU_REC_EXTENTS, domain) + \
                          sizeof(struct lu_rec_extents)) +                \
     (i))
#define DOMAIN_STATE FIELD(struct lu_rec_domain_state, LU_REC_DOMAIN_STATE, 0)
#define VUART FIELD(struct lu_rec_vuart, LU_REC_VUART, 0)
#define VCPU FIELD(struct lu_rec_vcpu, LU_REC_VCPU, 0)
#define MSRS FIELD(struct lu_rec_msrs, LU_REC_MSRS, 0)
#define MSR(i) ((struct lu_msr *)(MSRS + 1) + (i))
#define XSAVE FIELD(struct lu_rec_xsave, LU_REC_XSAVE, 0)
#define OUTPUT FIELD(struct lu_rec_output, LU_REC_OUTPUT, 0)
#define EDIT FIELD(struct lu_rec_edit, LU_REC_EDIT, 0)
#define CONSOLE FIELD(struct lu_rec_console, LU_REC_CONSOLE, 0)

typedef struct stream_copy copy_t;

static void twice(copy_t *c, uint32_t type)
{
    size_t at = copy_find(c, type, 0);

    copy_insert(c, at + 1, type, c->records[at].data, c->records[at].length);
}

static void without(copy_t *c, uint32_t type)
{
    copy_remove(c, copy_find(c, type, 0));
}

static void longer(copy_t *c, uint32_t type, int by)
{
    struct copy_record *r = &c->records[copy_find(c, type, 0)];

    copy_resize(r, (size_t)((int)r->length + by));
}

static void to_length(copy_t *c, uint32_t type, size_t length)
{
    copy_resize(&c->records[copy_find(c, type, 0)], length);
}

/* A record behind another one of a type. */
static void move_behind(copy_t *c, uint32_t type, uint32_t other, size_t nth)
{
    size_t from = copy_find(c, type, 0);
    struct copy_record r = c->records[from];

    r.data = copy_alloc(r.length);
    memcpy(r.data, c->records[from].data, r.length);
    copy_remove(c, from);
    copy_insert(c, copy_find(c, other, nth) + 1, type, r.data, r.length);
    free(r.data);
}

static void no_terminator(char *s, size_t size)
{
    memset(s, 'x', size);
}

/* Puts an extent of another place into the first domain, in place of its first one of that
 * order. */
static void extent_at(copy_t *c, uint64_t mfn)
{
    struct lu_extent *e = EXTENT(0, 0);

    while (e->order != 0) {
        e++;
    }
    e->mfn = mfn;
}

static uint64_t some_order(copy_t *c, uint32_t order)
{
    const struct lu_extent *e = EXTENT(0, 0);

    while (e->order != order) {
        e++;
    }
    return e->mfn;
}

#define CHANGES(X)                                                                                 \
    X(no_host, without(c, LU_REC_HOST), "HOST is not the first record")                            \
    X(host_late, move_behind(c, LU_REC_HOST, LU_REC_MODULE, 0), "HOST is not the first record")    \
    X(host_twice, twice(c, LU_REC_HOST), "HOST: doubled or of a wrong length")                     \
    X(host_short, longer(c, LU_REC_HOST, -1), "HOST: doubled or of a wrong length")                \
    X(host_long, longer(c, LU_REC_HOST, 8), "HOST: doubled or of a wrong length")                  \
    X(host_empty, to_length(c, LU_REC_HOST, 0), "HOST: doubled or of a wrong length")              \
    X(host_no_tsc, HOST->tsc_khz = 0, "HOST: impossible values")                                   \
    X(host_version, no_terminator(HOST->version, 32), "HOST: impossible values")                   \
    X(host_build_id, no_terminator(HOST->build_id, 48), "HOST: impossible values")                 \
    X(state_twice, twice(c, LU_REC_HOST_STATE), "HOST_STATE: doubled or of a wrong length")        \
    X(state_short, longer(c, LU_REC_HOST_STATE, -8), "HOST_STATE: doubled or of a wrong length")   \
    X(state_flags, HOST_STATE->flags |= 2, "HOST_STATE: unknown flags")                            \
    X(state_missing, without(c, LU_REC_HOST_STATE), "HOST or HOST_STATE is missing")               \
    X(module_short, to_length(c, LU_REC_MODULE, 23), "MODULE: too short")                          \
    X(module_reserved, MODULE->reserved = 1, "MODULE: impossible values")                          \
    X(module_cmdline, MODULE->cmdline_length++, "MODULE: impossible values")                       \
    X(module_cmdline_max, MODULE->cmdline_length = UINT32_MAX, "MODULE: impossible values")        \
    X(module_empty, MODULE->bytes = 0, "MODULE: impossible values")                                \
    X(module_wraps, MODULE->bytes = UINT64_MAX, "MODULE: impossible values")                       \
    X(module_page_wraps, MODULE->bytes = UINT64_MAX - MODULE->start_pa, "MODULE: not in usable")   \
    X(module_strings, ((char *)(MODULE + 1))[3] = '\0', "MODULE: a command line of several")       \
    X(module_no_ram, MODULE->start_pa = GIB(1), "MODULE: not in usable memory")                    \
    X(module_in_region, MODULE->start_pa = WORLD_REGION, "MODULE: not in usable memory")           \
    X(module_bad, MODULE->start_pa = WORLD_BAD_MFN << PAGE_SHIFT, "MODULE: not in usable memory")  \
    X(module_frame_0, MODULE->start_pa = 8, "MODULE: not in usable memory")                        \
    X(module_partly_ram, MODULE->start_pa = MIB(64) - PAGE_SIZE, "MODULE: not in usable memory")   \
    X(module_twice, twice(c, LU_REC_MODULE), "MODULE: not in usable memory, or that is taken")     \
    X(module_in_stream, MODULE->start_pa = mfn_to_pa(stream_page) - PAGE_SIZE,                     \
      "MODULE: not in usable memory, or that is taken")                                            \
    X(domain_short, longer(c, LU_REC_DOMAIN, -8), "DOMAIN: wrong length")                          \
    X(domain_long, longer(c, LU_REC_DOMAIN, 1), "DOMAIN: wrong length")                            \
    X(domain_id_0, DOMAIN->id = 0, "DOMAIN: impossible values")                                    \
    X(domain_id_max, DOMAIN->id = 0xffff, "DOMAIN: impossible values")                             \
    X(domain_flags, DOMAIN->flags = 2, "DOMAIN: impossible values")                                \
    X(domain_no_name, DOMAIN->name[0] = '\0', "DOMAIN: impossible values")                         \
    X(domain_name_end, no_terminator(DOMAIN->name, 32), "DOMAIN: impossible values")               \
    X(domain_memory_odd, DOMAIN->memory_bytes++, "DOMAIN: impossible values")                      \
    X(domain_same_id, DOMAIN2->id = DOMAIN->id, "DOMAIN: id or name twice")                        \
    X(domain_same_name, strcpy(DOMAIN2->name, DOMAIN->name), "DOMAIN: id or name twice")           \
    X(domain_twice, twice(c, LU_REC_DOMAIN), "DOMAIN: id or name twice")                           \
    X(domain_missing, without(c, LU_REC_DOMAIN), "EXTENTS: unknown domain or reserved fields")     \
    X(more_vcpus, DOMAIN->vcpus++, "a domain's records are missing or too many")                   \
    X(fewer_vcpus, DOMAIN->vcpus = 1, "a domain's records are missing or too many")                \
    X(more_memory, DOMAIN->memory_bytes += PAGE_SIZE, "a domain's records are missing")            \
    X(less_memory, DOMAIN->memory_bytes -= PAGE_SIZE, "a domain's records are missing")            \
    X(memory_max, DOMAIN->memory_bytes = PAGE_MASK, "a domain's records are missing")              \
    X(more_extents, DOMAIN->extents++, "a domain's records are missing or too many")               \
    X(fewer_extents, DOMAIN->extents--, "a domain's records are missing or too many")              \
    X(extents_max, DOMAIN->extents = UINT64_MAX, "a domain's records are missing or too many")     \
    X(extents_missing, without(c, LU_REC_EXTENTS), "a domain's records are missing or too many")   \
    X(extents_short, to_length(c, LU_REC_EXTENTS, 7), "EXTENTS: wrong length")                     \
    X(extents_uneven, longer(c, LU_REC_EXTENTS, -4), "EXTENTS: wrong length")                      \
    X(extents_whose, EXTENTS->domain = 77, "EXTENTS: unknown domain or reserved fields")           \
    X(extents_reserved0, EXTENTS->reserved[0] = 1, "EXTENTS: unknown domain or reserved")          \
    X(extents_reserved1, EXTENTS->reserved[1] = 1, "EXTENTS: unknown domain or reserved")          \
    X(extents_reserved2, EXTENTS->reserved[2] = 1, "EXTENTS: unknown domain or reserved")          \
    X(extent_order, EXTENT(0, 0)->order = 19, "EXTENTS: misaligned, unsorted")                     \
    X(extent_order_max, EXTENT(0, 0)->order = UINT32_MAX, "EXTENTS: misaligned, unsorted")         \
    X(extent_flags, EXTENT(0, 0)->flags = 1, "EXTENTS: misaligned, unsorted")                      \
    X(extent_gfn_odd, (EXTENT(0, 0)->order = 5, EXTENT(0, 0)->gfn = 1), "EXTENTS: misaligned")     \
    X(extent_mfn_odd, (EXTENT(0, 0)->order = 5, EXTENT(0, 0)->mfn |= 1), "EXTENTS: misaligned")    \
    X(extent_unsorted, EXTENT(0, 3)->gfn = 0, "EXTENTS: misaligned, unsorted")                     \
    X(extent_gfn_same, (EXTENT(0, 1)->gfn = EXTENT(0, 0)->gfn), "EXTENTS: misaligned, unsorted")   \
    X(extent_gfn_high, extent_gfn(c, BIT(40)), "EXTENTS: misaligned, unsorted")                    \
    X(extent_gfn_max, extent_gfn(c, UINT64_MAX), "EXTENTS: misaligned, unsorted")                  \
    X(extent_mfn_high, extent_at(c, BIT(40)), "EXTENTS: misaligned, unsorted")                     \
    X(extent_mfn_max, extent_at(c, UINT64_MAX), "EXTENTS: misaligned, unsorted")                   \
    X(extent_no_ram, extent_at(c, GIB(1) >> PAGE_SHIFT), "EXTENTS: frames that cannot be")         \
    X(extent_hole, extent_at(c, MIB(40) >> PAGE_SHIFT), "EXTENTS: frames that cannot be")          \
    X(extent_frame_0, extent_at(c, 0), "EXTENTS: frames that cannot be")                           \
    X(extent_bad, extent_at(c, WORLD_BAD_MFN), "EXTENTS: frames that cannot be")                   \
    X(extent_region, extent_at(c, WORLD_REGION >> PAGE_SHIFT), "EXTENTS: frames that cannot be")   \
    X(extent_arena, extent_at(c, (WORLD_REGION_END >> PAGE_SHIFT) - 1), "EXTENTS: frames that")    \
    X(extent_stream, extent_at(c, stream_page.v), "EXTENTS: frames that cannot be")                \
    X(extent_module, extent_at(c, MODULE->start_pa >> PAGE_SHIFT), "EXTENTS: frames that cannot")  \
    X(extent_other, extent_at(c, EXTENT(1, 0)->mfn), "EXTENTS: frames that cannot be")             \
    X(extent_same, extent_at(c, some_order(c, 3)), "EXTENTS: frames that cannot be")               \
    X(extent_inside, extent_at(c, some_order(c, 5) + 17), "EXTENTS: frames that cannot be")        \
    X(extent_around, EXTENT(1, 0)->mfn = some_order(c, 5) & ~UINT64_C(63),                         \
      "EXTENTS: frames that cannot be")                                                            \
    X(dstate_short, longer(c, LU_REC_DOMAIN_STATE, -1), "DOMAIN_STATE: wrong length")              \
    X(dstate_twice, twice(c, LU_REC_DOMAIN_STATE), "DOMAIN_STATE: impossible values")              \
    X(dstate_missing, without(c, LU_REC_DOMAIN_STATE), "VCPU: unknown domain, out of order")       \
    X(dstate_missing2, copy_remove(c, copy_find(c, LU_REC_DOMAIN_STATE, 1)), "VCPU: unknown")      \
    X(dstate_late, move_behind(c, LU_REC_DOMAIN_STATE, LU_REC_VUART, 3), "VCPU: unknown domain")   \
    X(dstate_whose, DOMAIN_STATE->domain = 77, "DOMAIN_STATE: impossible values")                  \
    X(dstate_reserved, DOMAIN_STATE->reserved = 1, "DOMAIN_STATE: impossible values")              \
    X(dstate_reserved2, DOMAIN_STATE->reserved2 = 1, "DOMAIN_STATE: impossible values")            \
    X(dstate_0, DOMAIN_STATE->state = 0, "DOMAIN_STATE: impossible values")                        \
    X(dstate_6, DOMAIN_STATE->state = 6, "DOMAIN_STATE: impossible values")                        \
    X(dstate_code, DOMAIN_STATE->exit_code = 1, "DOMAIN_STATE: impossible values")                 \
    X(vuart_short, to_length(c, LU_REC_VUART, 31), "VUART: too short")                             \
    X(vuart_twice, twice(c, LU_REC_VUART), "VUART: impossible values")                             \
    X(vuart_missing, without(c, LU_REC_VUART), "OUTPUT: impossible values")                        \
    X(vuart_whose, VUART->domain = 77, "VUART: impossible values")                                 \
    X(vuart_rx, VUART->rx_count = 17, "VUART: impossible values")                                  \
    X(vuart_errors, VUART->lsr_errors |= 1, "VUART: impossible values")                            \
    X(vuart_errors_high, VUART->lsr_errors |= 0x20, "VUART: impossible values")                    \
    X(vuart_flags, VUART->flags |= 2, "VUART: impossible values")                                  \
    X(vuart_tx_short, VUART->tx_length--, "VUART: impossible values")                              \
    X(vuart_tx_long, VUART->tx_length++, "VUART: impossible values")                               \
    X(vuart_tx_max, VUART->tx_length = UINT32_MAX, "VUART: impossible values")                     \
    X(vuart_line, (to_length(c, LU_REC_VUART, 32 + 241), VUART->tx_length = 241),                  \
      "VUART: impossible values")                                                                  \
    X(vcpu_short, longer(c, LU_REC_VCPU, -8), "VCPU: wrong length")                                \
    X(vcpu_long, longer(c, LU_REC_VCPU, 8), "VCPU: wrong length")                                  \
    X(vcpu_whose, VCPU->domain = 77, "VCPU: unknown domain, out of order")                         \
    X(vcpu_number, VCPU->vcpu = 1, "VCPU: unknown domain, out of order")                           \
    X(vcpu_activity, VCPU->activity = LU_VCPU_WAIT_SIPI + 1, "VCPU: unknown domain, out of order") \
    X(vcpu_wake, (VCPU->activity = LU_VCPU_HALTED, VCPU->wake_tsc = 1), "VCPU: unknown domain")    \
    X(vcpu_gdtr, VCPU->gdtr.reserved = 1, "VCPU: reserved fields")                                 \
    X(vcpu_idtr, VCPU->idtr.reserved = 1, "VCPU: reserved fields")                                 \
    X(vcpu_segment, VCPU->segments[7].reserved = 1, "VCPU: reserved fields")                       \
    X(vcpu_segment2, VCPU->segments[0].reserved2 = 1, "VCPU: reserved fields")                     \
    X(vcpu_twice, twice(c, LU_REC_VCPU), "VCPU: its MSRS are missing")                             \
    X(vcpu_backend, VCPU->rip = FAKE_BAD_RIP, "VCPU, MSRS: registers that no guest")               \
    X(vcpu_cr0, VCPU->cr0 |= BIT(8), "VCPU, MSRS: registers that no guest")                        \
    X(vcpu_cr4, VCPU->cr4 |= CR4_VMXE, "VCPU, MSRS: registers that no guest")                      \
    X(vcpu_efer, VCPU->efer |= BIT(12), "VCPU, MSRS: registers that no guest")                     \
    X(vcpu_xcr0, VCPU->xcr0 = 0, "VCPU, MSRS: registers that no guest")                            \
    X(vcpu_cr8, VCPU->cr8 = 16, "VCPU, MSRS: registers that no guest")                             \
    X(vcpu_dr7, VCPU->dr7 |= BIT(32), "VCPU, MSRS: registers that no guest")                       \
    X(msr_lstar, MSR(1)->value = BIT(47), "VCPU, MSRS: registers that no guest")                   \
    X(msr_pat, MSR(9)->value = 2, "VCPU, MSRS: registers that no guest")                           \
    X(msrs_short, to_length(c, LU_REC_MSRS, 7), "MSRS: too short")                                 \
    X(msrs_uneven, longer(c, LU_REC_MSRS, 8), "MSRS: wrong vCPU or count")                         \
    X(msrs_more, MSRS->count++, "MSRS: wrong vCPU or count")                                       \
    X(msrs_fewer, MSRS->count--, "MSRS: wrong vCPU or count")                                      \
    X(msrs_max, MSRS->count = UINT32_MAX, "MSRS: wrong vCPU or count")                             \
    X(msrs_whose, MSRS->domain = 2, "MSRS: wrong vCPU or count")                                   \
    X(msrs_vcpu, MSRS->vcpu = 1, "MSRS: wrong vCPU or count")                                      \
    X(msrs_twice, twice(c, LU_REC_MSRS), "MSRS: wrong vCPU or count")                              \
    X(msrs_missing, without(c, LU_REC_MSRS), "VCPU: its MSRS are missing")                         \
    X(msrs_last_missing, last_msrs_missing(c), "VCPU: its MSRS are missing")                       \
    X(msrs_late, move_behind(c, LU_REC_MSRS, LU_REC_VCPU, 2), "VCPU: its MSRS are missing")        \
    X(msrs_index, MSR(3)->index = 0x1b, "MSRS: an MSR that this image does not know")              \
    X(msrs_reserved, MSR(3)->reserved = 1, "MSRS: an MSR that this image does not know")           \
    X(xsave_short, to_length(c, LU_REC_XSAVE, 15), "XSAVE: too short")                             \
    X(xsave_bytes, XSAVE->bytes--, "XSAVE: wrong vCPU or size")                                    \
    X(xsave_small, (to_length(c, LU_REC_XSAVE, 16 + 575), XSAVE->bytes = 575), "XSAVE: wrong")     \
    X(xsave_large, (longer(c, LU_REC_XSAVE, 8), XSAVE->bytes += 8), "XSAVE: wrong vCPU or size")   \
    X(xsave_whose, XSAVE->domain = 3, "XSAVE: wrong vCPU or size")                                 \
    X(xsave_vcpu, XSAVE->vcpu++, "XSAVE: wrong vCPU or size")                                      \
    X(xsave_twice, twice(c, LU_REC_XSAVE), "XSAVE: wrong vCPU or size")                            \
    X(xsave_features, XSAVE->features |= 0xe0, "XSAVE: wrong vCPU or size, or features")           \
    X(xsave_bitmap, XSAVE->features = 3, "XSAVE: not an image in standard format")                 \
    X(xsave_compact, ((uint8_t *)(XSAVE + 1))[527] = 0x80, "XSAVE: not an image in standard")      \
    X(xsave_header, ((uint8_t *)(XSAVE + 1))[575] = 1, "XSAVE: not an image in standard format")   \
    X(xsave_mxcsr, ((uint8_t *)(XSAVE + 1))[27] = 1, "XSAVE: an image that this CPU")              \
    X(xsave_early, move_behind(c, LU_REC_XSAVE, LU_REC_VUART, 0), "XSAVE: wrong vCPU or size")     \
    X(console_short, to_length(c, LU_REC_CONSOLE, 7), "CONSOLE: doubled or too short")             \
    X(console_twice, twice(c, LU_REC_CONSOLE), "CONSOLE: doubled or too short")                    \
    X(console_reserved, CONSOLE->reserved = 1, "CONSOLE: wrong length")                            \
    X(console_length, CONSOLE->length++, "CONSOLE: wrong length")                                  \
    X(console_max, CONSOLE->length = UINT32_MAX, "CONSOLE: wrong length")                          \
    X(output_short, to_length(c, LU_REC_OUTPUT, 15), "OUTPUT: too short")                          \
    X(output_twice, twice(c, LU_REC_OUTPUT), "OUTPUT: impossible values")                          \
    X(output_early, move_behind(c, LU_REC_OUTPUT, LU_REC_HOST_STATE, 0), "OUTPUT: impossible")     \
    X(output_whose, OUTPUT->domain = 77, "OUTPUT: impossible values")                              \
    X(output_shown, OUTPUT->shown = (uint16_t)(VUART->tx_length + 1), "OUTPUT: impossible values") \
    X(output_longer, longer(c, LU_REC_OUTPUT, 1), "OUTPUT: impossible values")                     \
    X(output_length, OUTPUT->length++, "OUTPUT: impossible values")                                \
    X(output_max, OUTPUT->length = UINT32_MAX, "OUTPUT: impossible values")                        \
    X(output_total, OUTPUT->total = OUTPUT->length - 1, "OUTPUT: impossible values")               \
    X(output_too_much, much_output(c), "OUTPUT: impossible values")                                \
    X(edit_short, to_length(c, LU_REC_EDIT, 7), "EDIT: doubled or too short")                      \
    X(edit_twice, twice(c, LU_REC_EDIT), "EDIT: doubled or too short")                             \
    X(edit_flags, EDIT->flags = 2, "EDIT: impossible values")                                      \
    X(edit_length, EDIT->length--, "EDIT: impossible values")                                      \
    X(edit_long, (to_length(c, LU_REC_EDIT, 8 + 201), EDIT->length = 201), "EDIT: impossible")

static void much_output(copy_t *c)
{
    to_length(c, LU_REC_OUTPUT, sizeof(struct lu_rec_output) + OUTPUT_BYTES + 1);
    OUTPUT->length = OUTPUT_BYTES + 1;
    OUTPUT->total = UINT64_MAX;
}

static void extent_gfn(copy_t *c, uint64_t gfn)
{
    struct copy_record *r = &c->records[copy_find(c, LU_REC_EXTENTS, 0)];
    struct lu_extent *e = (struct lu_extent *)(void *)(r->data + r->length) - 1;

    e->order = 0;
    e->gfn = gfn;
}

static void last_msrs_missing(copy_t *c)
{
    size_t nth = 0;

    for (size_t i = 0; i < c->nr; i++) {
        nth += c->records[i].type == LU_REC_MSRS ? 1 : 0;
    }
    copy_remove(c, copy_find(c, LU_REC_MSRS, nth - 1));
}

COPY_CHANGES(CHANGES);

static void assert_untouched(const char *name, const struct world_count *before)
{
    struct world_count after = world_count();

    if (!world_count_equal(before, &after) || domain_list != NULL || image_modules != NULL) {
        fail_msg("%s: refused, and something has changed", name);
    }
}

static void test_restore_check__good_stream__accepted_and_frames_claimed_once(void **state)
{
    const char *why = "";
    size_t length;
    uint8_t *stream = copy_build(&good, &length);
    struct stream_reader reader;

    (void)state;
    struct world_count before = world_count();
    assert_int_equal(check(stream, length, &why), 0);
    struct world_count after = world_count();
    assert_true(after.frames[FRAME_GUEST] > 0);
    assert_true(after.frames[FRAME_MODULE] == 4);
    assert_null(domain_list);
    /* A second time everything is taken, and refusing that leaves the first claims alone. */
    assert_int_equal(check(stream, length, &why), -EBADMSG);
    struct world_count again = world_count();
    assert_true(world_count_equal(&after, &again));
    assert_true(before.frames[FRAME_GUEST] == 0);
    assert_int_equal(stream_open(&reader, stream, length, &why), 0);
    assert_int_equal(restore_apply(&reader, &why), 0);
    free(stream);
}

static void test_restore_check__each_thing_wrong__refused_and_nothing_changed(void **state)
{
    struct world_count before = world_count();

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        copy_t c = copy_of(&good);
        const char *why = "none";
        size_t length;

        changes[i].change(&c);
        uint8_t *stream = copy_build(&c, &length);
        int rc = check(stream, length, &why);
        if (rc != -EBADMSG || strncmp(why, changes[i].why, strlen(changes[i].why)) != 0) {
            fail_msg("%s: %d \"%s\" instead of \"%s\"", changes[i].name, rc, why, changes[i].why);
        }
        assert_untouched(changes[i].name, &before);
        free(stream);
        copy_free(&c);
    }
}

/* The new image checks before it turns virtualization on; without any, registers are only kept. */
static void test_restore_check__registers__by_the_backend_to_come(void **state)
{
    const struct hvm_ops *backends[] = {&fake_hvm_ops, NULL};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
        copy_t changed = copy_of(&good), *c = &changed;
        const char *why = "";
        size_t length;

        VCPU->rip = FAKE_BAD_RIP;
        FIELD(struct lu_rec_cpus, LU_REC_CPUS, 0)->flags = 0; /* without it both may be */
        hvm = NULL;
        fake_hvm.found = backends[i];
        uint8_t *stream = copy_build(c, &length);
        assert_int_equal(check(stream, length, &why), backends[i] != NULL ? -EBADMSG : 0);
        free(stream);
        copy_free(c);
    }
}

static void test_restore_check__unknown_mandatory_record__eproto(void **state)
{
    struct world_count before = world_count();

    (void)state;
    for (size_t at = 1; at <= good.nr; at++) {
        copy_t c = copy_of(&good);
        const char *why = "";
        size_t length;

        /* Not in the middle of a vCPU's records: there it says that they are missing. */
        if (at < good.nr && good.records[at].type == LU_REC_MSRS) {
            copy_free(&c);
            continue;
        }
        copy_insert(&c, at, 0x1000, "", 0);
        uint8_t *stream = copy_build(&c, &length);
        assert_int_equal(check(stream, length, &why), -EPROTO);
        assert_string_equal(why, "a mandatory record of an unknown type");
        assert_untouched("unknown mandatory", &before);
        free(stream);
        copy_free(&c);
    }
}

/* An MSR record that has the number of an MSR twice, and one without MSRs: nothing of it is
 * wrong. */
static void test_restore_check__frames_of_a_vcpu_without_msrs__accepted(void **state)
{
    copy_t *c = &good;
    const char *why = "";
    size_t length;

    (void)state;
    to_length(c, LU_REC_MSRS, sizeof(struct lu_rec_msrs));
    MSRS->count = 0;
    uint8_t *stream = copy_build(c, &length);
    if (check(stream, length, &why) != 0) {
        fail_msg("%s", why);
    }
    free(stream);
}

/* The arena has no page left for a table of the frametable. */
static void test_restore_check__arena_is_full__enomem_and_nothing_changed(void **state)
{
    const char *why = "";
    size_t length;
    uint8_t *stream = copy_build(&good, &length);

    (void)state;
    for (unsigned int pages = 0;; pages++) {
        unsigned int n = 0;

        world_boot_closed(1, true);
        while (boot_alloc_left() > pages * PAGE_SIZE && pool_alloc() != NULL) {
            n++;
        }
        struct world_count before = world_count();
        int rc = check(stream, length, &why);
        if (rc == 0) {
            assert_true(pages > 0);
            break;
        }
        assert_int_equal(rc, -ENOMEM);
        assert_true(strncmp(why, "out of memory", 13) == 0);
        assert_untouched("no memory", &before);
    }
    free(stream);
}

/* Every byte of every payload of a small stream, changed in some ways: never a crash; refused, and
 * then nothing has changed; or accepted, and then it can be applied. */
static void test_restore_check__every_byte_changed__refused_or_applicable(void **state)
{
    static const uint8_t flips[] = {0x01, 0x80, 0xff};
    unsigned int accepted = 0, refused = 0;

    (void)state;
    copy_free(&good);
    take_good(true);
    struct world_count before = world_count();
    for (size_t r = 0; r < good.nr; r++) {
        for (size_t i = 0; i < good.records[r].length; i++) {
            for (size_t f = 0; f < ARRAY_SIZE(flips); f++) {
                struct stream_reader reader;
                const char *why = "";
                size_t length;

                /* Of an XSAVE image and the console's text one byte in 16 is enough. */
                if (good.records[r].length > 600 && i > 16 && i % 16 != 0) {
                    continue;
                }
                good.records[r].data[i] ^= flips[f];
                uint8_t *stream = copy_build(&good, &length);
                good.records[r].data[i] ^= flips[f];
                if (check(stream, length, &why) != 0) {
                    assert_untouched(why, &before);
                    refused++;
                } else {
                    /* Only a vCPU's registers may still be what the backend refuses. */
                    assert_int_equal(stream_open(&reader, stream, length, &why), 0);
                    restore_host(&reader);
                    if (restore_apply(&reader, &why) != 0) {
                        assert_int_equal(strncmp(why, "a vCPU's state", 14), 0);
                    }
                    accepted++;
                    world_boot_closed(1, true);
                    assert_int_equal(
                        frametable_claim(stream_page, ORDER_4K, FRAME_STREAM, OWNER_NONE), 0);
                }
                free(stream);
            }
        }
    }
    assert_true(accepted > 100 && refused > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_restore_check__good_stream__accepted_and_frames_claimed_once, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_restore_check__each_thing_wrong__refused_and_nothing_changed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restore_check__registers__by_the_backend_to_come,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_restore_check__unknown_mandatory_record__eproto, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_restore_check__frames_of_a_vcpu_without_msrs__accepted,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_restore_check__arena_is_full__enomem_and_nothing_changed, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_restore_check__every_byte_changed__refused_or_applicable, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
