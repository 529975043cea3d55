/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vCPU state to and from records.
 */
#include "../../lu/lu_priv.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/machine.h"
#include "hv/errno.h"
#include "hv/seam.h"
#include "hv/vcpu.h"
#include "hw/x86.h"

/* Every field of the state with its place, so that the tests cannot forget one: a field that is
 * missing here makes test_state__every_byte__is_a_known_field fail. */
struct field {
    const char *name;
    size_t at, bytes;
    bool msr;
};

#define F(member)                                                                               \
    {                                                                                           \
#member, offsetof(struct vcpu_state, member), sizeof(((struct vcpu_state *)0)->member), \
            false                                                                               \
    }
#define M(member)                                                                               \
    {                                                                                           \
#member, offsetof(struct vcpu_state, member), sizeof(((struct vcpu_state *)0)->member), \
            true                                                                                \
    }
#define SEGMENT(i) F(seg[i].base), F(seg[i].selector), F(seg[i].limit), F(seg[i].access)

static const struct field fields[] = {
    F(gpr[0]),       F(gpr[1]),      F(gpr[2]),        F(gpr[3]),      F(gpr[4]),
    F(gpr[5]),       F(gpr[6]),      F(gpr[7]),        F(gpr[8]),      F(gpr[9]),
    F(gpr[10]),      F(gpr[11]),     F(gpr[12]),       F(gpr[13]),     F(gpr[14]),
    F(gpr[15]),      F(rip),         F(rflags),        F(cr0),         F(cr2),
    F(cr3),          F(cr4),         F(cr8),           F(efer),        F(xcr0),
    F(dr[0]),        F(dr[1]),       F(dr[2]),         F(dr[3]),       F(dr6),
    F(dr7),          F(pdpte[0]),    F(pdpte[1]),      F(pdpte[2]),    F(pdpte[3]),
    SEGMENT(0),      SEGMENT(1),     SEGMENT(2),       SEGMENT(3),     SEGMENT(4),
    SEGMENT(5),      SEGMENT(6),     SEGMENT(7),       F(gdtr.base),   F(gdtr.limit),
    F(idtr.base),    F(idtr.limit),  M(msr[0]),        M(msr[1]),      M(msr[2]),
    M(msr[3]),       M(msr[4]),      M(msr[5]),        M(sysenter_cs), M(sysenter_esp),
    M(sysenter_eip), M(pat),         F(pending_debug), F(tsc_offset),  F(interruptibility),
    F(event),        F(event_error), F(event_length),
};

/* Bytes of a record that state fields fill: all but the names, activity, wake_tsc and reserved. */
static bool is_state_byte(size_t at)
{
    size_t table = sizeof(((struct lu_rec_vcpu *)0)->gdtr.base) + sizeof(uint32_t);

    if (at < offsetof(struct lu_rec_vcpu, gpr) || at >= offsetof(struct lu_rec_vcpu, wake_tsc)) {
        return false;
    }
    if (at >= offsetof(struct lu_rec_vcpu, segments) && at < offsetof(struct lu_rec_vcpu, gdtr)) {
        size_t in = (at - offsetof(struct lu_rec_vcpu, segments)) % sizeof(struct lu_segment);

        return !(in >= offsetof(struct lu_segment, reserved) &&
                 in < offsetof(struct lu_segment, limit)) &&
               in < offsetof(struct lu_segment, reserved2);
    }
    if (at >= offsetof(struct lu_rec_vcpu, gdtr) &&
        at < offsetof(struct lu_rec_vcpu, interruptibility)) {
        return (at - offsetof(struct lu_rec_vcpu, gdtr)) % sizeof(struct lu_table) < table;
    }
    return true;
}

static void random_bytes(void *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ((uint8_t *)p)[i] = (uint8_t)random_u64();
    }
}

/* What the records say of a state. */
struct facts {
    struct lu_rec_vcpu rec;
    struct lu_msr msrs[LU_VCPU_MSRS_MAX];
    size_t nr;
};

static struct facts facts_of(const struct vcpu_state *s)
{
    struct vcpu v = {.id = 3};
    struct facts f;

    memset(&f, 0, sizeof(f));
    vcpu_to_record(&v, s, &f.rec);
    f.nr = msrs_to_record(s, f.msrs);
    return f;
}

static void state_of(const struct facts *f, struct vcpu_state *s)
{
    vcpu_from_record(&f->rec, s);
    for (size_t i = 0; i < f->nr; i++) {
        assert_int_equal(msr_from_record(&f->msrs[i], s), 0);
    }
}

static void assert_state_equal(const struct vcpu_state *a, const struct vcpu_state *b)
{
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        if (memcmp((const char *)a + fields[i].at, (const char *)b + fields[i].at,
                   fields[i].bytes) != 0) {
            fail_msg("%s is lost", fields[i].name);
        }
    }
}

static int setup(void **state)
{
    (void)state;
    fake_machine_reset();
    return 0;
}

/* Fields, segment padding and the hole of the other layout are all that there is. */
static void test_state__every_byte__is_a_known_field(void **state)
{
    size_t sum = 0, padding = sizeof(struct vcpu_state);

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        sum += fields[i].bytes;
    }
    padding -= SEG_COUNT * (sizeof(struct segment_reg) - 18) + 2 * (sizeof(struct table_reg) - 12);
