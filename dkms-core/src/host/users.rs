//! The user that builds run as.

use serde::{Deserialize, Serialize};

use crate::layout::Layout;

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// As in /etc/passwd.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// The user `dkms`, where it exists (design.md, decision 6). Read from the root's own /etc/passwd: it is a system user.
/// None where this is not root: only root can run something as somebody else.
#[must_use]
pub fn build_user(layout: &Layout) -> Option<User> {
    rustix::process::geteuid().is_root().then(|| named(layout, "dkms")).flatten()
}

/// A user by name.
#[must_use]
pub fn named(layout: &Layout, name: &str) -> Option<User> {
    find(&std::fs::read_to_string(layout.host("/etc/passwd")).ok()?, name)
}

fn find(passwd: &str, name: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then_some(())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(User { name: name.to_owned(), uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let passwd =
            "root:x:0:0:root:/root:/bin/bash\ndkmsx:x:1:1::/:/bin/false\ndkms:x:998:997::/:/usr/sbin/nologin\n";
        assert_eq!(find(passwd, "dkms"), Some(User { name: "dkms".into(), uid: 998, gid: 997 }));
        assert_eq!(find(passwd, "nobody"), None);
    }
}
