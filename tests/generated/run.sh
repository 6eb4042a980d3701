#!/bin/sh
# Has each file that `hubcast --generate` makes read by its own program, for
# several sets of options.
#
#     run.sh PROGRAM
set -eu
program=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

# What the programs say is shown only where they are not content.
quietly() {
    "$@" > said 2>&1 || { echo "failed: $*"; cat said; exit 1; }
}

try() {
    for what in nginx caddy systemd compose kubernetes prometheus-rules grafana; do
        "$program" "$@" --generate $what > $what
    done
    printf 'events {}\nhttp { access_log off; error_log stderr; include %s/nginx; }\n' "$folder" > nginx.conf
    quietly nginx -t -q -c "$folder/nginx.conf"
    quietly caddy validate --adapter caddyfile --config caddy
    sed "s|^ExecStart=/usr/bin/hubcast|ExecStart=$program|" systemd > hubcast.service
    quietly systemd-analyze verify --man=no ./hubcast.service
    quietly promtool check rules prometheus-rules
    quietly python3 -m json.tool grafana
    python3 - <<'PYTHON'
import json
import yaml

[service] = yaml.safe_load(open("compose"))["services"].values()
assert service["command"][0].startswith("--listen=0.0.0.0:"), service
deployment, front = yaml.safe_load_all(open("kubernetes"))
[container] = deployment["spec"]["template"]["spec"]["containers"]
assert container["args"] == service["command"], container
assert front["spec"]["ports"][0]["port"] == container["ports"][0]["containerPort"]
panels = json.load(open("grafana"))["panels"]
with open("queries", "w") as queries:
    queries.write("groups:\n  - name: dashboard\n    rules:\n")
    for panel in panels:
        for target in panel["targets"]:
            expr = target["expr"].replace("$__rate_interval", "5m")
            queries.write(f"      - {{record: a, expr: {json.dumps(expr)}}}\n")
PYTHON
    # The dashboard's queries, as rules: promtool reads them.
    sed -i 's/record: a,/record: a:b,/' queries
    quietly promtool check config --lint=none /dev/stdin <<YAML
rule_files: [$folder/queries]
YAML
    echo "read by their programs: nginx, caddy, systemd, promtool; well formed: compose, kubernetes, grafana ($*)"
}

try
try --listen=:9000 --drain=20s --max-clients=1000 '--room=/price/* history=1' --allow-publish \
    --publish-token=0123456789abcdef0123456789abcdef
try --listen=unix:/run/hubcast/hubcast.sock --ping-interval=0
try --listen=127.0.0.1:443 --admin-listen=127.0.0.1:9090 --engine=redis://127.0.0.1:6379
