# Once, for longer: a chat of 1,000 messages a second among many sessions.
. deploy/bench/server.sh
rounds=1
seed "$crowd" 0
start
measure 1 hold --rate 1000 --seconds "$crowd_seconds" --connect-rate 1000 --users-file "$work/users.jsonl"
collect more.json 1 crowd_p50_ms=deliver.p50:ms crowd_p99_ms=deliver.p99:ms crowd_p999_ms=deliver.p999:ms crowd_max_ms=deliver.max:ms \
    crowd_cpu_us=server_cpu_us_per_op crowd_rss_mib=server_rss:MiB
finish
