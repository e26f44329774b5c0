#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Make one folder's contents equal to another's, by content.

usage: sync-tree.py FROM TO

A file whose bytes and mode are right already keeps its time stamp, so that a
build in TO redoes only what really changed. What FROM does not have is deleted
from TO. Version control folders are left out on both sides.
"""

import filecmp
import os
import shutil
import sys

LEFT_OUT = {".git", ".hg"}


def entries(top):
    """The relative paths of all files and symbolic links below `top`."""
    found = set()
    for folder, names, files in os.walk(top):
        links = [n for n in names if os.path.islink(os.path.join(folder, n))]
        names[:] = [n for n in names if n not in LEFT_OUT and n not in links]
        for name in files + links:
            if name not in LEFT_OUT:
                found.add(os.path.relpath(os.path.join(folder, name), top))
    return found


def same(one, other):
    """Whether two existing paths hold the same link, or bytes and mode."""
    if os.path.islink(one) or os.path.islink(other):
        return (
            os.path.islink(one)
            and os.path.islink(other)
            and os.readlink(one) == os.readlink(other)
        )
    return (
        os.path.isfile(other)
        and os.stat(one).st_mode == os.stat(other).st_mode
        and filecmp.cmp(one, other, shallow=False)
    )


def remove(path):
    """Delete a file, a link or a folder."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.remove(path)


def put(source, target):
    """Copy one file or link with a new time stamp."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.lexists(target):
        remove(target)
    shutil.copy(source, target, follow_symlinks=False)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    origin, copy = sys.argv[1:]
    os.makedirs(copy, exist_ok=True)
    wanted = entries(origin)
    for name in sorted(entries(copy) - wanted):
        remove(os.path.join(copy, name))
    for name in sorted(wanted):
        source, target = os.path.join(origin, name), os.path.join(copy, name)
        if not (os.path.lexists(target) and same(source, target)):
            put(source, target)


if __name__ == "__main__":
    main()
