/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fake machine for host tests, see machine.h.
 */
#define _GNU_SOURCE
#include "fakes/machine.h"

#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/printk.h"
#include "hv/seam.h"

#define MAX_RANGES 64U

static int ram_fd = -1;
static char *ram_va;
static char *vmap_va;
static uint64_t *vmap_frames; /* mfn + 1 by page of vmap space, 0: not mapped */
static uint64_t vmap_mapped;
static long vmap_maps_left = -1;

static struct e820_range ranges[MAX_RANGES];
static struct e820 ram_map = {.ranges = ranges};

static char *log_text;
static size_t log_len;

static uint64_t random_state;
static struct {
    paddr_t start;
    paddr_t end;
} poisoned[MAX_RANGES];
static size_t nr_poisoned;

uint64_t fake_tsc;
uint64_t fake_tsc_step;
bool fake_has_crc32;
jmp_buf fake_panic_jmp;
bool fake_panic_armed;

static void die(const char *what)
{
    perror(what);
    abort();
}

static void *map_or_die(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
    void *p = mmap(at, bytes, prot, flags | MAP_NORESERVE, fd, offset);

    if (p == MAP_FAILED) {
        die("fake machine: mmap");
    }
    return p;
}

void fake_vmap_reset(void)
{
    int fixed = vmap_va != NULL ? MAP_FIXED : 0;

    vmap_va = map_or_die(vmap_va, FAKE_VMAP_PAGES * PAGE_SIZE, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);
    vmap_frames = map_or_die(vmap_frames, FAKE_VMAP_PAGES * sizeof(*vmap_frames),
                             PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);
    vmap_mapped = 0;
    vmap_maps_left = -1;
}

void fake_machine_map_identity(paddr_t start, paddr_t end)
{
    map_or_die((void *)(uintptr_t)start, end - start, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_FIXED_NOREPLACE, ram_fd, (off_t)start);
}

void fake_machine_unmap_identity(paddr_t start, paddr_t end)
{
    if (munmap((void *)(uintptr_t)start, end - start) != 0) {
        die("fake machine: munmap");
    }
}

void fake_machine_reset(void)
{
    while (nr_poisoned > 0) {
        nr_poisoned--;
        fake_machine_unpoison(poisoned[nr_poisoned].start, poisoned[nr_poisoned].end);
    }
    if (ram_fd < 0) {
        ram_fd = memfd_create("fake-ram", MFD_CLOEXEC);
        if (ram_fd < 0) {
            die("fake machine: memfd_create");
        }
    }
    if (ftruncate(ram_fd, 0) != 0 || ftruncate(ram_fd, (off_t)FAKE_RAM_MAX) != 0) {
        die("fake machine: ftruncate");
    }
    int fixed = ram_va != NULL ? MAP_FIXED : 0;
    ram_va = map_or_die(ram_va, FAKE_RAM_MAX, PROT_NONE, MAP_SHARED | fixed, ram_fd, 0);
    fake_vmap_reset();
    ram_map.nr = 0;
    fake_tsc = 1000;
    fake_tsc_step = 100;
    fake_has_crc32 = true;
    fake_panic_armed = false;
    fake_random_seed(1);
    fake_log_clear();
}

static void add_range(paddr_t start, paddr_t end, uint32_t type)
{
    size_t at = ram_map.nr;

    if (at == MAX_RANGES || start >= end || end > FAKE_RAM_MAX ||
        !is_aligned(start | end, PAGE_SIZE)) {
        fprintf(stderr, "fake machine: bad range\n");
        abort();
    }
    for (; at > 0 && ranges[at - 1].start > start; at--) {
        ranges[at] = ranges[at - 1];
    }
    ranges[at] = (struct e820_range){.start = start, .end = end, .type = type};
    ram_map.nr++;
    for (size_t i = 1; i < ram_map.nr; i++) {
        if (ranges[i - 1].end > ranges[i].start) {
            fprintf(stderr, "fake machine: ranges overlap\n");
            abort();
        }
    }
}

void fake_machine_add_ram(paddr_t start, paddr_t end)
{
    add_range(start, end, E820_RAM);
    fake_machine_show(start, end);
}

void fake_machine_add_other(paddr_t start, paddr_t end, uint32_t type)
{
    add_range(start, end, type);
}

void fake_machine_hide(paddr_t start, paddr_t end)
{
    if (mprotect(ram_va + start, end - start, PROT_NONE) != 0) {
        die("fake machine: mprotect");
    }
}

void fake_machine_show(paddr_t start, paddr_t end)
{
    if (mprotect(ram_va + start, end - start, PROT_READ | PROT_WRITE) != 0) {
        die("fake machine: mprotect");
    }
}

void fake_machine_poison(paddr_t start, paddr_t end)
{
    if (nr_poisoned == MAX_RANGES) {
        fprintf(stderr, "fake machine: too many poisoned ranges\n");
        abort();
    }
    poisoned[nr_poisoned].start = start;
    poisoned[nr_poisoned].end = end;
    nr_poisoned++;
    ASAN_POISON_MEMORY_REGION(ram_va + start, end - start);
}

void fake_machine_unpoison(paddr_t start, paddr_t end)
{
    ASAN_UNPOISON_MEMORY_REGION(ram_va + start, end - start);
}

const struct e820 *fake_machine_e820(void)
{
    return &ram_map;
}

