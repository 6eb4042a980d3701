#!/bin/sh
# Checks the dependencies against the RustSec advisories. Where the database cannot be
# had, an older copy does, and says how old it is; without any, nothing is checked,
# and that is said as loudly as a script can.
set -u
deny() { sh -c "$DENY \"\$@\"" deny --config .ci/deny.toml "$@"; }
copies="${CARGO_HOME:-$HOME/.cargo}/advisory-dbs"

if deny fetch db >/dev/null 2>&1; then
    exec sh -c "$DENY --config .ci/deny.toml check advisories"
fi
for copy in "$copies"/*/; do
    [ -e "$copy.git" ] || continue
    made=$(git -C "$copy" log -1 --format=%cs)
    echo "WARNING: the advisory database cannot be reached; checking against a copy of $made" >&2
    exec sh -c "$DENY --config .ci/deny.toml check --disable-fetch advisories"
done
cat >&2 <<'END'
WARNING: ADVISORIES WERE NOT CHECKED. The database (github.com/RustSec/advisory-db)
cannot be reached, and there is no copy of it on this machine.
END
