//! What follows a change, over the installed program: framework.conf's post_transaction, once an action; the builds of what
//! depends on the package; and modprobe.

use dkmsd_tests::{Case, Kit};

const fn case(code: i32, run: &'static str) -> Case {
    Case::new(code, run)
}

const ONE: &str = "pkg t-one 1.0; follow_with 'echo ran'";
const BUILT: &str = "pkg t-one 1.0; dkms build t-one/1.0 -k $K; follow_with 'echo ran'";
const INSTALLED: &str = "pkg t-one 1.0; dkms install t-one/1.0 -k $K -k $OLD; follow_with 'echo ran'";
const EACH: &str = "pkg t-one 1.0; dkms install t-one/1.0 -k $K -k $OLD; follow_with 'echo $kernelver'";
const TWO: &str = "pkg t-one 1.0; module=other pkg t-two 1.0; dkms add t-one/1.0; dkms add t-two/1.0
     follow_with 'echo ran'";

const RAN: &str = "followed ran";
const NOT: &str = "followed";

/// post_transaction: after whatever changed something, once.
const TRANSACTIONS: &[Case] = &[
    case(0, "dkms install t-one/1.0 -k $K -k $OLD").given(ONE).after(RAN),
    case(0, "dkms install --force t-one/1.0 -k $K").given(INSTALLED).after(RAN),
    case(0, "dkms uninstall t-one/1.0 -k $K -k $OLD").given(INSTALLED).after(RAN),
    case(0, "dkms unbuild t-one/1.0 --all").given(INSTALLED).after(RAN),
    case(0, "dkms unbuild t-one/1.0 -k $K").given(BUILT).after(RAN),
    case(0, "dkms remove t-one/1.0 -k $K").given(INSTALLED).after(RAN),
    case(0, "dkms remove t-one/1.0 --all").given(INSTALLED).after(RAN),
    case(0, "dkms autoinstall -k $K").given(TWO).after(RAN),
    case(0, "dkms kernel_postinst -k $K").given(TWO).after(RAN),
    case(0, "dkms match --templatekernel $OLD -k $K")
        .given("pkg t-one 1.0; dkms install t-one/1.0 -k $OLD; follow_with 'echo ran'")
        .after(RAN),
    case(0, "dkms kernel_preinst -k $K").given(INSTALLED).after(RAN),
    case(0, "dkms kernel_prerm -k $K").given(INSTALLED).after(RAN),
    case(0, "postinst '' 'post_transaction=\"echo ran >> /srv/row/followed\"'")
        .given("pkg t-one 1.0")
        .after("followed ran; test -e /lib/modules/$K/updates/dkms/tiny.ko; test -e /lib/modules/$OLD/updates/dkms/tiny.ko"),
    // Where it names the kernel, once for each.
    case(0, "dkms install --force t-one/1.0 -k $K -k $OLD").given(EACH).after("followed $K $OLD"),
    case(0, "dkms uninstall t-one/1.0 -k $OLD -k $K").given(EACH).after("followed $OLD $K"),
    case(0, "dkms remove t-one/1.0 --all").given(EACH).after("sort -o followed followed; followed $OLD $K"),
    // It comes when all is done, and needs nothing that is locked.
    case(0, "dkms install t-one/1.0 -k $K")
        .given("pkg t-one 1.0; follow_with '(dkms status; dkms uninstall t-one/1.0 -k $kernelver; dkms status)'")
        .after("grep ': installed' followed; grep ': built' followed"),
    // For the installs that stand, though another failed.
    case(21, "dkms install t-one/1.0 -k 9.9.9-none -k $K").given(ONE).after(RAN),
    case(11, "dkms autoinstall -k $K")
        .given("pkg t-one 1.0 'MAKE[0]=false'; module=other pkg t-two 1.0; dkms add t-one/1.0; dkms add t-two/1.0; follow_with 'echo ran'")
        .after(RAN),
    // Nothing has changed in any kernel's folder.
    case(0, "dkms add t-one/1.0").given(ONE).after(NOT),
    case(0, "dkms build t-one/1.0 -k $K").given(ONE).after(NOT),
    case(0, "dkms install t-one/1.0 -k $K").given(INSTALLED).after(NOT),
    case(0, "dkms uninstall t-one/1.0 -k $K").given(BUILT).after(NOT),
    case(0, "dkms unbuild t-one/1.0 -k $OLD").given(BUILT).after(NOT),
    case(0, "dkms autoinstall -k $K").given(INSTALLED).after(NOT),
    case(0, "dkms match --templatekernel $OLD -k $K").given(INSTALLED).after(NOT),
    case(0, "dkms kernel_prerm -k $OLD").given(BUILT).after(NOT),
    case(10, "dkms install t-one/1.0 -k $K").given("pkg t-one 1.0 'MAKE[0]=false'; follow_with 'echo ran'").after(NOT),
    case(6, "dkms install t-one/1.0 -k $K; code=$?; depmod_works; exit $code")
        .given("pkg t-one 1.0; own $K; follow_with 'echo ran'; depmod_fails")
        .after(NOT),
    case(11, "dkms autoinstall -k $K; code=$?; depmod_works; exit $code")
        .given("pkg t-one 1.0; own $K; dkms add t-one/1.0; follow_with 'echo ran'; depmod_fails")
        .after(NOT),
    // That it fails is said, and changes nothing else.
    case(0, "dkms install t-one/1.0 -k $K")
        .given("pkg t-one 1.0; echo 'post_transaction=\"echo why; exit 3\"' > /etc/dkms/framework.conf")
        .err(&["post_transaction", "code 3", "/var/lib/dkms/post_transaction.log"])
        .after("test -e /lib/modules/$K/updates/dkms/tiny.ko; test \"$(cat /var/lib/dkms/post_transaction.log)\" = why"),
];

