//! Drivers that Debian packages, all of which want to be installed on its kernel 6.1.

/// One of them.
pub(crate) struct Package {
    /// Debian's name.
    pub(crate) deb: &'static str,
    /// PACKAGE_NAME/PACKAGE_VERSION.
    pub(crate) id: &'static str,
    /// Its MAKE line without anything that DKMS puts around it: for each make, what follows `make -C HEADERS`. `$W` is a
    /// copy of the source.
    pub(crate) makes: &'static [&'static str],
}

impl Package {
    pub(crate) fn name(&self) -> &'static str {
        self.id.split('/').next().unwrap_or(self.id)
    }

    /// Where its source lies.
    pub(crate) fn source(&self) -> String {
        format!("/usr/src/{}", self.id.replace('/', "-"))
    }
}

const fn package(deb: &'static str, id: &'static str, makes: &'static [&'static str]) -> Package {
    Package { deb, id, makes }
}

pub(crate) const PACKAGES: [Package; 8] = [
    package("acpi-call-dkms", "acpi-call/1.2.2", &["M=$W modules"]),
    package("bbswitch-dkms", "bbswitch/0.8", &["M=$W modules"]),
    package("dpdk-kmods-dkms", "dpdk-kmods/0~20220829+git", &["M=$W MODULE_CFLAGS=-fno-PIE modules"]),
    package(
        "jool-dkms",
        "jool-dkms/4.1.9",
        &["M=$W/src/mod/common modules", "M=$W/src/mod/nat64 modules", "M=$W/src/mod/siit modules"],
    ),
    package("langford-dkms", "langford/0.0.20130108", &["M=$W modules"]),
    package("tp-smapi-dkms", "tp_smapi/0.43", &["M=$W HDAPS=1 modules"]),
    package("v4l2loopback-dkms", "v4l2loopback/0.12.7", &["M=$W modules"]),
    package(
        "xtables-addons-dkms",
        "xtables-addons/3.23",
        &["M=$W/extensions XA_ABSTOPSRCDIR=$W XA_TOPSRCDIR=$W modules"],
    ),
];
