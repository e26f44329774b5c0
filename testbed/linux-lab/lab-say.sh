# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# How the guests of the lab talk to the runner, a line each on the console:
#
#   LAB PHASE <seconds> <what>      a phase began, and how long it may take
#   LAB CHECK <name> ok             one check of the runner's list
#   LAB CHECK <name> failed: <why>
#   LAB FACT <name>=<value>         a figure for people and the results file
#   LAB DONE                        nothing more will come
#
# Xen writes to the same console and may cut a line in two: phases are
# announced twice, and dom0 says all else again at the end, when no domain is
# left that makes Xen speak. A line that is cut counts for nothing.
#
# Sourced, by dom0's scripts and the domains' alike; these shells know no local
# variables, so those here have names of their own.

TOLD=${TOLD:-/dev/null}

say() {
    echo "$*"
    echo "$*" >>"$TOLD"
}

phase() {
    echo "LAB PHASE $*"
    echo "LAB PHASE $*"
}

fact() {
    say "LAB FACT $1=$2"
}

ok() {
    say "LAB CHECK $1 ok"
}

failed() {
    failed_name=$1
    shift
    say "LAB CHECK $failed_name failed: $*"
}

# check_that NAME COMMAND...: ok if the command succeeds; if not, all it said
# for the log, and its last words.
check_that() {
    check_name=$1
    shift
    if check_output=$("$@" 2>&1); then
        ok "$check_name"
    else
        check_status=$?
        echo "$check_output"
        failed "$check_name" "status $check_status of '$1': $(echo "$check_output" | tail -n 1)"
        return 1
    fi
}

# check_same NAME EXPECTED FOUND
check_same() {
    if [ -n "$2" ] && [ "$2" = "$3" ]; then
        ok "$1"
    else
        failed "$1" "expected '$2', found '$3'"
        return 1
    fi
}

seconds_up() {
    cut -d. -f1 /proc/uptime
}

# within SECONDS COMMAND...: tries until it succeeds.
within() {
    limit=$(($(seconds_up) + $1))
    shift
    until "$@"; do
        [ "$(seconds_up)" -lt "$limit" ] || return 1
        sleep 0.5
    done
}

done_with_lab() {
    cat "$TOLD"
    echo "LAB DONE"
    echo "LAB DONE"
}
