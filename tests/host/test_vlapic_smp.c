/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local APICs of a domain with as many vCPUs as there may be: destinations, turns, start-up
 * messages; and APICs to their records and back.
 *
 * SDM volume 3, "Logical Destination Mode in x2APIC Mode", "Lowest Priority Delivery Mode",
 * "Broadcast/Self Delivery Mode", "Interrupt Command Register (ICR)".
 */
#include <stdlib.h>
#include <string.h>

#include "../../lu/lu_priv.h"
#include "fakes/cmocka_inc.h"
#include "hv/errno.h"
#include "hv/vioapic.h"
#include "hv/vlapic.h"
#include "hw/apic.h"
#include "hw/x86.h"

#define CPUS 255U
#define X2APIC_ICR 0x830U
#define TPR 0x80U

struct target {
    struct vlapic apic;
    unsigned int nmis, inits, sipis;
    uint8_t sipi;
};

static struct target cpu[CPUS];
static unsigned int nr, turn;

static struct vlapic *bus_apic(void *domain, unsigned int i)
{
    (void)domain;
    return i < nr ? &cpu[i].apic : NULL;
}

static void bus_kick(void *domain, unsigned int i)
{
    (void)domain;
    (void)i;
}

static void bus_nmi(void *domain, unsigned int i)
{
    (void)domain;
    cpu[i].nmis++;
}

static void bus_init(void *domain, unsigned int i)
{
    (void)domain;
    cpu[i].inits++;
}

static void bus_sipi(void *domain, unsigned int i, uint8_t vector)
{
    (void)domain;
    cpu[i].sipis++;
    cpu[i].sipi = vector;
}

static void bus_eoi(void *domain, uint8_t vector)
{
    (void)domain;
    (void)vector;
}

static unsigned int *bus_turn(void *domain)
{
    (void)domain;
    return &turn;
}

static const struct vlapic_bus bus = {.apic = bus_apic,
                                      .kick = bus_kick,
                                      .nmi = bus_nmi,
                                      .init = bus_init,
                                      .sipi = bus_sipi,
                                      .eoi = bus_eoi,
                                      .turn = bus_turn};

static void make(unsigned int cpus, bool x2apic)
{
    nr = cpus;
    turn = 0;
    memset(cpu, 0, sizeof(cpu));
    for (unsigned int i = 0; i < nr; i++) {
        vlapic_reset(&cpu[i].apic, i, i == 0);
        cpu[i].apic.svr |= 0x100;
        if (x2apic) {
            uint64_t base = cpu[i].apic.apic_base | 0xc00;

            assert_int_equal(vlapic_msr_write(&cpu[i].apic, &bus, NULL, MSR_APIC_BASE, base, 0), 0);
        }
    }
}

static void send_x2(unsigned int from, uint32_t destination, uint32_t low)
{
    assert_int_equal(vlapic_msr_write(&cpu[from].apic, &bus, NULL, X2APIC_ICR,
                                      (uint64_t)destination << 32 | low, 0),
                     0);
}

static void send_x(unsigned int from, uint8_t destination, uint32_t low)
{
    vlapic_mmio_write(&cpu[from].apic, &bus, NULL, 0x310, (uint32_t)destination << 24, 0);
    vlapic_mmio_write(&cpu[from].apic, &bus, NULL, 0x300, low, 0);
}

static bool has(unsigned int i, uint8_t vector)
{
    return cpu[i].apic.irr[vector / 32] >> vector % 32 & 1;
}

/* The one APIC that has the vector, and forgets it. */
static unsigned int only_one(uint8_t vector)
{
    unsigned int found = CPUS;

    for (unsigned int i = 0; i < nr; i++) {
        if (has(i, vector)) {
            assert_int_equal(found, CPUS);
            found = i;
            cpu[i].apic.irr[vector / 32] = 0;
        }
    }
    assert_true(found < CPUS);
    return found;
}

/* Each vCPU by its own logical id, and no other one; the id is what the register says. */
static void test_logical__x2apic_every_id__reaches_that_one(void **state)
{
    (void)state;
    make(CPUS, true);
    for (unsigned int i = 0; i < CPUS; i++) {
        uint64_t ldr;

        assert_int_equal(vlapic_msr_read(&cpu[i].apic, 0x80d, &ldr, 0), 0);
        assert_int_equal(ldr, (i / 16) * 0x10000 + (1U << i % 16));
        send_x2((i + 1) % CPUS, (uint32_t)ldr, 0x4841);
        assert_int_equal(only_one(0x41), i);
    }
}

