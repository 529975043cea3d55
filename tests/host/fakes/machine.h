/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fake machine for host tests: RAM, vmap space, clock, random numbers, printk and panic.
 *
 * Implements hv/seam.h and hv/printk.h. RAM is a sparse memory file, mapped once as the direct map
 * (address = base + pa), so gigabytes of fake RAM cost only the pages that are touched, and vmap
 * space shows the very same pages. What was not added is inaccessible: a stray access faults.
 * fmt_str() and fmt_vstr() are weak here, so a test may link the real ones; so are the fakes of the
 * seam's small services. Console, CPUID and machine_off() are left to the tests that need them.
 */
#ifndef FAKES_MACHINE_H
#define FAKES_MACHINE_H

#include <setjmp.h>

#include "hv/e820.h"
#include "hv/types.h"

#define FAKE_RAM_MAX GIB(2048)
#define FAKE_VMAP_PAGES (UINT64_C(1) << 26)

/* Back to an empty machine: no RAM (contents lost), nothing in vmap space, empty log, clock and
 * random numbers at their start, no failures armed. Call it in each test's setup. */
void fake_machine_reset(void);

/* RAM [start, end), whole pages, zeroed: accessible and in fake_machine_e820(). Ranges must not
 * overlap. */
void fake_machine_add_ram(paddr_t start, paddr_t end);

/* The same for what is not RAM: only in the map, any access faults. */
void fake_machine_add_other(paddr_t start, paddr_t end, uint32_t type);

/* Makes pages inaccessible (every access faults) and accessible again; the contents stay. */
void fake_machine_hide(paddr_t start, paddr_t end);
void fake_machine_show(paddr_t start, paddr_t end);

/* Bytes that ASan reports an access to, and the end of it. Contents stay. */
void fake_machine_poison(paddr_t start, paddr_t end);
void fake_machine_unpoison(paddr_t start, paddr_t end);

/* Sorted map of all that was added; valid until the next add or reset. */
const struct e820 *fake_machine_e820(void);

/* Pages of RAM that have ever been touched (read through a fault or written). */
uint64_t fake_machine_touched_pages(void);

/* Direct-map address of a physical address. */
void *fake_va(paddr_t pa);

/* RAM of low addresses at those very addresses as well, for code that takes physical addresses as
 * they stand (the relocator), and no longer. */
void fake_machine_map_identity(paddr_t start, paddr_t end);
void fake_machine_unmap_identity(paddr_t start, paddr_t end);

/* vmap space empty, as the next image's page tables have it. */
void fake_vmap_reset(void);

/* vmap space: pages mapped now; vmap_pt_map() fails after n more successes (n < 0: never). */
uint64_t fake_vmap_mapped(void);
void fake_vmap_fail_after(long n);

/* Clock: tsc_read() returns fake_tsc and adds fake_tsc_step. */
extern uint64_t fake_tsc;
extern uint64_t fake_tsc_step;

/* random_u64() is a fixed sequence from this seed. */
void fake_random_seed(uint64_t seed);

/* What cpu_has_crc32() answers; true after a reset. */
extern bool fake_has_crc32;

/* Everything printk() and panic() said since the reset or fake_log_clear(), one line each. */
const char *fake_log(void);
bool fake_printed(const char *text);
void fake_log_clear(void);

/*
 * FAKE_PANICS(statement): true when the statement panicked (the text is in the log). A panic
 * outside of it aborts the test. A panic leaves locks taken: set mm up again before using it.
 */
extern jmp_buf fake_panic_jmp;
extern bool fake_panic_armed;
#define FAKE_PANICS(statement)               \
    __extension__({                          \
        volatile bool fake_panicked_ = true; \
        fake_panic_armed = true;             \
        if (setjmp(fake_panic_jmp) == 0) {   \
            statement;                       \
            fake_panicked_ = false;          \
        }                                    \
        fake_panic_armed = false;            \
        fake_panicked_;                      \
    })

#endif
