#!/usr/bin/env bash
# “make survive”: lists the long runs of kills, faults and malformed inputs; “make survive WHAT=name” runs one and writes
# target/survive/NAME.json, WHAT=all runs them all. “make test” runs a sample of each.
#
# SEED=number makes other trials, TIMES=number more or fewer of them.
. "$(dirname "$0")/lib.sh"

list() {
    expand -t 16 <<'TEXT'
  device	kills and faults, one after the other, in one file
  kills	SIGKILL of who changes firmware settings, at each step, in all sorts of company
  faults	faults of the firmware at each call of a change and of its undo
  tables	token tables that are wrong on purpose
  fuzz	a million operations of a fuzzer on the kernel device, and every end of each; KERNEL=sanitize: under that kernel, for hours
  log	crashes, tampering and failing disks of the log: a hundred thousand states, no laptop needed
  store	crashes, tampering and failing disks of the chunk store, pruning included: a hundred thousand states, no laptop needed
  rollback	power cuts in the middle of a restore, on a file system that loses what was not flushed: a hundred thousand states
  tampering	changes of a whole repository by somebody who can write the disk: thousands; then all of it is verified and restored
  power	power cuts of the laptop that lose what its disk had not flushed: 30 of them, and six earlier points of each boot
  power-restore	power cuts in the middle of restores, in place and at once: 30 of them, and six earlier points of each boot
  anchor	older copies, other logs, anchors that were removed: what a start of the daemon notices, with a software TPM
  writes	SIGKILL of the daemon while it writes a token
  checkpoints	SIGKILL of the daemon, or of its helper, while it makes a checkpoint
  restores	SIGKILL of the daemon, or of its helper, while it restores one, in place and at once
  prunes	SIGKILL of the daemon, or of its helper, while it lets checkpoints go and prunes
TEXT
}

laptop() { TIMEOUT=${TIMEOUT:-7200} "$ROOT/scripts/laptop.sh" "$@"; }
bare() { BARE=1 laptop command "/usr/lib/laptop/$*"; }
# Each with its default for a whole run.
kills() { bare survive.sh kills ${TIMES:-} --seed "${SEED:-1}"; }
faults() { bare survive.sh faults ${TIMES:-} --seed "${SEED:-1}"; }
daemon() { laptop command "mkdir -p /srv/work && laptop-survive $1 ${TIMES:-240} --seed ${SEED:-1}"; }

# One line of a figure, as laptop-survive writes them.
tables() {
    local tried failed=0 said
    said=$("$ROOT/scripts/tables.sh") || failed=$(grep -c FAILED <<<"$said") || die "the tables could not be tried: $said"
    say "$said"
    tried=$(grep -cE '^[a-z0-9-]+ +(ok|FAILED)' <<<"$said") || true
    printf 'figure {"variant":"tables","metric":"wrong token tables that the module does not take as it should","samples":[%d],"goal":0,"notes":[],"more":{"tried":%d,"kernel":"%s"}}\n' \
        "$failed" "$tried" "$("$ROOT/scripts/kernel.sh" resolve "${KERNEL:-}")"
    [ "$failed" -eq 0 ]
}

# fuzzed KERNEL OPERATIONS [OPTION…]: what it says is kept beside the figures. On the sanitizing kernel a call of the firmware takes some
# hundred times as long.
fuzzed() {
    local kernel=$1 ops=$2 calls=60 append=${LAPTOP_APPEND:-}
    shift 2
    case $kernel in
        sanitize*) calls=6 append=${append:-slab_debug=- kmemleak=off kasan_multi_shot no5lvl} ;;
    esac
    KERNEL=$kernel LAPTOP_APPEND=$append BARE=1 TIMEOUT=${TIMEOUT:-36000} "$ROOT/scripts/laptop.sh" \
        script "$ROOT/scripts/laptop/fuzz.sh" --seed "${SEED:-1}" --ops "$ops" --calls "$calls" "$@" |
        tee "$(mktemp "$said/run.XXXXXX")"
}

