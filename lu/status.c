/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What live update tells about itself.
 */
#include "lu_priv.h"

#include "hv/modules.h"
#include "hv/string.h"

uint64_t lu_updates(void)
{
    return lu.updates;
}

void lu_get_status(struct hc_lu_status *out)
{
    if (lu.finish == LU_FINISH_COMMIT) { /* asked for before the report */
        finish_measure();
    }
    memset(out, 0, sizeof(*out));
    out->state = lu.loaded.valid ? HC_LU_LOADED : HC_LU_IDLE;
    out->last_result = lu.last_result;
    out->updates = lu.updates;
    out->refused = lu.refused;
    out->blackout = lu.phases.blackout;
    out->phase_save = lu.phases.save;
    out->phase_jump = lu.phases.jump;
    out->phase_boot = lu.phases.boot;
    out->phase_adopt = lu.phases.adopt;
    out->phase_resume = lu.phases.resume;
    out->watch = lu.loaded.valid ? lu.watch : HC_LU_WATCH_NONE;
    out->backs = lu.backs;
    out->back_blackout = lu.back_blackout;
    out->modules = modules_images();
    if (lu.loaded.valid) {
        str_copy(out->loaded_version, sizeof(out->loaded_version), lu.loaded.info.version);
        str_copy(out->loaded_build_id, sizeof(out->loaded_build_id), lu.loaded.info.build_id);
    }
    out->stream_version = lu.from_stream_version;
    out->busy = lu_busy();
    str_copy(out->reason, sizeof(out->reason), lu.reason);
    out->code = lu.code;
    out->needed = lu.needed;
}

void lu_get_region(struct hc_lu_region *out)
{
    memset(out, 0, sizeof(*out));
    out->base = lu.region.base;
    out->size = lu.region.size;
    for (unsigned int i = 0; i < 2; i++) {
        out->arena_base[i] = region_arena_start(&lu.region, i);
        out->arena_size[i] = region_arena_end(&lu.region, i) - out->arena_base[i];
    }
    out->active = lu.arena;
    out->required = lu_required();
}
