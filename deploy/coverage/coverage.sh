#!/bin/sh
# coverage.sh [CARGO TEST'S CHOICE]: runs every test, or those of `-p CRATE`, with instrumented code, and writes how many lines of each
# crate they reach to docs/coverage.md.
# Not counted: perf (a tool), generated code, and tests themselves. A process that is killed with `kill -9` tells nothing of what it ran.
set -eu
cd "$(dirname "$0")/../.."

command -v cargo-tarpaulin >/dev/null 2>&1 || cargo install --locked cargo-tarpaulin

out=target/coverage
mkdir -p "$out"
rm -f "$out/lcov.info"
[ $# -gt 0 ] || set -- --workspace --exclude gochat-perf
# No llvm-tools are needed: cargo-tarpaulin reads the profiles by itself.
cargo tarpaulin --engine llvm --follow-exec --locked "$@" --no-fail-fast --skip-clean --timeout 900 \
    --exclude-files 'perf/*' --exclude-files 'proto/*' --exclude-files '*/tests/*' --exclude-files '*/tests.rs' \
    --exclude-files 'repo/src/suite/*' --exclude-files '*/build.rs' --exclude-files 'target/*' \
    --out Lcov --output-dir "$out" --target-dir "$out/target" || failed=$?
[ -s "$out/lcov.info" ] || exit "${failed:-1}"

{
    echo "# Lines that the tests reach"
    echo
    echo "Made by \`make coverage\` at commit $(git rev-parse --short HEAD); deploy/coverage/coverage.sh says what is left out."
    echo
    echo "| crate | lines | reached | % |"
    echo "| --- | ---: | ---: | ---: |"
    awk -v root="$PWD/" -F: '
        $1 == "SF" { path = $2; sub(root, "", path); n = split(path, part, "/"); crate = part[1]
                     if (crate == "deploy") crate = "deploy/standalone" }
        $1 == "LF" { lines[crate] += $2 }
        $1 == "LH" { reached[crate] += $2 }
        END { for (crate in lines)
                  printf "| %s | %d | %d | %.1f |\n", crate, lines[crate], reached[crate], 100 * reached[crate] / lines[crate] }
    ' "$out/lcov.info" | sort
} >docs/coverage.md
cat docs/coverage.md
# The goal of every crate; a run for some crates lists only those.
awk -F'|' '$4 ~ /^ *[0-9]+ *$/ && $5 + 0 < 80 { print "below 80 %:" $2 > "/dev/stderr"; low = 1 } END { exit low }' docs/coverage.md || failed=${failed:-1}
exit "${failed:-0}"
