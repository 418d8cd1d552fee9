#!/usr/bin/env bash
# Everything that only a GPU can show, in one call, without a network and in under ten minutes: bash benchmarks/gpu/all.sh [WHEELS]
# Missing packages come from the folder WHEELS (`pip download --no-deps -d WHEELS bitsandbytes peft prometheus-client tensorboardX trl`, 45 MB; TRL is measured
# only where it is there). Results: benchmarks/results/gpu/, and the folder OUT where it is set.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH="crds:trainer:cli:examples${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1
if [ $# -gt 0 ]; then
  python3 -m pip install --quiet --no-index --no-deps "$1"/*.whl
fi
ended=0
python3 -m benchmarks.gpu.checks "${DEVICE:-cuda}" || ended=$?
if [ -n "${OUT:-}" ] && [ -d benchmarks/results/gpu ]; then
  cp benchmarks/results/gpu/*.json "$OUT"
fi
exit "$ended"
