#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Unpack the ELF kernel in a Linux bzImage, so that nothing has to do it at every boot.

usage: unpack-kernel.py BZIMAGE ELF

The offsets are those of Linux's Documentation/arch/x86/boot.rst.
"""

import lzma
import struct
import subprocess
import sys
import zlib

SETUP_SECTS = 0x1F1
MAGIC = 0x202
PAYLOAD_OFFSET = 0x248
SECTOR = 512


def packed_payload(image):
    if image[MAGIC:MAGIC + 4] != b"HdrS":
        raise ValueError("no bzImage: its header has no HdrS")
    offset, length = struct.unpack_from("<II", image, PAYLOAD_OFFSET)
    start = (image[SETUP_SECTS] + 1) * SECTOR + offset
    payload = image[start:start + length]
    if len(payload) != length or length == 0:
        raise ValueError("the header's payload is not in the file")
    return payload


def unpack(payload):
    # The payload ends in its unpacked size, which is no part of the packed data.
    packed, size = payload[:-4], struct.unpack("<I", payload[-4:])[0]
    if packed.startswith(b"\x28\xb5\x2f\xfd"):
        kernel = subprocess.run(["zstd", "-dcq"], input=packed, capture_output=True, check=True).stdout
    elif packed.startswith(b"\xfd7zXZ\0"):
        kernel = lzma.decompress(packed, lzma.FORMAT_XZ)
    elif packed.startswith(b"\x1f\x8b"):
        # gzip's own trailer is that size.
        kernel = zlib.decompress(payload, wbits=31)
    else:
        raise ValueError(f"unknown compression, beginning {packed[:6].hex()}")
    if len(kernel) != size or not kernel.startswith(b"\x7fELF"):
        raise ValueError("the payload does not unpack to a whole ELF file")
    return kernel


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip().splitlines()[2])
    packed, unpacked = sys.argv[1:]
    with open(packed, "rb") as file:
        image = file.read()
    try:
        kernel = unpack(packed_payload(image))
    except (ValueError, lzma.LZMAError, zlib.error, subprocess.CalledProcessError) as error:
        sys.exit(f"unpack-kernel.py: {packed}: {error}")
    with open(unpacked, "wb") as file:
        file.write(kernel)


if __name__ == "__main__":
    main()
