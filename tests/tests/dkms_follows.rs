//! What follows a change, over the installed program: framework.conf's post_transaction, once an action.

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

#[test]
fn what_follows_a_change() {
    let kit = Kit::start("follows", &["1.0"]);
    kit.check(TRANSACTIONS);
}
