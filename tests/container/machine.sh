#!/bin/bash
# Makes and drives the throw-away Debian machines that the tests run in: systemd-nspawn containers that boot a real
# systemd, D-Bus, polkit and journald, each on an overlay over one cached base root that nothing ever writes to.
#
#   machine.sh base                          make the base root now (else the first start does), print where it is
#   machine.sh start NAME [NSPAWN-OPTION…]   boot NAME, return when systemd is up; a NAME kept by `stop --keep` boots again
#   machine.sh run NAME COMMAND [ARG…]       run it inside, with its exit status; stdin, stdout and stderr are passed on
#   machine.sh copy NAME SOURCE DEST         copy a file or folder into NAME, as exactly the path DEST
#   machine.sh chroot NAME COMMAND [ARG…]    run it in NAME's root without booting: a plain chroot with /proc, /sys and /dev
#   machine.sh root NAME                     print the path of NAME's root
#   machine.sh kill [--keep] NAME            cut NAME's power: everything in it ends at once
#   machine.sh stop [--keep] NAME            power NAME off; its disk is forgotten unless kept
#   machine.sh list                          the names that exist
#   machine.sh clean                         stop all of them and forget the cached roots; downloaded packages stay
#
# DKMSD_TEST_CACHE   folder for roots and downloaded packages (default /var/cache/dkmsd-tests)
# DKMSD_TEST_SUITE   Debian release (default bookworm)
# DKMSD_TEST_MIRROR  Debian mirror (default http://deb.debian.org/debian)
# Needs root and network. Several names may run side by side; one name is for one caller.
set -euo pipefail

cache=${DKMSD_TEST_CACHE:-/var/cache/dkmsd-tests}
suite=${DKMSD_TEST_SUITE:-bookworm}
mirror=${DKMSD_TEST_MIRROR:-http://deb.debian.org/debian}
boot_seconds=120 stop_seconds=60
packages=systemd,systemd-sysv,dbus,libpam-systemd,polkitd,udev,kmod,gcc,libc6-dev,make,patch,xz-utils,zstd,binutils,bc,openssl,ca-certificates,procps,inotify-tools
# Raised whenever prepare_base changes what is in the base.
base_edition=1

die() {
    echo "machine.sh: $1" >&2
    exit "${2:-125}"
}

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
}

need_tools() {
    local missing=()
    command -v systemd-nspawn >/dev/null || missing+=(systemd-container)
    command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
    command -v nsenter >/dev/null || missing+=(util-linux)
    command -v pgrep >/dev/null || missing+=(procps)
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || die "install these and try again: ${missing[*]}"
    {
        apt-get update -q &&
            DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
    } >/dev/null || die "cannot install ${missing[*]}; try: apt-get install ${missing[*]}"
}

base_dir() {
    local id
    id=$(printf '%s\n' "$suite $mirror $packages $base_edition" | sha256sum)
    echo "$cache/base/$suite-${id:0:12}"
}

prepare_base() {
    local base=$1 security=
    case $suite in
        bookworm | trixie) security="deb http://deb.debian.org/debian-security $suite-security main contrib non-free" ;;
    esac
    cat > "$base/etc/apt/sources.list" <<END
