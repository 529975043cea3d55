#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The golden streams are what the programs beside them write, byte for byte.

cd "$(dirname "$0")/../host/golden" || exit 2
bad=0

# same FILE PROGRAM [WORD]
same() {
    file=$1
    shift
    if ! /usr/bin/python3 "$@" | cmp -s - "$file"; then
        echo "$file is not what $* writes"
        bad=1
    fi
}

same stream-v1.bin make_stream_v1.py
same stream-v1-domains.bin make_stream_v1.py domains
same stream-v2.bin make_stream_v2.py
same stream-v2-stops.bin make_stream_v2.py stops
for file in stream-*.bin; do
    grep -q "same $file " ../../style/golden.sh || { echo "$file is not compared"; bad=1; }
done
exit $bad
