#!/bin/sh
# install.sh build|test: puts on a Debian machine what building (build) or all tests (test) need, and nothing that is there already.
# Needs root or sudo only when something is missing. Rust itself is expected (https://rustup.rs).
set -eu

missing=""
need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}

command -v cargo >/dev/null 2>&1 || {
    echo "cargo is not on the PATH: install Rust from https://rustup.rs, then run this again." >&2
    exit 1
}

case "${1:-}" in
build)
    need cc gcc
    [ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
    ;;
test)
    need cc gcc
    [ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
    need chromium chromium
    need chromedriver chromium-driver
    ;;
*)
    echo "usage: install.sh build|test" >&2
    exit 2
    ;;
esac

[ -n "$missing" ] || exit 0
echo "Installing:$missing"
command -v apt-get >/dev/null 2>&1 || {
    echo "This machine has no apt-get. Install what these Debian packages hold:$missing" >&2
    exit 1
}
as_root=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || {
        echo "Not root, and there is no sudo. As root: apt-get install$missing" >&2
        exit 1
    }
    as_root="sudo"
fi
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# shellcheck disable=SC2086 # a list of packages
$as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
