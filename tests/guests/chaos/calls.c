/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hypercalls with random numbers and arguments.
 *
 * Left out is what would be this domain's end or the others', and yet is right: HC_LU_EXEC, long
 * sleeps, pausing itself, calls that change a domain which this one has not made.
 */
#include "chaos/chaos.h"

#include "lib/molt.h"

#define SLEEP_US 200U
#define SLEEP_MAX_US ((uint64_t)3600 * 1000 * 1000)
#define MADE 8U
/* Bytes behind an address in scratch: any call's structure, the list of domains. */
#define CALL_ROOM 2048U

static uint64_t others; /* ids below are of domains that were there before */
static uint64_t highest;
static uint32_t made[MADE];
static struct hc_domain list[64];

/* Where a call may read and write: scratch, across the end of memory, nowhere. */
static uint64_t call_address(void)
{
    switch (below(6)) {
    case 0:
        return any64() | BIT64(50);
    case 1:
        return (uint64_t)0xe0000000U + below(1 << 20);
    case 2:
        return UINT64_MAX - below(64);
    default:
        return scratch_address(CALL_ROOM);
    }
}

/* Or else it is no memory of this domain. */
static bool in_scratch(uint64_t at)
{
    return at - (uintptr_t)scratch <= SCRATCH_BYTES - CALL_ROOM;
}

static uint64_t call_size(void)
{
    return below(4) == 0 ? any64() : below(800);
}

/* One that this payload has made; or one that nobody has. */
static uint64_t any_id(void)
{
    uint64_t id = below(2) != 0 ? made[below(MADE)] : any64();

    return (uint32_t)id < others ? id + 0x10000 : id;
}

static void fill_scratch(uint64_t at)
{
    uint64_t *words = (uint64_t *)(uintptr_t)(at & ~(uint64_t)7);

    if (!in_scratch(at)) {
        return;
    }
    for (unsigned int i = 0; i < 16; i++) {
        words[i] = below(2) != 0 ? any64() : below(2) != 0 ? call_address() : below(16);
    }
}

/* A domain that can be made: a name, one vCPU. */
static void fill_create(uint64_t at)
{
    struct hc_dom_create *c = (struct hc_dom_create *)(uintptr_t)at;

    if (in_scratch(at) && below(2) != 0) {
        memset(c, 0, sizeof(*c));
        str_format(c->name, sizeof(c->name), "made%u", below(20));
        c->vcpus = below(4) == 0 ? (uint32_t)any64() : 1;
    }
}

/* Where molt is to write lines or bytes: nothing of this payload's must be there. */
static void fill_buffer(uint64_t at)
{
    struct hc_log *c = (struct hc_log *)(uintptr_t)at; /* as struct hc_console */

    if (in_scratch(at)) {
        c->buffer = call_address();
        c->bytes = in_scratch(c->buffer) ? below(CALL_ROOM + 1) : any64();
    }
}

static uint64_t control_call(void)
{
    static const uint64_t numbers[] = {
        HC_LU_REGION,    HC_LU_STATUS,     HC_LU_LOAD,     HC_LU_LOG,      HC_DOM_LIST,
        HC_DOM_CREATE,   HC_DOM_CREATE,    HC_DOM_MEMORY,  HC_DOM_LOAD,    HC_DOM_START,
        HC_DOM_PAUSE,    HC_DOM_RESUME,    HC_DOM_DESTROY, HC_DOM_DESTROY, HC_DOM_STATS,
        HC_CONSOLE_READ, HC_CONSOLE_WRITE,
    };

    return numbers[below(ARRAY_SIZE(numbers))];
}

static void arguments(uint64_t number)
{
    gpr_in[GPR_RAX] = number;
    gpr_in[GPR_RBX] = call_address();
    gpr_in[GPR_RCX] = call_size();
    gpr_in[GPR_RDX] = below(2) != 0 ? any_id() : any64();
    fill_scratch(gpr_in[GPR_RBX]);
    switch (number) {
    case HC_SLEEP:
        gpr_in[GPR_RBX] = below(2) != 0 ? below(SLEEP_US) : SLEEP_MAX_US + 1 + (any64() >> 1);
        break;
    case HC_DOM_CREATE:
        fill_create(gpr_in[GPR_RBX]);
        break;
    case HC_DOM_MEMORY:
        gpr_in[GPR_RBX] = any_id();
        gpr_in[GPR_RCX] = below(2) != 0 ? (uint64_t)below(512) * PAGE_SIZE : any64();
        break;
    case HC_DOM_START:
    case HC_DOM_PAUSE:
    case HC_DOM_RESUME:
    case HC_DOM_DESTROY:
        gpr_in[GPR_RBX] = any_id();
        break;
    case HC_LU_LOG:
    case HC_CONSOLE_READ:
        fill_buffer(gpr_in[GPR_RBX]);
        break;
    case HC_DOM_LOAD:
        if (in_scratch(gpr_in[GPR_RBX])) {
            *(uint32_t *)(uintptr_t)gpr_in[GPR_RBX] = (uint32_t)any_id();
        }
        break;
    case HC_CONSOLE_WRITE:
        gpr_in[GPR_RDX] = any_id();
        break;
    default:
        break;
    }
}

static uint64_t any_number(void)
{
    uint64_t number = limits.control && below(2) != 0 ? control_call()
                      : below(2) != 0                 ? below(64)
                                                      : any64();

    return number == HC_LU_EXEC && limits.control ? HC_LU_STATUS : number;
}

void op_call(struct op *op)
{
    op->name = "VMCALL";
    op_bytes(op, "\x0f\x01\xc1", 3);
    op->changes = CHANGES(GPR_RAX);
    arguments(any_number());
}

/* The same by IN EAX, DX: the control domain's. */
void op_door(struct op *op)
{
    op->name = "door";
    op_byte(op, 0xed);
    op->changes = CHANGES(GPR_RAX);
    arguments(any_number());
    gpr_in[GPR_RSI] = gpr_in[GPR_RDX];
    gpr_in[GPR_RDX] = HC_DOOR_PORT;
}

/* ---- what has come of it ---- */

static int64_t take_list(void)
{
    int64_t n = molt_call(HC_DOM_LIST, (uintptr_t)list, sizeof(list), 0, 0);

    return n < 0 ? 0 : n > (int64_t)ARRAY_SIZE(list) ? (int64_t)ARRAY_SIZE(list) : n;
}

void calls_note(void)
{
    int64_t n = limits.control ? take_list() : 0;

    for (int64_t i = 0; i < n; i++) {
        highest = list[i].id > highest ? list[i].id : highest;
        if (others != 0 && list[i].id >= others) {
            made[list[i].id % MADE] = list[i].id;
        }
    }
    if (others == 0) {
        others = highest + 1;
    }
}

uint64_t calls_made(void)
{
    return highest + 1 - others;
}

void calls_clean_up(void)
{
    int64_t n = limits.control ? take_list() : 0;

    for (int64_t i = 0; i < n; i++) {
        if (list[i].id >= others) {
            (void)molt_call(HC_DOM_DESTROY, list[i].id, 0, 0, 0);
        }
    }
}
