#!/bin/bash
# Runs the tests: scripts through shellcheck, the crates' own tests, and the scenarios in booted containers.
#
#   tests/run.sh [--list] [NAME…]
#
# NAME is scripts, crates, scenarios, or one scenario; without a name everything runs. --list prints the names.
# The scenarios need root, network and about 6 GB below DKMSD_TEST_CACHE (default /var/cache/dkmsd-tests); what else is
# needed is installed from Debian when absent. DKMSD_CORPUS names a folder of real dkms.conf files (conf/NAME/dkms.conf)
# with what bash makes of them (truth/*.json); without it they are skipped. DKMSD_TEST_KEEP=1 keeps the machine of a
# scenario that failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scenario_names() { for file in tests/tests/*.rs; do basename "$file" .rs; done; }

scripts=() crates='' scenarios=()
for name in "${@:-all}"; do
    case $name in
        --list)
            printf '%s\n' scripts crates scenarios
            scenario_names | sed 's/^/  /'
            exit
            ;;
        all)
            scripts=(yes) crates=yes
            mapfile -t scenarios < <(scenario_names)
            ;;
        scripts) scripts=(yes) ;;
        crates) crates=yes ;;
        scenarios) mapfile -t scenarios < <(scenario_names) ;;
        *)
            [[ -e tests/tests/$name.rs ]] || {
                echo "run.sh: there is no test named $name; see: tests/run.sh --list" >&2
                exit 2
            }
            scenarios+=("$name")
            ;;
    esac
done

# Command and the Debian package that has it.
need=(
    shellcheck shellcheck make make gcc gcc patch patch depmod kmod strip binutils xz xz-utils zstd zstd
    bzip2 bzip2 llvm-strip llvm openssl openssl dbus-daemon dbus-daemon bc bc zsh zsh fish fish mandoc mandoc groff groff script bsdutils
)
((${#scenarios[@]})) && need+=(systemd-nspawn systemd-container mmdebstrap mmdebstrap pgrep procps)
missing=()
for ((i = 0; i < ${#need[@]}; i += 2)); do
    command -v "${need[i]}" > /dev/null || missing+=("${need[i + 1]}")
done
if ((${#missing[@]})); then
    echo "run.sh: installing ${missing[*]}" >&2
    log=$(mktemp)
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"; } \
        > "$log" 2>&1 < /dev/null || {
        tail -n 10 "$log" >&2
        echo "run.sh: these are needed: ${missing[*]}; install them and run this again" >&2
        exit 2
    }
    rm -f "$log"
fi

if ((${#scripts[@]})); then
    mapfile -t scripts < <(find systemd tests .ci -type f ! -path '*/target/*' -exec grep -lE '^#!/bin/(ba)?sh' {} +)
    shellcheck "${scripts[@]}"
    echo "run.sh: shellcheck is content with ${#scripts[@]} scripts"
fi

# Runs the tests that the arguments choose.
run_cargo() {
    if cargo nextest --version > /dev/null 2>&1; then
        cargo nextest run --locked --no-fail-fast --status-level fail --final-status-level fail "$@"
    else
        cargo test --locked --no-fail-fast --quiet "$@"
    fi
}

if [[ ! ${DKMSD_CORPUS:-} && ($crates || " ${scenarios[*]} " == *" corpus "*) ]]; then
    echo "run.sh: SKIPPED: real dkms.conf files; DKMSD_CORPUS names the folder that holds them" >&2
fi

if ((${#scenarios[@]})); then
    cargo build --locked --quiet -p dkmsd -p dkmsctl
    target=$(cargo metadata --locked --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    export DKMSD_BIN_DIR=$target/debug DKMSD_TEST_RUN=r$$
    tests/container/machine.sh base > /dev/null
    # A test that was interrupted cannot end its machine.
    trap 'for name in $(tests/container/machine.sh list); do
              [[ $name != *-$DKMSD_TEST_RUN-* || ${DKMSD_TEST_KEEP:-} ]] || tests/container/machine.sh kill "$name"
          done' EXIT
fi
if [[ $crates && ${#scenarios[@]} == "$(scenario_names | wc -l)" ]]; then
    run_cargo --workspace
elif ((${#scenarios[@]})); then
    chosen=()
    for name in "${scenarios[@]}"; do chosen+=(--test "$name"); done
    [[ ! $crates ]] || run_cargo --workspace --exclude dkmsd-tests
    run_cargo -p dkmsd-tests "${chosen[@]}"
elif [[ $crates ]]; then
    # The scenarios' own library is a crate like any other.
    run_cargo -p dkmsd-tests --lib
    run_cargo --workspace --exclude dkmsd-tests
fi
