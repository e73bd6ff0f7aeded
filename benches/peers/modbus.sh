#!/bin/bash
# One polling job, Millstream beside other people's Modbus clients: 480 blocks of 125 holding
# registers of one device over one connection, as fast as it goes. The devices measure
# (`loadgen modbus --measure`); whoever polls has one core, they another. In turns, each with devices
# that were just started; millstream-0 is Millstream with the depth left out, measured once it was found
# out. Needs what `cargo build --release --workspace --locked --bins` makes.
#
#     benches/peers/modbus.sh [SECONDS [ROUNDS]]
#     benches/peers/modbus.sh install        # only what is missing of the peers
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
peers=$target/peers
port=21000
first=${1:-4}
seconds=$first
rounds=${2:-3}
work=$target/fault/peers-modbus

# The versions are those of `cargo xtask peers`, and so is the place.
pin() { grep -o "\"$1[=@][=0-9.]*\"" xtask/src/peers.rs | tr -d '"'; }

install() {
    mkdir -p "$peers/npm"
    if ! "$peers/venv/bin/python" -c 'import pymodbus' 2>/dev/null; then
        python3 -m venv "$peers/venv"
        "$peers/venv/bin/pip" install --quiet --disable-pip-version-check "$(pin pymodbus)"
    fi
    if [ ! -d "$peers/npm/node_modules/modbus-serial" ]; then
        [ -e "$peers/npm/package.json" ] || echo '{"private":true}' >"$peers/npm/package.json"
        (cd "$peers/npm" && npm install --no-audit --no-fund --silent "$1")
    fi
}

devices() { "$target/release/loadgen" modbus --devices 1 --tags 60000 --every 1ms --port $port "$@"; }

# Starts what polls on core 1; its process id is in $!.
start() {
    case $1 in
    millstream-*)
        rm -rf "$work" && mkdir -p "$work"
        devices --depth "${1#millstream-}" --config "$work/millstream.toml"
        sed -i "s|\"fleet-data\"|\"$work/data\"|; s|127.0.0.1:8080|127.0.0.1:0|; s|127.0.0.1:7070|127.0.0.1:0|" "$work/millstream.toml"
        printf '\n[cores]\ncount = 1\n' >>"$work/millstream.toml"
        taskset -c 1 "$target/release/millstream" run "$work/millstream.toml" >"$work/log" 2>&1 &
        ;;
    tokio-modbus) taskset -c 1 "$target/release/loadgen" poll --client tokio-modbus --address 127.0.0.1:$port --seconds 600 2>/dev/null & ;;
    pymodbus) taskset -c 1 "$peers/venv/bin/python" benches/peers/modbus_pymodbus.py 127.0.0.1 $port 2>/dev/null & ;;
    modbus-serial) NODE_PATH=$peers/npm/node_modules taskset -c 1 node benches/peers/modbus_serial.js 127.0.0.1 $port 2>/dev/null & ;;
    esac
}

measure() {
    local warm_up=1s
    [ "$1" = millstream-0 ] && warm_up=8s
    start "$1"
    local pid=$!
    # However this ends, what was started does, too.
    trap "kill $pid 2>/dev/null || true" EXIT
    devices --measure --seconds "$seconds" --warm-up $warm_up --server-pid $pid --core 0 --server-core 1 --json >"$work.report"
    kill $pid 2>/dev/null || true # a client ends with its device
    wait $pid 2>/dev/null || true
    trap - EXIT
    local field
    printf '%s' "$1"
    for field in polls_per_s values_per_s server_cpu_ns_per_value server_cpu_share own_cpu_share; do
        printf '\t%s' "$(grep -o "\"$field\":[0-9.e+-]*" "$work.report" | head -n 1 | cut -d: -f2)"
    done
    printf '\n'
}

install "$(pin modbus-serial)"
[ "$first" = install ] && exit 0
mkdir -p "$target/fault"
all='millstream-1 millstream-16 millstream-0 tokio-modbus pymodbus modbus-serial'
for _ in $(seq "$rounds"); do
    for who in $all; do measure $who; done
done >"$work.tsv"
# The middle round of one.
middle() { grep "^$1	" "$work.tsv" | sort -t '	' -g -k 2 | sed -n "$(((rounds + 1) / 2))p"; }
one=$(middle tokio-modbus | cut -f 2)
echo '| client | requests/s | of tokio-modbus | values/s | CPU a value | its core | the device'"'"'s core |'
echo '|---|---:|---:|---:|---:|---:|---:|'
for who in $all; do
    middle "$who" |
        awk -F '\t' -v one="$one" '{ printf "| %s | %.0f | %.2f | %.0f | %.0f ns | %.0f %% | %.0f %% |\n", $1, $2, $2 / one, $3, $4, $5 * 100, $6 * 100 }'
done
