#!/bin/bash
# Builds dkmsd from this checkout, installs it and starts it.
#
#   sudo systemd/install.sh [OPTION…]
#
#   --demo           afterwards show the main job with a harmless sample driver: it is found, built and installed by itself
#   --demo --remove  take the sample driver away again
#   --uninstall      stop dkmsd and remove its files; modules, sources, state and settings stay
#   --bin-dir DIR    install the programs in DIR instead of building them
#   --prefix DIR     put the programs below DIR (default /usr); units, D-Bus and polkit files always go where those look
#   --destdir DIR    install below DIR only: nothing is fetched, enabled or started (for packages and images)
#   --no-start       install, but neither enable nor start
#   --help           this text
#
# It may be run again at any time: that upgrades in place. Missing tools come from the distribution: tested on Debian
# 12; Ubuntu, Fedora, openSUSE, Arch and Alpine follow the same table and are untested.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(dirname "$here")
prefix=/usr destdir='' bin_dir='' start=1 action=install demo='' remove=''

sample=hello-dkmsd sample_version=1.0 sample_module=hello_dkmsd
# Without systemd the daemon runs on its own: its number, the lock it holds as long as it lives, and its log.
pid_file=/run/dkmsd/dkmsd.pid lock_file=/run/dkmsd/alone.lock log_file=/var/log/dkmsd.log
ready_seconds=60 stop_seconds=60 demo_seconds=900
needed_rust=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$top/Cargo.toml")

say() { printf '%s\n' "$@"; }
warn() { printf 'install.sh: warning: %s\n' "$*" >&2; }
die() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }
under_systemd() { [[ -d /run/systemd/system ]]; }

read_options() {
    while (($#)); do
        case $1 in
            --prefix=* | --destdir=* | --bin-dir=*)
                set -- "${1%%=*}" "${1#*=}" "${@:2}"
                continue
                ;;
            --prefix | --destdir | --bin-dir)
                [[ ${2:-} ]] || die "$1 needs a folder; see --help"
                case $1 in
                    --prefix) prefix=$(realpath -m "$2") ;;
                    --destdir) destdir=$(realpath -m "$2") ;;
                    --bin-dir) bin_dir=$(realpath -m "$2") ;;
                esac
                shift
                ;;
            --no-start) start='' ;;
            --uninstall) action=uninstall ;;
            --demo) demo=1 ;;
            --remove) remove=1 ;;
            -h | --help)
                usage
                exit 0
                ;;
            *)
                usage >&2
                die "unknown option $1"
                ;;
        esac
        shift
    done
    [[ ! $remove || $demo ]] || die "--remove goes with --demo; to remove dkmsd itself: install.sh --uninstall"
    [[ ! $demo || (! $destdir && $start && $action == install) ]] ||
        die "--demo needs a daemon that runs here: leave out --destdir, --no-start and --uninstall"
    [[ ! $destdir ]] || start=''
    [[ $destdir || $EUID == 0 ]] || die "installing needs root; run it with sudo: sudo $0 …"
}

# ---- what the distribution brings ----

# Sets family, which column of the table below counts, and distribution, the nearest relative that is known here.
find_family() {
    local ID='' ID_LIKE=''
    # shellcheck disable=SC1091  # it is the machine's
    [[ ! -r /etc/os-release ]] || . /etc/os-release
    family='' distribution=''
    local word
    for word in $ID $ID_LIKE; do
        case $word in
            debian | ubuntu) family=debian ;;
            fedora | rhel | centos) family=fedora ;;
            opensuse* | suse | sles) family=suse ;;
            arch) family=arch ;;
            alpine) family=alpine ;;
            *) continue ;;
        esac
        distribution=$word
        break
    done
    [[ $ID == debian ]] || warn "this distribution (${ID:-unknown}) is untested; please report what does not work"
}

# What has to be there (a command, or a path) and which package has it: Debian, Fedora, openSUSE, Arch, Alpine.
tools='
make                  make     make         make         make      make
gcc                   gcc      gcc          gcc          gcc       gcc
/usr/include/stdio.h  libc6-dev glibc-devel glibc-devel  glibc     musl-dev
patch                 patch    patch        patch        patch     patch
strip                 binutils binutils     binutils     binutils  binutils
depmod                kmod     kmod         kmod         kmod      kmod
xz                    xz-utils xz           xz           xz        xz
zstd                  zstd     zstd         zstd         zstd      zstd
openssl               openssl  openssl      openssl      openssl   openssl
'

