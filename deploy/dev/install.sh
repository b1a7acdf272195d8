#!/bin/sh
# install.sh build|test|bench|bench-check: puts on a Debian machine what building (build), all tests (test), building and the other
# servers of `make bench-edge` (bench), or counting instructions (bench-check) need, and nothing that is there already.
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
bench)
    need cc gcc
    [ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
    need taskset util-linux
    need npm npm
    need go golang-go
    ;;
bench-check)
    need cc gcc
    [ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
    need valgrind valgrind
    ;;
*)
    echo "usage: install.sh build|test|bench|bench-check" >&2
    exit 2
    ;;
esac

install_packages() {
    [ -n "$missing" ] || return 0
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
}

# The Autobahn test suite, which core/tests/autobahn.rs runs. It needs Python 2.7, which Debian 12 does not have: where there
# is none, or no way to PyPI, that test says so and is left out.
install_autobahn() {
    suite="autobahntestsuite-25.10.1"
    cache="${XDG_CACHE_HOME:-$HOME/.cache}/gochat"
    [ ! -e "$cache/$suite/python" ] || return 0
    for python in python2.7 "$HOME"/.pyenv/versions/2.7*/bin/python2.7; do
        "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' >/dev/null 2>&1 || continue
        python="$("$python" -c 'import sys; print(sys.executable)')"
        rm -rf "$cache/$suite.new"
        mkdir -p "$cache"
        echo "Installing $suite"
        if "$python" -m pip install --quiet --disable-pip-version-check --target "$cache/$suite.new" \
            "autobahntestsuite==25.10.1" >"$cache/$suite.log" 2>&1; then
            # Without it Python 2 does not see the package that this folder is.
            touch "$cache/$suite.new/zope/__init__.py"
            echo "$python" >"$cache/$suite.new/python"
            rm -rf "${cache:?}/$suite"
            mv "$cache/$suite.new" "$cache/$suite"
        else
            echo "WARNING: $suite could not be installed, its test will be left out; see $cache/$suite.log" >&2
        fi
        return 0
    done
    echo "WARNING: there is no Python 2.7 here, so the Autobahn test suite will be left out." >&2
}

install_packages
[ "$1" != test ] || install_autobahn
