/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x87, SSE, AVX and AVX-512 state and XCR0 held live over a window.
 *
 * Compared: what FXSAVE architecturally keeps (FCW, FSW, FTW, MXCSR, ST0-7, XMM0-15) but not the
 * last-instruction pointers, which vendors treat differently; YMM, ZMM, opmask registers; PKRU.
 */
#include "lib/fpuwin.h"

#include "lib/cpu.h"
#include "lib/x86.h"

/* Same values in fpu.asm. */
#define FPU_AVX 2U
#define FPU_AVX512 4U
#define FPU_AVX512BW 8U

#define FCW_MASKS 0x007fU
#define FCW_CHANGE 0x0f00U /* rounding and precision */
#define FSW_CHANGE 0x7f00U /* top of stack, condition codes */
#define MXCSR_MASKS 0x1f80U
#define MXCSR_CHANGE 0xe03fU /* flush to zero, rounding, sticky flags */
#define ST_EXPONENT 0x3fffU
#define ST_INTEGER_BIT BIT64(63)

struct fxsave {
    uint16_t fcw;
    uint16_t fsw;
    uint8_t ftw;
    uint8_t reserved0;
    uint16_t fop;
    uint64_t fip;
    uint64_t fdp;
    uint32_t mxcsr;
    uint32_t mxcsr_mask;
    struct {
        uint64_t mantissa;
        uint16_t exponent;
        uint16_t reserved[3];
    } st[8];
    uint64_t xmm[16][2];
    uint64_t reserved1[12];
};

struct fpu_image {
    struct fxsave fx;
    uint64_t ymm[16][4];
    uint64_t zmm[32][8];
    uint64_t k[8];
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct fxsave) == 512, "FXSAVE area");
_Static_assert(offsetof(struct fpu_image, zmm) == 1024, "as in fpu.asm");
_Static_assert(offsetof(struct fpu_image, k) == 3072, "as in fpu.asm");

void fpu_load(const struct fpu_image *image, uint32_t parts);
void fpu_store(struct fpu_image *image, uint32_t parts);

struct area fpu_area = {"fpu-sse", 0};
struct area avx_area = {"avx", 0};
struct area avx512_area = {"avx512", 0};
struct area xcr0_area = {"xcr0", 0};
struct area pkru_area = {"pkru", 0};

static struct fpu_image want;
static struct fpu_image got;
static uint32_t parts;
static uint64_t want_xcr0;
static uint32_t want_pkru;
static bool has_pkru;

static uint32_t read_pkru(void)
{
    uint32_t eax;
    uint32_t edx;

    __asm__ volatile("rdpkru" : "=a"(eax), "=d"(edx) : "c"(0));
    return eax;
}

static void write_pkru(uint32_t value)
{
    __asm__ volatile("wrpkru" ::"a"(value), "c"(0), "d"(0) : "memory");
}

static void choose_parts(uint64_t random)
{
    uint64_t all = cpu_xcr0();

    parts = 0;
    want_xcr0 = all;
    if (all == 0) {
        return;
    }
    /* Mostly everything; now and then less, as a guest may turn parts off. */
    switch (random % 8) {
    case 0:
        want_xcr0 = all & (XCR0_X87 | XCR0_SSE | XCR0_PKRU);
        break;
    case 1:
        want_xcr0 = all & (XCR0_X87 | XCR0_SSE | XCR0_AVX);
        break;
    default:
        break;
    }
    xsetbv(0, want_xcr0);
    if ((want_xcr0 & XCR0_AVX) != 0) {
        parts |= FPU_AVX;
    }
    if ((want_xcr0 & XCR0_AVX512) == XCR0_AVX512) {
        parts |= FPU_AVX512;
        if ((cpuid(7, 0).ebx & CPUID7_EBX_AVX512BW) != 0) {
            parts |= FPU_AVX512BW;
        }
    }
}

