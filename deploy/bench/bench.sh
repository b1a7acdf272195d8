#!/bin/sh
# bench.sh [chat|hold|crowd|storm|hostile|all]: the figures of docs/performance.md, measured here. Builds in release, runs a server of its own in target/bench and on
# ports 18080/18081, and writes each run's JSON to target/bench/. Settings by environment: USERS, STORED, RATES, SECONDS_EACH, ROUNDS,
# SESSIONS, HOLD_SECONDS, CROWD, CROWD_SECONDS, BAD_CLIENTS.
set -eu
cd "$(dirname "$0")/../.."

what=${1:-all}
users=${USERS:-1000} # chatting users
stored=${STORED:-400000} # messages stored before the load begins
rates=${RATES:-"1000 5000"} # messages a second, each tried in turn
seconds=${SECONDS_EACH:-20}
rounds=${ROUNDS:-5}
sessions=${SESSIONS:-5000}
hold_seconds=${HOLD_SECONDS:-20}
crowd=${CROWD:-15000} # sessions of crowd and storm
crowd_seconds=${CROWD_SECONDS:-300}
bad_clients=${BAD_CLIENTS:-40}

cargo build --release --locked -p gochat -p gochat-perf
bin=target/release
out=target/bench
mkdir -p "$out"
if [ "$what" = all ]; then rm -f "$out"/*.json; else rm -f "$out/$what"-*.json; fi
work=$(mktemp -d "$out/work.XXXXXX") # not in /tmp, which may be memory: fsync would cost nothing there
server=""
stop() {
    [ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; server=""; }
}
trap 'stop; rm -rf "$work"' EXIT INT TERM

perf() { # perf SCENARIO OPTIONS…
    scenario=$1; shift
    "$bin/gochat-perf" "$scenario" --url http://127.0.0.1:18080 --admin http://127.0.0.1:18081 --users-file "$work/users.jsonl" "$@"
}

start() {
    "$bin/gochat" --data "$work/data" --listen 127.0.0.1:18080 --admin 127.0.0.1:18081 >"$work/server.out" 2>"$work/server.log" &
    server=$!
    until grep -q 'GoChat is ready' "$work/server.out"; do
        kill -0 "$server" 2>/dev/null || { cat "$work/server.log" >&2; exit 1; }
        sleep 0.1
    done
}

seed() { # seed USERS MESSAGES
    rm -rf "$work/data"
    "$bin/gochat" seed --data "$work/data" --users "$1" --messages "$2" --out "$work/users.jsonl"
}

median() { # median FIGURE FILE…
    "$bin/gochat-perf" median "$@"
}

if [ "$what" = chat ] || [ "$what" = all ]; then
    seed "$users" "$stored"
    start
    round=1
    while [ "$round" -le "$rounds" ]; do
        for rate in $rates; do
            echo "== chat: $users users, $rate messages/s, round $round of $rounds"
            perf chat --users "$users" --rate "$rate" --seconds "$seconds" --json "$out/chat-$rate-$round.json"
        done
        round=$((round + 1))
    done
    stop
    for rate in $rates; do
        echo "median of $rounds at $rate messages/s, $stored stored: rate $(median rate "$out"/chat-"$rate"-*.json)/s," \
            "stored after p50 $(median ack.p50 "$out"/chat-"$rate"-*.json) p99 $(median ack.p99 "$out"/chat-"$rate"-*.json) us," \
            "delivered after p50 $(median deliver.p50 "$out"/chat-"$rate"-*.json) p99 $(median deliver.p99 "$out"/chat-"$rate"-*.json) us," \
            "server CPU $(median server_cpu_us_per_op "$out"/chat-"$rate"-*.json) us a message," \
            "RSS $(($(median server_rss "$out"/chat-"$rate"-*.json) / 1048576)) MiB"
    done
fi

if [ "$what" = hold ] || [ "$what" = all ]; then
    seed "$sessions" 0
    start
    echo "== hold: $sessions idle sessions"
    perf hold --seconds "$hold_seconds" --json "$out/hold-$sessions.json"
    echo "== chat among $sessions sessions"
    perf chat --users "$sessions" --rate 1000 --seconds "$seconds" --json "$out/hold-chat-$sessions.json"
    stop
fi

if [ "$what" = crowd ] || [ "$what" = all ]; then
    seed "$crowd" 0
    start
    echo "== crowd: $crowd sessions, 1000 messages/s among them for $crowd_seconds seconds"
    perf hold --rate 1000 --seconds "$crowd_seconds" --json "$out/crowd-$crowd.json"
    stop
fi

if [ "$what" = storm ] || [ "$what" = all ]; then
    seed "$crowd" 0
    start
    echo "== storm: $crowd sessions are cut at once and come back"
    perf storm --users "$crowd" --json "$out/storm-$crowd.json"
    stop
fi

if [ "$what" = hostile ] || [ "$what" = all ]; then
    seed 1000 0
    start
    echo "== hostile: a chat without and with $bad_clients misbehaving clients, by turns"
    perf hostile --users 200 --bad-clients "$bad_clients" --rounds "$rounds" --json "$out/hostile-$bad_clients.json"
    stop
fi
