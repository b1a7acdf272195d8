#!/bin/sh
# build.sh bun|gws|tokio-tungstenite|fastwebsockets: builds or installs that peer of `make bench-edge` in ${XDG_CACHE_HOME:-~/.cache}/gochat/peers
# and prints the path of its server, started as `SERVER PORT`; SERVER.version holds what it is made of.
# Exit codes: 1 it could not be had (the last line on standard error says why), 2 usage.
set -eu

usage="usage: build.sh bun|gws|tokio-tungstenite|fastwebsockets"
[ $# = 1 ] || { echo "$usage" >&2; exit 2; }
peer=$1
case "$peer" in
bun) tools=npm; program=peer-bun ;;
gws) tools=go; program=peer-gws ;;
tokio-tungstenite | fastwebsockets) tools="cargo cc"; program=peer-$peer ;;
*)
    echo "no such peer: $peer; $usage" >&2
    exit 2
    ;;
esac

fail() { echo "$peer: $1" >&2; exit 1; }
for tool in $tools; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        [ "$tool" != cargo ] || fail "there is no cargo on the PATH; Rust is at https://rustup.rs"
        fail "there is no $tool on the PATH; \`deploy/dev/install.sh bench\` installs it on Debian"
    fi
done

cd "$(dirname "$0")"
here=$PWD
[ -n "${XDG_CACHE_HOME:-${HOME:-}}" ] || fail "neither XDG_CACHE_HOME nor HOME is set, so there is no cache folder"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/gochat/peers"
mkdir -p "$cache/bin" || fail "cannot write to $cache"
log="$cache/$peer.log"
server="$cache/bin/$program"

# Runs the command and keeps what it says; when it fails, its complaint is the reason.
quietly() {
    "$@" >"$log" 2>&1 && return 0
    cat "$log" >&2
    reason=$(grep -iE 'error|denied|fail|no such|not found' "$log" | head -n 1)
    fail "\`$1 $2\` failed: ${reason:-$(tail -n 1 "$log")}"
}

case "$peer" in
bun)
    mkdir -p "$cache/bun"
    cp bun/package.json bun/package-lock.json bun/server.js "$cache/bun/"
    cd "$cache/bun"
    # Without the package's script, which only puts the program of this machine where `bun` expects it.
    quietly npm ci --no-audit --no-fund --ignore-scripts
    bun=""
    for one in "$cache"/bun/node_modules/@oven/bun-*/bin/bun; do
        # Both kinds of C library may have been installed; only one of them runs.
        if [ -x "$one" ] && "$one" --version >/dev/null 2>&1; then bun=$one; break; fi
    done
    [ -n "$bun" ] || fail "npm installed no bun that runs on this machine"
    printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$bun" "$cache/bun/server.js" >"$server.new"
    chmod +x "$server.new"
    mv "$server.new" "$server"
    version="$("$bun" --version)"
    ;;
gws)
    cd gws
    quietly go build -trimpath -o "$server" .
    version="$(go list -m -f '{{.Version}}' github.com/lxzan/gws), $(go env GOVERSION)"
    ;;
*)
    quietly cargo build --release --locked --target-dir "$cache/cargo" -p "$program"
    cp "$cache/cargo/release/$program" "$server.new"
    mv "$server.new" "$server"
    library() { # library NAME: its version in Cargo.lock
        sed -n "/^name = \"$1\"\$/{n;s/^version = \"\(.*\)\"\$/$1 \1/p;}" "$here/Cargo.lock" | tail -n 1
    }
    version="$(library "$peer" | cut -d " " -f 2), $(library tokio), $(rustc --version | cut -d ' ' -f 1,2)"
    ;;
esac
echo "$version" >"$server.version"
echo "$server"
