# World with many online, two messages a second: how long until the last one has a message.
. deploy/bench/server.sh
seed "$online" 0
start
round=1
while [ "$round" -le "$rounds" ]; do
    measure "$round" world --users "$online" --rate 2 --seconds 15 --users-file "$work/users.jsonl"
    round=$((round + 1))
done
collect system.json "" world5000_last_ms=last.p50:ms
collect more.json "" world5000_p50_ms=deliver.p50:ms world5000_p99_ms=deliver.p99:ms world5000_cpu_us=server_cpu_us_per_delivery
finish
