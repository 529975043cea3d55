# SPDX-License-Identifier: Apache-2.0
"""Figures of molt and of its peers: `tools/bench`, docs/PERFORMANCE.md.

    figure.py     what a figure is; percentiles
    runs.py       molt on emulators
    peers.py      Linux, kexec, Xen and KVM on the same emulator
    bochs.py      a machine on Bochs without molt, for peers
    packages.py   Debian packages of peers, unpacked into build/
    host.py       mm/ and lu/ on this machine's processor
    plan.py       the cases, and the bounds that figures are held against
    table.py      figures as text
    picture.py    figures as a picture
"""
