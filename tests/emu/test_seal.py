# SPDX-License-Identifier: Apache-2.0
"""Sealed and signed images: tools/seal, and what molt refuses, each with its code."""

import base64
import functools
import os
import re
import struct
import subprocess
import threading

import pytest
from conftest import LOGS, ROOT, Case, both, built
from test_cases import CONTROL, FOUR, WORKERS, all_exited, guest, images_take_turns, molt_line, \
    no_frame_lost, not_loaded, ticks_in_order

from moltlib import seal

SEAL = os.path.join(ROOT, "tools", "seal")

# Codes of include/public/hypercall.h.
SPACE, FEATURE, HASH, SIGNATURE, ROLLBACK = 9, 10, 11, 12, 13

# The example key of RFC 6979, A.2.5: anybody may sign with it.
RFC_PRIVATE = bytes.fromhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")
RFC_PUBLIC = bytes.fromhex("0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
                           "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299")
KEY_WORD = "lu_key=" + RFC_PUBLIC.hex()


def rfc_key():
    """The same as a file of openssl's: SEC 1, "ECPrivateKey"."""
    der = (bytes.fromhex("30770201010420") + RFC_PRIVATE
           + bytes.fromhex("a00a06082a8648ce3d030107a144034200") + RFC_PUBLIC)
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN EC PRIVATE KEY-----\n{body}-----END EC PRIVATE KEY-----\n"


def openssl(*words, **more):
    return subprocess.run(["openssl", *words], check=True, capture_output=True, **more).stdout


def last_segment(elf):
    """Where the program header of the highest PT_LOAD is."""
    table, count = struct.unpack_from("<Q", elf, 32)[0], struct.unpack_from("<H", elf, 56)[0]
    loads = [at for at in range(table, table + 56 * count, 56)
             if struct.unpack_from("<I", elf, at)[0] == 1]
    return max(loads, key=lambda at: struct.unpack_from("<Q", elf, at + 24)[0])


def enlarged(elf):
    """With 700 MiB of .bss."""
    at = last_segment(elf) + 40
    return elf[:at] + struct.pack("<Q", 700 << 20) + elf[at + 8 :]


def spoiled(elf):
    """One bit of the code."""
    return elf[:0x8000] + bytes([elf[0x8000] ^ 4]) + elf[0x8001:]


# --- images for the runs ---

IMAGES = os.path.join(LOGS, "seal")
_lock = threading.Lock()


def image(name):
    return os.path.join(IMAGES, name + ".elf")


@functools.cache
def _make_images():
    os.makedirs(IMAGES, exist_ok=True)
    keys = [os.path.join(IMAGES, name) for name in ("rfc.pem", "other.pem")]
    with open(keys[0], "w", encoding="ascii") as file:
        file.write(rfc_key())
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", keys[1])
    elfs = []
    for name in ("molt", "molt-next"):
        with open(os.path.join(ROOT, built(name + ".elf")), "rb") as file:
            elfs.append(seal.seal(file.read()))
    made = {
        "molt-signed": seal.sign(elfs[0], keys[0]),
        "next-signed": seal.sign(elfs[1], keys[0]),
        "molt": elfs[0],
        "next": elfs[1],
        "next-other-key": seal.sign(elfs[1], keys[1]),
        "next-spoiled": spoiled(elfs[1]),
        "next-spoiled-signed": spoiled(seal.sign(elfs[1], keys[0])),
        "next-large": seal.seal(enlarged(elfs[1])),
        "next-able-to-nothing": seal.seal(seal.edit(elfs[1], features=0)),
        "next-7-signed": seal.sign(seal.edit(elfs[1], counter=7), keys[0]),
    }
    for name, elf in made.items():
        with open(image(name), "wb") as file:
            file.write(elf)


def make_images():
    with _lock:
        _make_images()


# --- tools/seal ---


@pytest.fixture(name="images", scope="module")
def fixture_images():
    make_images()

    def read(name):
        with open(image(name), "rb") as file:
            return file.read()

    return read


def test_images__as_built__sealed():
    for name in ("molt", "molt-next"):
        with open(os.path.join(ROOT, built(name + ".elf")), "rb") as file:
            elf = file.read()
        features, counter, sha256, _ = seal.read(elf)
        assert sha256 == seal.digest(elf) and features & 1 and counter == 0


def digest_or_none(elf):
    try:
        return seal.digest(elf)
    except seal.SealError:
        return None


def test_digest__any_byte_changed__differs(images):
    elf = images("molt-signed")
    at = seal.place(elf)
    for i in [*range(0, len(elf), 977), *range(at - 4, at + 120)]:
        changed = elf[:i] + bytes([elf[i] ^ 0x10]) + elf[i + 1 :]
        same = at + 16 <= i < at + 112  # hash and signature are not in the hash
        assert (digest_or_none(changed) == seal.digest(elf)) == same, i


def test_seal__tool__writes_what_the_library_makes(images, tmp_path):
    path = tmp_path / "a.elf"
    path.write_bytes(seal.edit(images("molt"), counter=9))
    subprocess.run([SEAL, path], check=True)
    elf = path.read_bytes()
    assert seal.read(elf)[1:] == (9, seal.digest(elf), bytes(64))


