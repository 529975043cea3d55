/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUs besides the first: their memory, how they come and how they leave.
 *
 * A CPU that comes, from the trampoline or from the parking loop of the image before, takes the
 * first free entry of the list ap_slots (boot/entry.asm) and with it stacks, descriptor tables and
 * percpu structure. Nothing here knows beforehand which CPU gets which.
 *
 * Owns: the list, until the CPUs are in cpu_list. One CPU at a time works on it: the first, before
 * the others are let in.
 */
#include "hv/smp.h"

#include "asm/cpu.h"
#include "asm/machine.h"
#include "asm/traps.h"
#include "hv/fault.h"
#include "hv/boot_alloc.h"
#include "hv/cmdline.h"
#include "hv/errno.h"
#include "hv/frametable.h"
#include "hv/madt.h"
#include "hv/memory.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/string.h"
#include "hv/time.h"
#include "hv/vmap.h"
#include "hw/cpuid.h"
#include "public/lu_abi.h"

#define STACK_PAGES (sizeof(struct cpu_stacks) / PAGE_SIZE)
#define STACK_GUARDS (1U + IST_STACKS)
/* Of the backend, per CPU: VMXON region and a small structure. */
#define BACKEND_PAGES 2U

#define INIT_WAIT_MS 10U
#define SIPI_AGAIN_MS 1U
#define COME_WAIT_MS 1000U
#define NO_MORE_SLOTS 0x40000000U

#define LOW_MEMORY_END 0xa0000UL
#define SEL_CODE32 0x18

/* For ap_start in boot/entry.asm. */
paddr_t ap_cr3;
uint32_t ap_claimed; /* entries of ap_slots that are taken */
struct cpu_arch *ap_slots;

NORETURN void ap_main(struct cpu_arch *cpu);

/* Of ap_entry32 from the image's start: a plain number made by the linker. */
extern char __ap_entry_offset[];

struct PACKED trampoline_data {
    struct lu_park park;
    uint16_t gdt_limit;
    uint32_t gdt_base;
    uint32_t far_offset;
    uint16_t far_selector;
};

extern const uint8_t ap_trampoline[], ap_trampoline32[], ap_trampoline_data[], ap_trampoline_end[];
extern const struct PACKED {
    uint16_t limit;
    uint32_t base;
} early_gdtr;

static uint32_t ap_entry_pa(void)
{
    return (uint32_t)(image_pa + (uintptr_t)__ap_entry_offset);
}

/* ---- memory of a CPU ---- */

static bool is_guard(size_t page)
{
    size_t first_ist = offsetof(struct cpu_stacks, ist) / PAGE_SIZE;

    return page == 0 || (page >= first_ist && (page - first_ist) % 2 == 0);
}

_Static_assert(offsetof(struct cpu_stacks, ist[1]) - offsetof(struct cpu_stacks, ist[0]) ==
                   2 * PAGE_SIZE,
               "a guard page, a page of stack");

static struct cpu_stacks *stacks_alloc(void)
{
    void *area = vmap_reserve(STACK_PAGES);

    for (size_t i = 0; area != NULL && i < STACK_PAGES; i++) {
        void *page = is_guard(i) ? NULL : pool_alloc();

        if (is_guard(i)) {
            continue;
        }
        if (page == NULL || vmap_set(area, i, va_to_mfn(page)) != 0) {
            if (page != NULL) {
                pool_free(page);
            }
            vfree(area);
            return NULL;
        }
    }
    return area;
}

static void slot_free(struct cpu_arch *cpu)
{
    vfree(cpu->stacks);
    pool_free(cpu);
}

/* Appends an entry for a CPU to come. */
static int slot_add(uint32_t wanted_id)
{
    struct cpu_arch **link = &ap_slots;
    struct cpu_arch *cpu = pool_alloc();
    unsigned int id = 1;

    if (cpu == NULL) {
        return -ENOMEM;
    }
    cpu->stacks = stacks_alloc();
    if (cpu->stacks == NULL) {
        pool_free(cpu);
        return -ENOMEM;
    }
    for (; *link != NULL; link = &(*link)->next) {
        id++;
    }
    cpu->percpu.id = id;
    cpu->wanted_id = wanted_id;
    cpu->stack_top = (uint64_t)(uintptr_t)(cpu->stacks->main + MAIN_STACK_BYTES);
    *link = cpu;
    return 0;
}

/* Takes back what is behind the first `keep` entries. */
static void slots_trim(unsigned int keep)
{
    struct cpu_arch **link = &ap_slots;

    while (*link != NULL && keep-- > 0) {
        link = &(*link)->next;
    }
    while (*link != NULL) {
        struct cpu_arch *cpu = *link;

        *link = cpu->next;
        slot_free(cpu);
    }
}

