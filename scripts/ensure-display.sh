#!/usr/bin/env bash
# The tests of GUI toolkits open real windows on a display without a screen (Xvfb); installs Debian's packages when they
# are missing and we may: the display, and the system's libraries that Qt loads.
set -eu
missing=()
command -v Xvfb >/dev/null || missing+=(xvfb)
library() { /sbin/ldconfig -p | grep -q "$1" || missing+=("$2"); }
library libEGL.so.1 libegl1
library libGL.so.1 libgl1
library libxkbcommon-x11.so.0 libxkbcommon-x11-0
library libdbus-1.so.3 libdbus-1-3
library libfontconfig.so.1 libfontconfig1
library libxcb-cursor.so.0 libxcb-cursor0
library libxcb-icccm.so.4 libxcb-icccm4
library libxcb-keysyms.so.1 libxcb-keysyms1
library libxcb-shape.so.0 libxcb-shape0
library libxcb-xinerama.so.0 libxcb-xinerama0
[ ${#missing[@]} = 0 ] && exit 0
run() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
if ! command -v apt-get >/dev/null || ! run true 2>/dev/null; then
  echo "the tests of GUI toolkits need: ${missing[*]}; install them and run again" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
run apt-get -qq update
run apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
