/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What BearSSL's objects want of a C library besides the functions of core/string.c: they were
 * compiled with a stack protector and checked copies. The canary is arch/x86_64/context.c's.
 */
#include "hv/printk.h"
#include "hv/string.h"

void *__memcpy_chk(void *restrict dst, const void *restrict src, size_t n, size_t room);
void *__memset_chk(void *dst, int c, size_t n, size_t room);
NORETURN void __stack_chk_fail(void);

void *__memcpy_chk(void *restrict dst, const void *restrict src, size_t n, size_t room)
{
    BUG_ON(n > room);
    return memcpy(dst, src, n);
}

void *__memset_chk(void *dst, int c, size_t n, size_t room)
{
    BUG_ON(n > room);
    return memset(dst, c, n);
}

NORETURN void __stack_chk_fail(void)
{
    panic("crypto: the stack is overwritten");
}
