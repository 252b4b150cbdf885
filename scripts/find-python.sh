#!/usr/bin/env bash
# Prints the newest CPython from 3.15 down to 3.11 that can make a virtual environment; LARDER_PYTHON overrides.
set -u
usable='import sys, venv, ensurepip, sysconfig
assert sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
assert (3, 11) <= sys.version_info[:2] <= (3, 15)'
for candidate in ${LARDER_PYTHON:-}; do
  "$candidate" -c "$usable" 2>/dev/null && { echo "$candidate"; exit 0; }
  echo "LARDER_PYTHON=$candidate is not a CPython 3.11 to 3.15 with venv" >&2
  exit 1
done
for minor in 15 14 13 12 11; do
  for candidate in $(ls -d "$HOME"/.pyenv/versions/3.$minor.*/bin/python 2>/dev/null | sort -rV) "$(command -v python3.$minor)"; do
    [ -n "$candidate" ] && "$candidate" -c "$usable" 2>/dev/null && { echo "$candidate"; exit 0; }
  done
done
python3 -c "$usable" 2>/dev/null && { command -v python3; exit 0; }
echo "no CPython 3.11 to 3.15 with venv found on PATH or in ~/.pyenv/versions; install one (Debian: apt-get install python3 python3-venv)" >&2
exit 1
