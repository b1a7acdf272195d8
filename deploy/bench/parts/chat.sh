# Users chat in pairs, with many messages stored before; the rates by turns, so that what the machine does meanwhile hits all alike.
. deploy/bench/server.sh
seed "$users" "$stored"
start
round=1
while [ "$round" -le "$rounds" ]; do
    for rate in $rates; do
        measure "$rate-$round" chat --users "$users" --rate "$rate" --seconds "$seconds" --users-file "$work/users.jsonl"
    done
    round=$((round + 1))
done
for rate in $rates; do
    case "$rate" in
    1000) collect system.json 1000- chat_cpu_us_1000=server_cpu_us_per_op chat_p50_ms=deliver.p50:ms chat_p99_ms=deliver.p99:ms ;;
    5000) collect system.json 5000- chat_cpu_us=server_cpu_us_per_op ;;
    esac
    collect more.json "$rate-" "chat${rate}_rate=rate" "chat${rate}_cpu_us=server_cpu_us_per_op" "chat${rate}_rss_mib=server_rss:MiB" \
        "chat${rate}_ack_p50_ms=ack.p50:ms" "chat${rate}_ack_p99_ms=ack.p99:ms" \
        "chat${rate}_p50_ms=deliver.p50:ms" "chat${rate}_p99_ms=deliver.p99:ms" "chat${rate}_p999_ms=deliver.p999:ms"
done
finish
