#!/usr/bin/env bash
# From a bare machine to a painted photo: sets up, trains a style in minutes, exports it, and paints with it.
#
#   ./scripts/quickstart.sh [input=photo.jpg] [style=starry_night] [minutes=4]
#
# Without input= it paints a public-domain NASA photo that scikit-image ships.
set -euo pipefail

style=starry_night minutes=4 input=
for argument in "$@"; do
  case $argument in
    style=*) style=${argument#*=} ;;
    minutes=*) minutes=${argument#*=} ;;
    input=*) input=$(realpath -- "${argument#*=}") ;;
    *) sed -n '2,6s/^# \{0,1\}//p' "$0"; [[ $argument == *help || $argument == -h ]] && exit 0; echo "onestroke: there is no option '$argument'" >&2; exit 2 ;;
  esac
done
if [[ -n $input && ! -f $input ]]; then echo "onestroke: there is no photo $input" >&2; exit 2; fi

. "$(dirname "${BASH_SOURCE[0]}")/environment.sh" demo

SECONDS=0
mkdir -p runs/quickstart
if [[ -z $input ]]; then
  input=$PWD/runs/quickstart/astronaut.png
  "$python" -c 'import sys; from skimage import data, io; io.imsave(sys.argv[1], data.astronaut(), check_contrast=False)' "$input"
fi
ckpt=runs/quickstart/$style.safetensors
painting=runs/quickstart/$(basename "${input%.*}").$style.png
"$python" train.py experiment=quick "style=$style" "minutes=$minutes" "out=$ckpt" overwrite=true
"$python" infer.py "ckpt=$ckpt" "input=$input" "output=$painting" overwrite=true >/dev/null

echo
echo "Done in $((SECONDS / 60)) min $((SECONDS % 60)) s."
echo "style file   $PWD/$ckpt"
echo "painting     $PWD/$painting"
echo "TensorBoard  $python -m tensorboard.main --logdir $PWD/runs"
