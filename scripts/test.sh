#!/usr/bin/env bash
# Sets up and runs all checks: ruff, mypy, pytest. Arguments go to pytest: ./scripts/test.sh -k losses, or -m slow.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh" dev

"$python" -m ruff check .
"$python" -m ruff format --check .

# mypy takes one core for a minute where it has no cache, beside the tests; what it says comes after them
types=$(mktemp)
"$python" -m mypy >"$types" 2>&1 &
mypy=$!
trap 'kill "$mypy" 2>/dev/null || true; rm -f "$types"' EXIT

failed=0
# one thread each for as many processes as there are cores: small pictures gain nothing from more
OMP_NUM_THREADS=1 "$python" -m pytest -n auto --dist loadfile "$@" || failed=$?
wait "$mypy" || failed=1
cat "$types"
exit "$failed"
