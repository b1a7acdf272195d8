#!/bin/sh
# edge.sh: core's echo example against other WebSocket servers, as docs/edge-bench.md describes. Writes target/bench/edge.json and edge.md, and each
# run's report to target/bench/edge/FIGURE/TARGET/ROUND.json. Settings by environment: ROUNDS (5), SECONDS_EACH (3), PEERS, FIGURES, and BIN, a folder
# with a built gochat-perf and echo, of the commit GOCHAT_COMMIT. Exit codes: 1 a run of ours failed, 2 usage, 3 it could not be measured.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

rounds=${ROUNDS:-5}
seconds=${SECONDS_EACH:-3}
peers=${PEERS-bun gws tokio-tungstenite fastwebsockets}
figures=${FIGURES:-idle echo1 echo16 fanout1000 handshake}
idle_connections=18000 # at most: both ends need a descriptor for each, and the slope is taken from half of them

usage() { echo "edge.sh: $1" >&2; exit 2; }
fail() { echo "edge.sh: $1" >&2; exit 3; }
[ $# = 0 ] || usage "it takes no arguments; ROUNDS, SECONDS_EACH, PEERS, FIGURES and BIN are environment variables"
case "$rounds" in '' | *[!0-9]* | 0*) usage "ROUNDS is \"$rounds\", and must be a whole number above 0" ;; esac
case "$seconds" in '' | *[!0-9]* | 0*) usage "SECONDS_EACH is \"$seconds\", and must be a whole number above 0" ;; esac
for peer in $peers; do
    case "$peer" in
    bun | gws | tokio-tungstenite | fastwebsockets) ;;
    *) usage "PEERS has \"$peer\", and may have bun, gws, tokio-tungstenite and fastwebsockets" ;;
    esac
done
for figure in $figures; do
    case "$figure" in
    idle | echo1 | echo16 | fanout1000 | handshake) ;;
    *) usage "FIGURES has \"$figure\", and may have idle, echo1, echo16, fanout1000 and handshake" ;;
    esac
done
command -v taskset >/dev/null 2>&1 || fail "there is no taskset on the PATH (Debian's package util-linux)"

# The first two cores that this shell may use: one for the server, one for the load.
cores=$(awk '/^Cpus_allowed_list:/ {
    parts = split($2, part, ",")
    for (i = 1; i <= parts; i++) {
        bounds = split(part[i], bound, "-")
        for (core = bound[1]; core <= bound[bounds]; core++) if (found++ < 2) printf "%d ", core
    }
}' /proc/self/status)
server_core=${cores%% *}
load_core=${cores#* }
load_core=${load_core%% *}
if [ -z "$load_core" ]; then
    load_core=$server_core
    echo "WARNING: there is one core only, so the load takes its time from the servers: rates say little, CPU per operation is still theirs" >&2
fi

ulimit -n "$(ulimit -Hn)"
descriptors=$(ulimit -n)
if [ "$descriptors" != unlimited ] && [ $((descriptors - 2000)) -lt $idle_connections ]; then
    idle_connections=$((descriptors - 2000))
    [ $idle_connections -ge 4000 ] || fail "$descriptors file descriptors are too few (ulimit -n): idle needs 6,000"
fi

if [ -n "${BIN:-}" ]; then
    perf=$BIN/gochat-perf
    ours=$BIN/echo
else
    cargo build --release --locked -p gochat-perf
    cargo build --release --locked -p gochat-core --example echo
    perf=target/release/gochat-perf
    ours=target/release/examples/echo
fi
[ -x "$perf" ] && [ -x "$ours" ] || fail "there is no $perf or no $ours"

out=target/bench/edge
rm -rf "$out" "$out.json" "$out.md"
mkdir -p "$out"
server=""
port=19300 # each server gets a port of its own, below those that connections come from
stop() {
    [ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; server=""; }
}
trap stop EXIT
trap 'exit 130' INT TERM

program_of() { # program_of TARGET
    if [ "$1" = ours ]; then echo "$ours"; else cat "$out/$1.program"; fi
}

start() { # start TARGET: afresh, on the next port
    stop
    port=$((port + 1))
    rm -f "$out/server.out"
    taskset -c "$server_core" "$(program_of "$1")" "$port" >"$out/server.out" 2>"$out/server.err" &
    server=$!
    tries=0
    until grep -qs ready "$out/server.out"; do
        tries=$((tries + 1))
        if [ $tries -gt 100 ] || ! kill -0 "$server" 2>/dev/null; then
            echo "the server did not start: $(tail -n 1 "$out/server.err")" >"$out/why"
            return 1
        fi
        sleep 0.1
    done
}

load() { # load REPORT SCENARIO OPTIONS…: against the server that was started
    report=$1
    scenario=$2
    shift 2
    if taskset -c "$load_core" "$perf" "$scenario" --url "http://127.0.0.1:$port" --pid "$server" --json "$report" "$@" >"$out/load.log" 2>&1; then
        return 0
    fi
    cat "$out/load.log" >&2
    echo "$scenario failed: $(tail -n 1 "$out/load.log")" >"$out/why"
    return 1
}

# Nobody is measured who does less than the others: every content is looked at, with frames of each length of header, many at a time, and in a room.
behaves() { # behaves TARGET
    for bytes in 64 4000 200000; do
        start "$1" && load "$out/check.json" echo --path / --connections 4 --depth 4 --checked-every 1 --message-bytes $bytes --seconds 0.5 || return 1
    done
    start "$1" && load "$out/check.json" broadcast --path /broadcast --receivers 8 --in-flight 4 --checked-every 1 --seconds 0.5
}

measure() { # measure FIGURE TARGET ROUND
    mkdir -p "$out/$1/$2"
    start "$2" || return 1
    case "$1" in
    idle) set -- "$out/$1/$2/$3.json" idle --path / --connections "$idle_connections" --connect-rate 6000 --warm-seconds 2 --seconds 1 ;;
    echo1) set -- "$out/$1/$2/$3.json" echo --path / --connections 100 --depth 1 --message-bytes 128 --seconds "$seconds" ;;
    echo16) set -- "$out/$1/$2/$3.json" echo --path / --connections 100 --depth 16 --message-bytes 128 --seconds "$seconds" ;;
    fanout1000) set -- "$out/$1/$2/$3.json" broadcast --path /broadcast --receivers 1000 --in-flight 16 --message-bytes 128 --seconds "$seconds" ;;
    handshake) set -- "$out/$1/$2/$3.json" handshakes --path / --concurrent 64 --seconds "$seconds" ;;
    esac
    load "$@"
}