#ifdef MOLT_LAYOUT_NEXT
    padding -= 3 * sizeof(uint64_t);
#endif
    assert_int_equal(sum, padding);
}

static void test_vcpu_record__random_states__come_back_equal(void **state)
{
    (void)state;
    for (unsigned int n = 0; n < 500; n++) {
        struct vcpu_state s, back;
        random_bytes(&s, sizeof(s));
        struct facts f = facts_of(&s);

        random_bytes(&back, sizeof(back));
        state_of(&f, &back);
        assert_state_equal(&s, &back);
        struct facts again = facts_of(&back);
        assert_memory_equal(&again, &f, sizeof(f));
    }
}

static void test_vcpu_to_record__each_state_field_changed__its_record_field_alone(void **state)
{
    uint8_t seen[sizeof(struct lu_rec_vcpu)] = {0};
    struct vcpu_state s;

    (void)state;
    random_bytes(&s, sizeof(s));
    struct facts before = facts_of(&s);
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        size_t changed = 0, msrs = 0;

        for (size_t b = 0; b < fields[i].bytes; b++) {
            ((uint8_t *)&s)[fields[i].at + b] ^= 0xff;
        }
        struct facts after = facts_of(&s);
        for (size_t b = 0; b < sizeof(before.rec); b++) {
            if (((uint8_t *)&before.rec)[b] != ((uint8_t *)&after.rec)[b]) {
                assert_true(is_state_byte(b));
                assert_false(seen[b]);
                seen[b] = 1;
                changed++;
            }
        }
        for (size_t m = 0; m < before.nr; m++) {
            msrs += before.msrs[m].value != after.msrs[m].value;
        }
        assert_int_equal(changed, fields[i].msr ? 0 : fields[i].bytes);
        assert_int_equal(msrs, fields[i].msr ? 1 : 0);
        before = after;
    }
    for (size_t b = 0; b < sizeof(seen); b++) {
        assert_int_equal(seen[b], is_state_byte(b));
    }
}

static void test_vcpu_from_record__each_record_byte_changed__one_state_field(void **state)
{
    struct lu_rec_vcpu rec;
    struct vcpu_state before, after;

    (void)state;
    random_bytes(&rec, sizeof(rec));
    vcpu_from_record(&rec, &before);
    for (size_t b = 0; b < sizeof(rec); b++) {
        size_t changed = 0;

        ((uint8_t *)&rec)[b] ^= 0xff;
        vcpu_from_record(&rec, &after);
        for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
            changed += memcmp((char *)&before + fields[i].at, (char *)&after + fields[i].at,
                              fields[i].bytes) != 0;
        }
        assert_int_equal(changed, is_state_byte(b) ? 1 : 0);
        before = after;
    }
}

static void test_vcpu_to_record__run_states__activity_and_wake_up(void **state)
{
    static const struct {
        enum vcpu_run_state run_state;
        uint32_t activity;
        uint64_t wake_tsc;
    } rows[] = {
        {VCPU_RUNNABLE, LU_VCPU_RUNNING, 0},
        {VCPU_SLEEPING, LU_VCPU_RUNNING, 4711},
        {VCPU_HALTED, LU_VCPU_HALTED, 0},
        {VCPU_DOWN, LU_VCPU_SHUTDOWN, 0},
    };
    static struct vcpu_state s;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vcpu v = {.id = 65535, .run_state = rows[i].run_state, .wake_tsc = 4711};
        struct lu_rec_vcpu rec;

        memset(&rec, 0xee, sizeof(rec));
        vcpu_to_record(&v, &s, &rec);
        assert_int_equal(rec.activity, rows[i].activity);
        assert_int_equal(rec.wake_tsc, rows[i].wake_tsc);
        assert_int_equal(rec.vcpu, 65535);
        assert_int_equal(rec.segments[5].reserved | rec.segments[5].reserved2, 0);
        assert_int_equal(rec.gdtr.reserved | rec.idtr.reserved, 0);
    }
}

static void test_msr_from_record__unknown_or_reserved__einval(void **state)
{
    static const uint32_t unknown[] = {0,           MSR_TSC,     MSR_APIC_BASE, MSR_EFER,
                                       MSR_FS_BASE, MSR_GS_BASE, MSR_DEBUGCTL,  0xc0000104,
                                       UINT32_MAX};
    struct vcpu_state s, copy;
    struct lu_msr msr = {.value = 5};

    (void)state;
    random_bytes(&s, sizeof(s));
    copy = s;
    for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
        msr.index = unknown[i];
        assert_int_equal(msr_from_record(&msr, &s), -EINVAL);
    }
    msr = (struct lu_msr){MSR_STAR, 1, 5};
    assert_int_equal(msr_from_record(&msr, &s), -EINVAL);
    assert_state_equal(&s, &copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_state__every_byte__is_a_known_field, setup),
        cmocka_unit_test_setup(test_vcpu_record__random_states__come_back_equal, setup),
        cmocka_unit_test_setup(
            test_vcpu_to_record__each_state_field_changed__its_record_field_alone, setup),
        cmocka_unit_test_setup(test_vcpu_from_record__each_record_byte_changed__one_state_field,
                               setup),
        cmocka_unit_test_setup(test_vcpu_to_record__run_states__activity_and_wake_up, setup),
        cmocka_unit_test_setup(test_msr_from_record__unknown_or_reserved__einval, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