static void test_logical__x2apic_cluster_masks__members_of_that_cluster(void **state)
{
    static const uint16_t masks[] = {0xffff, 0x8001, 0x0ff0, 0x5555, 0x0000};

    (void)state;
    for (uint32_t cluster = 0; cluster < 18; cluster++) {
        for (size_t m = 0; m < ARRAY_SIZE(masks); m++) {
            make(CPUS, true);
            send_x2(7, cluster << 16 | masks[m], 0x4842);
            for (unsigned int i = 0; i < CPUS; i++) {
                assert_int_equal(has(i, 0x42), i / 16 == cluster && masks[m] >> i % 16 & 1);
            }
        }
    }
}

static void test_physical__every_id__reaches_that_one(void **state)
{
    (void)state;
    for (unsigned int x2 = 0; x2 < 2; x2++) {
        make(CPUS, x2);
        for (unsigned int i = 0; i < CPUS; i++) {
            if (x2) {
                send_x2(3, i, 0x4043);
            } else {
                send_x(3, (uint8_t)i, 0x4043);
            }
            assert_int_equal(only_one(0x43), i);
            assert_true(
                vlapic_deliver(&bus, NULL, (uint8_t)i, false, APIC_MODE_FIXED, 0x44, false));
            assert_int_equal(only_one(0x44), i);
        }
    }
    /* 255 is everybody in the old format, and nobody in the new one */
    make(CPUS, true);
    send_x2(3, 255, 0x4045);
    for (unsigned int i = 0; i < CPUS; i++) {
        assert_false(has(i, 0x45));
    }
}

static void test_broadcast__ids_and_shorthands__everybody_or_all_others(void **state)
{
    static const struct {
        bool x2;
        uint32_t destination, low;
        bool self;
    } rows[] = {
        {false, 0xff, 0x04051, true},       {false, 0xff, 0x04851, true},
        {true, UINT32_MAX, 0x04051, true},  {true, UINT32_MAX, 0x04851, true},
        {false, 0x12, 0x84051, true},       {false, 0x12, 0xc4051, false},
        {true, 0x12345678, 0x84051, true},  {true, 0x12345678, 0xc4051, false},
    };

    (void)state;
    for (size_t r = 0; r < ARRAY_SIZE(rows); r++) {
        make(CPUS, rows[r].x2);
        if (rows[r].x2) {
            send_x2(200, rows[r].destination, rows[r].low);
        } else {
            send_x(200, (uint8_t)rows[r].destination, rows[r].low);
        }
        for (unsigned int i = 0; i < CPUS; i++) {
            assert_int_equal(has(i, 0x51), i != 200 || rows[r].self);
        }
    }
}

/* Equals take turns, in the same order each time; the busy are left out. */
static void test_lowest__equals__take_turns(void **state)
{
    unsigned int got[CPUS] = {0};

    (void)state;
    make(CPUS, true);
    for (unsigned int n = 0; n < 3 * CPUS; n++) {
        send_x2(0, UINT32_MAX, 0x4160);
        unsigned int i = only_one(0x60);
        assert_int_equal(i, n % CPUS);
        got[i]++;
    }
    for (unsigned int i = 0; i < CPUS; i++) {
        assert_int_equal(got[i], 3);
    }
}

static void test_lowest__some_busier__turns_among_the_others(void **state)
{
    (void)state;
    make(8, false);
    for (unsigned int i = 0; i < 8; i++) {
        vlapic_mmio_write(&cpu[i].apic, &bus, NULL, TPR, i % 2 ? 0x30 : 0x40, 0);
    }
    cpu[3].apic.svr &= ~0x100U; /* switched off by software: takes none */
    static const unsigned int order[] = {1, 5, 7, 1, 5, 7, 1};
    for (size_t n = 0; n < ARRAY_SIZE(order); n++) {
        assert_true(vlapic_deliver(&bus, NULL, 0xff, true, APIC_MODE_LOWEST, 0x61, false));
        assert_int_equal(only_one(0x61), order[n]);
    }
    /* the turn is past the last one that there is */
    turn = 77;
    assert_true(vlapic_deliver(&bus, NULL, 0xff, true, APIC_MODE_LOWEST, 0x61, false));
    assert_int_equal(only_one(0x61), 1);
    /* one that is named alone gets it whoever's turn it is */
    send_x(0, 6, 0x4161);
    assert_int_equal(only_one(0x61), 6);
}

