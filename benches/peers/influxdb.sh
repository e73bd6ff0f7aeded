#!/usr/bin/env bash
# Millstream beside InfluxDB, on one core each, with the same samples.
# Usage: benches/peers/influxdb.sh [--seconds N] [--rounds N]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
bench_peer influxdb 2 "$@"
