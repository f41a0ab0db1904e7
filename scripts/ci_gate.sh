#!/usr/bin/env bash
# A comparison as a gate in CI: its claims must hold with their 95% intervals, else the build fails.
#
#   scripts/ci_gate.sh                                  a tiny comparison (experiment=smoke), two claims
#   scripts/ci_gate.sh runs='runs/parts/*'              check finished runs, train nothing
#   CLAIMS=$'simclr.linear@10 > random.linear@10 + 5\ndcgan.kid < 0.05' scripts/ci_gate.sh experiment=demo
#
# Arguments go to `gssl compare`; CLAIMS holds one claim a line; OUT is where the report goes. Exit code: 0 every claim
# holds, 1 one does not or a part failed, 2 something is wrong with the arguments. Where one does not, the head of
# report.md is printed.
set -euo pipefail

claims=${CLAIMS:-$'simclr.linear@5 > random.linear@5 - 50\nsimclr.flops < 1e12'}
out=${OUT:-runs/compare/gate-$(date +%Y%m%d-%H%M%S)-$$}
if [ $# -eq 0 ]; then
  set -- experiment=smoke
fi

checks=()
while IFS= read -r claim; do
  if [ -n "$claim" ]; then
    checks+=(--check "$claim")
  fi
done <<<"$claims"
if [ ${#checks[@]} -eq 0 ]; then
  echo "ci_gate: CLAIMS holds no claim; write one a line" >&2
  exit 2
fi

code=0
gssl compare "${checks[@]}" "$@" "hydra.run.dir='$out'" || code=$?
if [ "$code" -ne 0 ] && [ -f "$out/report.md" ]; then
  head -n 30 "$out/report.md"
fi
exit "$code"
