#!/bin/sh
# Checks the Debian package, installs it, starts the server, and removes it.
# Needs root, and a machine that may be changed.
#
#     test-deb.sh PACKAGE
set -eu
package=$1
lintian --fail-on error --suppress-tags no-changelog,initial-upload-closes-no-bugs "$package"
dpkg --contents "$package" | awk '{print $1, $6}'
dpkg --install "$package"
hubcast --version
man --where hubcast
for file in /usr/share/bash-completion/completions/hubcast /etc/default/hubcast \
    /usr/share/zsh/vendor-completions/_hubcast /usr/lib/systemd/system/hubcast.socket; do
    test -e "$file"
done
systemd-analyze verify /usr/lib/systemd/system/hubcast.service /usr/lib/systemd/system/hubcast.socket
systemd-analyze security --offline=true --threshold=20 hubcast.service | tail -1
if [ -d /run/systemd/system ]; then
    systemctl start hubcast.service
    curl --fail --silent --retry 5 --retry-connrefused http://127.0.0.1:8080/-/healthz
    systemctl stop hubcast.service
else
    echo "systemd does not run here: the program is started by itself"
    hubcast --listen unix:/run/hubcast-test.sock &
    curl --fail --silent --retry 20 --retry-all-errors --retry-delay 1 \
        --unix-socket /run/hubcast-test.sock http://localhost/-/healthz
    kill $!
    wait $!
fi
dpkg --purge hubcast
test ! -e /usr/bin/hubcast && test ! -e /etc/default/hubcast
echo "installed, started and removed"
