# Once, in as many turns: 200 people chat, by turns without and with misbehaving clients beside them.
. deploy/bench/server.sh
turns=$rounds
rounds=1
seed 1000 0
start
measure 1 hostile --users 200 --bad-clients "$bad_clients" --rounds "$turns" --users-file "$work/users.jsonl"
collect more.json 1 without_p50_ms=deliver_without.p50:ms without_p99_ms=deliver_without.p99:ms without_p999_ms=deliver_without.p999:ms \
    with_p50_ms=deliver_with.p50:ms with_p99_ms=deliver_with.p99:ms with_p999_ms=deliver_with.p999:ms
finish
