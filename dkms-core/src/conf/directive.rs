//! The names that take effect in a dkms.conf, and which of them are arrays (dkms-contract.md §3).

/// Every directive, in the order in which the second expansion reads them: a later one sees the earlier, and a value
/// that bash cannot read costs those after it. The order is that of the classic tool, seen in runs of it.
pub const DIRECTIVES: &[&str] = &[
    "PACKAGE_NAME",
    "PACKAGE_VERSION",
    "POST_ADD",
    "POST_BUILD",
    "POST_INSTALL",
    "POST_REMOVE",
    "PRE_BUILD",
    "PRE_INSTALL",
    "BUILD_DEPENDS",
    "BUILD_EXCLUSIVE_ARCH",
    "BUILD_EXCLUSIVE_CONFIG",
    "BUILD_EXCLUSIVE_KERNEL",
    "BUILD_EXCLUSIVE_KERNEL_MIN",
    "BUILD_EXCLUSIVE_KERNEL_MAX",
    "OBSOLETE_BY",
    "MAKE",
    "MAKE_MATCH",
    "PATCH",
    "PATCH_MATCH",
    "BUILT_MODULE_NAME",
    "BUILT_MODULE_LOCATION",
    "DEST_MODULE_NAME",
    "DEST_MODULE_LOCATION",
    "STRIP",
    "AUTOINSTALL",
    "NO_WEAK_MODULES",
    "BUILD_DEPENDS_REBUILD",
    "CLEAN",
    "REMAKE_INITRD",
    "MODULES_CONF",
    "MODULES_CONF_OBSOLETES",
    "MODULES_CONF_ALIAS_TYPE",
    "MODULES_CONF_OBSOLETE_ONLY",
];

/// Whether a directive takes an index.
#[must_use]
pub fn is_array(name: &str) -> bool {
    matches!(
        name,
        "BUILT_MODULE_NAME"
            | "BUILT_MODULE_LOCATION"
            | "DEST_MODULE_NAME"
            | "DEST_MODULE_LOCATION"
            | "STRIP"
            | "MAKE"
            | "MAKE_MATCH"
            | "PATCH"
            | "PATCH_MATCH"
            | "BUILD_DEPENDS"
    ) || name.starts_with("MODULES_CONF")
        || (name.starts_with("BUILD_EXCLUSIVE_") && is_directive(name))
}

/// Whether a name is a directive at all.
#[must_use]
pub fn is_directive(name: &str) -> bool {
    DIRECTIVES.contains(&name)
}
