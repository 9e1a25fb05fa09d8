#!/usr/bin/env bash
# Sets up exiftool and FFmpeg's programs, by which the tests read what is painted:  ./scripts/setup_readers.sh
set -euo pipefail
if ! command -v exiftool >/dev/null || ! command -v ffprobe >/dev/null; then
  if command -v apt-get >/dev/null && [[ $(id -u) == 0 ]]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends libimage-exiftool-perl ffmpeg >/dev/null
  else
    echo "onestroke: install exiftool and ffmpeg (Debian: apt install libimage-exiftool-perl ffmpeg, macOS: brew install exiftool ffmpeg)" >&2
    exit 2
  fi
fi
exiftool -ver
ffprobe -version | head -n 1
