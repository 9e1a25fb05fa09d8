#!/usr/bin/env bash
# Sets up what the tests in a browser need:  ./scripts/setup_browser.sh && ./scripts/test.sh -m 'browser and not slow'
#
# Chromium (where it is missing, from Debian's packages), playwright into the virtual environment, and into the user's
# cache onnxruntime-web and axe-core (MPL 2.0, for tests alone), both from npm.  `system` leaves the environment out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ ${1:-} != system ]]; then . scripts/environment.sh browser; fi

if ! command -v chromium >/dev/null && [[ -z ${ONESTROKE_CHROMIUM:-} ]]; then
  if command -v apt-get >/dev/null && [[ $(id -u) == 0 ]]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null
  else
    echo "onestroke: install Chromium, and name it in ONESTROKE_CHROMIUM if it is not called chromium" >&2
    exit 2
  fi
fi

./scripts/fetch_web_runtime.sh

axe=4.14.1 sum=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745
folder=${XDG_CACHE_HOME:-$HOME/.cache}/onestroke/axe-core-$axe
if [[ ! -s $folder/axe.min.js ]]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  (cd "$work" && npm pack --silent "axe-core@$axe" >/dev/null)
  [[ $(sha256sum "$work/axe-core-$axe.tgz" | cut -d' ' -f1) == "$sum" ]] ||
    { echo "onestroke: axe-core $axe is not the archive that is expected" >&2; exit 2; }
  tar -xzf "$work/axe-core-$axe.tgz" -C "$work" package/axe.min.js
  mkdir -p "$folder"
  mv "$work/package/axe.min.js" "$folder/"
fi
echo "$folder"
