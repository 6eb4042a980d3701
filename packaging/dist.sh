#!/bin/sh
# Packs the program for any Linux of this architecture, with its man page,
# completions, units and guide. The same sources make the same bytes.
#
#     dist.sh PROGRAM FOLDER
set -eu
program=$1
folder=$2
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct)}"
version=$("$program" --version | cut -d' ' -f2)
name=hubcast-$version-$(uname -m)-linux
rm -rf "$folder/$name"
mkdir -p "$folder/$name/completions"
install -m 755 "$program" "$folder/$name/hubcast"
sh packaging/generate.sh "$program" "$folder/$name/completions"
mv "$folder/$name/completions/hubcast.1" "$folder/$name/"
cp README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$folder/$name/"
mkdir "$folder/$name/guide" "$folder/$name/systemd"
cp src/guide/*.md src/guide/*.png "$folder/$name/guide/"
cp packaging/hubcast.service packaging/hubcast.socket packaging/hubcast.env "$folder/$name/systemd/"
chmod -R u=rwX,go=rX "$folder/$name"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
    --format=ustar -C "$folder" -cf - "$name" | gzip -9n > "$folder/$name.tar.gz"
rm -r "${folder:?}/$name"
sha256sum "$folder/$name.tar.gz"
