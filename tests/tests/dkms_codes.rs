//! Every exit code and every status form of the classic interface, over the installed program.

use dkmsd_tests::{Case, Kit};

const fn case(code: i32, run: &'static str) -> Case {
    Case::new(code, run)
}

/// The lines that scripts parse.
const STATUS: &[Case] = &[
    case(0, "dkms status").out("").given("dkms status"),
    case(0, "dkms status").given("pkg t-one 1.0; dkms add t-one/1.0").out("t-one/1.0: added"),
    case(0, "dkms status").given("pkg t-one 1.0; dkms build t-one/1.0 -k $K").out("t-one/1.0, $K, x86_64: built"),
    case(0, "dkms status").given("pkg t-one 1.0; dkms install t-one/1.0 -k $K").out("t-one/1.0, $K, x86_64: installed"),
    case(0, "dkms status")
        .given("pkg t-one 1.0; own $K 0.9; dkms install t-one/1.0 -k $K")
        .out("t-one/1.0, $K, x86_64: installed (Original modules exist)"),
    // The original belongs to the package, whichever of its versions displaced it.
    case(0, "dkms status")
        .given("pkg t-one 1.0; pkg t-one 2.0; own $K 0.9; dkms install t-one/1.0 -k $K; dkms build t-one/2.0 -k $K")
        .out(
            "t-one/1.0, $K, x86_64: installed (Original modules exist)\n\
             t-one/2.0, $K, x86_64: built (Original modules exist)",
        ),
    case(0, "dkms status")
        .given("pkg t-one 1.0; dkms install t-one/1.0 -k $K; echo more >> /lib/modules/$K/updates/dkms/tiny.ko")
        .out("t-one/1.0, $K, x86_64: installed (Differences between built and installed modules)"),
    case(0, "dkms status")
        .given("pkg t-one 1.0; dkms install t-one/1.0 -k $K; rm /lib/modules/$K/updates/dkms/tiny.ko")
        .out("t-one/1.0, $K, x86_64: installed (Differences between built and installed modules)"),
    case(0, "dkms status")
        .given("pkg t-one 1.0; dkms install t-one/1.0 -k $K; rm /var/lib/dkms/t-one/1.0/$K/$A/module/tiny.ko")
        .out("t-one/1.0, $K, x86_64: installed (Built modules are missing in the kernel modules folder)"),
    case(0, "dkms status")
        .given(
            "pkg t-one 1.0; own $K 0.9; dkms install t-one/1.0 -k $K
             echo more >> /lib/modules/$K/updates/dkms/tiny.ko",
        )
        .out(
            "t-one/1.0, $K, x86_64: installed (Original modules exist) \
             (Differences between built and installed modules)",
        ),
    case(0, "dkms status")
        .given("pkg t-one 1.0; dkms add t-one/1.0; rm -r /usr/src/t-one-1.0")
        .out("t-one/1.0: broken")
        .err(&["t-one/1.0"]),
    case(0, "dkms status")
        .given("pkg t-one 1.0; mkdir -p /var/lib/dkms/t-one/1.0")
        .out("t-one/1.0: broken")
        .err(&["t-one/1.0"]),
    // A broken package is nobody else's business.
    case(0, "dkms status")
        .given(
            "pkg t-one 1.0; dkms add t-one/1.0; rm -r /usr/src/t-one-1.0
             module=other pkg t-two 1.0; dkms install t-two/1.0 -k $K",
        )
        .out("t-one/1.0: broken\nt-two/1.0, $K, x86_64: installed")
        .err(&["t-one/1.0"]),
    case(0, "dkms status")
        .given("pkg t-one 1.0; dkms install t-one/1.0 -k $OLD; ln -s 1.0/$OLD/$A /var/lib/dkms/t-one/kernel-$K-$A")
        .out("t-one/1.0, $OLD, x86_64: installed\nt-one, 1.0, $K, x86_64: installed-weak from $OLD"),
    // By file name: package, version, kernel.
    case(0, "dkms status")
        .given(
            "module=other pkg t-two 1.0; pkg t-one 2.0; pkg t-one 1.0; dkms add t-one/2.0
             dkms build t-one/1.0 -k $K; dkms install t-one/1.0 -k $OLD; dkms add t-two/1.0",
        )
        .out("t-one/1.0, $OLD, x86_64: installed\nt-one/1.0, $K, x86_64: built\nt-one/2.0: added\nt-two/1.0: added"),
    case(0, "dkms status t-two/1.0").given(TWO).out("t-two/1.0: added"),
    case(0, "dkms status -m t-one").given(TWO).out("t-one/1.0, $OLD, x86_64: built\nt-one/1.0, $K, x86_64: built"),
    case(0, "dkms status -m t-one -v 1.0 -k $K").given(TWO).out("t-one/1.0, $K, x86_64: built"),
    case(0, "dkms status -m t-one -v 2.0").given(TWO).out(""),
    case(0, "dkms status -m nosuch").given(TWO).out(""),
    case(0, "dkms status -k $OLD").given(TWO).out("t-one/1.0, $OLD, x86_64: built\nt-two/1.0: added"),
    case(0, "dkms status -k $OLD/x86_64").given(TWO).out("t-one/1.0, $OLD, x86_64: built\nt-two/1.0: added"),
    case(0, "dkms status -k 9.9.9-none").given(TWO).out("t-one/1.0: added\nt-two/1.0: added"),
    case(0, "dkms -k $K status --module=t-one/1.0").given(TWO).out("t-one/1.0, $K, x86_64: built"),
    case(0, "dkms status -q").given(TWO).out(""),
    case(0, "as_nobody dkms status t-two").given(TWO).out("t-two/1.0: added"),
    case(0, "dkms status --dkmstree /srv/row/tree").given(TWO).out(""),
];

const TWO: &str = "pkg t-one 1.0; module=other pkg t-two 1.0; dkms build t-one/1.0 -k $K -k $OLD; dkms add t-two/1.0";
const OBSOLETE: &str = "pkg t-one 1.0 OBSOLETE_BY=6.0";
const OBSOLETE_BESIDE: &str = "pkg t-one 1.0 OBSOLETE_BY=6.0 BUILD_EXCLUSIVE_KERNEL_MAX=9";
/// The kernel has the module itself, newer; the very same.
const NEWER: &str = "pkg t-one 1.0; own $K 2.0; dkms add t-one/1.0; module=other pkg t-two 1.0; dkms add t-two/1.0";
const SAME: &str = "pkg t-one 1.0; own $K 1.0; dkms add t-one/1.0; module=other pkg t-two 1.0; dkms add t-two/1.0";
const ONE: &str = "pkg t-one 1.0";
const ADDED: &str = "pkg t-one 1.0; dkms add t-one/1.0";
const BUILT: &str = "pkg t-one 1.0; dkms build t-one/1.0 -k $K";
const INSTALLED: &str = "pkg t-one 1.0; dkms install t-one/1.0 -k $K";
const INSTALLED_FILE: &str = "test -e /lib/modules/$K/updates/dkms/tiny.ko";
const BROKEN: &str = "pkg t-one 1.0; dkms install t-one/1.0 -k $K; rm -r /usr/src/t-one-1.0";

/// What is installed cannot be taken away.
const FIXED: &str = "pkg t-one 1.0; dkms install t-one/1.0 -k $K; cd /lib/modules
     mount --bind $K $K; mount -o remount,bind,ro $K";

