#!/bin/sh
# check.sh [all|counts|runs|record]: whether this checkout costs more than the commit recorded in recorded.json; docs/bench-check.md.
#   counts  instructions of the pure parts, under callgrind, against the recorded figures
#   runs    chat and echo, by turns against a build of the recorded commit: fails when the interval of CPU per operation lies above WORSE_BY
#   record  counts, and writes recorded.json for HEAD
# Exit codes are gochat-perf's: 5 it costs more, 3 it could not be told, 1 a run broke a promise. Settings by environment:
set -eu
cd "$(dirname "$0")/../.."

rounds=${ROUNDS:-5} # at least 5
rates=${RATES:-"1000 5000"} # of chat, messages a second
chat_seconds=${CHAT_SECONDS:-10}
users=${USERS:-200} # who chat
depths=${DEPTHS:-"1 16"} # of echo, messages on the wire of each connection
echo_seconds=${ECHO_SECONDS:-5}
connections=${CONNECTIONS:-100} # of echo
worse_by=${WORSE_BY:-15%}
port=${PORT:-18180} # and the two above it

what=${1:-all}
recorded=deploy/bench/recorded.json
out=target/bench/check

fail() { # fail CODE WORDS…
    code=$1; shift
    echo "check.sh: $*" >&2
    exit "$code"
}

case "$what" in
all | counts | runs | record) ;;
*) fail 2 "usage: check.sh [all|counts|runs|record]" ;;
esac
[ "$rounds" -ge 5 ] 2>/dev/null || fail 2 "ROUNDS must be 5 or more: fewer tell no noise"

if [ "$what" != record ]; then
    commit=$(sed -n 's/^ *"commit": "\([0-9a-f]\{40\}\)",*$/\1/p' "$recorded" 2>/dev/null || true)
    [ -n "$commit" ] || fail 3 "$recorded names no commit: make bench-record"
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/gochat/recorded/$commit
fi

# The recorded commit's sources, in a folder of their own: a worktree would stay registered in this clone when the cache is deleted.
unpack_recorded() {
    [ ! -e "$cache/source/Cargo.toml" ] || return 0
    git cat-file -e "$commit^{commit}" 2>/dev/null || fail 3 "the recorded commit $commit is not in this clone." \
        "In a shallow clone: git fetch --unshallow. When history was written anew: make bench-record." \
        "Without it: deploy/bench/check.sh counts"
    rm -rf "$cache/source" "$cache/new"
    mkdir -p "$cache/new"
    git archive --output "$cache/new.tar" "$commit"
    tar -xf "$cache/new.tar" -C "$cache/new"
    rm "$cache/new.tar"
    mv "$cache/new" "$cache/source"
}

build_counts() { # into cargo's target folder, in the sources of the working directory
    cargo build --release --locked -p gochat-gateway --features counts --example counts
}

build_servers() {
    cargo build --release --locked -p gochat
    cargo build --release --locked -p gochat-core --example echo
}

build_recorded() {
    unpack_recorded
    (
        cd "$cache/source"
        export CARGO_TARGET_DIR="$cache/target" GOCHAT_COMMIT="$commit"
        build_servers
        build_counts
    )
}

case "$what" in all | runs) build_recorded ;; esac
unset CARGO_TARGET_DIR
cargo build --release --locked -p gochat-perf
perf=target/release/gochat-perf

if [ "$what" = record ]; then
    [ -z "$(git status --porcelain --untracked-files=no -- . ":!$recorded")" ] ||
        fail 3 "there are changes that HEAD does not have: commit them first, or the record would be of no commit"
    build_counts
    "$perf" instructions --program target/release/examples/counts --recorded "$recorded" --record "$(git rev-parse HEAD)"
    echo "Commit $recorded, and say why."
    exit 0
fi

failed=0
verdict() { # verdict COMMAND…: goes on after "it costs more"
    "$@" || { code=$?; [ "$code" = 5 ] || exit "$code"; failed=5; }
}

