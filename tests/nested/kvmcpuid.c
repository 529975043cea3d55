/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What KVM says that a guest's CPUID may have, a struct kvm_cpuid2, in hexadecimal digits: for the
 * test of tools/moltlib/detect.py, which asks the same.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>

#define ENTRIES 256

static union {
    struct kvm_cpuid2 head;
    unsigned char bytes[sizeof(struct kvm_cpuid2) + ENTRIES * sizeof(struct kvm_cpuid_entry2)];
} answer;

int main(void)
{
    int kvm = open("/dev/kvm", O_RDWR);

    answer.head.nent = ENTRIES;
    if (kvm < 0 || ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &answer.head) != 0) {
        perror("/dev/kvm");
        return 1;
    }
    size_t used = sizeof(answer.head) + answer.head.nent * sizeof(struct kvm_cpuid_entry2);
    for (size_t i = 0; i < used; i++) {
        printf("%02x", answer.bytes[i]);
    }
    printf("\n");
    return 0;
}
