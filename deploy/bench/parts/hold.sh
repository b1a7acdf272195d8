# Many idle sessions, on a server just started each time: memory of a session, from the slope between half of them and all.
. deploy/bench/server.sh
seed "$crowd" 0
round=1
while [ "$round" -le "$rounds" ]; do
    start
    measure "$round" hold --seconds 10 --connect-rate 1000 --users-file "$work/users.jsonl"
    stop
    round=$((round + 1))
done
collect system.json "" session_bytes=rss_bytes_per_session:B
collect more.json "" session_kernel_bytes=kernel_bytes_per_connection:B idle_cpu=held_cpu
finish
