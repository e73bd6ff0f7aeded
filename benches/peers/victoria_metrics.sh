#!/usr/bin/env bash
# Millstream beside VictoriaMetrics, on one core each, with the same samples.
# Usage: benches/peers/victoria_metrics.sh [--seconds N] [--rounds N]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
bench_peer victoria-metrics 2 "$@"
