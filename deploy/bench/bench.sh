#!/bin/sh
# bench.sh [PART…]: the system's figures, measured here: all parts, or those that are named (see deploy/bench/parts). Each run's report goes to
# target/bench/, the official figures to target/bench/system.json, others that docs/performance.md tells to target/bench/more.json.
# Builds in release, unless BIN names a folder with a built gochat and gochat-perf. A part that fails leaves the others to run, and is named at the end (exit code 1).
#
# Settings by environment: ROUNDS; TARGET, the name in the files; SECONDS_EACH, RATES, STORED, USERS (chat); CAPACITY_FROM; MEMBERS, GROUP_RATE; ONLINE;
# CROWD (hold, storm, crowd), CROWD_SECONDS; BAD_CLIENTS; PORT; GOCHAT_COMMIT, where BIN is not of the commit that is checked out.
set -eu
cd "$(dirname "$0")/../.."

export out=target/bench
export target="${TARGET:-embedded}" rounds="${ROUNDS:-5}" port="${PORT:-18080}"
export seconds="${SECONDS_EACH:-15}" rates="${RATES:-1000 5000}" stored="${STORED:-400000}" users="${USERS:-1000}"
export capacity_from="${CAPACITY_FROM:-6000}" members="${MEMBERS:-500}" group_rate="${GROUP_RATE:-3000}" online="${ONLINE:-5000}"
export crowd="${CROWD:-15000}" crowd_seconds="${CROWD_SECONDS:-120}" bad_clients="${BAD_CLIENTS:-40}"

all="chat capacity group world hold storm mixed crowd hostile"
parts="${*:-$all}"
[ "$parts" != all ] || parts=$all
for part in $parts; do
    [ -f "deploy/bench/parts/$part.sh" ] || { echo "no part $part: there are $all" >&2; exit 2; }
done

export GOCHAT_COMMIT="${GOCHAT_COMMIT:-$(git describe --always --dirty 2>/dev/null || true)}"
if [ -n "${BIN:-}" ]; then
    export bin="$BIN"
else
    cargo build --release --locked -p gochat -p gochat-perf
    export bin=target/release
fi

mkdir -p "$out"
for file in "$out/system.json" "$out/more.json"; do
    # Figures of another commit are no part of this.
    if [ -f "$file" ] && { [ "$parts" = "$all" ] || ! grep -q "\"commit\": \"$GOCHAT_COMMIT\"" "$file"; }; then
        mv "$file" "$file.old"
        echo "the figures so far are set aside: $file.old"
    fi
done
[ "$rounds" -ge 5 ] || echo "$rounds rounds only try the way: a figure needs five, and has no interval below four"
"$bin/gochat-perf" doctor

export failures="$out/failures.txt"
: >"$failures"
failed=""
began=$(date +%s)
for part in $parts; do
    echo "==== $part"
    part_began=$(date +%s)
    part=$part sh -eu "deploy/bench/parts/$part.sh" || failed="$failed $part"
    echo "==== $part took $(($(date +%s) - part_began)) s"
done
echo "==== measured for $(($(date +%s) - began)) s"
for file in "$out/system.json" "$out/more.json"; do
    [ ! -f "$file" ] || "$bin/gochat-perf" table "$file"
done
if [ -n "$failed" ]; then
    echo "FAILED:$failed; their figures may be missing above:" >&2
    cat "$failures" >&2
    exit 1
fi
