# A group whose members are all online. One of them sends more than the server can bring to the others, with 64 messages on the wire: the deliveries a second
# are what the server is able to. It allows one user 100 messages a second by default, which would be the limit here and is lifted.
. deploy/bench/server.sh
export GOCHAT__GATEWAY__RATES__CONNECTION_SENDS_PER_S=100000 GOCHAT__GATEWAY__RATES__CONNECTION_SENDS_BURST=100000
export GOCHAT__GATEWAY__RATES__USER_SENDS_PER_S=100000 GOCHAT__GATEWAY__RATES__USER_SENDS_BURST=100000
seed "$members" 0
start
round=1
while [ "$round" -le "$rounds" ]; do
    measure "$round" fan-out --receivers "$((members - 1))" --rate "$group_rate" --in-flight 64 --seconds 4 --users-file "$work/users.jsonl" \
        --assert "rate<$((group_rate * 95 / 100))" # else it could do more, and GROUP_RATE has to be higher
    round=$((round + 1))
done
collect system.json "" group500_rate=deliveries_rate
collect more.json "" group500_cpu_us=server_cpu_us_per_delivery group500_server_cpu=server_cpu group500_client_cpu=client_cpu
finish
