/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints: as fast as it can, or a line now and then of which it measures how long it takes.
 *
 * Command line: lines=N (500), width=N characters to fill (60), every=MS between two lines (0: a
 * flood), longest=MS that a line may take to be taken (0: any time).
 */
#include "lib/bootinfo.h"
#include "lib/clock.h"
#include "lib/lib.h"
#include "lib/molt.h"

#define WIDTH_MAX 180U

int guest_main(void)
{
    uint64_t lines = cmdline_number("lines", 500), width = cmdline_number("width", 60);
    uint64_t every = cmdline_number("every", 0), limit = cmdline_number("longest", 0);
    uint64_t longest = 0;
    char fill[WIDTH_MAX + 1];

    width = width < WIDTH_MAX ? width : WIDTH_MAX;
    memset(fill, '.', width);
    fill[width] = '\0';
    for (uint64_t n = 1; n <= lines; n++) {
        uint64_t from = clock_us(), took;

        print_crc("line n=%" P64 "u %s", n, fill);
        took = clock_us() - from;
        longest = took > longest ? took : longest;
        if (every != 0) {
            molt_sleep(every * 1000);
            clock_restart_gap();
        }
    }
    report(limit == 0 || longest <= limit * 1000, "output",
           "%" P64 "u lines, one took %" P64 "u us at most", lines, longest);
    report_end();
}
