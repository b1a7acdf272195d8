# All sessions are cut in one moment and come back, while 100 messages a second go on: until all are level with the server again.
. deploy/bench/server.sh
seed "$crowd" 0
start
round=1
while [ "$round" -le "$rounds" ]; do
    measure "$round" storm --users "$crowd" --connect-rate 1000 --users-file "$work/users.jsonl"
    round=$((round + 1))
done
collect system.json "" storm15000_s=synced
collect more.json "" storm15000_back_s=back storm15000_refused=refused_with_retry_after storm15000_p99_ms=deliver.p99:ms
finish