install_packages() {
    local log
    log=$(mktemp)
    case $family in
        debian)
            # Package lists may be absent (images) or older than what the mirrors still have.
            DEBIAN_FRONTEND=noninteractive apt-get update -q &&
                DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"
            ;;
        fedora) dnf install -qy "$@" ;;
        suse) zypper --quiet --non-interactive install --no-recommends "$@" ;;
        arch) pacman -Sy --needed --noconfirm --quiet "$@" ;;
        alpine) apk add --quiet "$@" ;;
        *) die "install these packages by hand, then run this again: $*" ;;
    esac > "$log" 2>&1 < /dev/null || {
        tail -n 15 "$log" >&2
        die "the package manager could not install: $*; its whole output: $log; when that is mended, run this again"
    }
    rm -f "$log"
}

install_tools() {
    local missing=() what names
    while read -r what names; do
        [[ $what ]] || continue
        case $what in
            /*) [[ ! -e $what ]] || continue ;;
            *) ! command -v "$what" > /dev/null || continue ;;
        esac
        # shellcheck disable=SC2206  # words on purpose
        names=($names)
        case $family in
            fedora) missing+=("${names[1]}") ;;
            suse) missing+=("${names[2]}") ;;
            arch) missing+=("${names[3]}") ;;
            alpine) missing+=("${names[4]}") ;;
            *) missing+=("${names[0]}") ;;
        esac
    done <<< "$tools"
    ((${#missing[@]})) || return 0
    say "Installing from the distribution: ${missing[*]}"
    install_packages "${missing[@]}"
}

default_headers() {
    case $family in
        debian)
            case $distribution in
                ubuntu) echo linux-headers-generic ;;
                *)
                    case $(dpkg --print-architecture) in
                        i386) echo linux-headers-686-pae ;;
                        armhf) echo linux-headers-armmp ;;
                        ppc64el) echo linux-headers-powerpc64le ;;
                        *) echo "linux-headers-$(dpkg --print-architecture)" ;;
                    esac
                    ;;
            esac
            ;;
        fedora) echo kernel-devel ;;
        suse) echo kernel-default-devel ;;
        arch) echo linux-headers ;;
        alpine) echo linux-lts-dev ;;
        *) die "install your kernel's headers by hand, then run this again" ;;
    esac
}

# The installed package that has put a file there, whichever package manager there is.
owner_of() {
    local found
    if [[ -e $destdir/var/lib/dpkg/status ]] && command -v dpkg-query > /dev/null; then
        found=$(dpkg-query --admindir="$destdir/var/lib/dpkg" -S "$1" 2> /dev/null | sed -n '/^diversion /d;s/[:,].*//p' | head -n 1)
        # A package that was removed and not purged still lays claim to its settings.
        [[ ! $found || $(dpkg-query --admindir="$destdir/var/lib/dpkg" -W -f '${db:Status-Status}' "$found" 2> /dev/null) == config-files ]] ||
            echo "$found"
    elif [[ -d $destdir/var/lib/rpm || -d $destdir/usr/lib/sysimage/rpm ]] && command -v rpm > /dev/null; then
        rpm ${destdir:+--root "$destdir"} -qf --qf '%{NAME}\n' "$1" 2> /dev/null | head -n 1 || true
    elif [[ -d $destdir/var/lib/pacman ]] && command -v pacman > /dev/null; then
        pacman ${destdir:+--root "$destdir"} -Qqo "$1" 2> /dev/null || true
    fi
}

# Sets classic: the package that some file of the drop-in `dkms` belongs to. All of those files then stay as they are: half
# of one program and half of another is neither.
find_classic() {
    local mode source target
    classic=''
    while IFS=$'\t' read -r mode source target; do
        if is_drop_in "$target" && [[ -e $destdir$target || -L $destdir$target ]]; then
            classic=$(owner_of "$target")
            [[ ! $classic ]] || return 0
        fi
    done < <(files)
}

warn_of_classic() {
    [[ $classic ]] || return 0
    warn "the distribution's package $classic is installed too. Its files are left alone, so the command dkms and the kernels' hooks stay
  as that package has them. Both work on the same state in /var/lib/dkms, and nothing is lost; but both will build when a kernel comes.
  Either leave that to dkmsd: systemctl disable --now dkms.service; chmod -x /etc/kernel/postinst.d/dkms /etc/kernel/header_postinst.d/dkms
  or have the whole of it here: put a package without files in its place, which driver packages take for it (README.md, In place of dkms,
  shows how on Debian), and run this again."
}

