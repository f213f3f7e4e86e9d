//! What `--help` says.

/// The whole interface, a line each; dkms(8) says more.
pub(crate) const TEXT: &str = "\
Usage: dkms ACTION [NAME/VERSION | FOLDER | ARCHIVE] [options]

Builds driver modules for kernels, and installs them.

Actions on a package
  add              take a driver's source into the tree (NAME/VERSION from /usr/src, or a folder with a dkms.conf)
  build            compile it for a kernel
  install          put what was built into the kernel's folder, building first when needed
  uninstall        take it out again; the kernel's own modules come back
  unbuild          uninstall it, and drop what was built
  remove           unbuild it; a package that is left on no kernel is forgotten (its source stays)
  status           say what is added, built and installed
  mktarball        pack its source and what was built, for other machines
  ldtarball        take such an archive in
  lint             judge a dkms.conf (dkms lint --help)

Actions on a kernel
  autoinstall      install every package with AUTOINSTALL that is not there
  match            install what is installed on --templatekernel KERNEL
  kernel_postinst  what a new kernel's package calls: autoinstall
  kernel_preinst   unbuild the packages with AUTOINSTALL
  kernel_prerm     unbuild every package, before a kernel is removed
  generate_mok     make the key that modules are signed with

Which package, which kernel
  -m, --module NAME[/VERSION]      -v VERSION
  -k, --kernelver KERNEL[/ARCH]    the running kernel by default; may be repeated
  -a, --arch ARCH                  one for all kernels, or one for each
      --all                        every kernel it is built for (uninstall, unbuild, remove, mktarball)
  -c CONF                          a dkms.conf elsewhere than in the source

How
      --force                      also what is there already, or what a check refuses
      --force-version-override     install although the kernel's own module is as new
      --no-depmod                  leave depmod to the caller
      --modprobe-on-install        load what the running kernel's devices need
      --symlink-modules            link to the built modules in place of copying them
      --binaries-only, --source-only   what mktarball packs
      --archive FILE               what mktarball writes, or ldtarball reads
      --rpm_safe_upgrade           do not remove what the same rpm transaction has just added
      --directive NAME=VALUE       set a directive after dkms.conf has been read
      --config FILE                the kernel's configuration, when it is not in its headers
      --kernelsourcedir FOLDER     the kernel's headers
  -j N                             parallel jobs of make; 0 for no limit

Where
      --dkmstree FOLDER --sourcetree FOLDER --installtree FOLDER
      --root FOLDER                work in the system below FOLDER; paths are as seen in there

  -q, --quiet    say nothing from here on       --verbose    say more       --debug    say everything
      --json     status as JSON
  -V, --version  the level of this interface    -h, --help   this";