names_of() { # names_of FIGURE: how the figures of its reports are called in edge.json
    case "$1" in
    idle) echo "idle_bytes=server_rss_bytes_per_connection:B idle_kernel_bytes=kernel_bytes_per_connection:B" ;;
    echo1) echo "echo1_cpu_us=server_cpu_us_per_op:us echo1_rate=rate" ;;
    *) echo "$1_rate=rate $1_cpu_us=server_cpu_us_per_op:us" ;;
    esac
}

collect() { # collect FIGURE TARGET
    if [ "$2" = ours ]; then
        version=${GOCHAT_COMMIT:-$(git describe --always --dirty 2>/dev/null || echo unknown)}
    else
        version=$(cat "$(program_of "$2").version")
    fi
    options=""
    for name in $(names_of "$1"); do options="$options --figure $name"; done
    # shellcheck disable=SC2086 # a list of options
    "$perf" collect --target "$2" --made-of "$version" --json "$out.json" --reports-min "$rounds" $options "$out/$1/$2"/*.json
}

drop() { # drop TARGET: it is not measured any more, for the reason that was noted
    [ "$1" != ours ] || { echo "edge.sh: ours: $(cat "$out/why")" >&2; exit 1; }
    cp "$out/why" "$out/$1.missing"
    echo "WARNING: $1 is left out: $(cat "$out/$1.missing")" >&2
    kept=""
    for target in $targets; do [ "$target" = "$1" ] || kept="$kept $target"; done
    targets=$kept
}

"$perf" doctor
targets=ours
for peer in $peers; do
    echo "building $peer"
    if "$here/peers/build.sh" "$peer" >"$out/$peer.program" 2>"$out/build.log"; then
        targets="$targets $peer"
    else
        tail -n 1 "$out/build.log" | sed "s/^$peer: //" >"$out/why"
        drop "$peer"
    fi
done
for target in $targets; do
    behaves "$target" || drop "$target"
done
for figure in $figures; do
    order=$targets
    for round in $(seq "$rounds"); do
        for target in $order; do
            case " $targets " in *" $target "*) ;; *) continue ;; esac
            echo "$figure, round $round of $rounds: $target"
            measure "$figure" "$target" "$round" || drop "$target"
        done
        # Each round begins with another target: whoever comes first finds a machine that has rested.
        # shellcheck disable=SC2086 # a list of targets
        set -- $order
        first=$1
        shift
        order="$* $first"
    done
done
stop
for figure in $figures; do
    for target in $targets; do collect "$figure" "$target"; done
done
for peer in $peers; do
    [ ! -e "$out/$peer.missing" ] || "$perf" collect --target "$peer" --json "$out.json" --missing "$(cat "$out/$peer.missing")"
done
echo
"$perf" table "$out.json" --first ours | tee "$out.md"