if [ "$what" != runs ]; then
    build_counts
    set -- instructions --program target/release/examples/counts --recorded "$recorded"
    # Without it, figures that were recorded by another compiler or on another CPU are still compared, and that is said.
    [ ! -x "$cache/target/release/examples/counts" ] || set -- "$@" --recorded-program "$cache/target/release/examples/counts"
    verdict "$perf" "$@"
fi
[ "$what" != counts ] || exit "$failed"

build_servers
rm -rf "$out"
mkdir -p "$out"
work=$(mktemp -d "$out/work.XXXXXX") # not in /tmp, which may be memory: fsync would cost nothing there
server=""
stop() {
    [ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; server=""; }
}
trap 'stop; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# The server on the first half of the cores and the load on the others, so that neither's cost depends on where the other runs.
cores=$(nproc)
on_server="" on_load=""
if [ "$cores" -ge 2 ] && taskset -c "0-$((cores - 1))" true 2>/dev/null; then
    on_server="taskset -c 0-$((cores / 2 - 1))"
    on_load="taskset -c $((cores / 2))-$((cores - 1))"
fi

start() { # start WORD COMMAND…: until it has said WORD
    word=$1; shift
    # shellcheck disable=SC2086 # a command and its arguments
    $on_server "$@" >"$work/server.out" 2>"$work/server.log" </dev/null &
    server=$!
    waited=0
    until grep -q "$word" "$work/server.out"; do
        kill -0 "$server" 2>/dev/null || { cat "$work/server.log" >&2; fail 3 "$1 has ended instead of being ready"; }
        [ "$waited" -lt 600 ] || fail 3 "$1 was not ready within a minute"
        waited=$((waited + 1))
        sleep 0.1
    done
}

load() { # load NAME SIDE ROUND SCENARIO OPTIONS…
    report="$out/$1/$2/$3.json" name="$1, $2, round $3"; shift 3
    # shellcheck disable=SC2086
    $on_load "$perf" "$@" --pid "$server" --json "$report" >"$work/load.out" 2>&1 || {
        code=$?
        cat "$work/load.out" >&2
        fail "$code" "$name did not get through: nothing can be compared"
    }
}

# One server at a time, each with a folder of its own that nobody has written to: an idle one beside it would wake up now and then, on the
# same cores and in the same caches.
run_side() { # run_side SIDE BIN ROUND
    side=$1 bin=$2 round=$3
    echo "round $round of $rounds: $side"
    rm -rf "$work/data"
    "$bin/gochat" seed --data "$work/data" --users "$users" --messages 0 --out "$work/users.jsonl" >"$work/seed.out"
    start 'GoChat is ready' "$bin/gochat" --data "$work/data" --listen "127.0.0.1:$port" --admin "127.0.0.1:$((port + 1))"
    for rate in $rates; do
        load "chat-$rate" "$side" "$round" chat --url "http://127.0.0.1:$port" --admin "http://127.0.0.1:$((port + 1))" \
            --users-file "$work/users.jsonl" --users "$users" --rate "$rate" --seconds "$chat_seconds"
    done
    stop
    start ready "$bin/examples/echo" "$((port + 2))"
    for depth in $depths; do
        load "echo-$depth" "$side" "$round" echo --url "http://127.0.0.1:$((port + 2))" --connections "$connections" \
            --depth "$depth" --seconds "$echo_seconds"
    done
    stop
}

round=1
while [ "$round" -le "$rounds" ]; do
    # Whoever comes first finds a machine that has rested.
    if [ $((round % 2)) = 1 ]; then
        run_side recorded "$cache/target/release" "$round"
        run_side current target/release "$round"
    else
        run_side current target/release "$round"
        run_side recorded "$cache/target/release" "$round"
    fi
    round=$((round + 1))
done

echo "A is the recorded commit $commit, B is this checkout:"
for one in $(for rate in $rates; do echo "chat-$rate"; done; for depth in $depths; do echo "echo-$depth"; done); do
    echo "== $one"
    verdict "$perf" compare "$out/$one/recorded" "$out/$one/current" --figures server_cpu_us_per_op --gate --worse-by "$worse_by" \
        --json "$out/$one.json"
done
[ "$failed" = 0 ] || echo "IT COSTS MORE than the recorded commit. If it is worth it: make bench-record" >&2
exit "$failed"
