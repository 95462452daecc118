# `just --list` shows these. Everything here is one or two commands: read them without just.

# All that a change has to pass
ci:
    .ci/run

# Format, lints, tidiness: the first things to run after an edit
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace --test tidy

# The README's second command
test:
    cargo test --workspace

# The README's first command
demo *flags:
    cargo run --release -- demo {{ flags }}

# Clusters under joins, deaths, freezes and silent links, from this many seeds
sim seeds="10000":
    SIM_SEEDS={{ seeds }} cargo test --release --workspace --test coord_sim -- seeds --nocapture

# Bytes from outside, mutated: so many inputs for each of what reads them
fuzz inputs="100000":
    EDGELD_FUZZ_INPUTS={{ inputs }} cargo test --workspace --test fuzz

# Coordination broken on purpose, piece by piece: what the simulation says to it (half an hour)
mutations *words:
    deploy/simulation/mutations.py {{ words }}

# Documentation of all crates, opened
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --open

# Every example, one after the other
examples:
    cargo build --release --workspace
    for example in examples/src/bin/*.rs; do target/release/$(basename $example .rs) || exit 1; done

# Answers against onnxruntime's, every model (--quick: a part)
conformance *flags:
    deploy/conformance/run {{ flags }}

# ONNX's own node tests; `just node-tests --out docs/node-tests.md` makes the table
node-tests *flags:
    deploy/conformance/node_tests {{ flags }}

# A detector's boxes on a photograph against onnxruntime's (--draw FILE)
detector *flags:
    deploy/conformance/detector {{ flags }}

# `edgeld serve` by the clients that people have: tritonclient, curl, Prometheus, schemathesis
clients *flags:
    deploy/serve/clients {{ flags }}

# The page of `edgeld serve` in a headless browser (--shots DIR)
page *flags:
    deploy/serve/page {{ flags }}

# Models out of packages of PyPI and npm; `just published --out docs/models.md` makes the table
published *flags:
    deploy/conformance/published {{ flags }}

# Against onnxruntime, by turns on the same cores; also threads, strips, memory (or --threads 2, a file ...)
bench-onnxruntime *flags:
    deploy/bench/run {{ flags }}

# What has `unsafe` in it, watched by AddressSanitizer (builds everything anew: a quarter of an hour)
sanitize:
    RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo test --workspace --lib \
        --target $(rustc -vV | sed -n 's/host: //p') --target-dir target/sanitized \
        --config 'profile.dev.package."*".opt-level=1' -- kernel:: exec:: compute::

# The kernels' tests on an emulated 64-bit Arm (rustup target add aarch64-unknown-linux-gnu; the
# packages qemu-user, gcc-aarch64-linux-gnu and libc6-dev-arm64-cross)
arm:
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \
        cargo test -p edgeld-runtime --lib --target aarch64-unknown-linux-gnu \
        --target-dir target/arm --config 'profile.dev.package."*".opt-level=1' -- kernel::

# Single layers, whole and in strips, with weights of floats and of halves
bench-layers *filter:
    cargo bench --workspace --bench layers -- {{ filter }}

# Five devices in network namespaces, one of them slow (Linux, root; exit 77: not possible here)
lab *flags:
    cargo build --release
    python3 deploy/lab/acceptance.py lab {{ flags }}

# Alone, as the EdgeLD paper does it, the default, on emulated LANs; or never-slower (root; else 77)
bench-lab *flags:
    cargo build --release
    python3 deploy/lab/bench.py {{ flags }}

# Every bar, from the demo to the speed of one thread
acceptance: (conformance "--quick")
    target/python/bin/python deploy/lab/acceptance.py demo matrix lab memory speed

# Makes the files of actors/assets anew
assets:
    target/python/bin/python deploy/models/models.py fetch --out target/assets
    target/python/bin/python deploy/models/models.py demo --out target/assets