/// Done, or nothing to do.
const DONE: &[Case] = &[
    case(0, "dkms"),
    case(0, "dkms --help"),
    case(0, "dkms --version").out("dkms-3.4.3"),
    case(0, "dkms -V").out("dkms-3.4.3"),
    case(0, "dkms frobnicate").err(&["frobnicate"]),
    case(0, "dkms add t-one/1.0").given(ONE).after("test $(readlink -f /var/lib/dkms/t-one/1.0/source) = /usr/src/t-one-1.0"),
    case(0, "dkms add -m t-one -v 1.0").given(ONE).after("test -d /var/lib/dkms/t-one/1.0/source/"),
    case(0, "dkms -v 1.0 --module t-one add").given(ONE).after("test -d /var/lib/dkms/t-one/1.0/source/"),
    case(0, "dkms add /srv/row/here")
        .given("pkg t-one 1.0; mv /usr/src/t-one-1.0 here")
        .after("diff -r here /usr/src/t-one-1.0; test -d /var/lib/dkms/t-one/1.0/source/; ! test -L /usr/src/t-one-1.0"),
    case(0, "dkms add here/dkms.conf")
        .given("pkg t-one 1.0; mv /usr/src/t-one-1.0 here")
        .after("diff -r here /usr/src/t-one-1.0; test -d /var/lib/dkms/t-one/1.0/source/"),
    case(0, "dkms build t-one/1.0 -k $K").given(ADDED).after(
        "cd /var/lib/dkms/t-one/1.0; test -e $K/$A/module/tiny.ko; test -s $K/$A/log/make.log; test ! -e build
         test -z \"$(find . -name '.tmp_*')\"",
    ),
    case(0, "dkms build t-one/1.0 -k $K/$A").given(ONE).after("test -e /var/lib/dkms/t-one/1.0/$K/$A/module/tiny.ko"),
    case(0, "dkms build /srv/row/here -k $K")
        .given("pkg t-one 1.0; mv /usr/src/t-one-1.0 here")
        .after("test -e /var/lib/dkms/t-one/1.0/$K/$A/module/tiny.ko"),
    // What is there already is said, and left as it is; forced, it is done again.
    case(0, "stat -c %z /var/lib/dkms/t-one/1.0/$K/$A/module/tiny.ko > before; dkms build t-one/1.0 -k $K > said 2>&1")
        .given(BUILT)
        .after("test -s said; stat -c %z /var/lib/dkms/t-one/1.0/$K/$A/module/tiny.ko | cmp - before"),
    case(0, "stat -c %z /var/lib/dkms/t-one/1.0/$K/$A/module/tiny.ko > before; dkms build --force t-one/1.0 -k $K")
        .given(BUILT)
        .after("! stat -c %z /var/lib/dkms/t-one/1.0/$K/$A/module/tiny.ko | cmp -s - before"),
    case(0, "dkms install t-one/1.0 -k $K").given(ONE).after(INSTALLED_FILE),
    case(0, "dkms install t-one/1.0 -k $K")
        .given(BUILT)
        .after("test $(readlink /var/lib/dkms/t-one/kernel-$K-$A) = 1.0/$K/$A; test -e /lib/modules/$K/updates/dkms/tiny.ko"),
    case(0, "dkms install t-one/1.0 -k $K > said 2>&1").given(INSTALLED).after("test -s said"),
    case(0, "dkms install --force t-one/1.0 -k $K")
        .given("pkg t-one 1.0; dkms install t-one/1.0 -k $K; rm /lib/modules/$K/updates/dkms/tiny.ko")
        .after(INSTALLED_FILE),
    case(0, "dkms install /srv/row/here -k $K")
        .given("pkg t-one 1.0; mv /usr/src/t-one-1.0 here")
        .after(INSTALLED_FILE),
    // The next version takes the place of the one before.
    case(0, "dkms install t-one/2.0 -k $K").given("pkg t-one 1.0; pkg t-one 2.0; dkms install t-one/1.0 -k $K").after(
        "test $(readlink /var/lib/dkms/t-one/kernel-$K-$A) = 2.0/$K/$A
         test $(modinfo -F version /lib/modules/$K/updates/dkms/tiny.ko) = 2.0",
    ),
    case(0, "dkms uninstall t-one/1.0 -k $K").given(INSTALLED).after(
        "test -e /var/lib/dkms/t-one/1.0/$K/$A/module/tiny.ko; test ! -e /var/lib/dkms/t-one/kernel-$K-$A
         test ! -e /lib/modules/$K/updates",
    ),
    case(0, "dkms uninstall t-one/1.0 -k $K")
        .given("pkg t-one 1.0; own $K 0.9; dkms install t-one/1.0 -k $K; test ! -e /lib/modules/$K/kernel/lib/tiny.ko")
        .after(
            "cmp $ready/$K/0.9/tiny.ko /lib/modules/$K/kernel/lib/tiny.ko; test ! -e /var/lib/dkms/t-one/original_module
             test $(modinfo -k $K -F filename tiny) = /lib/modules/$K/kernel/lib/tiny.ko",
        ),
    case(0, "dkms unbuild t-one/1.0 -k $K")
        .given(INSTALLED)
        .after("test ! -e /var/lib/dkms/t-one/1.0/$K; test ! -e /lib/modules/$K/updates; test -d /var/lib/dkms/t-one/1.0/source/"),
    case(0, "dkms unbuild t-one/1.0 --all")
        .given("pkg t-one 1.0; dkms install t-one/1.0 -k $K; dkms build t-one/1.0 -k $OLD")
        .after("test \"$(dkms status)\" = 't-one/1.0: added'"),
    case(0, "dkms remove t-one/1.0 -k $K")
        .given("pkg t-one 1.0; dkms install t-one/1.0 -k $K -k $OLD")
        .after("test \"$(dkms status)\" = \"t-one/1.0, $OLD, x86_64: installed\"; test ! -e /lib/modules/$K/updates"),
    case(0, "dkms remove t-one/1.0 -k $K")
        .given(INSTALLED)
        .after("test ! -e /var/lib/dkms/t-one; test ! -e /lib/modules/$K/updates; test -e /usr/src/t-one-1.0/dkms.conf"),
    case(0, "dkms remove t-one/1.0 --all")
        .given("pkg t-one 1.0; pkg t-one 2.0; dkms install t-one/1.0 -k $K -k $OLD; dkms add t-one/2.0")
        .after("test \"$(dkms status)\" = 't-one/2.0: added'; test ! -e /lib/modules/$OLD/updates"),
    case(0, "dkms remove t-one/1.0").given(ADDED).after("test ! -e /var/lib/dkms/t-one"),
    // Whatever is wrong with its source.
    case(0, "dkms remove t-one/1.0 --all")
        .given(BROKEN)
        .err(&["t-one/1.0", "/usr/src/t-one-1.0"])
        .after("test ! -e /var/lib/dkms/t-one; test ! -e /lib/modules/$K/updates"),
    case(0, "dkms remove t-one/1.0 --all")
        .given(
            "pkg t-one 1.0; dkms install t-one/1.0 -k $K; rm -r /usr/src/t-one-1.0; rm -f /srv/ran
             echo 'post_transaction=\"echo ran >> /srv/ran\"' > /etc/dkms/framework.conf",
        )
        .after("test \"$(cat /srv/ran)\" = ran"),
    case(0, "dkms remove t-one/1.0 --all")
        .given("pkg t-one 1.0; own $K 0.9; dkms install t-one/1.0 -k $K; rm /var/lib/dkms/t-one/1.0/source")
        .err(&["t-one/1.0"])
        .after(
            "test ! -e /var/lib/dkms/t-one; test -e /usr/src/t-one-1.0/dkms.conf
             test $(modinfo -k $K -F filename tiny) = /lib/modules/$K/kernel/lib/tiny.ko",
        ),
    case(0, "dkms remove t-one/1.0").given("pkg t-one 1.0; dkms add t-one/1.0; rm -r /usr/src/t-one-1.0").after("test ! -e /var/lib/dkms/t-one"),
    case(0, "dkms remove t-one/1.0 --all")
        .given("pkg t-one 1.0; dkms install t-one/1.0 -k $K; rm /usr/src/t-one-1.0/dkms.conf")
        .after("test ! -e /var/lib/dkms/t-one; test ! -e /lib/modules/$K/updates"),
    case(0, "dkms remove t-one/1.0 --all")
        .given("pkg t-one 1.0; dkms install t-one/1.0 -k $K; echo 'if' > /usr/src/t-one-1.0/dkms.conf")
        .after("test ! -e /var/lib/dkms/t-one; test ! -e /lib/modules/$K/updates"),
    // Nothing to do on that kernel.
    case(0, "dkms uninstall t-one/1.0 -k $OLD").given(INSTALLED).after(INSTALLED_FILE),
    case(0, "dkms uninstall t-one/1.0 -k $K").given(BUILT),
    case(0, "dkms unbuild t-one/1.0 -k $OLD").given(INSTALLED).after(INSTALLED_FILE),
    case(0, "dkms remove t-one/1.0 -k $OLD").given(INSTALLED).after(INSTALLED_FILE),
    // Several kernels, in order.
    case(0, "dkms install t-one/1.0 -k $K -k $OLD")
        .given(ONE)
        .after("test -e /lib/modules/$K/updates/dkms/tiny.ko; test -e /lib/modules/$OLD/updates/dkms/tiny.ko"),
    case(0, "dkms install t-one/1.0 -k $K -a x86_64 -k $OLD -a x86_64").given(ONE).after(INSTALLED_FILE),
    // The rest goes ahead; the first failure's code is the answer.
    case(21, "dkms install t-one/1.0 -k 9.9.9-none -k $K").given(ONE).after(INSTALLED_FILE).err(&["9.9.9-none"]),
    case(21, "dkms install t-one/1.0 -k $K -k 9.9.9-none").given(ONE).after(INSTALLED_FILE).err(&["9.9.9-none"]),
    case(0, "dkms match --templatekernel $OLD -k $K")
        .given("pkg t-one 1.0; module=other pkg t-two 1.0; dkms install t-one/1.0 -k $OLD; dkms build t-two/1.0 -k $OLD")
        .after("test -e /lib/modules/$K/updates/dkms/tiny.ko; test ! -e /lib/modules/$K/updates/dkms/other.ko"),
    case(0, "dkms match --templatekernel=$OLD -k $K t-two")
        .given("pkg t-one 1.0; module=other pkg t-two 1.0; for p in t-one t-two; do dkms install $p/1.0 -k $OLD; done")
        .after("test -e /lib/modules/$K/updates/dkms/other.ko; test ! -e /lib/modules/$K/updates/dkms/tiny.ko"),
    // From -q on nothing is printed.
    case(0, "dkms install t-one/1.0 -k $K -q 2> said").given(ONE).out("").after("test ! -s said"),
    case(0, "as_nobody dkms build t-one/1.0 -k $K --dkmstree /srv/row/tree > said 2>&1")
        .given("pkg t-one 1.0; install -d -o nobody tree; install -m 666 /dev/null said; chmod 755 .")
        .after("test -e tree/t-one/1.0/$K/$A/module/tiny.ko; test -z \"$(dkms status)\""),
    case(0, "dkms add t-one/1.0 --dkmstree tree --sourcetree=src")
        .given("pkg t-one 1.0; mkdir src tree; mv /usr/src/t-one-1.0 src/")
        .after("test -d tree/t-one/1.0/source/"),
    case(0, "dkms install t-one/1.0 -k $K --no-initrd --no-clean-kernel --no-prepare-kernel").given(ONE).after(INSTALLED_FILE),
    case(0, "dkms install t-one/1.0 -k $K --symlink-modules")
        .given("pkg t-one 1.0")
        .after("test \"$(readlink /lib/modules/$K/updates/dkms/tiny.ko)\" = /var/lib/dkms/t-one/1.0/$K/$A/module/tiny.ko"),
    // It is not the kernel that runs: nothing is loaded.
    case(0, "dkms install t-one/1.0 -k $K --modprobe-on-install").given("pkg t-one 1.0").after("! grep -q '^tiny ' /proc/modules"),
    case(0, "dkms install t-one/1.0 -k $K --no-depmod")
        .given("pkg t-one 1.0; own $K")
        .after("! grep tiny /lib/modules/$K/modules.dep"),
    case(0, "dkms install t-one/1.0 -k $K").given("pkg t-one 1.0; own $K").after("grep updates/dkms/tiny.ko /lib/modules/$K/modules.dep"),
    case(0, "dkms build t-one/1.0 -k $K --directive 'MAKE[0]=false' --directive='MAKE[0]=cp ready/$kernelver/tiny.ko .'").given(ONE),
    case(0, "dkms build t-one/1.0 -k $K -j 3 --verbose --debug").given(ONE),
    case(0, "dkms build t-one/1.0 -k $K > said; grep -q ': adding' said")
        .given("pkg t-one 1.0; echo verbose=yes > /etc/dkms/framework.conf"),
    case(0, "dkms build t-one/1.0 -k $K > said; ! grep ': adding' said")
        .given("pkg t-one 1.0; echo verbose=no > /etc/dkms/framework.conf"),
    // What the caller's environment says is no matter of a build's; the settings name what is.
    case(0, "KCFLAGS=-DX dkms build t-one/1.0 -k $K --directive 'MAKE[0]=! env | grep KCFLAGS && cp ready/$kernelver/tiny.ko .'")
        .given("pkg t-one 1.0"),
    case(0, "dkms build t-one/1.0 -k $K --directive 'MAKE[0]=env | grep KCFLAGS=-DX && cp ready/$kernelver/tiny.ko .'")
        .given("pkg t-one 1.0; echo build_environment=/etc/dkms/for-builds > /etc/dkms/framework.conf; echo 'export KCFLAGS=-DX' > /etc/dkms/for-builds"),
    // A mistake in the settings keeps nothing on the machine.
    case(8, "dkms build t-one/1.0 -k $K").given("pkg t-one 1.0; echo try_sign_modules=perhaps > /etc/dkms/framework.conf"),
    case(8, "dkms build t-one/1.0 -k $K").given("pkg t-one 1.0; printf '[daemon]\\nnice = 20\\n' > /etc/dkms/dkmsd.toml"),
    case(0, "dkms remove t-one/1.0 --all 2> said; grep -q 'perhaps.*goes on without' said")
        .given("pkg t-one 1.0; dkms install t-one/1.0 -k $K; echo try_sign_modules=perhaps > /etc/dkms/framework.conf")
        .after("test ! -e /lib/modules/$K/updates/dkms/tiny.ko; test ! -e /var/lib/dkms/t-one"),
    case(8, "dkms remove t-one/1.0 --all")
        .given("pkg t-one 1.0; dkms add t-one/1.0; echo dkms_tree=elsewhere > /etc/dkms/framework.conf"),
    case(0, "dkms build t-one/1.0 -k $K -c other.conf")
        .given("pkg t-one 1.0 MAKE[0]=false; sed '$d' /usr/src/t-one-1.0/dkms.conf > other.conf"),
    // A real compile: make's default command line, and the compiler of the kernel.
    case(0, "dkms install t-one/1.0 -k $K -k $OLD")
        .given(
            "pkg t-one 1.0; sed -i /MAKE/d /usr/src/t-one-1.0/dkms.conf; cp $kit/tiny.c /usr/src/t-one-1.0/
             printf '%s\\n' 'obj-m := tiny.o' 'ccflags-y := -DTINY_VERSION=\\\"1.0\\\"' > /usr/src/t-one-1.0/Kbuild",
        )
        .after(
            "for k in $KERNELS; do [[ $(modinfo -F vermagic /lib/modules/$k/updates/dkms/tiny.ko) == \"$k \"* ]]; done",
        ),
    // One process, as rpm is one, runs the scripts of the new package, then those of the old: what it has just added is
    // not removed. Anybody else's word is.
    case(0, "perl -e 'system(\"sh\", \"-c\", \"dkms $_ --rpm_safe_upgrade; exit\") for \"add t-one/1.0\", \"remove t-one/1.0 --all\"; exit $? >> 8'")
        .given(ONE)
        .after("test -d /var/lib/dkms/t-one/1.0/source/"),
    case(0, "dkms remove t-one/1.0 --all --rpm_safe_upgrade")
        .given("pkg t-one 1.0; perl -e 'system(\"dkms add t-one/1.0 --rpm_safe_upgrade\")'")
        .after("test ! -e /var/lib/dkms/t-one"),
    case(0, "dkms remove t-one/1.0 --all --rpm_safe_upgrade").given(ADDED).after("test ! -e /var/lib/dkms/t-one"),
];