def test_sign__tool__openssl_agrees(images, tmp_path):
    """The signature is the ordinary one over the image without hash and signature."""
    path, key = tmp_path / "a.elf", os.path.join(IMAGES, "rfc.pem")
    path.write_bytes(images("molt"))
    done = subprocess.run([SEAL, "--key", key, path], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == KEY_WORD
    elf = path.read_bytes()
    signature = seal.read(elf)[3]
    numbers = b""
    for half in (signature[:32], signature[32:]):
        number = half.lstrip(b"\0")
        number = (b"\0" if number[0] & 0x80 else b"") + number
        numbers += bytes([2, len(number)]) + number
    (tmp_path / "signature").write_bytes(bytes([0x30, len(numbers)]) + numbers)
    at = seal.place(elf) + 16
    (tmp_path / "blank").write_bytes(elf[:at] + bytes(96) + elf[at + 96 :])
    openssl("pkey", "-in", key, "-pubout", "-out", tmp_path / "public")
    words = ("dgst", "-sha256", "-verify", tmp_path / "public", "-signature",
             tmp_path / "signature")
    assert b"Verified OK" in openssl(*words, tmp_path / "blank")
    with pytest.raises(subprocess.CalledProcessError):
        openssl(*words, path)


@pytest.mark.parametrize("what", ("rsa", "p384", "text", "missing"))
def test_sign__other_keys__refused_and_nothing_written(images, tmp_path, what):
    path, key = tmp_path / "a.elf", tmp_path / "key.pem"
    path.write_bytes(images("molt"))
    if what == "rsa":
        openssl("genrsa", "-out", key, "2048")
    elif what == "p384":
        openssl("ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", key)
    elif what == "text":
        key.write_text("no key")
    done = subprocess.run([SEAL, "--key", key, path], check=False, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("seal: ") and not done.stdout
    assert path.read_bytes() == images("molt")


@pytest.mark.parametrize("length", (0, 4, 63, 64, 200, 5000))
def test_seal__no_image__refused(images, tmp_path, length):
    path = tmp_path / "a.elf"
    path.write_bytes(images("molt")[:length])
    done = subprocess.run([SEAL, path], check=False, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("seal: ")
    assert "Traceback" not in done.stderr


# --- molt ---


def refused(name, code, text, append="", **more):
    """molt itself asks for the update; nothing is lost."""
    images = [image(more.pop("file")), image("molt")]
    return not_loaded(f"seal-{name}", append, rf"{text}.* \(code {code}\)$", images=images,
                      prepare=make_images, **more)


def key_said(run):
    assert any(line.startswith("molt: lu: images have to be signed by key 60fed4ba")
               for line in run.log.lines), run.describe()


def one_update(run):
    assert len(run.log.ok) == 1, run.describe()


def all_codes(run):
    """Each reason for which the guest's images were refused."""
    codes = {int(re.search(r"\(code (\d+)\)$", text).group(1)) for text in run.log.refusals}
    assert {1, 4, 5, 6, 7, 8, HASH, SIGNATURE, 17} <= codes, codes


TWO_VCPUS = guest("control", "mem=32M", "control", "vcpus=2")

CASES = [
    refused("corrupted", HASH, "corrupted", file="next-spoiled"),
    refused("unsigned", SIGNATURE, "not signed", KEY_WORD, file="next"),
    refused("another-key", SIGNATURE, "not signed by the key", KEY_WORD, file="next-other-key"),
    refused("signed-and-corrupted", HASH, "corrupted", KEY_WORD, file="next-spoiled-signed"),
    refused("key-malformed", SIGNATURE, "is not a public key", KEY_WORD[:-1], file="next-signed"),
    refused("key-off-the-curve", SIGNATURE, "not signed by", KEY_WORD[:-1] + "8",
            file="next-signed"),
    refused("rollback", ROLLBACK, "below lu_counter=", "lu_counter=1", file="next"),
    refused("rollback-malformed", ROLLBACK, "is not a number", "lu_counter=new", file="next"),
    refused("feature", FEATURE, "domains with several vCPUs", file="next-able-to-nothing",
            guests=[TWO_VCPUS]),
    refused("space", SPACE, "needs liveupdate=1[0-9]{3}M", file="next-large"),
    # The policy is every image's: it crosses updates.
    Case("seal-signed", "tcg", updates=4, interval=20, append=f"{KEY_WORD} lu_counter=0",
         guests=[CONTROL], images=[image("molt-signed"), image("next-signed")],
         prepare=make_images, checks=[images_take_turns, no_frame_lost, key_said]),
    Case("seal-next-image-asks-too", "tcg", updates=2, interval=20, append=KEY_WORD,
         guests=[CONTROL], images=[image("molt"), image("next-signed")], prepare=make_images,
         fails={"machine:failed", "updates", "end"}, checks=[
             one_update, molt_line(r"not signed \(code 12\)")]),
    Case("seal-counter-is-raised", "tcg", updates=2, interval=20, append=f"{KEY_WORD} lu_counter=7",
         guests=[CONTROL], images=[image("molt-signed"), image("next-7-signed")],
         prepare=make_images, fails={"machine:failed", "updates", "end"}, checks=[
             one_update, molt_line(r"below lu_counter= \(code 13\)")]),
    # Guests that check their vector registers go on while images are verified and refused.
    *(case for name, count in (("seal-guests", 1), ("seal-guests-2-cpus", 2))
      for case in both(
          name, cpus=count, append=f"end=control {KEY_WORD}", prepare=make_images,
          guests=[guest("refuse", "mem=64M", "control", "module=" + image("next-signed"),
                        cmdline="key=1"), *WORKERS[:count]],
          checks=[ticks_in_order, key_said, all_codes,
                  all_exited("refuse", *FOUR[:count])],
          timeout=200, seconds=25)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_sealed(case, case_run):
    case_run.expect(case.fails)
    for check in case.checks:
        check(case_run)
