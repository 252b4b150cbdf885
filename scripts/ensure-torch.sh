#!/usr/bin/env bash
# Prints a Python that has torch and what larder needs. The CPU build from pytorch.org when it can be had; else the
# distribution's own torch with its own Python, installed when it is missing and we may. PyPI's brings gigabytes of CUDA.
set -eu
cd "$(dirname "$0")/.."
home=.venv-torch
py=$PWD/$home/bin/python
works() { "$py" -c 'import torch, numpy, cloudpickle; assert torch.zeros(1).numpy().dtype == "f4"' 2>/dev/null; }
if works; then echo "$py"; exit 0; fi
rm -rf "$home"
needs='import sys; sys.exit(sys.version_info < (3, 11))'
if python=$(scripts/find-python.sh 2>/dev/null) && "$python" -m venv "$home" 2>/dev/null; then
  "$py" -m pip install -q --timeout 10 --retries 0 torch --index-url https://download.pytorch.org/whl/cpu >/dev/null 2>&1 &&
    "$py" -m pip install -q numpy cloudpickle >/dev/null && works && { echo "$py"; exit 0; }
fi
rm -rf "$home"
run() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
if ! /usr/bin/python3 -c 'import torch' 2>/dev/null; then
  if command -v apt-get >/dev/null && run true 2>/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    { run apt-get -qq update && run apt-get -qq install -y --no-install-recommends python3-torch python3-numpy; } >&2
  fi
fi
if ! /usr/bin/python3 -c "$needs; import torch" 2>/dev/null; then
  echo "the tensor tests need torch: allow https://download.pytorch.org, or install python3-torch (Python 3.11 or newer)" >&2
  exit 1
fi
/usr/bin/python3 -m venv --system-site-packages --without-pip "$home" >&2
.venv/bin/uv pip install -q --python "$py" cloudpickle >&2
works && echo "$py" || { echo "torch of /usr/bin/python3 cannot be used from $home: $("$py" -c "import torch, numpy, cloudpickle" 2>&1 | tail -n 1)" >&2; exit 1; }
