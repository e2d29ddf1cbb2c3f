#!/bin/sh
# The lab's program, which makes its watts up here, and a model's energy by the meter that reads them.
set -eu
cd "$(dirname "$0")"
python3 supply.py power_w &
trap 'kill $!; rm -f power_w power_w.new' EXIT
sleep 0.5
PYTHONPATH=. hwnas profile resnet8 --fleet fleet.toml --target bench --budget 5s "$@"
