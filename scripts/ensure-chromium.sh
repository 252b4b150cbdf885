#!/usr/bin/env bash
# The browser tests drive the system's Chromium; installs Debian's package when it is missing and we may.
set -eu
command -v chromium >/dev/null && exit 0
run() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
if ! command -v apt-get >/dev/null || ! run true 2>/dev/null; then
  echo "the browser tests need Chromium: install the package \`chromium\` and run again" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
run apt-get -qq update
run apt-get -qq install -y --no-install-recommends chromium >/dev/null