/// t-one is installed, built against t-two 1.0, and asks to be built anew.
const DEPENDS: &str = "pkg t-one 1.0 BUILD_DEPENDS[0]=t-two BUILD_DEPENDS_REBUILD=yes
     for v in 1.0 2.0; do module=other pkg t-two $v; done; dkms install t-two/1.0 -k $K; dkms install t-one/1.0 -k $K
     cd /var/lib/dkms/t-one/1.0/$K/$A; grep -x 1.0 .dep_t-two; stat -c %z module/tiny.ko > /srv/row/before";
/// It does not ask.
const ASKS_NOT: &str = "pkg t-one 1.0 BUILD_DEPENDS[0]=t-two
     for v in 1.0 2.0; do module=other pkg t-two $v; done; dkms install t-two/1.0 -k $K; dkms install t-one/1.0 -k $K
     stat -c %z /var/lib/dkms/t-one/1.0/$K/$A/module/tiny.ko > before";

const BUILT_ANEW: &str =
    "states \"t-one/1.0, $K, $A: installed\" \"t-two/1.0, $K, $A: built\" \"t-two/2.0, $K, $A: installed\"
     cd /var/lib/dkms/t-one/1.0/$K/$A; grep -x 2.0 .dep_t-two
     stat -c %z module/tiny.ko > after; ! cmp -s after /srv/row/before";
const NOT_ANEW: &str = "stat -c %z /var/lib/dkms/t-one/1.0/$K/$A/module/tiny.ko | cmp - before";
const UNASKED: &str = "stat -c %z /var/lib/dkms/t-one/1.0/$K/$A/module/tiny.ko | cmp - before
     test ! -e /var/lib/dkms/t-one/1.0/$K/$A/.dep_t-two";

/// BUILD_DEPENDS_REBUILD: after another version of what a package was built against is installed.
const REBUILDS: &[Case] = &[
    case(0, "dkms install t-two/2.0 -k $K > said; grep '^t-one/1.0: installed' said").given(DEPENDS).after(BUILT_ANEW),
    case(0, "follow_with 'echo ran'; dkms install t-two/2.0 -k $K").given(DEPENDS).after(RAN),
    case(0, "dkms add t-two/2.0; dkms autoinstall -k $K")
        .given(DEPENDS)
        .after("grep -x 2.0 /var/lib/dkms/t-one/1.0/$K/$A/.dep_t-two"),
    case(0, "dkms install --force t-two/1.0 -k $K").given(DEPENDS).after(NOT_ANEW),
    case(0, "dkms install t-two/2.0 -k $K").given(ASKS_NOT).after(UNASKED),
    case(0, "dkms uninstall t-two/1.0 -k $K").given(DEPENDS).after(NOT_ANEW),
    // Forced, it is built against whatever is there.
    case(0, "dkms build --force t-one/1.0 -k $K")
        .given(DEPENDS)
        .after("test ! -e /var/lib/dkms/t-one/1.0/$K/$A/.dep_t-two"),
    // What cannot be built anew is said; the module that was there stays.
    case(0, "rm -r /usr/src/t-one-1.0/ready; dkms install t-two/2.0 -k $K")
        .given(DEPENDS)
        .err(&["t-one/1.0"])
        .after("test -e /lib/modules/$K/updates/dkms/tiny.ko; test -e /lib/modules/$K/updates/dkms/other.ko"),
];

const RUNS: &str = "bring_running; pkg t-one 1.0";
const ASKS: &str = "bring_running; pkg t-one 1.0; echo modprobe_on_install=yes > /etc/dkms/framework.conf";
const STANDS: &str = "bring_running; pkg t-one 1.0; as_running dkms install t-one/1.0
     echo modprobe_on_install=yes > /etc/dkms/framework.conf";
const LOADS: &str = "test -e /lib/modules/$(running)/updates/dkms/tiny.ko; loads";
const LOADS_NOT: &str = "test -e /lib/modules/$(running)/updates/dkms/tiny.ko; loads_nothing";

/// modprobe_on_install: on the kernel that runs, and no other.
const LOADED: &[Case] = &[
    case(0, "watching dkms install t-one/1.0").given(ASKS).after(LOADS),
    case(0, "watching dkms install t-one/1.0 --modprobe-on-install").given(RUNS).after(LOADS),
    case(0, "watching dkms install t-one/1.0 -k $K -k $(running)").given(ASKS).after(LOADS),
    case(0, "watching dkms install --force t-one/1.0").given(STANDS).after(LOADS),
    case(0, "watching dkms autoinstall")
        .given(
            "bring_running; pkg t-one 1.0; dkms add t-one/1.0; echo modprobe_on_install=yes > /etc/dkms/framework.conf",
        )
        .after(LOADS),
    case(0, "watching dkms install t-one/1.0").given(RUNS).after(LOADS_NOT),
    case(0, "watching dkms install t-one/1.0").given(STANDS).after(LOADS_NOT),
    case(0, "watching dkms uninstall t-one/1.0").given(STANDS).after("loads_nothing"),
    case(0, "watching dkms build t-one/1.0").given(ASKS).after("loads_nothing"),
    case(0, "watching dkms install t-one/1.0 -k $K --modprobe-on-install")
        .given(ASKS)
        .after("test -e /lib/modules/$K/updates/dkms/tiny.ko; loads_nothing"),
    case(0, "make_chroot; watching chroot /mnt dkms install t-one/1.0; code=$?; umount -R /mnt; exit $code")
        .given(ASKS)
        .after(LOADS_NOT),
];

#[test]
fn what_follows_a_change() {
    let kit = Kit::start("follows", &["1.0", "2.0"]);
    kit.check(&[TRANSACTIONS, REBUILDS, LOADED].concat());
}
