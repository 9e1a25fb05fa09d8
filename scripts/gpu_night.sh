#!/usr/bin/env bash
# What a GPU is good for, in one call of ten minutes: checks of precision, torch.compile and memory, bench.py train and
# infer, then the gallery of all styles at 256 to 512 px for as long as is left.
#
#   ./scripts/gpu_night.sh pack photos=FOLDER to=FOLDER     # beforehand, anywhere: photos small enough to take along
#   ./scripts/gpu_night.sh [out=FOLDER] [seconds=540] [photos=FOLDER] [resume=FOLDER]
#   ./scripts/gpu_night.sh device=cpu tiny=true             # a rehearsal, in three minutes
#
# Nothing is installed or downloaded. Takes the virtual environment that is active, else .venv, else the system's Python.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
for python in "${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python}" "$root/.venv/bin/python" python3 python; do
  if [[ -n $python ]] && "$python" -c "" >/dev/null 2>&1; then break; fi
done

needed="torch pytorch_lightning torchmetrics hydra omegaconf tensorboard PIL numpy safetensors rich"
missing=$("$python" -c '
import importlib.util, sys
print(*(name for name in sys.argv[1:] if importlib.util.find_spec(name) is None))' $needed)
if [[ -n $missing ]]; then
  echo "onestroke: $python lacks $missing: install them, or put a folder that holds them on PYTHONPATH" >&2
  exit 2
fi

export PYTHONPATH=$root/src${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
exec "$python" "$root/scripts/gpu_night.py" "$@"  # exec, so that signals reach it