/// Nothing was done, since the command line, the user or the tree is not right.
const REFUSED: &[Case] = &[
    case(1, "as_nobody dkms install t-one/1.0 -k $K").given(ADDED).err(&["root"]),
    case(1, "as_nobody dkms uninstall t-one/1.0 -k $K").given(INSTALLED).err(&["root"]).after(INSTALLED_FILE),
    case(1, "as_nobody dkms autoinstall -k $K").given(ADDED).err(&["root"]),
    case(1, "as_nobody dkms match --templatekernel $OLD -k $K").err(&["root"]),
    case(1, "as_nobody dkms kernel_postinst -k $K").err(&["root"]),
    case(1, "as_nobody dkms kernel_prerm -k $K").given(INSTALLED).err(&["root"]).after(INSTALLED_FILE),
    case(1, "as_nobody dkms add here").given("pkg t-one 1.0; mv /usr/src/t-one-1.0 here").err(&["root"]),
    case(1, "as_nobody dkms add t-one/1.0").given(ONE).err(&["/var/lib/dkms"]).after("test ! -e /var/lib/dkms/t-one"),
    case(1, "as_nobody dkms build t-one/1.0 -k $K").given(ADDED).err(&["/var/lib/dkms"]),
    case(1, "as_nobody dkms remove t-one/1.0 --all").given(ADDED).after("test -d /var/lib/dkms/t-one/1.0/source/"),
    case(1, "dkms add"),
    case(1, "dkms build -k $K"),
    case(1, "dkms install -m t-one -k $K").given(ADDED),
    case(1, "dkms uninstall -k $K"),
    case(1, "dkms unbuild -k $K"),
    case(1, "dkms remove -k $K"),
    case(1, "dkms add /srv/row/empty").given("mkdir empty"),
    case(1, "dkms build t-one/1.0 -k $K -a x86_64 -a i686").given(ADDED).err(&["arch"]),
    case(1, "dkms match -k $K").err(&["templatekernel"]),
    case(2, "dkms --frobnicate").err(&["--frobnicate"]),
    case(2, "dkms status --frobnicate").err(&["--frobnicate"]),
    case(2, "dkms add nosuch/1.0").err(&["/usr/src/nosuch-1.0"]),
    case(2, "dkms build nosuch/1.0 -k $K").err(&["/usr/src/nosuch-1.0"]),
    case(2, "dkms install nosuch/1.0 -k $K").err(&["/usr/src/nosuch-1.0"]),
    case(2, "dkms remove t-one/1.0 --all -k $K").given(INSTALLED).err(&["--all"]).after(INSTALLED_FILE),
    case(2, "dkms unbuild t-one/1.0 --all -k $K").given(INSTALLED).err(&["--all"]).after(INSTALLED_FILE),
    case(2, "dkms match --templatekernel $K -k $K").err(&["$K"]),
    case(3, "dkms add t-one/1.0").given(ADDED).err(&["t-one/1.0"]),
    case(3, "dkms remove t-one/1.0 -k $K").given(ONE).err(&["t-one/1.0"]),
    case(3, "dkms remove nosuch/1.0 --all").err(&["nosuch/1.0"]),
    case(3, "dkms uninstall t-one/1.0 -k $K").given(ONE).err(&["t-one/1.0"]),
    case(3, "dkms unbuild t-one/1.0 -k $K").given(ONE).err(&["t-one/1.0"]),
    case(3, "dkms build /usr/src/t-one-1.0 -k $K").given(ADDED).err(&["t-one/1.0"]),
    case(3, "dkms remove t-one/1.0 --all -a x86_64").given(INSTALLED).err(&["--all"]).after(INSTALLED_FILE),
    case(3, "dkms match --templatekernel $OLD -k $K nosuch").err(&["nosuch"]),
    case(4, "dkms add build t-one/1.0").given(ONE).err(&["add", "build"]).after("test ! -e /var/lib/dkms/t-one"),
    case(4, "dkms add -m t-one -v 1.0").given("pkg t-one 1.0; rm /usr/src/t-one-1.0/dkms.conf").err(&["dkms.conf"]),
    case(4, "dkms build t-one/1.0 -k $K").given("pkg t-one 1.0; dkms add t-one/1.0; rm /usr/src/t-one-1.0/dkms.conf").err(&["dkms.conf"]),
    case(4, "dkms autoinstall -k $K -k $OLD").given(ADDED),
    case(4, "dkms match --templatekernel 1.0 -k $K -k $OLD").given(ADDED),
    case(4, "dkms kernel_postinst -k $K -k $OLD").given(ADDED),
    case(4, "dkms kernel_postinst"),
    case(4, "dkms kernel_preinst"),
    case(4, "dkms kernel_prerm"),
    case(4, "dkms build t-one/1.0 -k $K").given(BROKEN).err(&["t-one/1.0", "/usr/src/t-one-1.0"]),
    case(4, "dkms install t-one/1.0 -k $K").given(BROKEN).err(&["t-one/1.0"]),
    case(4, "dkms uninstall t-one/1.0 -k $K").given(BROKEN).err(&["t-one/1.0"]).after(INSTALLED_FILE),
    case(4, "dkms unbuild t-one/1.0 -k $K").given(BROKEN).err(&["t-one/1.0"]).after(INSTALLED_FILE),
    case(4, "dkms remove t-one/1.0 -k $K").given(BROKEN).err(&["t-one/1.0", "--all"]).after(INSTALLED_FILE),
    // add restores the missing link.
    case(0, "dkms add t-one/1.0").given("pkg t-one 1.0; mkdir -p /var/lib/dkms/t-one/1.0").after("test -d /var/lib/dkms/t-one/1.0/source/"),
    case(4, "mv /usr/lib/os-release /etc/os-release .; dkms install t-one/1.0 -k $K; code=$?; mv -t /usr/lib os-release; ln -s ../usr/lib/os-release /etc; exit $code")
        .given("pkg t-one 1.0; mkdir etc")
        .err(&["os-release"]),
    case(5, "dkms add --all t-one/1.0").given(ONE).err(&["--all"]),
    case(5, "dkms build --all t-one/1.0").given(ADDED).err(&["--all"]),
    case(5, "dkms install t-one/1.0 --all").given(ADDED).err(&["--all"]),
    case(5, "dkms autoinstall --all").given(ADDED).err(&["--all"]),
    case(12, "dkms build t-one/1.0 -k $K/").given(ADDED),
    case(16, "dkms build t-one/1.0 -k $K -a ''").given(ADDED),
    case(16, "dkms build t-one/1.0 -k ''").given(ADDED),
];

