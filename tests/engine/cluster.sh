#!/bin/sh
# A redis-server and three nodes on this machine, until Ctrl-C. A node that is
# killed is started again after 5 s, so that its page can come back.
set -eu
folder=$(mktemp -d)
port=${REDIS_PORT:-6390}
redis-server --bind 127.0.0.1 --port "$port" --save "" --dir "$folder" \
    >"$folder/redis.log" 2>&1 &
children=$!
end() {
    trap - INT TERM EXIT
    kill $children 2>/dev/null || true
    wait
    rm -r "$folder"
}
trap end EXIT
trap 'exit 0' INT TERM

# Before the nodes, which would say that they wait for it. Somebody else's redis-server
# may have the port.
redis=$children
until redis-cli -h 127.0.0.1 -p "$port" info server 2>/dev/null | grep -q "^process_id:$redis.\$"; do
    kill -0 "$redis" 2>/dev/null || {
        echo "redis-server does not start on port $port; another one: REDIS_PORT=6391 make run-cluster" >&2
        cat "$folder/redis.log" >&2
        exit 1
    }
    sleep 0.05
done

# One node, again and again; ended with its keeper.
keep() {
    node=
    trap 'kill $node 2>/dev/null; exit 0' TERM INT
    while :; do
        target/release/hubcast --engine "redis://127.0.0.1:$port" --history 1000 \
            --allow-publish --listen "127.0.0.1:$1" --node-name "node-$1" &
        node=$!
        echo "node-$1: http://127.0.0.1:$1/lobby (process $node)"
        wait $node || true
        sleep 5
    done
}
for node in 8081 8082 8083; do
    keep $node &
    children="$children $!"
done
echo "redis-server: 127.0.0.1:$port (process ${children%% *}); Ctrl-C ends it all"
wait
