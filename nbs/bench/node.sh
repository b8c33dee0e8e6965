#!/bin/sh
# A node without a network, for a few minutes: figures of its GPU, then as many runs of the studies as the time allows.
#   in the checkout, beside vlm4vla-pack.pyz (`vlm4vla pack node.txt`, see nbs/launch/07_pack.ipynb):
#   sh nbs/bench/node.sh MINUTES FOLDER [STUDY or run …]
# It leaves FOLDER/node.tar.xz (tables, provenance, the executed bench page) and FOLDER/node.log; `vlm4vla merge` is not needed:
# unpack it and append its rows. What was not finished is not in the tables.
set -u
MINUTES=${1:?minutes}; OUT=${2:?folder}; shift 2
PYTHON=${PYTHON:-python3}; PACK="$PYTHON vlm4vla-pack.pyz --"; CORES=$(nproc); UNTIL=$(( $(date +%s) + 60*MINUTES ))
export OMP_NUM_THREADS=1 VLM4VLA_CACHE="${VLM4VLA_CACHE:-$PWD/.cache/node}"
left() { echo $(( UNTIL - $(date +%s) - 20 )); }
[ -f vlm4vla-pack.pyz ] || { echo "vlm4vla-pack.pyz is not here; bring it (vlm4vla pack node.txt) into the checkout's folder." >&2; exit 2; }
mkdir -p "$OUT/results"
{
  $PACK "$PYTHON" -m vlm4vla.cli doctor
  # demonstrations are recorded on the cores while the GPU is measured
  $PACK "$PYTHON" -c "from vlm4vla.catalog.sets import demo_sets; from vlm4vla.core import cache_dir
n = '${DEMOS:-grinningface}'; demo_sets[n].record(cache_dir()/'data'/n, workers=$CORES)" & DEMO=$!
  for b in ${BENCH-qwen3-vl-2b}; do
    $PACK timeout "$(left)" "$PYTHON" -m papermill nbs/bench/81_gpu.ipynb "$OUT/81_gpu-$b.ipynb" --cwd nbs/bench -p backbone "$b" \
      -r out "$PWD/$OUT/results" --log-level ERROR --no-progress-bar
  done
  wait $DEMO
  echo "demonstrations and figures are there; $(left) seconds are left for runs"
  $PACK timeout -s INT -k 15 "$(left)" "$PYTHON" -m vlm4vla.cli run "${@:-adapt}" --output-dir "$OUT/results" --jobs "$CORES" --workers 2
  date
} > "$OUT/node.log" 2>&1
tar -C "$OUT" --exclude=checkpoints --exclude=videos -cJf "$OUT/node.tar.xz" results $(cd "$OUT" && ls *.ipynb 2>/dev/null)
rm -rf "$OUT/results"; tail -3 "$OUT/node.log"