/// Building and installing what cannot be.
const FAILED: &[Case] = &[
    case(5, "dkms build t-one/1.0 -k $K").given("pkg t-one 1.0 PATCH[0]=gone.patch").err(&["gone.patch"]),
    case(5, "dkms build t-one/1.0 -k $K")
        .given("pkg t-one 1.0 PATCH[0]=../ready.patch; mkdir /usr/src/t-one-1.0/patches; touch /usr/src/t-one-1.0/ready.patch")
        .err(&["../ready.patch"]),
    case(6, "dkms build t-one/1.0 -k $K")
        .given(
            "pkg t-one 1.0 PATCH[0]=wrong.patch; mkdir /usr/src/t-one-1.0/patches; echo old > /usr/src/t-one-1.0/text
             printf '%s\\n' '--- a/text' '+++ b/text' '@@ -1 +1 @@' -other +new > /usr/src/t-one-1.0/patches/wrong.patch",
        )
        .err(&["wrong.patch"]),
    case(6, "dkms install t-one/1.0 -k $K --installtree /srv/row/none").given(BUILT).err(&["/srv/row/none"]),
    // Refused: the kernel's own module is newer; it is the very same.
    case(6, "dkms install t-one/1.0 -k $K").given("pkg t-one 1.0; own $K 2.0").err(&["tiny"]).after(
        "cmp $ready/$K/2.0/tiny.ko /lib/modules/$K/kernel/lib/tiny.ko; test ! -e /lib/modules/$K/updates/dkms/tiny.ko
         test ! -e /var/lib/dkms/t-one/kernel-$K-$A",
    ),
    case(6, "dkms install t-one/1.0 -k $K").given("pkg t-one 1.0; own $K 1.0").err(&["tiny"]).after(
        "cmp $ready/$K/1.0/tiny.ko /lib/modules/$K/kernel/lib/tiny.ko; test ! -e /lib/modules/$K/updates/dkms/tiny.ko",
    ),
    case(0, "dkms install t-one/1.0 -k $K --force").given("pkg t-one 1.0; own $K 2.0").after(INSTALLED_FILE),
    case(0, "dkms install t-one/1.0 -k $K --force-version-override").given("pkg t-one 1.0; own $K 2.0").after(INSTALLED_FILE),
    case(0, "dkms install t-one/1.0 -k $K")
        .given("pkg t-one 1.0; own $K 2.0; force_install t-one_version-override")
        .after(INSTALLED_FILE),
    case(0, "dkms install t-one/1.0 -k $K")
        .given("pkg t-one 1.0; own $K 2.0; force_install t-one")
        .after(INSTALLED_FILE),
    case(6, "dkms install t-one/1.0 -k $K").given("pkg t-one 1.0; own $K 2.0; force_install t-two t-one_version").err(&["tiny"]),
    // OBSOLETE_BY alone is a bound of the build, which nothing overrules.
    case(77, "dkms build t-one/1.0 -k $K").given(OBSOLETE).err(&["OBSOLETE_BY"]),
    case(77, "dkms build --force t-one/1.0 -k $K").given(OBSOLETE).err(&["OBSOLETE_BY"]),
    case(77, "dkms install t-one/1.0 -k $K").given(OBSOLETE).err(&["OBSOLETE_BY"]),
    case(77, "dkms install --force t-one/1.0 -k $K").given(OBSOLETE).err(&["OBSOLETE_BY"]).after("test ! -e /lib/modules/$K/updates"),
    case(77, "dkms install t-one/1.0 -k $K").given("pkg t-one 1.0 OBSOLETE_BY=6.0; force_install t-one").err(&["OBSOLETE_BY"]),
    case(0, "dkms install t-one/1.0 -k $K").given("pkg t-one 1.0 OBSOLETE_BY=6.2").after(INSTALLED_FILE),
    // Beside a bound that lets the kernel in, it is one of the install.
    case(0, "dkms build t-one/1.0 -k $K").given(OBSOLETE_BESIDE),
    case(6, "dkms install t-one/1.0 -k $K").given(OBSOLETE_BESIDE).err(&["OBSOLETE_BY"]).after("test ! -e /lib/modules/$K/updates"),
    case(6, "dkms install t-one/1.0 -k $K").given("pkg t-one 1.0 OBSOLETE_BY=6.1.0 BUILD_EXCLUSIVE_KERNEL_MAX=9").err(&["OBSOLETE_BY"]),
    case(6, "dkms install --force-version-override t-one/1.0 -k $K").given(OBSOLETE_BESIDE).err(&["OBSOLETE_BY"]),
    case(0, "dkms install --force t-one/1.0 -k $K").given(OBSOLETE_BESIDE).after(INSTALLED_FILE),
    case(0, "dkms install t-one/1.0 -k $K")
        .given("pkg t-one 1.0 OBSOLETE_BY=6.0 BUILD_EXCLUSIVE_KERNEL_MAX=9; force_install t-one")
        .after(INSTALLED_FILE),
    case(0, "dkms install t-one/1.0 -k $K").given("pkg t-one 1.0 OBSOLETE_BY=6.1.0-999 BUILD_EXCLUSIVE_KERNEL_MAX=9").after(INSTALLED_FILE),
    // depmod fails: what stood before stands again.
    case(6, "dkms install t-one/1.0 -k $K; code=$?; depmod_works; exit $code")
        .given("pkg t-one 1.0; own $K 0.9; depmod_fails")
        .err(&["depmod"])
        .after(
            "cmp $ready/$K/0.9/tiny.ko /lib/modules/$K/kernel/lib/tiny.ko; test ! -e /lib/modules/$K/updates/dkms/tiny.ko
             test ! -e /var/lib/dkms/t-one/kernel-$K-$A; test -e /var/lib/dkms/t-one/1.0/$K/$A/module/tiny.ko",
        ),
    case(7, "dkms build t-one/1.0 -k $K").given("pkg t-one 1.0 MAKE[0]=true").err(&["tiny.ko"]),
    case(7, "dkms build t-one/1.0 -k $K")
        .given("pkg t-one 1.0 BUILT_MODULE_NAME[1]=other 'DEST_MODULE_LOCATION[1]=/updates'")
        .err(&["other.ko"])
        .after("test ! -e /var/lib/dkms/t-one/1.0/$K"),
    case(8, "dkms add t-one/1.0").given("pkg t-one 1.0 DEST_MODULE_LOCATION[0]=").err(&["DEST_MODULE_LOCATION", "dkms.conf"]).after("test ! -e /var/lib/dkms/t-one"),
    case(8, "dkms add t-one/1.0").given("pkg t-one 1.0 DEST_MODULE_LOCATION[0]=/drivers").err(&["DEST_MODULE_LOCATION"]),
    case(8, "dkms add t-one/1.0").given("pkg t-one 1.0 BUILT_MODULE_NAME[0]=tiny.ko").err(&["BUILT_MODULE_NAME"]),
    case(8, "dkms add t-one/1.0").given("pkg t-one 1.0 AUTOINSTALL=perhaps").err(&["AUTOINSTALL"]),
    case(8, "dkms build t-one/1.0 -k $K").given("pkg t-one 1.0; dkms add t-one/1.0; echo DEST_MODULE_LOCATION[0]= > /etc/dkms/t-one.conf").err(&["DEST_MODULE_LOCATION"]),
    case(8, "dkms install t-one/1.0 -k $K").given("pkg t-one 1.0; dkms add t-one/1.0; echo DEST_MODULE_LOCATION[0]= > /etc/dkms/t-one-1.0.conf").err(&["DEST_MODULE_LOCATION"]),
    case(8, "dkms build t-one/1.0 -k $K -c elsewhere.conf")
        .given("pkg t-one 1.0; dkms add t-one/1.0; mv /usr/src/t-one-1.0/dkms.conf elsewhere.conf; rm -r /usr/src/t-one-1.0/*")
        .err(&["/usr/src/t-one-1.0"]),
    case(10, "dkms build t-one/1.0 -k $K").given("pkg t-one 1.0 'MAKE[0]=\"echo wrong; false\"'").err(&["t-one/1.0", ".log"]).after(
        "test -s /var/lib/dkms/t-one/1.0/build/make.log; test ! -e /var/lib/dkms/t-one/1.0/$K; test \"$(dkms status)\" = 't-one/1.0: added'",
    ),
    case(10, "dkms install t-one/1.0 -k $K").given("pkg t-one 1.0 'MAKE[0]=false'").err(&["t-one/1.0"]),
    case(13, "dkms build t-one/1.0 -k $K").given("pkg t-one 1.0 BUILD_DEPENDS[0]=t-two").err(&["t-two"]),
    case(13, "dkms install t-one/1.0 -k $K")
        .given("pkg t-one 1.0 BUILD_DEPENDS[0]=t-two; module=other pkg t-two 1.0; dkms build t-two/1.0 -k $K; dkms install t-two/1.0 -k $OLD")
        .err(&["t-two"]),
    case(0, "dkms build --force t-one/1.0 -k $K").given("pkg t-one 1.0 BUILD_DEPENDS[0]=t-two"),
    case(0, "dkms build t-one/1.0 -k $K").given("pkg t-one 1.0 BUILD_DEPENDS[0]=t-two; module=other pkg t-two 1.0; dkms install t-two/1.0 -k $K"),
    case(21, "dkms build t-one/1.0 -k 9.9.9-none").given(ADDED).err(&["9.9.9-none"]),
    case(21, "dkms install t-one/1.0 -k 9.9.9-none").given(ONE).err(&["9.9.9-none"]),
    // Without -k: the running kernel, whose headers no container has.
    case(21, "dkms build t-one/1.0 > said 2>&1 || { code=$?; cat said >&2; exit $code; }").given(ADDED).after("grep -F \"$(uname -r)\" said"),
    case(0, "dkms build t-one/1.0 -k $K --kernelsourcedir $PWD/build; code=$?; mv build /lib/modules/$K; exit $code")
        .given("pkg t-one 1.0; mv /lib/modules/$K/build .")
        .after("test -e /var/lib/dkms/t-one/1.0/$K/$A/module/tiny.ko"),
    case(77, "dkms build t-one/1.0 -k $K").given("pkg t-one 1.0 BUILD_EXCLUSIVE_ARCH=sparc").err(&["BUILD_EXCLUSIVE_ARCH"]),
    case(77, "dkms build --force t-one/1.0 -k $K").given("pkg t-one 1.0 BUILD_EXCLUSIVE_KERNEL='^5'").err(&["BUILD_EXCLUSIVE_KERNEL"]),
    case(77, "dkms install t-one/1.0 -k $K").given("pkg t-one 1.0 BUILD_EXCLUSIVE_CONFIG='CONFIG_NO_SUCH_THING'").err(&["CONFIG_NO_SUCH_THING"]),
    case(77, "dkms install t-one/1.0 -k $K").given("pkg t-one 1.0 BUILD_EXCLUSIVE_KERNEL_MAX=6.1").err(&["BUILD_EXCLUSIVE_KERNEL_MAX"]),
    case(77, "dkms install t-one/1.0 -k $K").given("pkg t-one 1.0 BUILD_EXCLUSIVE_KERNEL_MIN=6.2").err(&["BUILD_EXCLUSIVE_KERNEL_MIN"]),
    case(101, "dkms install t-one/1.0 -k $K")
        .given("pkg t-one 1.0 PRE_INSTALL=no.sh; script t-one-1.0 no.sh 'exit 5'")
        .err(&["PRE_INSTALL"])
        .after("test ! -e /lib/modules/$K/updates; test -e /var/lib/dkms/t-one/1.0/$K/$A/module/tiny.ko"),
    case(42, "dkms build t-one/1.0 -k $K")
        .given("pkg t-one 1.0 PRE_BUILD=own.sh; script t-one-1.0 own.sh 'exit 42'")
        .err(&["PRE_BUILD"])
        .after("test ! -e /var/lib/dkms/t-one/1.0/$K"),
    // By then the package is built.
    case(43, "dkms build t-one/1.0 -k $K")
        .given("pkg t-one 1.0 POST_BUILD=own.sh; script t-one-1.0 own.sh 'exit 43'")
        .err(&["POST_BUILD"])
        .after("test -e /var/lib/dkms/t-one/1.0/$K/$A/module/tiny.ko"),
    case(44, "dkms add t-one/1.0")
        .given("pkg t-one 1.0 POST_ADD=own.sh; script t-one-1.0 own.sh 'exit 44'")
        .err(&["POST_ADD"])
        .after("test -d /var/lib/dkms/t-one/1.0/source/"),
    // These two change nothing, but are said.
    case(0, "dkms install t-one/1.0 -k $K")
        .given("pkg t-one 1.0 POST_INSTALL=own.sh; script t-one-1.0 own.sh 'exit 45'")
        .err(&["POST_INSTALL"])
        .after(INSTALLED_FILE),
    case(0, "dkms uninstall t-one/1.0 -k $K")
        .given("pkg t-one 1.0 POST_REMOVE=own.sh; script t-one-1.0 own.sh 'exit 46'; dkms install t-one/1.0 -k $K")
        .err(&["POST_REMOVE"])
        .after("test ! -e /lib/modules/$K/updates"),
];

