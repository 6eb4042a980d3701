#!/usr/bin/env python3
"""Runs the Autobahn test suite against the server at SERVER_URL and judges.

Each case is alone in the room, and a room with one client is the echo server
that the suite expects. Of its 517 cases all that do without permessage-deflate run:
sections 1 to 10. Nothing may fail or close uncleanly, and nothing may be
NON-STRICT.

The suite's own pages stay in target/autobahn/report (open index.html).
"""

import collections
import json
import os
import re
import shutil
import subprocess
import sys

BASE = "target/autobahn"
REPORT = f"{BASE}/report"
CASES = 301
SUITE_LIMIT = 480  # seconds for the whole suite, which takes 30

def run_suite(url):
    """Runs wstest; returns its verdicts, case by case."""
    shutil.rmtree(REPORT, ignore_errors=True)
    spec = {
        "outdir": REPORT,
        "servers": [{"agent": "hubcast", "url": f"{url}/autobahn"}],
        "cases": ["*"],
        "exclude-cases": ["12.*", "13.*"],
        "exclude-agent-cases": {},
    }
    with open(f"{BASE}/spec.json", "w") as file:
        json.dump(spec, file)
    command = [f"{BASE}/env/bin/wstest", "-m", "fuzzingclient", "-s", f"{BASE}/spec.json"]
    with open(f"{BASE}/wstest.log", "w") as log:
        try:
            subprocess.run(command, stdout=log, stderr=log, timeout=SUITE_LIMIT, check=True)
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
            sys.exit(f"autobahn: {error}; see {BASE}/wstest.log")
    try:
        with open(f"{REPORT}/index.json") as file:
            return json.load(file)["hubcast"]
    except (OSError, KeyError) as error:
        sys.exit(f"autobahn: no report ({error!r}); see {BASE}/wstest.log")


def verdict(result):
    """One word for how a case ended: its worse half, messages or closing."""
    if result["behaviorClose"] not in ("OK", "INFORMATIONAL"):
        return result["behaviorClose"]
    return result["behavior"]


def details(case, result):
    """What the case does and how it ended, in the suite's words."""
    with open(f"{REPORT}/{result['reportfile']}") as file:
        report = json.load(file)
    text = re.sub(r"<[^>]*>", " ", report["description"])
    text = " ".join(text.split())
    return f"{text[:150]} | {report['result']} | {report['resultClose']}"


def main():
    sys.stdout.reconfigure(line_buffering=True)  # in step with stderr
    results = run_suite(os.environ["SERVER_URL"])
    tally = collections.Counter()
    faults = 0
    for case in sorted(results, key=lambda case: [int(part) for part in case.split(".")]):
        word = verdict(results[case])
        tally[word] += 1
        if word != "OK":
            faults += word != "INFORMATIONAL"
            print(f"  {case} {word}: {details(case, results[case])}")

    words = ["OK", "NON-STRICT", "INFORMATIONAL", "FAILED"]
    words += sorted(set(tally) - set(words))
    counts = ", ".join(f"{tally[word]} {word}" for word in words)
    print(f"autobahn: {counts} of {CASES}")
    if len(results) != CASES:
        sys.exit(f"autobahn: {len(results)} cases ran instead of {CASES}; see {BASE}/wstest.log")
    if faults:
        sys.exit(f"autobahn: {faults} cases not passed; open {REPORT}/index.html")


if __name__ == "__main__":
    main()
