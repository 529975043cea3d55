#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Text: licence lines, heads of files, characters, line lengths, paths of somebody's machine.
# Prints FILE:LINE: TEXT (what is wrong) and fails if there is anything to print.

set -u
cd "$(dirname "$0")/../.." || exit 2

list() {
    git ls-files --cached --others --exclude-standard -- "$@" | while read -r file; do
        [ -f "$file" ] && echo "$file"
    done
}

# find_bad WHAT EXPRESSION PATH...: lines of the files that match a Perl expression.
find_bad() {
    local what=$1 expression=$2
    shift 2
    list "$@" | grep -vE '^LICENSE$|[.]bin$' | tr '\n' '\0' |
        LC_ALL=C xargs -0r grep -nP -- "$expression" /dev/null | sed "s/\$/  ($what)/"
}

# heads FIRST SECOND THIRD PATH...: the first three lines of the files.
heads() {
    local first=$1 second=$2 third=$3
    shift 3
    list "$@" | while read -r file; do
        { read -r one && read -r two && read -r three; } <"$file"
        [ "$one" = "$first" ] || echo "$file:1: $one  (not the licence line)"
        [ "$two" = "$second" ] && [[ $three =~ $third ]] ||
            echo "$file:2: $two  (no comment that says what the file is)"
    done
}

# The licence line in the first two lines, behind the #! line if there is one.
scripts() {
    list "$@" | while read -r file; do
        head -n 2 "$file" | grep -qx '# SPDX-License-Identifier: Apache-2\.0' ||
            echo "$file:1:  (no licence line)"
    done
}

code=('*.c' '*.h' '*.asm' '*.inc' linker.ld)

check() {
    heads '/* SPDX-License-Identifier: Apache-2.0 */' '/*' '^\* [A-Za-z0-9]' '*.c' '*.h' linker.ld
    heads '; SPDX-License-Identifier: Apache-2.0' ';' '^; [A-Za-z0-9]' '*.asm' '*.inc'
    scripts '*.py' '*.sh' '*.mk' Makefile tools/molt tools/deps tools/bench tools/seal \
        tools/linux/fetch tools/linux/initramfs tools/linux/init tests/run tests/style/run .ci/run

    find_bad 'not ASCII' '[^\x00-\x7f]'
    find_bad 'a binary file' '\x00'
    find_bad 'blank at the end' '[ \t\r]+$'
    find_bad 'tab' '\t' "${code[@]}" '*.py' '*.sh' '*.md'
    find_bad 'more than 100 columns' '^.{101}' "${code[@]}" '*.py' '*.sh'
    # Character classes keep these lines from finding themselves.
    find_bad 'path of a machine' '(?<![\w.])/(home|root|work|mnt|Users)/[\w.]'
    find_bad 'leftover' '[F]IXME|\b[X]XX\b|\b[H]ACK\b'
    find_bad 'an issue number belongs behind it' '\bTODO(?!\(#)\b' "${code[@]}"
}

bad=$(check)
[ -z "$bad" ] && exit 0
echo "$bad"
exit 1
