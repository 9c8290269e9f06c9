#!/usr/bin/env bash
# What Dockerfile and porepatch.def share, on Debian bookworm, whose Python is 3.11. The image holds what PorePatch needs; its code
# is the checkout that the image is run in.
#   envs/container.sh core|cuda
set -euo pipefail
environment=$1
envs=$(dirname "$(readlink -f "$0")")

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends ca-certificates git python3.11 python3.11-venv
python3.11 -m venv /opt/porepatch
/opt/porepatch/bin/pip install --no-cache-dir --requirement "$envs/requirements-$environment.txt"
"$envs/system_libraries.sh" /opt/porepatch/bin/python
rm -rf /var/lib/apt/lists/*
