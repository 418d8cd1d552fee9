#!/usr/bin/env bash
# Everything that only a GPU can show, in one call, without a network and in under ten minutes: bash benchmarks/gpu/all.sh [WHEELS]
#
# It needs PyTorch from 2.11, transformers from 5.17, PEFT, pandas, pyarrow, xxhash, prometheus-client, Rich, Typer, scikit-learn, sacreBLEU, and what these
# bring. What else it needs (wheels.txt) comes as wheels in the folder WHEELS, for an x86-64 machine with Python 3.12 (57 MB) by
#   pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 --platform manylinux_2_24_x86_64 \
#     --platform manylinux2014_x86_64 --platform any -d WHEELS -r benchmarks/gpu/wheels.txt
# and is put beside the environment, not into it. BUDGET seconds (540) after the start nothing more begins; what is then at work has a minute.
# Results, written after each check: benchmarks/results/gpu/, and the folder OUT where it is set.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH="crds:trainer:cli:examples${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1
if [ $# -gt 0 ]; then
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  python3 -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$1"/*.whl
  export PYTHONPATH="$site:$PYTHONPATH"
fi
left=$((${BUDGET:-540} - SECONDS))
timeout --kill-after=5 $((left + 50)) python3 -m benchmarks.gpu.checks "${DEVICE:-cuda}" "$left"
