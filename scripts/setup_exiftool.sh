#!/usr/bin/env bash
# Sets up exiftool, by which the tests read what paintings say of themselves:  ./scripts/setup_exiftool.sh
set -euo pipefail
if ! command -v exiftool >/dev/null; then
  if command -v apt-get >/dev/null && [[ $(id -u) == 0 ]]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends libimage-exiftool-perl >/dev/null
  else
    echo "onestroke: install exiftool (Debian: apt install libimage-exiftool-perl, macOS: brew install exiftool)" >&2
    exit 2
  fi
fi
exiftool -ver
