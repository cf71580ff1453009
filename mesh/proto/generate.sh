#!/bin/sh
# Writes gen/ from the .proto files of this folder; needs no network. Run it by `npm run generate`.
set -eu
cd "$(dirname "$0")"
PATH="$PWD/../../node_modules/.bin:$PATH"
exec buf generate
