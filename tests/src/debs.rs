//! Debian packages made for a test.

use crate::Machine;

impl Machine {
    /// Installs a package that has nothing in it but says that it is `dkms (= version)`: with it apt takes the files that
    /// install.sh put there for the package that `*-dkms` depend on.
    ///
    /// # Panics
    /// When it cannot be made or installed.
    pub fn stand_in_for_dkms(&self, version: &str) {
        self.sh(&format!(
            "mkdir -p /srv/stand-in/DEBIAN && cd /srv && cat > stand-in/DEBIAN/control <<'END'
Package: dkms-stand-in
Version: 1
Architecture: all
Maintainer: Nobody <nobody@localhost>
Provides: dkms (= {version})
Conflicts: dkms
Description: says that dkms is here
END
             dpkg-deb --root-owner-group --build stand-in > /dev/null && dpkg -i stand-in.deb 2>&1"
        ));
    }
}