const ONLY_THE_OTHER: &str =
    "test -e /lib/modules/$K/updates/dkms/other.ko; test ! -e /lib/modules/$K/updates/dkms/tiny.ko
     test ! -e /var/lib/dkms/t-one/kernel-$K-$A";

/// A whole kernel at once.
const KERNELS: &[Case] = &[
    case(0, "dkms autoinstall -k $K")
        .given("pkg t-one 1.0; pkg t-one 2.0; module=other pkg t-two 1.0; for p in t-one/1.0 t-one/2.0 t-two/1.0; do dkms add $p; done")
        .after(
            "test $(modinfo -F version /lib/modules/$K/updates/dkms/tiny.ko) = 2.0
             test -e /lib/modules/$K/updates/dkms/other.ko; test ! -e /lib/modules/$OLD/updates
             test \"$(dkms status -m t-one -v 1.0)\" = 't-one/1.0: added'",
        ),
    case(0, "dkms kernel_postinst -k $K").given(ADDED).after(INSTALLED_FILE),
    case(0, "dkms autoinstall -k $K").given("pkg t-one 1.0 AUTOINSTALL=; dkms add t-one/1.0").after("test ! -e /lib/modules/$K/updates"),
    case(0, "dkms autoinstall -k $K").given("pkg t-one 1.0; dkms add t-one/1.0; touch /etc/dkms/no-autoinstall").after("test ! -e /lib/modules/$K/updates"),
    case(0, "dkms autoinstall -k $K").given(INSTALLED).after(INSTALLED_FILE),
    case(0, "dkms autoinstall -k 9.9.9-none"),
    case(21, "dkms autoinstall -k 9.9.9-none").given(ADDED).err(&["9.9.9-none"]),
    // Excluded is skipped, and no failure.
    case(0, "dkms autoinstall -k $K")
        .given("pkg t-one 1.0 BUILD_EXCLUSIVE_ARCH=sparc; module=other pkg t-two 1.0; dkms add t-one/1.0; dkms add t-two/1.0")
        .after("test -e /lib/modules/$K/updates/dkms/other.ko; test ! -e /lib/modules/$K/updates/dkms/tiny.ko"),
    case(0, "dkms autoinstall -k $K > said; code=$?; grep '^t-one/1.0.*skipped: OBSOLETE_BY' said && exit $code")
        .given("pkg t-one 1.0 OBSOLETE_BY=6.0; dkms add t-one/1.0; module=other pkg t-two 1.0; dkms add t-two/1.0")
        .after(ONLY_THE_OTHER),
    case(0, "dkms autoinstall -k $K > said; code=$?; grep '^t-one/1.0.*skipped: OBSOLETE_BY' said && exit $code")
        .given("pkg t-one 1.0 OBSOLETE_BY=6.0 BUILD_EXCLUSIVE_KERNEL_MAX=9; dkms add t-one/1.0; module=other pkg t-two 1.0; dkms add t-two/1.0")
        .after(ONLY_THE_OTHER),
    // Nor is what the kernel has itself, be it asked for again.
    case(0, "dkms autoinstall -k $K > said; code=$?; grep '^t-one/1.0.*skipped: .*2\\.0' said && exit $code").given(NEWER).after(ONLY_THE_OTHER),
    case(0, "dkms autoinstall -k $K && dkms autoinstall -k $K > said; code=$?; grep '^t-one/1.0.*skipped: .*tiny' said && exit $code").given(NEWER).after(ONLY_THE_OTHER),
    case(0, "dkms autoinstall -k $K > said; code=$?; grep '^t-one/1.0.*skipped: .*tiny' said && exit $code").given(SAME).after(ONLY_THE_OTHER),
    case(0, "dkms kernel_postinst -k $K").given(NEWER).after(ONLY_THE_OTHER),
    case(0, "/usr/lib/dkms/dkms_autoinstaller start $K").given(NEWER).after(ONLY_THE_OTHER),
    case(0, "/usr/lib/dkms/dkms_autoinstaller start $K").given(SAME).after(ONLY_THE_OTHER),
    case(0, "dkms match --templatekernel $OLD -k $K")
        .given("pkg t-one 1.0; own $K 2.0; module=other pkg t-two 1.0; for p in t-one t-two; do dkms install $p/1.0 -k $OLD; done")
        .after(ONLY_THE_OTHER),
    // Forced, it is installed all the same.
    case(0, "dkms autoinstall --force -k $K").given(NEWER).after(INSTALLED_FILE),
    // One that fails leaves the others alone.
    case(11, "dkms autoinstall -k $K")
        .given("pkg t-one 1.0 'MAKE[0]=false'; module=other pkg t-two 1.0; dkms add t-one/1.0; dkms add t-two/1.0")
        .err(&["t-one/1.0"])
        .after("test -e /lib/modules/$K/updates/dkms/other.ko"),
    case(11, "dkms kernel_postinst -k $K").given("pkg t-one 1.0 'MAKE[0]=false'; dkms add t-one/1.0").err(&["t-one/1.0"]),
    case(0, "dkms autoinstall -k $K")
        .given("pkg t-one 1.0 BUILD_DEPENDS[0]=t-two; module=other pkg t-two 1.0; dkms add t-one/1.0; dkms add t-two/1.0")
        .after("test -e /lib/modules/$K/updates/dkms/tiny.ko; test -e /lib/modules/$K/updates/dkms/other.ko"),
    case(11, "dkms autoinstall -k $K")
        .given("pkg t-one 1.0 BUILD_DEPENDS[0]=t-two; module=other pkg t-two 1.0 'MAKE[0]=false'; dkms add t-one/1.0; dkms add t-two/1.0")
        .err(&["t-one/1.0", "t-two/1.0"]),
    case(11, "dkms autoinstall -k $K")
        .given(
            "pkg t-one 1.0 BUILD_DEPENDS[0]=t-two; module=other pkg t-two 1.0 BUILD_DEPENDS[0]=t-one
             module=third pkg t-three 1.0; for p in t-one t-two t-three; do dkms add $p/1.0; done",
        )
        .err(&["t-one", "t-two"])
        .after("test -e /lib/modules/$K/updates/dkms/third.ko; test ! -e /lib/modules/$K/updates/dkms/tiny.ko"),
    // Known to the tree, but nothing will install it.
    case(11, "dkms autoinstall -k $K")
        .given("pkg t-one 1.0 BUILD_DEPENDS[0]=t-two; module=other pkg t-two 1.0 AUTOINSTALL=; dkms add t-one/1.0; dkms add t-two/1.0")
        .err(&["t-two"]),
    // Unknown to the tree: somebody may bring it yet.
    case(0, "dkms autoinstall -k $K").given("pkg t-one 1.0 BUILD_DEPENDS[0]=t-two; dkms add t-one/1.0").err(&["t-two"]).after("test ! -e /lib/modules/$K/updates"),
    // A dependency that is excluded counts as met for the order; the build itself says that it is not there.
    case(11, "dkms autoinstall -k $K")
        .given("pkg t-one 1.0 BUILD_DEPENDS[0]=t-two; module=other pkg t-two 1.0 BUILD_EXCLUSIVE_ARCH=sparc; dkms add t-one/1.0; dkms add t-two/1.0")
        .err(&["t-one/1.0", "t-two"]),
    case(0, "dkms autoinstall -k $K")
        .given("pkg t-one 1.0; dkms add t-one/1.0; rm -r /usr/src/t-one-1.0; module=other pkg t-two 1.0; dkms add t-two/1.0")
        .err(&["t-one/1.0"])
        .after("test -e /lib/modules/$K/updates/dkms/other.ko"),
    // Unbuilt, but for what nothing would build again.
    case(0, "dkms kernel_preinst -k $K")
        .given(
            "pkg t-one 1.0; module=other pkg t-two 1.0 AUTOINSTALL=
             for p in t-one t-two; do dkms install $p/1.0 -k $K -k $OLD; done",
        )
        .after(
            "test \"$(dkms status)\" = \"t-one/1.0, $OLD, x86_64: installed
t-two/1.0, $OLD, x86_64: installed
t-two/1.0, $K, x86_64: installed\"; test ! -e /lib/modules/$K/updates/dkms/tiny.ko",
        ),
    case(0, "dkms kernel_prerm -k $K")
        .given(
            "pkg t-one 1.0; module=other pkg t-two 1.0 AUTOINSTALL=
             for p in t-one t-two; do dkms install $p/1.0 -k $K -k $OLD; done",
        )
        .after(
            "test \"$(dkms status)\" = \"t-one/1.0, $OLD, x86_64: installed
t-two/1.0, $OLD, x86_64: installed\"; test ! -e /lib/modules/$K/updates; test -e /lib/modules/$K/build/",
        ),
    // A kernel of which nothing is left but the modules, that is: no folder.
    case(0, "mv /lib/modules/$K/build /lib/modules/$K/source .; dkms kernel_prerm -k $K; code=$?; test -e /lib/modules/$K && code=99; mkdir -p /lib/modules/$K; mv build source /lib/modules/$K; exit $code")
        .given(INSTALLED)
        .after("test \"$(dkms status)\" = 't-one/1.0: added'"),
    // A folder where something is mounted stays, and keeps no other.
    case(0, "dkms kernel_prerm -k $OLD; umount /lib/modules/$OLD/m")
        .given(
            "pkg t-one 1.0; dkms install t-one/1.0 -k $OLD; cd /lib/modules/$OLD; mkdir -p a/b m z
             mount -t tmpfs none m",
        )
        .after("cd /lib/modules/$OLD; rmdir m; test ! -e a; test ! -e z; test ! -e updates"),
    // Its source is missing, and the kernel goes all the same.
    case(0, "dkms kernel_prerm -k $K").given(BROKEN).after("test ! -e /lib/modules/$K/updates"),
    case(0, "dkms kernel_preinst -k $K").given(BROKEN).err(&["t-one/1.0"]).after(INSTALLED_FILE),
    case(14, "dkms kernel_prerm -k $K; code=$?; umount /lib/modules/$K; exit $code").given(FIXED).err(&["t-one/1.0"]),
    case(14, "dkms kernel_preinst -k $K; code=$?; umount /lib/modules/$K; exit $code").given(FIXED).err(&["t-one/1.0"]),
];