# ---- building ----

rust_help="install Rust $needed_rust or newer, as the user you are working as, with
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y
  and run this again; or give it programs that are built already: --bin-dir DIR"

# Builds as the user who called sudo: the toolchain, the crates and the checkout are theirs.
build() {
    local user=${SUDO_USER:-${DOAS_USER:-root}} home cargo version log
    ((EUID == 0)) || user=$(id -un)
    home=$(getent passwd "$user" | cut -d: -f6)
    as_user=(env "HOME=$home")
    [[ $user == root || $EUID != 0 ]] || as_user=(runuser -u "$user" -- env "HOME=$home")
    as_user+=("PATH=$home/.cargo/bin:$PATH")
    cargo=$("${as_user[@]}" sh -c 'command -v cargo' || true)
    [[ $cargo ]] || die "building needs a Rust toolchain, and there is no cargo on the PATH or in $home/.cargo/bin; $rust_help"
    version=$("${as_user[@]}" rustc --version 2>&1 | sed -n 's/^rustc \([0-9.]*\).*/\1/p') || true
    [[ $version ]] || die "$cargo is there, but rustc does not run; try: rustup default stable; or $rust_help"
    [[ $(printf '%s\n' "$needed_rust" "$version" | sort -V | head -n 1) == "$needed_rust" ]] ||
        die "Rust $version is too old; $rust_help"
    "${as_user[@]}" test -w "$top" ||
        die "$user cannot write $top, where the programs are built; run this from a checkout of your own, or build first and give --bin-dir"

    say "Building dkmsd with Rust $version (some minutes the first time)"
    log=$(mktemp)
    if [[ -t 2 ]]; then
        "${as_user[@]}" cargo build --release --locked --manifest-path "$top/Cargo.toml" ||
            die "the build failed; what to do about it stands above"
    else
        "${as_user[@]}" cargo build --release --locked --quiet --manifest-path "$top/Cargo.toml" > "$log" 2>&1 || {
            tail -n 40 "$log" >&2
            die "the build failed; its whole output: $log"
        }
    fi
    rm -f "$log"
    bin_dir=$("${as_user[@]}" cargo metadata --locked --no-deps --format-version 1 --manifest-path "$top/Cargo.toml" |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')/release
}

# ---- files ----

# Each file: mode, source, target.
files() {
    printf '%s\t%s\t%s\n' \
        755 "$bin_dir/dkmsd" "$prefix/sbin/dkmsd" \
        755 "$bin_dir/dkmsctl" "$prefix/bin/dkmsctl" \
        755 "$bin_dir/dkms" "$prefix/sbin/dkms" \
        644 "$top/dkmsd/dbus/org.dkmsd1.xml" /usr/share/dbus-1/interfaces/org.dkmsd1.xml
    (cd "$here" && find etc usr -type f ! -path "${settings#/}" | sort) | while read -r file; do
        printf '%s\t%s\t%s\n' "$([[ -x $here/$file ]] && echo 755 || echo 644)" "$here/$file" "/$file"
    done
}

# Whether a file is of the drop-in `dkms`: the program, what packages and kernels call, its completion and manual.
is_drop_in() {
    case $1 in
        */lib/dkms/* | /etc/kernel/*) return 0 ;;
    esac
    case ${1##*/} in
        dkms | _dkms | dkms.* | 40-dkms.install) return 0 ;;
    esac
    return 1
}

settings=/etc/dkms/dkmsd.toml

put_files() {
    local mode source target changed=
    for source in dkmsd dkmsctl dkms; do
        [[ -x $bin_dir/$source ]] || die "$bin_dir/$source is not there; build it with: cargo build --release"
    done
    while IFS=$'\t' read -r mode source target; do
        [[ ! $classic ]] || ! is_drop_in "$target" || continue
        target=$destdir$target
        # Written beside and renamed, so that a program that runs is never half replaced.
        mkdir -p "$(dirname "$target")"
        install -m "$mode" "$source" "$target.dkmsd-new"
        case $target in
            */dkmsd.service) sed -i "s|^ExecStart=/usr/sbin/|ExecStart=$prefix/sbin/|" "$target.dkmsd-new" ;;
        esac
        mv -f "$target.dkmsd-new" "$target"
        changed=1
    done < <(files)
    [[ $changed ]] || die "nothing to install was found below $here; is this checkout whole?"
    [[ -e $destdir$settings ]] || install -D -m 644 "$here$settings" "$destdir$settings"
}

