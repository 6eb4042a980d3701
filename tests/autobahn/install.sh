#!/bin/sh
# Installs the Autobahn test suite into target/autobahn/env, once for each
# state of requirements.txt. The suite is Python 2.7 code, so a 2.7 is looked
# for: AUTOBAHN_PYTHON, then `python2.7`, then pyenv's newest 2.7.
# Needs besides: python3 with venv and pip, and a C compiler (for wsaccel).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
base=target/autobahn

fail() {
    echo "autobahn: $*" >&2
    exit 1
}

is_python27() {
    "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null
}

find_python27() {
    if [ -n "${AUTOBAHN_PYTHON:-}" ]; then
        is_python27 "$AUTOBAHN_PYTHON" || fail "AUTOBAHN_PYTHON=$AUTOBAHN_PYTHON is no Python 2.7"
        echo "$AUTOBAHN_PYTHON"
    elif is_python27 python2.7; then
        echo python2.7
    else
        # pyenv's shim named python2.7 refuses to run while another version is
        # chosen, so the version has to be named.
        version=$(pyenv versions --bare 2>/dev/null | grep '^2\.7' | tail -n 1) || true
        [ -n "$version" ] || fail "no Python 2.7 found; name one with AUTOBAHN_PYTHON=/path/to/python2.7"
        PYENV_VERSION=$version pyenv which python2.7
    fi
}

cmp -s "$here/requirements.txt" "$base/installed.txt" && exit 0

python=$(find_python27)
echo "autobahn: installing the suite for $python"
rm -rf "$base/virtualenv" "$base/env" "$base/installed.txt"
mkdir -p "$base"
# virtualenv 20.21 is the last series that makes environments for 2.7. It runs
# under Python 3 and brings a pip for 2.7 with it.
python3 -m venv "$base/virtualenv" || fail "python3 has no venv module"
"$base/virtualenv/bin/pip" install --quiet --disable-pip-version-check virtualenv==20.21.1 ||
    fail "virtualenv could not be installed"
"$base/virtualenv/bin/virtualenv" --quiet --python "$python" "$base/env" ||
    fail "virtualenv made no environment for $python"
"$base/env/bin/pip" install --quiet --disable-pip-version-check --no-python-version-warning \
    --requirement "$here/requirements.txt" || fail "autobahntestsuite could not be installed"
cp "$here/requirements.txt" "$base/installed.txt"
