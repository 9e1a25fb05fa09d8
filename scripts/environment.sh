# Sourced by quickstart.sh and test.sh: goes to the project's root and leaves $python, with the extra $1 installed, or
# several with commas in between. Takes the virtual environment that is active, else makes .venv in the project.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The Python of a virtual environment; on Windows (Git's bash), its folders have other names.
python_of() { if [[ -d $1/Scripts ]]; then echo "$1/Scripts/python.exe"; else echo "$1/bin/python"; fi; }

# What Python prints, without the carriage returns of Windows.
asked() { "$python" -c "$1" | tr -d '\r'; }

if [[ -n ${VIRTUAL_ENV:-} ]]; then
  python=$(python_of "$VIRTUAL_ENV")
else
  python=$(python_of "$PWD/.venv")
  if [[ ! -x $python ]] || ! "$python" -m pip --version >/dev/null 2>&1; then
    # one that runs: on Windows, python3 may be a link to a shop
    for system in python3 python ""; do if [[ -n $system ]] && "$system" -c "" >/dev/null 2>&1; then break; fi; done
    [[ -n $system ]] || { echo "onestroke: Python 3.10 or newer is needed: install python3 first" >&2; exit 2; }
    "$system" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
      { echo "onestroke: Python 3.10 or newer is needed, and $system is $("$system" -V)" >&2; exit 2; }
    echo "making .venv"
    "$system" -m venv --clear .venv ||
      { echo "onestroke: Python's venv module is missing: install it first (Debian: apt install python3-venv)" >&2; exit 2; }
    python=$(python_of "$PWD/.venv")
  fi
fi

# Where Python finds the package; nothing where it finds none. An environment can hold that of another clone.
found() { asked 'import os, onestroke; print(os.path.realpath(os.path.dirname(onestroke.__file__)))' 2>/dev/null || true; }

ours=$(asked 'import os; print(os.path.realpath("src/onestroke"))')
# installed again only when the settings have changed since, or where another copy of the package is found
prefix=$(asked 'import sys; print(sys.prefix)')
missing=
for extra in ${1//,/ }; do cmp -s pyproject.toml "$prefix/.onestroke-$extra" || missing=$extra; done
theirs=$(found)
if [[ -n $missing || $theirs != "$ours" ]]; then
  echo "installing OneStroke into $prefix (PyTorch is large: this can take some minutes)"
  if [[ -n $theirs && $theirs != "$ours" ]]; then echo "in place of $theirs"; fi
  # Python compiles what it imports; all 23,000 files of the packages would take a minute
  "$python" -m pip install --quiet --disable-pip-version-check --no-compile -e ".[$1]"
  theirs=$(found)
  if [[ $theirs != "$ours" ]]; then
    echo "onestroke: Python finds ${theirs:-no package} and not $ours: take what comes before it off PYTHONPATH" >&2
    exit 2
  fi
  for extra in ${1//,/ }; do cp pyproject.toml "$prefix/.onestroke-$extra"; done
fi
