#!/bin/sh
# tables.sh: writes the figures in docs/ anew, from what `make bench` and `make bench-edge` left in target/bench. BIN: as in bench.sh.
set -eu
cd "$(dirname "$0")/../.."
bin="${BIN:-target/release}"
for file in system more edge; do
    [ ! -f "target/bench/$file.json" ] || "$bin/gochat-perf" fill docs/performance.md "target/bench/$file.json"
done