/// Archives that one tool makes and the other takes.
const ARCHIVES: &[Case] = &[
    case(0, "dkms mktarball t-one/1.0 -k $K")
        .given(BUILT)
        .after("tar -tzf /var/lib/dkms/t-one/1.0/tarball/t-one-1.0-kernel$K-$A.dkms.tar.gz | grep -F dkms_main_tree/$K/$A/module/tiny.ko"),
    case(6, "dkms mktarball t-one/1.0 --source-only --archive x.zip").given(ADDED).err(&["x.zip", ".tar.gz"]).after("test ! -e /var/lib/dkms/t-one/1.0/tarball"),
    case(0, "dkms mktarball t-one/1.0 --source-only")
        .given(ADDED)
        .after("tar -tzf /var/lib/dkms/t-one/1.0/tarball/t-one-1.0-source-only.dkms.tar.gz | grep dkms_source_tree/dkms.conf"),
    case(0, "dkms mktarball t-one/1.0 -k $K --binaries-only --archive /srv/row/x.dkms.tar.xz")
        .given(BUILT)
        .after("tar -tJf x.dkms.tar.xz | grep dkms_binaries_only/PACKAGE_VERSION"),
    case(0, "dkms ldtarball x.dkms.tar.gz")
        .given("pkg t-one 1.0; dkms build t-one/1.0 -k $K; dkms mktarball t-one/1.0 -k $K --archive $PWD/x.dkms.tar.gz; dkms remove t-one/1.0 --all; rm -r /usr/src/t-one-1.0")
        .after("test \"$(dkms status)\" = \"t-one/1.0, $K, x86_64: built\"; test -e /usr/src/t-one-1.0/dkms.conf"),
    case(0, "dkms ldtarball --archive plain.tar.zst")
        .given("pkg t-one 1.0; tar --zstd -C /usr/src -cf plain.tar.zst t-one-1.0; rm -r /usr/src/t-one-1.0")
        .after("test \"$(dkms status)\" = 't-one/1.0: added'"),
    // The modules are loaded all the same.
    case(1, "dkms ldtarball --archive=x.dkms.tar.gz")
        .given(
            "pkg t-one 1.0; dkms build t-one/1.0 -k $K; dkms mktarball t-one/1.0 -k $K --binaries-only --archive $PWD/x.dkms.tar.gz
             dkms remove t-one/1.0 --all; rm -r /usr/src/t-one-1.0",
        )
        .err(&["t-one"])
        .after("test -e /var/lib/dkms/t-one/1.0/$K/$A/module/tiny.ko"),
    case(2, "dkms ldtarball here/gone.tar.gz").err(&["here/gone.tar.gz"]),
    case(2, "dkms ldtarball here").given("pkg t-one 1.0; mv /usr/src/t-one-1.0 here").err(&["dkms add here"]),
    case(2, "dkms ldtarball --archive gone.tar.gz").err(&["gone.tar.gz"]),
    case(3, "dkms mktarball nosuch/1.0 -k $K").err(&["nosuch/1.0"]),
    case(3, "dkms ldtarball none.tar.gz").given("echo x > text; tar -czf none.tar.gz text").err(&["none.tar.gz"]),
    case(6, "dkms mktarball t-one/1.0 -k $K").given(ADDED).err(&["t-one/1.0"]),
    case(7, "dkms ldtarball bad.tar.gz").given("mkdir bad; echo AUTOINSTALL=yes > bad/dkms.conf; tar -czf bad.tar.gz bad").err(&["dkms.conf"]),
    case(8, "dkms mktarball t-one/1.0 -k $K --binaries-only --source-only").given(BUILT).err(&["--binaries-only", "--source-only"]),
    case(8, "dkms ldtarball plain.tar.gz").given("pkg t-one 1.0; tar -C /usr/src -czf plain.tar.gz t-one-1.0; dkms add t-one/1.0").err(&["t-one/1.0"]),
    case(0, "dkms ldtarball --force plain.tar.gz").given("pkg t-one 1.0; tar -C /usr/src -czf plain.tar.gz t-one-1.0; dkms add t-one/1.0"),
    case(9, "dkms mktarball t-one/1.0 -k $K --archive /srv/row/ro/x.dkms.tar.gz; code=$?; umount ro; exit $code")
        .given("pkg t-one 1.0; dkms build t-one/1.0 -k $K; mkdir ro; mount -t tmpfs -o ro tmpfs ro")
        .err(&["/srv/row/ro"]),
    case(9, "dkms mktarball t-one/1.0 --source-only --archive /srv/row/absent/x.tar.gz")
        .given(ADDED)
        .err(&["no folder /srv/row/absent"])
        .after("test ! -e /srv/row/absent"),
    case(9, "dkms ldtarball wrong.rpm").given("echo no rpm > wrong.rpm").err(&["wrong.rpm"]),
];