static void test_lowest__nobody_enabled__not_accepted_and_no_turn(void **state)
{
    (void)state;
    make(4, false);
    for (unsigned int i = 0; i < 4; i++) {
        cpu[i].apic.svr &= ~0x100U;
    }
    turn = 2;
    assert_false(vlapic_deliver(&bus, NULL, 0xff, true, APIC_MODE_LOWEST, 0x62, false));
    assert_int_equal(turn, 2);
}

/* The manual's start of other processors: INIT, de-assert, SIPI, SIPI; and NMI. */
static void test_start__manual_sequence__each_message_once(void **state)
{
    (void)state;
    for (unsigned int x2 = 0; x2 < 2; x2++) {
        make(CPUS, x2);
        for (unsigned int i = 1; i < CPUS; i++) {
            cpu[i].apic.svr &= ~0x100U; /* as after RESET: these messages come all the same */
        }
        static const uint32_t lows[] = {0xc4500, 0xc8500, 0xc4699, 0xc469a, 0xc4400};
        for (size_t n = 0; n < ARRAY_SIZE(lows); n++) {
            if (x2) {
                send_x2(0, 0, lows[n]);
            } else {
                send_x(0, 0, lows[n]);
            }
        }
        for (unsigned int i = 0; i < CPUS; i++) {
            assert_int_equal(cpu[i].inits, i != 0);
            assert_int_equal(cpu[i].sipis, i != 0 ? 2 : 0);
            assert_int_equal(cpu[i].sipi, i != 0 ? 0x9a : 0);
            assert_int_equal(cpu[i].nmis, i != 0);
            for (unsigned int w = 0; w < 8; w++) {
                assert_int_equal(cpu[i].apic.irr[w], 0);
            }
        }
    }
}

/* A mode of the timer that is reserved: kept, and no timer. */
static void test_timer__reserved_mode__stands_still(void **state)
{
    uint64_t value;

    (void)state;
    make(1, true);
    struct vlapic *a = &cpu[0].apic;
    assert_int_equal(vlapic_msr_write(a, &bus, NULL, 0x832, 0x60040, 0), 0);
    assert_int_equal(vlapic_msr_write(a, &bus, NULL, 0x838, 1000, 0), 0);
    assert_int_equal(vlapic_msr_write(a, &bus, NULL, 0x6e0, 1000, 0), 0);
    assert_int_equal(vlapic_msr_read(a, 0x832, &value, 1), 0);
    assert_int_equal(value, 0x60040);
    assert_true(vlapic_timer_next(a) == VLAPIC_NO_DEADLINE);
    for (uint64_t now = 1; now < UINT64_C(1) << 62; now *= 7) {
        assert_int_equal(vlapic_msr_read(a, 0x839, &value, now), 0);
        assert_int_equal(value, 0);
        assert_int_equal(vlapic_msr_read(a, 0x6e0, &value, now), 0);
        assert_int_equal(value, 0);
        assert_int_equal(vlapic_pending(a), -1);
    }
    /* and out of it: nothing comes that was asked for in it */
    assert_int_equal(vlapic_msr_write(a, &bus, NULL, 0x832, 0x40040, 2000), 0);
    vlapic_timer_tick(a, 5000);
    assert_int_equal(vlapic_pending(a), -1);
}

/* ---- Records --------------------------------------------------------------------------------- */

static uint64_t random_state = 1;

static uint64_t random64(void)
{
    uint64_t x = random_state += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static void random_bytes(void *to, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        ((uint8_t *)to)[i] = (uint8_t)random64();
    }
}

/* What a record says comes back from the model, byte for byte, whatever it says. */
static void test_lapic_record__any__the_same_back(void **state)
{
    (void)state;
    for (unsigned int n = 0; n < 2000; n++) {
        struct lu_rec_lapic rec, back;
        struct vlapic a;

        random_bytes(&rec, sizeof(rec));
        random_bytes(&a, sizeof(a));
        rec.domain = rec.vcpu = 0; /* the caller's */
        rec.reserved = 0;
        lapic_from_record(&rec, &a);
        memset(&back, 0xff, sizeof(back));
        lapic_to_record(&a, &back);
        assert_memory_equal(&rec, &back, sizeof(rec));
    }
}

