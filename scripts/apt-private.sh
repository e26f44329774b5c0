# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Debian's package registry through lists of this project's own under
# build/apt: suites the system does not follow (for Xen's source, for a newer
# QEMU) are used without touching the system's configuration. Which mirror is
# the system's choice. Sourced after lib.sh.

APT_DIR=$BUILD/apt
DEBIAN_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

is_debian() {
    [ -r /etc/os-release ] && grep -qx 'ID=debian' /etc/os-release &&
        command -v apt-get >/dev/null
}

debian_codename() {
    sed -n 's/^VERSION_CODENAME=//p' /etc/os-release
}

# system_sources: the system's Debian sources, one `deb` line each. apt knows
# them only once it has lists, which a fresh machine has not.
system_sources() {
    # shellcheck disable=SC2016 # $(...) are apt's fields
    apt-get indextargets \
        --format "deb [signed-by=$DEBIAN_KEYRING] \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" \
        'Created-By: Packages' 'Origin: Debian' | sort -u
}

system_update() {
    [ "$(id -u)" -eq 0 ] ||
        fail "apt has no package lists yet; run: sudo apt-get update"
    say APT "updating the system's package lists"
    logged apt-update apt-get -q update
}

need_system_sources() {
    is_debian || fail "Debian's package registry is needed here, and this is not Debian"
    [ -n "$(system_sources)" ] || system_update
    [ -n "$(system_sources)" ] || fail "apt's configuration names no Debian mirror"
}

# debian_mirror: the address of the main archive in the system's configuration.
debian_mirror() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
        'Label: Debian' "Codename: $(debian_codename)" | sort -u | head -n 1
}

# private_apt NAME TOOL ARGUMENT...: apt-get or apt-cache on the lists of NAME
# alone. An unsigned or wrongly signed suite is an error, whatever the system
# allows.
private_apt() {
    local dir=$APT_DIR/$1 tool=$2
    shift 2
    "$tool" \
        -o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=- \
        -o Dir::State::Lists="$dir/lists" -o Dir::Cache="$dir/cache" \
        -o Acquire::AllowInsecureRepositories=false \
        -o Acquire::AllowWeakRepositories=false \
        -o APT::Get::AllowUnauthenticated=false \
        -o APT::Sandbox::User="$(id -un)" "$@"
}

# private_lists NAME LINES: sets up and fetches the lists of NAME.
private_lists() {
    local dir=$APT_DIR/$1
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
    printf '%s\n' "$2" >"$dir/sources.list"
    logged "apt-$1" private_apt "$1" apt-get -q update
}