uint64_t cpus_bytes(unsigned int nr)
{
    uint64_t pages = 1 + STACK_PAGES - STACK_GUARDS + BACKEND_PAGES;
    uint64_t tables = (uint64_t)nr * (STACK_PAGES + 1) / 512 + 3;

    return (nr * pages + (nr > 0 ? tables : 0)) * PAGE_SIZE;
}

/* ---- on the new CPU ---- */

/* boot/entry.asm comes here, on the CPU's own stack and with the final tables. */
void ap_main(struct cpu_arch *cpu)
{
    traps_cpu_init(cpu);
    FAULT_POINT("new.other.before");
    cpu_init_other();
    if (!apic_init_other()) {
        cpu_halt_forever();
    }
    /* Release: pairs with arrived(). */
    __atomic_store_n(&cpu->arrived, true, __ATOMIC_RELEASE);
    FAULT_POINT("new.other.after");
    cpu_main();
}

/* ---- cold boot ---- */

struct wanted {
    unsigned int left; /* CPUs that cpus= still allows */
    int rc;
};

static void want_cpu(uint32_t id, void *arg)
{
    struct wanted *wanted = arg;

    if (id == this_cpu()->apic_id || wanted->left == 0) {
        return;
    }
    for (const struct cpu_arch *cpu = ap_slots; cpu != NULL; cpu = cpu->next) {
        if (cpu->wanted_id == id) {
            return; /* named twice, as local APIC and as x2APIC */
        }
    }
    if (!apic_reaches(id)) {
        printk("cpus: APIC id %u is out of reach: left out", id);
        return;
    }
    wanted->rc = slot_add(id);
    wanted->left = wanted->rc == 0 ? wanted->left - 1 : 0;
}

/* A level-triggered pin that the firmware left open would interrupt for ever. */
static void silence_ioapic(paddr_t pa, uint32_t gsi_base, void *arg)
{
    paddr_t page = align_down(pa, PAGE_SIZE);

    (void)gsi_base;
    (void)arg;
    if (e820_is_ram(&memory_map, page, page + PAGE_SIZE)) {
        printk("cpus: the I/O APIC at 0x%llx would be RAM", (unsigned long long)pa);
    } else if (!ioapic_mask_all(pa)) {
        printk("cpus: no memory to map the I/O APIC at 0x%llx", (unsigned long long)pa);
    }
}

/* cpus=N, the first one included. */
static unsigned int cpus_allowed(const char *cmdline)
{
    struct str_span v;
    uint64_t n;

    if (!cmdline_get(cmdline, "cpus", &v)) {
        return UINT32_MAX;
    }
    if (parse_size(v, &n) != 0 || n == 0 || n > UINT32_MAX) {
        printk("command line: cpus=: \"%.*s\" is no number of CPUs: ignored", (int)v.len, v.s);
        return UINT32_MAX;
    }
    return (unsigned int)n;
}

/* Fills ap_slots with the CPUs that are to come, and silences the I/O APICs on the way. */
static void want_all(const struct boot_info *info)
{
    struct wanted wanted = {.left = cpus_allowed(info->cmdline) - 1};
    struct madt_reader reader = {
        .read = physical_read, .cpu = want_cpu, .ioapic = silence_ioapic, .arg = &wanted};
    const char *why = NULL;
    int rc;

    rc = madt_walk(info->rsdp, info->rsdp_bytes, &reader, &why);
    physical_done();
    if (rc != 0) {
        printk("cpus: the firmware names none: %s", rc == -ENOENT ? "no ACPI MADT" : why);
    }
    if (wanted.rc != 0) {
        printk("cpus: out of memory for more");
    }
}

/* A page that a CPU can start in: below 640 KiB, RAM, not bad, and not ours while we use it. */
static mfn_t trampoline_frame(void)
{
    for (paddr_t pa = LOW_MEMORY_END - PAGE_SIZE; pa >= PAGE_SIZE; pa -= PAGE_SIZE) {
        enum frame_state state = frametable_get(pa_to_mfn(pa)).state;

        if (e820_is_ram(&memory_map, pa, pa + PAGE_SIZE) &&
            (state == FRAME_FREE || frame_state_preserved(state))) {
            return pa_to_mfn(pa);
        }
    }
    return INVALID_MFN;
}

static void trampoline_write(mfn_t mfn)
{
    uint8_t *page = mfn_to_va(mfn);
    struct trampoline_data data = {
        .park.entry_pa = ap_entry_pa(),
        .gdt_limit = early_gdtr.limit,
        .gdt_base = early_gdtr.base,
        .far_offset = (uint32_t)(mfn_to_pa(mfn) + (size_t)(ap_trampoline32 - ap_trampoline)),
        .far_selector = SEL_CODE32,
    };

    memcpy(page, ap_trampoline, (size_t)(ap_trampoline_end - ap_trampoline));
    memcpy(page + (ap_trampoline_data - ap_trampoline), &data, sizeof(data));
}

