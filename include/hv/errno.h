/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Error numbers. Functions return 0 or -E*. The values are those of public/hypercall.h, so that a
 * handler's result reaches the guest unchanged.
 */
#ifndef HV_ERRNO_H
#define HV_ERRNO_H

#define EPERM 1
#define ENOENT 2
#define E2BIG 7
#define ENOEXEC 8
#define ENOMEM 12
#define EFAULT 14
#define EBUSY 16
#define EEXIST 17
#define EINVAL 22
#define ENOSPC 28
#define ERANGE 34
#define ENOSYS 38
#define EPROTO 71
#define EBADMSG 74
#define EOVERFLOW 75
#define ECANCELED 125

#endif
