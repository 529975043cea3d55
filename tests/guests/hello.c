/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest example of a guest: says once a second which molt it runs under.
 *
 * Command line: seconds=N ends by itself after N seconds (without molt: 5). Ends when molt says so,
 * except with deaf=1.
 */
#include "lib/bootinfo.h"
#include "lib/clock.h"
#include "lib/lib.h"
#include "lib/molt.h"

#define SECOND_US 1000000U

int guest_main(void)
{
    bool molt = molt_present();
    uint64_t seconds = cmdline_number("seconds", molt ? UINT64_MAX : 5);
    bool deaf = cmdline_number("deaf", 0) != 0;
    struct hc_info info = {0};

    for (uint64_t n = 1; n <= seconds; n++) {
        if (molt) {
            molt_info(&info);
            print("hello %" P64 "u: molt %s, build %s, %" P64 "u updates\n", n, info.version,
                  info.build_id, info.updates);
            if ((info.flags & HC_INFO_SHUTDOWN) != 0 && !deaf) {
                break;
            }
            molt_sleep(SECOND_US);
        } else {
            print("hello %" P64 "u: no molt here\n", n);
            clock_spin_us(SECOND_US);
        }
    }
    print("hello: good-bye\n");
    return 0;
}
