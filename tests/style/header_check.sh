#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Every header in include/ compiles alone, with the structure layouts of either image, with guards
# against a second inclusion named after its path. Private headers of the folders as well.

set -u
cd "$(dirname "$0")/../.." || exit 2

cc=${CC:-gcc}
flags="-std=c11 -ffreestanding -fsyntax-only -fno-pic -mgeneral-regs-only -mcmodel=kernel -Wall
-Wextra -Wconversion -Wshadow -Werror -Iinclude"
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
bad=0

headers=$(git ls-files --cached --others --exclude-standard \
    'include/*.h' 'arch/*.h' 'boot/*.h' 'core/*.h' 'lu/*.h' 'mm/*.h' 'vmx/*.h' 'dev/*.h')

for header in $headers; do
    [ -f "$header" ] || continue
    guard=$(echo "${header#include/}" | tr 'a-z/.' 'A-Z__')
    case $header in
    lu/lu_priv.h) guard=LU_PRIV_H ;;
    esac
    if ! grep -q "^#ifndef $guard\$" "$header" || ! grep -q "^#define $guard\$" "$header"; then
        echo "$header: its guard should be $guard"
        bad=1
    fi
    for layout in "" -DMOLT_LAYOUT_NEXT; do
        # Twice: the guard has to work.
        printf '#include "%s"\n#include "%s"\n' "$PWD/$header" "$PWD/$header" >"$work/one.c"
        # shellcheck disable=SC2086
        if ! $cc $flags $layout -I"$(dirname "$header")" "$work/one.c" 2>"$work/errors"; then
            echo "$header: does not compile alone${layout:+ ($layout)}: $(head -n 1 "$work/errors" |
                sed "s|$PWD/||g")"
            bad=1
        fi
    done
done
exit $bad
