# SPDX-License-Identifier: Apache-2.0
"""What tools/molt is made of; tests/emu uses the log parser and the verdict as well."""