static unsigned int arrived(void)
{
    unsigned int n = 0;

    for (const struct cpu_arch *cpu = ap_slots; cpu != NULL; cpu = cpu->next) {
        n += __atomic_load_n(&cpu->arrived, __ATOMIC_ACQUIRE);
    }
    return n;
}

/* True when `nr` have arrived within so many milliseconds. */
static bool await(unsigned int nr, uint64_t ms)
{
    uint64_t end = tsc_read() + ms_to_tsc(ms);

    while (arrived() < nr) {
        if (tsc_read() >= end) {
            return false;
        }
        cpu_pause();
    }
    return true;
}

static void send_sipis(mfn_t page)
{
    for (const struct cpu_arch *cpu = ap_slots; cpu != NULL; cpu = cpu->next) {
        apic_send_sipi(cpu->wanted_id, (uint8_t)page.v);
    }
}

/* INIT and SIPI to all; SDM volume 3, "MP Initialization Protocol Algorithm for MP Systems". The
 * page is written in between: the firmware may have left them running in it. */
static void start_all(mfn_t page, unsigned int nr)
{
    uint64_t end;

    for (const struct cpu_arch *cpu = ap_slots; cpu != NULL; cpu = cpu->next) {
        apic_send_init(cpu->wanted_id);
    }
    for (end = tsc_read() + ms_to_tsc(INIT_WAIT_MS); tsc_read() < end;) {
        cpu_pause();
    }
    trampoline_write(page);
    send_sipis(page);
    if (!await(nr, SIPI_AGAIN_MS)) {
        send_sipis(page);
        (void)await(nr, COME_WAIT_MS);
    }
}

/* Has the CPU with this APIC id come? Only those that have know their own. */
static bool has_come(uint32_t id)
{
    for (const struct cpu_arch *cpu = ap_slots; cpu != NULL; cpu = cpu->next) {
        if (__atomic_load_n(&cpu->arrived, __ATOMIC_ACQUIRE) && cpu->percpu.apic_id == id) {
            return true;
        }
    }
    return false;
}

/* Nobody takes an entry any more; those that are missing go back to waiting for a SIPI. */
static unsigned int close_list(unsigned int nr)
{
    unsigned int claimed = __atomic_exchange_n(&ap_claimed, NO_MORE_SLOTS, __ATOMIC_SEQ_CST);

    (void)await(MIN(claimed, nr), COME_WAIT_MS);
    for (const struct cpu_arch *cpu = ap_slots; cpu != NULL; cpu = cpu->next) {
        if (!has_come(cpu->wanted_id)) {
            printk("cpus: the one with APIC id %u does not come: left out", cpu->wanted_id);
            apic_send_init(cpu->wanted_id);
        }
    }
    slots_trim(MIN(claimed, nr));
    return arrived();
}

static unsigned int start_wanted(unsigned int nr)
{
    mfn_t frame = trampoline_frame();
    void *saved = pool_alloc();
    unsigned int come = 0;

    if (!mfn_valid(frame) || saved == NULL) {
        printk("cpus: no page below 640 KiB to start the others in");
        slots_trim(0);
    } else {
        memcpy(saved, mfn_to_va(frame), PAGE_SIZE);
        ap_cr3 = paging_cr3();
        start_all(frame, nr);
        come = close_list(nr);
        memcpy(mfn_to_va(frame), saved, PAGE_SIZE);
    }
    if (saved != NULL) {
        pool_free(saved);
    }
    return come;
}

void cpus_report(unsigned int online)
{
    printk("cpus: %u online, %s", online, apic_mode_name());
}

unsigned int cpus_start(const struct boot_info *info)
{
    unsigned int nr = 0, come;

    want_all(info);
    for (const struct cpu_arch *cpu = ap_slots; cpu != NULL; cpu = cpu->next) {
        nr++;
    }
    come = nr > 0 ? start_wanted(nr) : 0;
    cpus_report(1 + come);
    return come;
}

/* ---- update ---- */

int cpus_prepare(const struct lu_park *park)
{
    for (uint32_t i = 0; i < park->parked; i++) {
        int rc = slot_add(0);

        if (rc != 0) {
            slots_trim(0);
            return rc;
        }
    }
    return 0;
}

void cpus_release(struct lu_handover *page)
{
    ap_cr3 = paging_cr3();
    page->park_check = ~ap_entry_pa();
    /* Release: what the CPUs find is complete; pairs with the polling in relocator.asm. */
    __atomic_store_n(&page->park.entry_pa, ap_entry_pa(), __ATOMIC_RELEASE);
}

void cpus_return(struct lu_handover *page)
{
    ap_claimed = 0; /* any of them may take any entry */
    cpus_release(page);
}

void cpu_park(paddr_t park_pa)
{
    kexec_park(park_pa);
}
