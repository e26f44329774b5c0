#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Move the lines of one source tree to where another tree has them.

usage: pad-tree.py PATCHED TREE FILE...

Where FILE of PATCHED has lines that FILE of TREE does not have, TREE gets empty
lines. So the same code stands on the same line in both, and compiles to the same
object even where line numbers get into it.
"""

import difflib
import os
import sys


def padded(old, new):
    """The lines of `old`, with an empty one for every line that `new` has more."""
    result = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for _, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        lines = old[old_from:old_to]
        missing = (new_to - new_from) - len(lines)
        if missing < 0:
            raise ValueError(f"line {old_from + 1}: the patched file has fewer lines")
        result += lines + ["\n"] * missing
    return result


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    patched, tree, *files = sys.argv[1:]
    for name in files:
        path = os.path.join(tree, name)
        with open(path, encoding="utf-8") as file:
            old = file.readlines()
        with open(os.path.join(patched, name), encoding="utf-8") as file:
            new = file.readlines()
        try:
            lines = padded(old, new)
        except ValueError as error:
            sys.exit(f"{name}: {error}")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(lines)


if __name__ == "__main__":
    main()
