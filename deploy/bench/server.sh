# shellcheck shell=sh disable=SC2154
# A server of its own, runs against it, and figures of their reports. Sourced by each part, which has $part set and runs in the repository's root. The server
# and the load share the machine's cores, so that the server has what the clients leave; pinning them apart would take away cores that either could use.

work=$(mktemp -d "$out/work.XXXXXX") # not in /tmp, which may be memory: fsync would cost nothing there
server=""
failed=0
rm -rf "${out:?}/$part"-*

stop() {
    [ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; server=""; }
}
trap 'stop; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

fail() { # fail WHAT: the part goes on, and fails at its end
    echo "FAILED: $part: $1" | tee -a "$failures" >&2
    failed=1
}

finish() {
    stop
    exit "$failed"
}

seed() { # seed USERS MESSAGES: an empty store but for these
    rm -rf "$work/data"
    "$bin/gochat" seed --data "$work/data" --users "$1" --messages "$2" --out "$work/users.jsonl"
}

start() {
    "$bin/gochat" --data "$work/data" --listen "127.0.0.1:$port" --admin "127.0.0.1:$((port + 1))" >"$work/server.out" 2>"$work/server.log" &
    server=$!
    until grep -q 'GoChat is ready' "$work/server.out"; do
        kill -0 "$server" 2>/dev/null || { cat "$work/server.log" >&2; fail "the server did not start"; finish; }
        sleep 0.1
    done
}

measure() { # measure NAME SCENARIO OPTIONS…: one run against the server, whose report is PART-NAME.json
    name=$1
    scenario=$2
    shift 2
    echo "== $part: $name"
    code=0
    "$bin/gochat-perf" "$scenario" --url "http://127.0.0.1:$port" --admin "http://127.0.0.1:$((port + 1))" --json "$out/$part-$name.json" "$@" || code=$?
    [ "$code" = 0 ] || fail "the run $name ended with exit code $code"
    kill -0 "$server" 2>/dev/null || { fail "the server ended during the run $name"; finish; }
}

collect() { # collect FILE RUNS NAME=FIGURE…: of the reports PART-RUNS*.json, as many as there are rounds
    file=$1
    runs=$2
    shift 2
    asked=""
    for figure in "$@"; do
        asked="$asked --figure $figure"
    done
    # shellcheck disable=SC2086 # one word each
    "$bin/gochat-perf" collect --target "$target" --json "$out/$file" --reports-min "$rounds" $asked "$out/$part-$runs"*.json ||
        fail "no figures from $part-$runs*.json"
}
