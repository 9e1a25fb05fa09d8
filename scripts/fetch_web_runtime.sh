#!/usr/bin/env bash
# Fetches onnxruntime-web (MIT licence), which paints in the browser, for  python export.py format=web.
# It comes from the npm package of that name, pinned and checked, and is kept in ~/.cache/onestroke (or $XDG_CACHE_HOME).
set -euo pipefail

version=$(sed -n 's/^VERSION = "\(.*\)"/\1/p' "$(dirname "${BASH_SOURCE[0]}")/../src/onestroke/export/web_runtime.py")
sum=d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71
folder=${XDG_CACHE_HOME:-$HOME/.cache}/onestroke/onnxruntime-web-$version
files=(ort.wasm.min.mjs ort-wasm-simd-threaded.mjs ort-wasm-simd-threaded.wasm
  ort.webgpu.min.mjs ort-wasm-simd-threaded.asyncify.mjs ort-wasm-simd-threaded.asyncify.wasm)

for file in "${files[@]}"; do [[ -s $folder/$file ]] || missing=yes; done
if [[ -z ${missing:-} ]]; then echo "$folder"; exit; fi
command -v npm >/dev/null || { echo "onestroke: npm is needed to fetch onnxruntime-web: install Node.js first" >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "onnxruntime-web@$version" >/dev/null)
archive=$work/onnxruntime-web-$version.tgz
found=$("$(command -v sha256sum || command -v gsha256sum)" "$archive" | cut -d' ' -f1)
[[ $found == "$sum" ]] || { echo "onestroke: onnxruntime-web $version is not the archive that is expected" >&2; exit 2; }
tar -xzf "$archive" -C "$work" "${files[@]/#/package/dist/}"
mkdir -p "$folder"
mv "${files[@]/#/$work/package/dist/}" "$folder/"
echo "$folder"
