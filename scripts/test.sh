#!/usr/bin/env bash
# Sets up and runs all checks: ruff, mypy, pytest. Arguments go to pytest: ./scripts/test.sh -k losses, or -m slow.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh" dev

"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
# one thread each for as many processes as there are cores: small pictures gain nothing from more
OMP_NUM_THREADS=1 "$python" -m pytest -n auto --dist loadfile "$@"