void fpu_window_begin(uint64_t *random)
{
    uint64_t *words = (uint64_t *)&want;

    choose_parts(rand64(random));
    for (size_t i = 0; i < sizeof(want) / sizeof(*words); i++) {
        words[i] = rand64(random);
    }
    want.fx.fcw = (uint16_t)((want.fx.fcw & FCW_CHANGE) | FCW_MASKS);
    want.fx.fsw &= FSW_CHANGE;
    want.fx.ftw = 0xff;
    want.fx.fop = 0;
    want.fx.fip = 0;
    want.fx.fdp = 0;
    want.fx.mxcsr = (want.fx.mxcsr & MXCSR_CHANGE) | MXCSR_MASKS;
    for (unsigned int i = 0; i < 8; i++) {
        want.fx.st[i].exponent =
            (uint16_t)(ST_EXPONENT - 0x100U + (want.fx.st[i].exponent & 0x1ffU));
        want.fx.st[i].mantissa |= ST_INTEGER_BIT;
        if ((parts & FPU_AVX512BW) == 0) {
            want.k[i] &= 0xffffU;
        }
    }
    /* Narrow registers are the low parts of the wide ones. */
    for (unsigned int i = 0; i < 16; i++) {
        memcpy(want.ymm[i], want.zmm[i], sizeof(want.ymm[i]));
        memcpy(want.fx.xmm[i], want.zmm[i], sizeof(want.fx.xmm[i]));
    }
    fpu_load(&want, parts);
    has_pkru = (read_cr4() & CR4_PKE) != 0;
    if (has_pkru) {
        want_pkru = (uint32_t)rand64(random) & ~3U; /* key 0, of every page here, stays open */
        write_pkru(want_pkru);
    }
}

static void compare(const char *area, const char *name, unsigned int index, uint64_t expected,
                    uint64_t found)
{
    if (expected != found) {
        damage(area, "%s[%u]: expected 0x%" P64 "x, got 0x%" P64 "x", name, index, expected, found);
    }
}

static void check_legacy(void)
{
    compare("fpu-sse", "fcw", 0, want.fx.fcw, got.fx.fcw);
    compare("fpu-sse", "fsw", 0, want.fx.fsw, got.fx.fsw);
    compare("fpu-sse", "ftw", 0, want.fx.ftw, got.fx.ftw);
    compare("fpu-sse", "mxcsr", 0, want.fx.mxcsr, got.fx.mxcsr);
    for (unsigned int i = 0; i < 8; i++) {
        compare("fpu-sse", "st", i, want.fx.st[i].mantissa, got.fx.st[i].mantissa);
        compare("fpu-sse", "st exponent", i, want.fx.st[i].exponent, got.fx.st[i].exponent);
    }
    for (unsigned int i = 0; i < 16; i++) {
        compare("fpu-sse", "xmm low", i, want.fx.xmm[i][0], got.fx.xmm[i][0]);
        compare("fpu-sse", "xmm high", i, want.fx.xmm[i][1], got.fx.xmm[i][1]);
    }
    fpu_area.checks++;
}

static void check_wide(void)
{
    if ((parts & FPU_AVX) != 0) {
        for (unsigned int i = 0; i < 16 * 4; i++) {
            compare("avx", "ymm quadword", i, want.ymm[i / 4][i % 4], got.ymm[i / 4][i % 4]);
        }
        avx_area.checks++;
    }
    if ((parts & FPU_AVX512) != 0) {
        for (unsigned int i = 0; i < 32 * 8; i++) {
            compare("avx512", "zmm quadword", i, want.zmm[i / 8][i % 8], got.zmm[i / 8][i % 8]);
        }
        for (unsigned int i = 0; i < 8; i++) {
            compare("avx512", "k", i, want.k[i], got.k[i]);
        }
        avx512_area.checks++;
    }
}

void fpu_window_check(void)
{
    memset(&got, 0, sizeof(got));
    if (want_xcr0 != 0) {
        compare("xcr0", "xcr", 0, want_xcr0, xgetbv(0));
        xcr0_area.checks++;
    }
    fpu_store(&got, parts);
    check_legacy();
    check_wide();
    if (has_pkru) {
        compare("pkru", "pkru", 0, want_pkru, read_pkru());
        pkru_area.checks++;
    }
}
