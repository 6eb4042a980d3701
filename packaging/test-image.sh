#!/bin/sh
# Builds the image's last stage around a static program, and runs it: nothing
# but the program is in it, it serves, and its health check says so. The stage
# before, which compiles, needs an image from elsewhere. Needs root.
#
#     test-image.sh PROGRAM
set -eu
program=$(realpath "$1")
folder=$(mktemp -d)
export STORAGE_DRIVER=vfs
container=
image=hubcast-test
tidy() {
    # The program has processes of buildah's around it.
    test -z "${server:-}" || kill -- "-$server" 2>/dev/null || true
    test -z "$container" || buildah rm "$container" > /dev/null
    buildah rmi "$image" > /dev/null 2>&1 || true
    rm -rf "$folder"
}
trap tidy EXIT
install -m 755 "$program" "$folder/hubcast"
sed -n '/^FROM scratch/,$p' packaging/Containerfile | sed 's/--from=build //; s/COPY \/hubcast/COPY hubcast/' > "$folder/Containerfile"
buildah bud --quiet --format docker -t "$image" "$folder"
buildah inspect "$image" > "$folder/inspect"
check=$(python3 - "$folder/inspect" <<'PYTHON'
import json
import sys

config = json.load(open(sys.argv[1]))["Docker"]["config"]
assert config["User"] == "65534:65534" and config["Entrypoint"] == ["/hubcast"], config
assert "HUBCAST_LISTEN=0.0.0.0:8080" in config["Env"], config
kind, *command = config["Healthcheck"]["Test"]
assert kind == "CMD", kind
print(*command)
PYTHON
)
container=$(buildah from "$image")
run() { buildah run --isolation chroot "$container" -- "$@"; }
test "$(cd "$(buildah mount "$container")" && find . -type f -size +0 | grep -v '^./\(etc\|run\|dev\|proc\|sys\)/')" = ./hubcast
setsid buildah run --isolation chroot "$container" -- /hubcast --quiet > "$folder/log" 2>&1 & server=$!
tries=0
# Words of a command, to be split.
# shellcheck disable=SC2086
until run $check 2> /dev/null; do
    tries=$((tries + 1))
    test $tries -lt 50 || { cat "$folder/log"; exit 1; }
    sleep 0.2
done
echo "the image holds the program alone, serves, and its health check is content"