static void test_ioapic_record__any__the_same_back(void **state)
{
    (void)state;
    for (unsigned int n = 0; n < 2000; n++) {
        struct lu_rec_ioapic rec, back;
        struct vioapic io;

        random_bytes(&rec, sizeof(rec));
        random_bytes(&io, sizeof(io));
        rec.domain = 0;
        memset(rec.reserved, 0, sizeof(rec.reserved));
        rec.reserved2 = 0;
        ioapic_from_record(&rec, &io);
        memset(&back, 0xff, sizeof(back));
        ioapic_to_record(&io, &back);
        assert_memory_equal(&rec, &back, sizeof(rec));
    }
}

/* Something that a guest may do, to both of two equal sets of APICs. */
static void step(uint64_t random, uint64_t value, uint64_t now)
{
    struct vlapic *a = &cpu[random % nr].apic;
    uint32_t reg = (uint32_t)(random >> 8) % 64;
    int pending = vlapic_pending(a);

    switch (random >> 16 & 7) {
    case 0:
        (void)!vlapic_msr_write(a, &bus, NULL, MSR_APIC_BASE,
                                VLAPIC_MMIO_BASE | (value & 0xc00) | 0x800, now);
        break;
    case 1:
        (void)!vlapic_msr_write(a, &bus, NULL, 0x800 + reg, value & 0xfff, now);
        break;
    case 2:
        vlapic_mmio_write(a, &bus, NULL, reg * 16, (uint32_t)value, now);
        break;
    case 3:
        vlapic_mmio_write(a, &bus, NULL, 0xf0, 0x1ff, now);
        (void)!vlapic_msr_write(a, &bus, NULL, 0x80f, 0x1ff, now);
        break;
    case 4:
        (void)!vlapic_msr_write(a, &bus, NULL, MSR_TSC_DEADLINE, now + value % 1000, now);
        break;
    case 5:
        if (pending >= 0) {
            vlapic_take(a, (uint8_t)pending);
        }
        break;
    case 6:
        vlapic_timer_tick(a, now);
        break;
    default:
        (void)vlapic_deliver(&bus, NULL, (uint8_t)value, value >> 8 & 1, value >> 9 & 1,
                             (uint8_t)(value >> 16), value >> 24 & 1);
        break;
    }
}

/* An update at every step: APICs that went through their records do as those that did not. The turn
 * of lowest-priority messages is not in the records, so it stands still here. */
static void test_lapic_record__at_every_step__goes_on_the_same(void **state)
{
    static struct target left[8], right[8];
    uint64_t now = 1000;

    (void)state;
    make(8, false);
    memcpy(left, cpu, sizeof(left));
    memcpy(right, cpu, sizeof(right));
    for (unsigned int n = 0; n < 20000; n++) {
        uint64_t random = random64(), value = random64() >> random64() % 64;

        now += value % 500;
        for (unsigned int i = 0; i < 8; i++) {
            struct lu_rec_lapic rec;

            lapic_to_record(&right[i].apic, &rec);
            memset(&right[i].apic, 0xa5, sizeof(right[i].apic));
            lapic_from_record(&rec, &right[i].apic);
        }
        memcpy(cpu, left, sizeof(left));
        turn = 0;
        step(random, value, now);
        memcpy(left, cpu, sizeof(left));
        memcpy(cpu, right, sizeof(right));
        turn = 0;
        step(random, value, now);
        memcpy(right, cpu, sizeof(right));
        for (unsigned int i = 0; i < 8; i++) {
            struct lu_rec_lapic l, r;

            lapic_to_record(&left[i].apic, &l);
            lapic_to_record(&right[i].apic, &r);
            assert_memory_equal(&l, &r, sizeof(l));
            assert_int_equal(left[i].inits, right[i].inits);
            assert_int_equal(left[i].nmis, right[i].nmis);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logical__x2apic_every_id__reaches_that_one),
        cmocka_unit_test(test_logical__x2apic_cluster_masks__members_of_that_cluster),
        cmocka_unit_test(test_physical__every_id__reaches_that_one),
        cmocka_unit_test(test_broadcast__ids_and_shorthands__everybody_or_all_others),
        cmocka_unit_test(test_lowest__equals__take_turns),
        cmocka_unit_test(test_lowest__some_busier__turns_among_the_others),
        cmocka_unit_test(test_lowest__nobody_enabled__not_accepted_and_no_turn),
        cmocka_unit_test(test_start__manual_sequence__each_message_once),
        cmocka_unit_test(test_timer__reserved_mode__stands_still),
        cmocka_unit_test(test_lapic_record__any__the_same_back),
        cmocka_unit_test(test_ioapic_record__any__the_same_back),
        cmocka_unit_test(test_lapic_record__at_every_step__goes_on_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