make_user_and_folders() {
    if command -v systemd-sysusers > /dev/null; then
        systemd-sysusers /usr/lib/sysusers.d/dkmsd.conf
    elif ! getent passwd dkms > /dev/null; then
        if command -v useradd > /dev/null; then
            useradd --system --user-group --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin dkms
        else
            adduser -S -D -H -h /nonexistent -s /sbin/nologin dkms
        fi
    fi || die "cannot make the user dkms; make a system user of that name and run this again"
    # Not through systemd-tmpfiles: it is not there everywhere, and these four are all there is.
    mkdir -p /run/dkmsd /var/lib/dkms /var/lib/dkmsd /etc/dkms /usr/src
}

remove_files() {
    local mode source target
    while IFS=$'\t' read -r mode source target; do
        [[ ! $classic ]] || ! is_drop_in "$target" || continue
        rm -f "$destdir$target"
    done < <(files)
    rmdir "$destdir/usr/lib/dkms" 2> /dev/null || true
    # Settings that nobody changed go, others stay.
    ! cmp -s "$here$settings" "$destdir$settings" || rm -f "$destdir$settings"
}

# ---- the daemon ----

dkmsctl() { "$prefix/bin/dkmsctl" "$@"; }

start_daemon() {
    if under_systemd; then
        systemctl daemon-reload
        # dbus-daemon looks at its folders by itself, but perhaps not before the daemon asks for its name.
        ! systemctl --quiet is-active dbus.service || systemctl reload dbus.service || true
        systemctl --quiet enable dkmsd.service
        systemctl restart dkmsd.service || {
            journalctl -u dkmsd -n 20 --no-pager -o cat >&2 || true
            die "dkmsd did not start; see above and: systemctl status dkmsd"
        }
    else
        stop_alone
        start_alone
    fi
}

start_alone() {
    local from=1 daemon end follow
    say "No systemd here: starting dkmsd by itself (log: $log_file)"
    [[ ! -e $log_file ]] || from=$(($(wc -l < "$log_file") + 1))
    touch "$log_file"
    # The lock is the daemon's for as long as it, or anything it started, lives.
    rm -f "$lock_file"
    exec {lock}> "$lock_file"
    flock "$lock"
    setsid "$prefix/sbin/dkmsd" >> "$log_file" 2>&1 < /dev/null &
    daemon=$!
    exec {lock}>&-
    echo "$daemon" > "$pid_file"
    # It answers before it says its last word about starting, so each line is a reason to try.
    exec {follow}< <(exec tail -n "+$from" -f --pid="$daemon" "$log_file")
    end=$((SECONDS + ready_seconds))
    until dkmsctl status > /dev/null 2>&1; do
        read -r -t $((end > SECONDS ? end - SECONDS : 1)) -u "$follow" _ || {
            tail -n "+$from" "$log_file" | tail -n 20 >&2
            die "dkmsd did not come up; its log: $log_file"
        }
    done
    exec {follow}<&-
}

# Ends a daemon that an earlier run of this script started here.
stop_alone() {
    local pid
    pid=$(cat "$pid_file" 2> /dev/null) || return 0
    if [[ $(cat "/proc/$pid/comm" 2> /dev/null) == dkmsd ]]; then
        kill -TERM "$pid"
        flock -w "$stop_seconds" "$lock_file" true ||
            [[ $(cat "/proc/$pid/comm" 2> /dev/null) != dkmsd ]] ||
            die "dkmsd (process $pid) does not end; see $log_file, end it by hand and run this again"
    fi
    rm -f "$pid_file" "$lock_file"
}

stop_daemon() {
    if under_systemd; then
        # Also when the unit was never there, or is gone already.
        systemctl --quiet disable --now dkmsd.service 2> /dev/null || true
    else
        stop_alone
    fi
}

# ---- the demonstration ----

