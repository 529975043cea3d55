/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands of molt's own console.
 */
#ifndef HV_COMMANDS_H
#define HV_COMMANDS_H

/* Runs one line; empty lines do nothing, unknown commands say so. */
void command_run(const char *line);

#endif