uint64_t fake_machine_touched_pages(void)
{
    struct stat st;

    if (fstat(ram_fd, &st) != 0) {
        die("fake machine: fstat");
    }
    return (uint64_t)st.st_blocks * 512 / PAGE_SIZE;
}

void *fake_va(paddr_t pa)
{
    return ram_va + pa;
}

void *mfn_to_va(mfn_t mfn)
{
    if (mfn.v >= FAKE_RAM_MAX >> PAGE_SHIFT) {
        fprintf(stderr, "fake machine: mfn 0x%llx has no direct map\n", (unsigned long long)mfn.v);
        abort();
    }
    return fake_va(mfn_to_pa(mfn));
}

mfn_t va_to_mfn(const void *va)
{
    const char *p = va;

    if (p < ram_va || p >= ram_va + FAKE_RAM_MAX) {
        fprintf(stderr, "fake machine: %p is not in the direct map\n", va);
        abort();
    }
    return pa_to_mfn((paddr_t)(p - ram_va));
}

uintptr_t vmap_base(void)
{
    return (uintptr_t)vmap_va;
}

size_t vmap_pages(void)
{
    return FAKE_VMAP_PAGES;
}

/* Slot of vmap_frames for an address, which must be a page of vmap space. */
static uint64_t *vmap_slot(uintptr_t va)
{
    uintptr_t offset = va - (uintptr_t)vmap_va;

    if (va < (uintptr_t)vmap_va || offset >= FAKE_VMAP_PAGES * PAGE_SIZE ||
        !is_aligned(va, PAGE_SIZE)) {
        fprintf(stderr, "fake machine: 0x%lx is not a page of vmap space\n", va);
        abort();
    }
    return &vmap_frames[offset / PAGE_SIZE];
}

int vmap_pt_map(uintptr_t va, mfn_t mfn)
{
    uint64_t *slot = vmap_slot(va);

    if (*slot != 0 || mfn.v >= FAKE_RAM_MAX >> PAGE_SHIFT) {
        fprintf(stderr, "fake machine: vmap of 0x%lx twice, or no such frame\n", va);
        abort();
    }
    if (vmap_maps_left == 0) {
        return -12; /* -ENOMEM of hv/errno.h */
    }
    vmap_maps_left -= vmap_maps_left > 0 ? 1 : 0;
    map_or_die((void *)va, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, ram_fd,
               (off_t)mfn_to_pa(mfn));
    *slot = mfn.v + 1;
    vmap_mapped++;
    return 0;
}

void vmap_pt_unmap(uintptr_t va)
{
    uint64_t *slot = vmap_slot(va);

    if (*slot == 0) {
        fprintf(stderr, "fake machine: unmap of 0x%lx, which is not mapped\n", va);
        abort();
    }
    map_or_die((void *)va, PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    *slot = 0;
    vmap_mapped--;
}

mfn_t vmap_pt_get(uintptr_t va)
{
    uint64_t *slot = vmap_slot(va);

    return *slot != 0 ? mfn_from(*slot - 1) : INVALID_MFN;
}

uint64_t fake_vmap_mapped(void)
{
    return vmap_mapped;
}

void fake_vmap_fail_after(long n)
{
    vmap_maps_left = n;
}

uint64_t tsc_read(void)
{
    uint64_t now = fake_tsc;

    fake_tsc += fake_tsc_step;
    return now;
}

bool cpu_has_crc32(void)
{
    return fake_has_crc32;
}

void fake_random_seed(uint64_t seed)
{
    random_state = seed;
}

__attribute__((weak)) void cpu_pause(void)
{
}

__attribute__((weak)) void frames_zero(mfn_t mfn, uint64_t frames)
{
    memset(mfn_to_va(mfn), 0, frames * PAGE_SIZE);
}

/* splitmix64: the state is a counter, the output a mix of it; wrapping is meant. */
uint64_t random_u64(void)
{
    random_state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = random_state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void log_append(const char *prefix, const char *fmt, va_list args)
{
    char line[1024];

    vsnprintf(line, sizeof(line), fmt, args);
    size_t need = strlen(prefix) + strlen(line) + 2;
    log_text = realloc(log_text, log_len + need);
    if (log_text == NULL) {
        die("fake machine: log");
    }
    log_len += (size_t)snprintf(log_text + log_len, need, "%s%s\n", prefix, line);
}

void printk(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    log_append("", fmt, args);
    va_end(args);
}

void panic(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    log_append("panic: ", fmt, args);
    va_end(args);
    if (fake_panic_armed) {
        longjmp(fake_panic_jmp, 1);
    }
    fprintf(stderr, "%s", fake_log());
    abort();
}

const char *fake_log(void)
{
    return log_text != NULL ? log_text : "";
}

bool fake_printed(const char *text)
{
    return strstr(fake_log(), text) != NULL;
}

void fake_log_clear(void)
{
    free(log_text);
    log_text = NULL;
    log_len = 0;
}

__attribute__((weak)) size_t fmt_vstr(char *buf, size_t size, const char *fmt, va_list args)
{
    int n = vsnprintf(buf, size, fmt, args);

    return n > 0 ? (size_t)n : 0;
}

__attribute__((weak)) size_t fmt_str(char *buf, size_t size, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    size_t n = fmt_vstr(buf, size, fmt, args);
    va_end(args);
    return n;
}