deb $mirror $suite main contrib non-free non-free-firmware
$security
END
    rm -f "$base"/etc/apt/sources.list.d/*
    cat > "$base/etc/apt/apt.conf.d/90machine" <<'END'
APT::Install-Recommends "false";
APT::Keep-Downloaded-Packages "true";
Acquire::Languages "none";
Acquire::Retries "3";
DPkg::Lock::Timeout "120";
END
    echo force-unsafe-io > "$base/etc/dpkg/dpkg.cfg.d/machine"
    # Nothing may take apt's lock or the processor behind a test's back.
    local unit
    for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
        systemd-networkd.service systemd-resolved.service getty.target console-getty.service; do
        ln -sf /dev/null "$base/etc/systemd/system/$unit"
    done
    cat > "$base/etc/systemd/system/machine-up.service" <<'END'
[Unit]
Description=Tell the tests that this machine is up
After=multi-user.target
[Service]
ExecStart=/bin/sh -c 'systemctl is-system-running --wait > /run/machine-up'
END
    mkdir -p "$base/etc/systemd/system/multi-user.target.wants"
    ln -sf ../machine-up.service "$base/etc/systemd/system/multi-user.target.wants/"
    mkdir -p "$base/var/log/journal"
    : > "$base/etc/machine-id"
    echo machine > "$base/etc/hostname"
    cp -L /etc/resolv.conf "$base/etc/resolv.conf"
    # A reader of the base sees the lists of the day it was made; tests that install run apt-get update first.
    chroot "$base" apt-get update -q
    rm -f "$base"/var/cache/apt/archives/*.deb
}

# Two callers at once: one makes the base, the other waits for it at the lock.
make_base() {
    local base log
    base=$(base_dir)
    [[ -e $base.complete ]] && return
    mkdir -p "$cache/base"
    exec {lock}> "$cache/base/lock"
    flock "$lock"
    if [[ ! -e $base.complete ]]; then
        need_tools
        echo "machine.sh: making the base root $base (about a minute, once)" >&2
        log=$base.log
        rm -rf "$base"
        {
            mmdebstrap --mode=root --variant=minbase --include="$packages" \
                --aptopt='APT::Install-Recommends "false"' "$suite" "$base" \
                "deb $mirror $suite main" && prepare_base "$base"
        } > "$log" 2>&1 < /dev/null || {
            tail -n 15 "$log" >&2
            die "cannot make the base root; its log: $log"
        }
        touch "$base.complete"
    fi
    exec {lock}>&-
}

check_name() {
    [[ ${1:-} =~ ^[a-z0-9][a-z0-9-]*$ ]] || die "a machine's name is made of a-z, 0-9 and -, not '${1:-}'" 2
    name=$1
    work=$cache/machines/$name
    root=$work/root
}

# An overlay where the kernel allows one; beside another overlay its upper layer goes to a tmpfs when there is memory
# for it; else a copy.
make_root() {
    [[ -e $work/made ]] && return
    mkdir -p "$work/disk" "$root"
    local base available
    base=$(base_dir)
    available=$(awk '/^MemAvailable/ { print int($2 / 1048576) }' /proc/meminfo)
    mkdir -p "$work/disk/upper" "$work/disk/work"
    if mount_overlay 2>/dev/null; then
        :
    elif ((available >= 4)) && mount -t tmpfs -o "mode=755,size=$((available * 3 / 4))g" tmpfs "$work/disk" 2>/dev/null &&
        mkdir -p "$work/disk/upper" "$work/disk/work" && mount_overlay 2>/dev/null; then
        :
    else
        umount "$work/disk" 2>/dev/null || true
        cp -a --reflink=auto "$base/." "$root"
    fi
    mkdir -p "$cache/archives"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    # apt locks its archive folder, so each machine has its own, with links to what was downloaded before.
    mkdir -p "$root/var/cache/machine-archives"
    local file
    for file in "$cache"/archives/*.deb; do
        [[ -e $file ]] && ln -s "/var/cache/machine-archives/${file##*/}" "$root/var/cache/apt/archives/"
    done
    touch "$work/made"
}

mount_overlay() {
    mount -t overlay overlay -o "lowerdir=$(base_dir),upperdir=$work/disk/upper,workdir=$work/disk/work" "$root"
}

# After a reboot of the host a kept machine's overlay is no longer mounted.
remount_root() {
    mountpoint -q "$root" || [[ ! -d $work/disk/upper ]] || [[ -e $root/etc ]] || mount_overlay
}

keep_archives() {
    local file
    for file in "$root"/var/cache/apt/archives/*.deb; do
        if [[ -f $file && ! -L $file && ! -e $cache/archives/${file##*/} ]]; then
            cp "$file" "$cache/archives/.$name.tmp" && mv "$cache/archives/.$name.tmp" "$cache/archives/${file##*/}"
        fi
    done
}

nspawn_pid() {
    local pid
    pid=$(cat "$work/pid" 2>/dev/null) && [[ $(cat "/proc/$pid/comm" 2>/dev/null) == systemd-nspawn ]] && echo "$pid"
}

leader() {
    local pid
    pid=$(nspawn_pid) && pgrep -P "$pid" | head -n 1
}

# $1 machine is running: its leader is in $leader.
need_running() {
    leader=$(leader) || true
    [[ $leader ]] || die "$name does not run; start it with: machine.sh start $name"
}

inside() {
    nsenter --target "$leader" --mount --uts --ipc --net --pid --root --wd \
        env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive "TERM=${TERM:-dumb}" "$@"
}

