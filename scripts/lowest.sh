#!/usr/bin/env bash
# Runs the tests with the lowest versions of all packages that pyproject.toml allows, on Python 3.10 to 3.12.
#
#   ./scripts/lowest.sh [arguments of pytest]
#
# They are installed into .venv-lowest, which is made anew whenever pyproject.toml has changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=$PWD/.venv-lowest/bin/python
stamp=.venv-lowest/.onestroke-lowest
if ! cmp -s pyproject.toml "$stamp"; then
  system=$(command -v python3 || command -v python) || { echo "onestroke: Python 3.10 or newer is needed: install python3 first" >&2; exit 2; }
  "$system" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' ||
    { echo "onestroke: the lowest versions are made for Python 3.10 to 3.12, and $system is $("$system" -V)" >&2; exit 2; }
  "$system" -m venv --clear .venv-lowest
  # "torch>=2.6" is torch==2.6, whichever extra asks for it
  grep -oE '"[a-z0-9-]+>=[0-9][0-9.]*"' pyproject.toml | tr -d '"' | sed 's/>=/==/' | sort -u >.venv-lowest/constraints.txt
  echo "installing into .venv-lowest (several GB: this can take some minutes)"
  "$python" -m pip install --quiet --disable-pip-version-check -c .venv-lowest/constraints.txt -e ".[test]"
  cp pyproject.toml "$stamp"
fi
OMP_NUM_THREADS=1 "$python" -m pytest -n auto --dist loadfile "$@"
