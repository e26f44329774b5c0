# SPDX-License-Identifier: GPL-2.0-only
#
# Reads what Xen's debug key `g` printed, as `xl dmesg` shows it, and prints a
# line a domain:
#
#   <domain> <active entries> <of these, not reserved> <maptrack frames>
#
# The public header grant_table.h reserves references 0 to 7 for the tool stack
# (0 is the console's, 1 is xenstore's): those stay in use as long as a domain
# lives, all others are a device's.
#
# Each domain's part ends in its active entries or in words that there are
# none. A part with neither, or no part of domain 0, is an error and not an
# empty table: a check that counts on this must be able to fail.

function finish() {
    if (domain == "")
        return
    if (active == 0 && !said_none) {
        print "no entries and no word of it for d" domain > "/dev/stderr"
        broken = 1
    }
    print domain, active, active - reserved, maptrack
    if (domain == 0)
        saw_dom0 = 1
}

{
    sub(/^\(XEN\) /, "")
    sub(/^\[ *[0-9]+\.[0-9]+\] /, "")
}

/^grant-table for remote d[0-9]+ / {
    finish()
    domain = $4
    sub(/^d/, "", domain)
    active = reserved = said_none = 0
    maptrack = "?"
}

/ maptrack frames \(/ {
    for (i = 2; i <= NF; i++)
        if ($i == "maptrack")
            maptrack = $(i - 1)
}

# [0x008]      0 0x012345 0x00000001          0 0x001234 0x19
/^\[0x[0-9a-f]+\] +[0-9]+ 0x/ {
    active++
    if ($1 ~ /^\[0x0*[0-7]\]$/)
        reserved++
}

/^no active grant table entries/ {
    said_none = 1
}

END {
    finish()
    if (!saw_dom0) {
        print "no grant table of domain 0 in Xen's log" > "/dev/stderr"
        broken = 1
    }
    exit broken
}