# One long run, and short ones with what no single laptop has: other token tables, a restart, a kernel that can be made to fail, one whose
# calls do not take long. Together they reach every end of every operation. TIMES counts the operations of the long one.
fuzz() {
    local failed=0 unreached=0 ops=${TIMES:-1000000} release stock other said reached
    said=$TARGET/survive/fuzz
    rm -rf "$said" && mkdir -p "$said"
    release=$("$ROOT/scripts/kernel.sh" resolve "${KERNEL:-}")
    stock=$release
    case $release in sanitize*) stock=$("$ROOT/scripts/kernel.sh" resolve) ;; esac
    other=$stock
    if [ "$release" = "$stock" ]; then
        KERNEL='' "$ROOT/scripts/sanitize-kernel.sh" >&2
        other=$("$ROOT/scripts/kernel.sh" resolve sanitize)
    fi
    KERNEL=$other "$ROOT/scripts/build.sh" >&2
    fuzzed "$release" "$ops" --lockdown || failed=$((failed + 1))
    TABLE=shared fuzzed "$stock" 3000 || failed=$((failed + 1))
    TABLE=tokens-2000 fuzzed "$stock" 3000 || failed=$((failed + 1))
    fuzzed "$other" 6000 || failed=$((failed + 1))
    # Whichever of the two it is.
    KERNEL=sanitize LAPTOP_APPEND="slab_debug=- kmemleak=off kasan_multi_shot no5lvl" bare failing.sh told |
        tee "$said/told" || failed=$((failed + 1))
    KERNEL=$stock "$ROOT/scripts/restart.sh" | tee "$said/restart" || failed=$((failed + 1))
    reached=$("$ROOT/scripts/cargo.sh" exec "$TARGET/debug/laptop-fuzz" --union "$said"/* 2>"$said.missing") || unreached=1
    say "$reached"
    cat "$said.missing" >&2
    read -r reached _ wanted _ <<<"$reached"
    printf 'figure {"variant":"fuzz","metric":"fuzzed runs with a report, a wrong answer or a value that should not have changed","samples":[%d],"goal":0,"notes":[],"more":{"tried":%d,"kernel":"%s","seed":%d}}\n' \
        "$failed" "$ops" "$release" "${SEED:-1}"
    printf 'figure {"variant":"fuzz","metric":"ends of an operation (a result, or an error number with its reason) that were not reached","samples":[%d],"goal":0,"notes":[],"more":{"tried":%d,"kernel":"%s","seed":%d}}\n' \
        "$((wanted - reached))" "$wanted" "$release" "${SEED:-1}"
    [ "$failed" -eq 0 ] && [ "$unreached" -eq 0 ]
}

# simulated NAME MODULE: on a simulated disk, in the crate's own tests; optimized, or it would take an hour. The lines of figures go on,
# the rest is said.
simulated() {
    local status=0
    env "SURVIVE_$1=${TIMES:-100000}" SEED="${SEED:-1}" \
        "$ROOT/scripts/cargo.sh" test --release -q -p store --lib "$2::survive" -- --nocapture |
        sed -n 's/^.*\(figure {\)/\1/p; /FAILED\|panicked\|seed /p' || status=1
    return $status
}
log() {
    local status=0
    simulated LOG log || status=1
    # The clock check belongs to the command: a hundredth of it, each a run of “dsmil log verify”.
    SURVIVE_LOG=${TIMES:-100000} SEED=${SEED:-1} "$ROOT/scripts/cargo.sh" test --release -q -p cli --test cli clock:: -- --nocapture |
        sed -n 's/^.*\(figure {\)/\1/p; /FAILED\|panicked\|round /p' || status=1
    return $status
}
store() { simulated STORE chunk; }

power() { "$ROOT/scripts/power.sh" ${TIMES:-}; }
power-restore() { RESTORES=1 "$ROOT/scripts/power.sh" ${TIMES:-}; }

# in_memory NAME TIMES MODULE: in the crate's own tests; owners and access times need root.
in_memory() {
    local status=0
    as_root env "SURVIVE_$1=${TIMES:-$2}" SEED="${SEED:-1}" \
        "$ROOT/scripts/cargo.sh" test --release -q -p recovery --lib "tests::$3" -- --nocapture |
        sed -n 's/^.*\(figure {\)/\1/p; /FAILED\|panicked\|seed \|, round /p' || status=1
    return $status
}
rollback() { in_memory ROLLBACK 100000 survive; }
tampering() { in_memory TAMPERING 4800 tampering; }

# With a software TPM, in the daemon's own tests.
anchor() {
    local status=0
    SURVIVE_ANCHOR=${TIMES:-3800} SEED=${SEED:-1} "$ROOT/scripts/cargo.sh" test -q -p daemon survive -- --nocapture |
        sed -n 's/^.*\(figure {\)/\1/p; /FAILED\|panicked\|undetected:/p' || status=1
    return $status
}

run() {
    local status=0
    case $1 in
        device)
            kills || status=1
            faults || status=1
            ;;
        kills | faults | tables | fuzz | log | store | anchor | power | power-restore | rollback | tampering) "$1" || status=1 ;;
        writes | checkpoints | restores | prunes) daemon "$1" || status=1 ;;
    esac
    return $status
}

commit() {
    local commit
    commit=$(git -C "$ROOT" rev-parse HEAD 2>/dev/null) || commit=unknown
    [ -z "$(git -C "$ROOT" status --porcelain --untracked-files=no 2>/dev/null)" ] || commit=$commit-dirty
    say "$commit"
}

name=${1:-}
case $name in
    "")
        say "Runs of survival, each with make survive WHAT=name, all with WHAT=all:"
        list
        exit
        ;;
    all) names="device tables fuzz log store rollback tampering anchor power power-restore writes checkpoints restores prunes" ;;
    *)
        list | grep -q "^  $name " || die "there is no run “$name”; there are:
$(list)"
        names=$name
        ;;
esac
"$ROOT/scripts/setup.sh"
"$ROOT/scripts/build.sh"
mkdir -p "$TARGET/survive"
status=0
for name in $names; do
    run "$name" | BENCH_OUT="$TARGET/survive" BENCH_COMMIT="$(commit)" \
        "$ROOT/scripts/cargo.sh" exec "$TARGET/debug/survive" "$name" || status=1
done
[ "$status" -eq 0 ] || die "a goal is missed, or a run broke off: the lines above say where, and the same SEED tries the same again."
