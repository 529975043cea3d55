/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: any bytes as an instruction, to both decoders in all modes. The bytes end where
 * their memory ends. What is accepted is in bounds, and cut anywhere it says that there is more.
 */
#include <stdlib.h>
#include <string.h>

#include "hv/errno.h"
#include "hv/insn.h"
#include "hv/insn_exit.h"
#include "hv/vcpu.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool so)
{
    if (!so) {
        abort();
    }
}

static void try_mmio(const uint8_t *bytes, size_t len, unsigned int mode)
{
    uint64_t gpr[GPR_COUNT] = {[GPR_RCX] = 2}, flags = 0, write = 0;
    struct insn_mmio insn, other;
    int rc = insn_decode_mmio(bytes, len, mode, &insn);

    must(rc == 0 || rc == -EINVAL || (rc == -ENOSPC && len < INSN_MAX));
    if (rc != 0) {
        return;
    }
    must(insn.length >= 1 && insn.length <= len && insn.length <= INSN_MAX);
    must(insn.reg < GPR_COUNT && insn.op <= INSN_CMP_REG && (insn.read || insn.write));
    must(insn_apply_mmio(&insn, ~UINT64_C(0), gpr, &flags, &write) || insn.rep);
    must(insn.size == 8 || write >> (8 * insn.size) == 0);
    must(insn_decode_mmio(bytes, insn.length - 1U, mode, &other) == -ENOSPC);
}

static void try_exit(const uint8_t *bytes, size_t len, unsigned int mode)
{
    uint64_t gpr[GPR_COUNT] = {0};
    struct insn_exit insn, other;
    int rc = insn_decode_exit(bytes, len, mode, &insn);

    must(rc == 0 || rc == -EINVAL || (rc == -ENOSPC && len < INSN_MAX));
    if (rc != 0) {
        return;
    }
    must(insn.length >= 1 && insn.length <= len && insn.length <= INSN_MAX);
    must(insn.reg < GPR_COUNT && insn.rm < GPR_COUNT && insn.segment <= SEG_GS);
    if (insn.in_memory) {
        uint64_t offset = insn_offset(&insn.memory, gpr, 0);

        must(insn.memory.segment <= SEG_GS);
        must(insn.memory.size == 8 || offset >> (8 * insn.memory.size) == 0);
    }
    must(insn_decode_exit(bytes, insn.length - 1U, mode, &other) == -ENOSPC);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (unsigned int mode = 2; mode <= 8; mode *= 2) {
        uint8_t *bytes = malloc(size);

        memcpy(bytes, data, size);
        try_mmio(bytes, size, mode);
        try_exit(bytes, size, mode);
        free(bytes);
    }
    return 0;
}
