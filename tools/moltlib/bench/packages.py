# SPDX-License-Identifier: Apache-2.0
"""Debian packages of what molt is held against: downloaded by name and unpacked into build/, not
installed."""

import os
import subprocess

from moltlib.bench.figure import Failed
from moltlib.options import BUILD

WHERE = os.path.join(BUILD, "packages")
XEN = "xen-hypervisor-4.17-amd64"
# kexec is linked with Xen's libraries, since it can load a kernel for Xen as well.
KEXEC = ("kexec-tools", "libxenmisc4.17", "libxentoollog1", "libxencall1", "libxenevtchn1",
         "libxengnttab1", "libxenforeignmemory1", "libxendevicemodel1", "libxentoolcore1")
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


def unpacked(name):
    """The directory of a package's files."""
    root = os.path.join(WHERE, name)
    if os.path.isdir(root):
        return root
    _run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", name])
    archive = next(file for file in os.listdir(WHERE) if file.startswith(name + "_"))
    _run(["dpkg-deb", "-x", archive, root + ".new"])
    os.remove(os.path.join(WHERE, archive))
    os.rename(root + ".new", root)
    return root


def versions():
    """{package: version} of what figures depend on."""
    names = ["bochs", "qemu-system-x86", "linux-image-cloud-amd64", XEN, KEXEC[0]]
    found = {}
    for name in names:
        policy = _run(["apt-cache", "policy", name])
        found[name] = policy.partition("Candidate: ")[2].partition("\n")[0]
    return found


def kexec():
    """{path in a system: file} of kexec and the libraries that it needs."""
    roots = [unpacked(name) for name in KEXEC]
    path = ":".join(os.path.join(root, _LIBRARIES) for root in roots)
    program = os.path.join(roots[0], "sbin", "kexec")
    found = {"bin/kexec": program}
    for line in _run(["ldd", program], LD_LIBRARY_PATH=path).splitlines():
        words = line.split()
        if "=>" in words and len(words) > 3:
            found["lib/" + words[0]] = words[2]
        elif words[0].startswith("/"):  # the dynamic loader
            found[words[0][1:]] = words[0]
    return found


def _run(command, **environment):
    os.makedirs(WHERE, exist_ok=True)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          cwd=WHERE, env=os.environ | environment, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command)}: {done.stderr.strip()}; are the package lists old "
                     "(apt-get update)?")
    return done.stdout
