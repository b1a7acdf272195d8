# A mobile day, on a server just started each time, whose cache is cold: the share of the store's pages of messages that the cache had.
. deploy/bench/server.sh
seed "$users" $((stored / 4))
round=1
while [ "$round" -le "$rounds" ]; do
    start
    measure "$round" mixed --users "$users" --rate 200 --read-rate 100 --seconds 20 --seed 1 --users-file "$work/users.jsonl"
    stop
    round=$((round + 1))
done
collect system.json "" hit_ratio=hit_ratio
collect more.json "" mixed_cpu_us=server_cpu_us_per_op mixed_p50_ms=deliver.p50:ms mixed_p99_ms=deliver.p99:ms
finish
