# Sourced by quickstart.sh and test.sh: goes to the project's root and leaves $python, with the extra $1 installed.
# Takes the virtual environment that is active, else makes .venv in the project.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ -n ${VIRTUAL_ENV:-} ]]; then
  python=$VIRTUAL_ENV/bin/python
else
  python=$PWD/.venv/bin/python
  if [[ ! -x $python ]] || ! "$python" -m pip --version >/dev/null 2>&1; then
    system=$(command -v python3 || command -v python) || { echo "onestroke: Python 3.10 or newer is needed: install python3 first" >&2; exit 2; }
    "$system" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
      { echo "onestroke: Python 3.10 or newer is needed, and $system is $("$system" -V)" >&2; exit 2; }
    echo "making .venv"
    "$system" -m venv --clear .venv ||
      { echo "onestroke: Python's venv module is missing: install it first (Debian: apt install python3-venv)" >&2; exit 2; }
  fi
fi

# installed again only when the settings have changed since
prefix=$("$python" -c 'import sys; print(sys.prefix)')
stamp=$prefix/.onestroke-$1
if ! cmp -s pyproject.toml "$stamp" || ! "$python" -c 'import onestroke' 2>/dev/null; then
  echo "installing OneStroke into $prefix (PyTorch is large: this can take some minutes)"
  "$python" -m pip install --quiet --disable-pip-version-check -e ".[$1]"
  cp pyproject.toml "$stamp"
fi
