# SPDX-License-Identifier: Apache-2.0
"""The seal of an image: hash and signature in its second ELF note (docs/LU_ABI.md).

Images are bytes here. Keys are files of openssl's, and openssl does what needs a private one.
"""

import hashlib
import struct
import subprocess

_PT_NOTE = 4
_OWNER, _SEAL_TYPE, _SEAL_BYTES = b"molt\0", 2, 112
_HASH_AT, _SIGNATURE_AT = 16, 48  # in struct lu_note_seal
_FIELDS = struct.Struct("<QQ32s64s")  # features, counter, sha256, signature
# The DER of a P-256 public key: this, then 64 bytes of X and Y.
_SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")


class SealError(Exception):
    """What is not an image, or not a key."""


def notes(elf):
    """(owner, type, offset of the description, its length) of the ELF64 notes."""
    if elf[:5] != b"\x7fELF\x02" or len(elf) < 64:
        raise SealError("not an ELF64 file")
    table, size, count = struct.unpack_from("<Q", elf, 32) + struct.unpack_from("<HH", elf, 54)
    try:
        for at in range(table, table + size * count, size):
            kind, _, start, _, _, length = struct.unpack_from("<IIQQQQ", elf, at)
            end = start + length
            while kind == _PT_NOTE and start + 12 <= end:
                name, desc, note_type = struct.unpack_from("<III", elf, start)
                at_desc = start + 12 + (name + 3 & ~3)
                yield elf[start + 12 : start + 12 + name], note_type, at_desc, desc
                start = at_desc + (desc + 3 & ~3)
    except (struct.error, ValueError) as error:
        raise SealError(f"damaged ELF file: {error}") from error


def place(elf):
    """Where the seal note's description is."""
    for owner, note_type, at, length in notes(elf):
        if (owner, note_type, length) == (_OWNER, _SEAL_TYPE, _SEAL_BYTES):
            return at
    raise SealError("no seal note")


def read(elf):
    """(features, counter, sha256, signature)"""
    return _FIELDS.unpack_from(elf, place(elf))


def _with(elf, sha256, signature):
    at = place(elf)
    return elf[: at + _HASH_AT] + sha256 + signature + elf[at + _SEAL_BYTES :]


def digest(elf):
    """SHA-256 over the image without hash and signature."""
    return hashlib.sha256(_with(elf, bytes(32), bytes(64))).digest()


def edit(elf, features=None, counter=None):
    """The image with other claims: for tests; to be sealed again."""
    old = read(elf)
    new = [old[0] if features is None else features, old[1] if counter is None else counter]
    at = place(elf)
    return elf[:at] + struct.pack("<QQ", *new) + elf[at + _HASH_AT :]


def seal(elf):
    """The image with its hash, not signed."""
    return _with(elf, digest(elf), bytes(64))


def _openssl(*words, data=b""):
    done = subprocess.run(["openssl", *words], input=data, capture_output=True, check=False)
    if done.returncode != 0:
        raise SealError(f"openssl {words[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _integer(der, at):
    """(32 bytes, where the next one is) of an INTEGER in a DER signature."""
    end = at + 2 + der[at + 1]
    return der[at + 2 : end].lstrip(b"\0").rjust(32, b"\0"), end


def raw_signature(der):
    """r and s, 32 bytes each, of openssl's DER."""
    r, at = _integer(der, 2)
    s, end = _integer(der, at)
    if end != len(der) or len(r) != 32 or len(s) != 32:
        raise SealError("not a signature by a P-256 key")
    return r + s


def sign(elf, key):
    """The image with its hash, signed by the private key in a file."""
    public_key(key)
    sha256 = digest(elf)
    with_hash = _openssl("pkeyutl", "-sign", "-inkey", key, data=sha256)
    return _with(elf, sha256, raw_signature(with_hash))


def public_key(key):
    """The 65 bytes 4, X, Y of the private key in a file."""
    der = _openssl("pkey", "-in", key, "-pubout", "-outform", "DER")
    if len(der) != len(_SPKI) + 64 or not der.startswith(_SPKI):
        raise SealError(f"{key}: not a P-256 key (openssl ecparam -name prime256v1 -genkey -noout)")
    return der[-65:]


def command_line_word(key):
    """What molt is told, to take images signed by this key only."""
    return "lu_key=" + public_key(key).hex()
