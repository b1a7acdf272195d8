# The highest rate of the same chat at which p99 stays below 200 ms and nothing is lost, looked for anew in each round.
. deploy/bench/server.sh
seed "$users" "$stored"
start
round=1
while [ "$round" -le "$rounds" ]; do
    measure "rate-$round" capacity --goal 'p99<200ms,lost=0' --from "$capacity_from" --factor 1.3 --halvings 2 --repeats 2 \
        --reports "$out/capacity-steps-$round" -- chat --users "$users" --seconds 5 --users-file "$work/users.jsonl"
    round=$((round + 1))
done
collect system.json rate- chat_rate=rate
finish