# Runs detached from the caller: boots, then says in the same place that was told "up" that it has ended.
supervise() {
    systemd-nspawn --quiet --directory="$root" --machine="$machine" --register=no --keep-unit --link-journal=no \
        --resolv-conf=off --timezone=off --bind="$work/up:/run/machine-up" \
        --bind-ro="$cache/archives:/var/cache/machine-archives" "$@" --boot &
    echo $! > "$work/pid"
    wait $! || true
    rm -f "$work/pid"
    echo ended > "$work/up"
}

start() {
    [[ $(nspawn_pid) ]] && die "$name runs already"
    need_tools
    make_base
    make_root
    remount_root
    rm -f "$work/up"
    mkfifo "$work/up"
    # nspawn keeps folders under /run by machine name: two names at once must differ, nested ones too.
    machine=dkmsd-$name-$$
    exec {up}<> "$work/up"
    export -f supervise
    export root machine work cache
    setsid bash -c 'supervise "$@"' supervise "$@" > "$work/console.log" 2>&1 < /dev/null {up}>&- &
    local state=
    read -r -t "$boot_seconds" -u "$up" state || state="silent for $boot_seconds seconds"
    case $state in
        running | degraded) ;;
        *)
            tail -n 20 "$work/console.log" >&2
            cut_power
            die "$name did not boot: $state; its console: $work/console.log"
            ;;
    esac
}

# Waits for the word of the supervisor, for at most $1 seconds.
await_end() {
    local word=
    while read -r -t "$1" -u "$up" word; do
        [[ $word == ended ]] && return
    done
    return 1
}

power_off() {
    local pid
    pid=$(nspawn_pid) || return 0
    exec {up}<> "$work/up"
    kill -TERM "$pid" 2>/dev/null || return 0
    await_end "$stop_seconds" || cut_power
}

cut_power() {
    local pid first
    pid=$(nspawn_pid) || return 0
    [[ ${up:-} ]] || exec {up}<> "$work/up"
    first=$(leader) || first=
    # The leader is PID 1 of its own namespace: nothing in there outlives it.
    if [[ $first ]]; then kill -KILL "$first" 2>/dev/null || true; else kill -KILL "$pid" 2>/dev/null || true; fi
    await_end 10 || kill -KILL "$pid" 2>/dev/null || true
}

forget() {
    [[ -d $work ]] || return 0
    [[ -e $work/made ]] && keep_archives
    umount -R "$root" 2>/dev/null || ! mountpoint -q "$root" || umount -l "$root"
    ! mountpoint -q "$work/disk" || umount -l "$work/disk"
    rm -rf --one-file-system "$work"
}

in_chroot() {
    make_base
    make_root
    remount_root
    [[ ! $(nspawn_pid) ]] || die "$name is booted; use: machine.sh run $name"
    export root
    # shellcheck disable=SC2016  # expanded by the inner shell
    unshare --mount --propagation=private bash -c '
        set -e
        mount --bind /proc "$root/proc"
        mount --rbind /sys "$root/sys"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs tmpfs "$root/run"
        exec chroot "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
            LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive TERM=dumb "$@"' chroot "$@"
}

((EUID == 0)) || die "containers need root; try: sudo $0 $*"
command=${1:-}
shift || usage
case $command in
    base)
        make_base
        base_dir
        ;;
    list)
        for dir in "$cache"/machines/*/; do [[ -d $dir ]] && basename "$dir"; done
        ;;
    clean)
        for dir in "$cache"/machines/*/; do [[ -d $dir ]] && "$0" kill "$(basename "$dir")"; done
        rm -rf --one-file-system "$cache/base"
        ;;
    start)
        check_name "${1:-}"
        shift
        start "$@"
        ;;
    run)
        check_name "${1:-}"
        shift
        (($#)) || usage
        need_running
        inside "$@"
        ;;
    copy)
        check_name "${1:-}"
        (($# == 3)) || usage
        case $3 in /*) ;; *) die "copy: DEST has to be an absolute path, not '$3'" 2 ;; esac
        if leader=$(leader) && [[ $leader ]]; then target=/proc/$leader/root$3; else target=$root$3; fi
        mkdir -p "$(dirname "$target")"
        cp -aT "$2" "$target"
        chown -R root:root "$target"
        ;;
    chroot)
        check_name "${1:-}"
        shift
        (($#)) || usage
        in_chroot "$@"
        ;;
    root)
        check_name "${1:-}"
        echo "$root"
        ;;
    stop | kill)
        keep=
        [[ ${1:-} != --keep ]] || { keep=1; shift; }
        check_name "${1:-}"
        if [[ $command == stop ]]; then power_off; else cut_power; fi
        [[ $keep ]] || forget
        ;;
    *) usage ;;
esac
