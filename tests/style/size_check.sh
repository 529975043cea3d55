#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Sizes: source files, the assembly of the hypervisor, the images.

set -u
cd "$(dirname "$0")/../.." || exit 2

file_lines=600
assembly_lines=1200
image_kib=256
# Tables and lists of cases are as long as they are.
tables="include/hw/ tests/host/test_ tests/emu/test_"
bad=0

is_table() {
    for table in $tables; do
        case $1 in "$table"*) return 0 ;; esac
    done
    return 1
}

for file in $(git ls-files --cached --others --exclude-standard \
    '*.c' '*.h' '*.asm' '*.py' '*.sh' '*.mk' Makefile linker.ld); do
    [ -f "$file" ] || continue
    lines=$(wc -l <"$file")
    if [ "$lines" -gt $file_lines ] && ! is_table "$file"; then
        echo "$file: $lines lines, more than $file_lines: split it"
        bad=1
    fi
done

assembly=0
for file in $(git ls-files --cached --others --exclude-standard 'arch/*.asm' 'boot/*.asm' \
    'core/*.asm' 'lu/*.asm' 'mm/*.asm' 'vmx/*.asm' 'svm/*.asm'); do
    [ -f "$file" ] || continue
    assembly=$((assembly + $(wc -l <"$file")))
done
if [ $assembly -gt $assembly_lines ]; then
    echo "assembly: $assembly lines, more than $assembly_lines"
    bad=1
fi

for image in build/molt.elf build/molt-next.elf; do
    if [ ! -f $image ]; then
        echo "$image: not built"
        bad=1
    elif [ "$(wc -c <$image)" -ge $((image_kib * 1024)) ]; then
        echo "$image: $(($(wc -c <$image) / 1024)) KiB, should be below $image_kib"
        bad=1
    fi
done
exit $bad
