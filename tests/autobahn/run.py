#!/usr/bin/env python3
"""Runs the Autobahn test suite against the server at SERVER_URL and judges.

Each case is alone in the room, and a room with one client is the echo server
that the suite expects. Of its 517 cases all of sections 1 to 10 run, and of the
216 about permessage-deflate a sample, one of each kind; all of them with the
argument `all`, which takes a quarter of an hour. Nothing may fail, close
uncleanly, be NON-STRICT or unimplemented.

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
# Sections 12 and 13: five sets of data, and seven of parameters.
SAMPLE = (
    "12.1.1 12.1.5 12.1.11 12.2.3 12.2.8 12.3.4 12.4.3 12.4.5 12.4.11 12.5.4 12.5.5 "
    "13.1.3 13.2.3 13.3.1 13.3.5 13.4.4 13.5.2 13.5.7 13.6.4 13.7.3 13.7.12"
).split()
ALL = sys.argv[1:] == ["all"]
SELECTED = ["12.*", "13.*"] if ALL else SAMPLE
CASES = 301 + (216 if ALL else len(SAMPLE))
SUITE_LIMIT = 1800 if ALL else 480  # seconds; it takes half of that, and 90

def run_suite(url):
    """Runs wstest; returns its verdicts, case by case."""
    shutil.rmtree(REPORT, ignore_errors=True)
    spec = {
        "outdir": REPORT,
        "servers": [{"agent": "hubcast", "url": f"{url}/autobahn"}],
        "cases": [f"{section}.*" for section in range(1, 11)] + SELECTED,
        "exclude-cases": [],
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
