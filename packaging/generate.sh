#!/bin/sh
# Makes the man page and the completions, by the program itself.
#
#     generate.sh PROGRAM FOLDER
set -eu
mkdir -p "$2"
"$1" --generate man > "$2/hubcast.1"
"$1" --generate bash > "$2/hubcast"
"$1" --generate zsh > "$2/_hubcast"
"$1" --generate fish > "$2/hubcast.fish"
