#!/usr/bin/env bash
# The machine tests reset an emulated computer with persistent memory; installs Debian's packages when they are missing and we may.
set -eu
missing=()
need() { command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || missing+=("$2"); }
need qemu-system-x86_64 qemu-system-x86
need busybox busybox-static
need cpio cpio
need mke2fs e2fsprogs
[ ${#missing[@]} = 0 ] && exit 0
run() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
if ! command -v apt-get >/dev/null || ! run true 2>/dev/null; then
  echo "the machine tests need: ${missing[*]}; install them and run again" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
run apt-get -qq update
run apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