# The kernels whose headers are here, newest last.
kernels_with_headers() {
    local folder
    for folder in /lib/modules/*/; do
        [[ ! -e $folder/build/include/generated/autoconf.h ]] || basename "$folder"
    done | sort -V
}

sample_file() { find "/lib/modules/$1" -name "$sample_module.ko*" -print -quit; }

show_demo() {
    local kernel package=$sample/$sample_version source=/usr/src/$sample-$sample_version
    kernel=$(kernels_with_headers | tail -n 1)
    if [[ ! $kernel ]]; then
        local headers
        headers=$(default_headers)
        say "No kernel has headers here: installing $headers"
        install_packages "$headers"
        kernel=$(kernels_with_headers | tail -n 1)
        [[ $kernel ]] || die "$headers brought no headers below /lib/modules; install your kernel's headers and run this again"
    fi
    [[ ! -e $source ]] || take_sample_away

    say "" "Demonstration: dropping a sample driver into $source. From here on this script only watches."
    say "What dkmsd says about it (dkmsctl monitor):"
    local news follower text state=waiting end=$((SECONDS + demo_seconds))
    exec {news}< <(exec "$prefix/bin/dkmsctl" monitor)
    follower=$!
    # It says how the daemon is as soon as it listens.
    read -r -t "$ready_seconds" -u "$news" text || die "dkmsctl monitor says nothing; does it work by hand?"
    say "  $text"
    # Under another name first: it is there as a whole, or not at all.
    cp -rT "$top/tests/fixtures/$sample-$sample_version" "/usr/src/.$sample-new"
    chmod -R u=rwX,go=rX "/usr/src/.$sample-new"
    mv -T "/usr/src/.$sample-new" "$source"

    while [[ $state == waiting ]]; do
        read -r -t $((end > SECONDS ? end - SECONDS : 1)) -u "$news" text || state=silent
        [[ $state == silent ]] || say "  $text"
        case $(dkmsctl status "$package" -k "$kernel" | awk -v "kernel=$kernel" '$3 == kernel { print $4 }') in
            installed) state=installed ;;
            failed) state=failed ;;
            # Taken away by hand once, it stays away until it is added by hand.
            held) dkmsctl add "$source" > /dev/null ;;
        esac
    done
    kill "$follower" 2> /dev/null || true
    exec {news}<&-

    say ""
    dkmsctl status "$package" || true
    case $state in
        installed)
            say ""
            # The signature, its last field, says nothing to people.
            modinfo "$(sample_file "$kernel")" | sed '/^signature:/,$d'
            say "" "That is the main job: found, built and installed for $kernel without a command."
            say "Take the sample away again with: $0 --demo --remove"
            ;;
        failed)
            dkmsctl logs "$package" >&2 || true
            die "the sample did not build for $kernel; the reason stands above; dkmsctl rebuild $package tries again"
            ;;
        *) die "nothing came of it in $((demo_seconds / 60)) minutes; see: dkmsctl status, dkmsctl jobs, dkmsctl kernels" ;;
    esac
}

take_sample_away() {
    local package=$sample/$sample_version
    if dkmsctl status "$package" 2> /dev/null | grep -q "$sample"; then
        dkmsctl remove "$package" > /dev/null ||
            die "the sample could not be removed; see: dkmsctl status $package"
    fi
    rm -rf "/usr/src/$sample-$sample_version"
}

# ---- what was asked ----

read_options "$@"
case $action in
    uninstall)
        find_classic
        [[ $destdir ]] || stop_daemon
        remove_files
        if [[ ! $destdir ]] && under_systemd; then systemctl daemon-reload; fi
        say "dkmsd is uninstalled. Left as they are: modules in /lib/modules, sources in /usr/src, state in /var/lib/dkms and"
        say "/var/lib/dkmsd, settings in /etc/dkms, the user dkms."
        ;;
    install)
        if [[ $remove ]]; then
            [[ -x $prefix/bin/dkmsctl ]] || die "dkmsd is not installed in $prefix; there is no sample to remove"
            take_sample_away
            say "The sample driver is gone."
            dkmsctl status
            exit
        fi
        if [[ ! $destdir ]]; then
            find_family
            install_tools
        fi
        find_classic
        warn_of_classic
        [[ $bin_dir ]] || build
        put_files
        if [[ $destdir ]]; then
            say "Installed below $destdir; nothing was enabled or started."
            exit
        fi
        make_user_and_folders
        if [[ ! $start ]]; then
            say "Installed, not started. Start it with: systemctl enable --now dkmsd (without systemd: run this again)"
            exit
        fi
        start_daemon
        [[ ! $demo ]] || show_demo
        say "" "dkmsd runs. What it knows (dkmsctl status, dkmsctl kernels):"
        dkmsctl status
        dkmsctl kernels
        ;;
esac
