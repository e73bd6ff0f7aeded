#!/usr/bin/env bash
# Millstream beside NATS JetStream with file storage, on one core each, with the same samples.
# Usage: benches/peers/nats.sh [--seconds N] [--rounds N]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
bench_peer nats 1 "$@"