#[test]
fn every_code_and_every_line_is_as_the_interface_says() {
    let kit = Kit::start("codes", &["0.9", "1.0", "2.0"]);
    let all: Vec<Case> = [STATUS, DONE, REFUSED, FAILED, KERNELS, ARCHIVES].concat();
    kit.check(&all);
    let json = kit.sh(
        "fresh; pkg t-one 1.0; pkg t-two 2.0; dkms install t-one/1.0 -k $K > /dev/null; dkms add t-two/2.0 > /dev/null
         dkms status --json",
    );
    let found: serde_json::Value = serde_json::from_str(&json).expect("status --json prints JSON");
    let wanted = serde_json::json!({ "format": 1, "packages": [
        {
            "package": "t-one", "version": "1.0", "kernel": kit.kernel, "arch": "x86_64", "state": "installed",
            "from": null, "original_modules": false, "difference": null
        },
        {
            "package": "t-two", "version": "2.0", "kernel": null, "arch": null, "state": "added",
            "from": null, "original_modules": false, "difference": null
        },
    ] });
    assert_eq!(found, wanted);

    // That the kernel's own module is newer keeps no kernel from being ready.
    let kernel = &kit.kernel;
    kit.sh("fresh; pkg t-one 1.0; own $K 2.0; dkms add t-one/1.0; dkms autoinstall -k $K; systemctl start dkmsd");
    kit.machine.rescan();
    assert_eq!(kit.machine.row("t-one", kernel).state, "kernel-newer");
    kit.sh("dkmsctl check -k $K");
}
