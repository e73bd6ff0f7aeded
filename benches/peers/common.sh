# What the scripts beside it share. Not run by itself.

# bench_peer NAME SECONDS [OPTION…]: measures one peer beside Millstream and prints a table in Markdown.
# --seconds (of each measurement) and --rounds override the defaults. Debian packages that are missing
# are unpacked below target/peers; nothing is installed and no service is started.
bench_peer() {
    local name=$1 seconds=$2
    shift 2
    cd "$(dirname "${BASH_SOURCE[0]}")/../.."
    exec cargo run --release --quiet --locked --package xtask -- \
        bench peers "$name" --seconds "$seconds" --rounds 3 "$@"
}
