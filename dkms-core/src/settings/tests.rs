use super::*;

fn load(files: &[(&str, &str)]) -> Result<Settings> {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join("etc/dkms").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Settings::load(root.path())
}

#[test]
fn without_files_everything_has_its_default() {
    let s = load(&[]).unwrap();
    assert_eq!(s.try_sign_modules, TrySign::NotInChroot);
    assert!(s.continue_on_error && !s.symlink_modules && s.sign_file.is_none());
    assert_eq!(s.layout().dkms_tree_inside(), Path::new("/var/lib/dkms"));
}

#[test]
fn the_framework_s_names_take_effect_and_later_files_win() {
    let s = load(&[
        (
            "framework.conf",
            "PATH=/nowhere IFS=:\nmodule=x\ndkms_tree=\"/srv/dkms\"\nsign_file=\"/usr/src/linux-headers-${kernelver}/scripts/sign-file\"\nparallel_jobs=3\nbase=/etc\nbuild_environment=$base/env\ntry_sign_modules=false\ncompress_xz_opts=\"--check=crc32 -9\"\n",
        ),
        ("framework.conf.d/20.conf", "parallel_jobs=5\ncontinue_on_error=\"\"\nmodprobe_on_install=\"true\""),
        ("framework.conf.d/10.conf", "parallel_jobs=4\nsymlink_modules=yes\n"),
        ("framework.conf.d/note.txt", "parallel_jobs=9\n"),
    ])
    .unwrap();
    assert_eq!(s.layout().dkms_tree_inside(), Path::new("/srv/dkms"));
    assert_eq!(s.layout().source_tree_inside(), Path::new("/usr/src"));
    let kernel = "6.1.0-56-amd64".parse().unwrap();
    assert_eq!(
        s.sign_file.as_ref().map(|f| f.for_kernel(&kernel)).as_deref(),
        Some("/usr/src/linux-headers-6.1.0-56-amd64/scripts/sign-file")
    );
    assert_eq!(s.parallel_jobs, Some(5));
    assert_eq!(s.build_environment.as_deref(), Some(Path::new("/etc/env")));
    assert_eq!(s.compress_xz_opts, ["--check=crc32", "-9"]);
    assert_eq!(s.try_sign_modules, TrySign::No);
    assert!(s.symlink_modules && s.modprobe_on_install && s.continue_on_error);
}

#[test]
fn what_is_not_understood_says_what_to_write() {
    let error =
        load(&[("framework.conf", "dkms_tree=here\nparallel_jobs=many\ntry_sign_modules=perhaps\n")]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("full path") && text.contains("many") && text.contains("not_in_chroot"), "{text}");
    assert!(load(&[("dkmsd.toml", "[x]\n")]).is_err());
}

#[test]
fn every_mistake_has_its_file_and_line_and_one_exit_code() {
    let error = load(&[
        ("framework.conf", "# try_sign_modules=maybe\ntry_sign_modules=maybe\nparallel_jobs=4\n"),
        ("framework.conf.d/jobs.conf", "\nparallel_jobs=\"some\"\n"),
        ("framework.conf.d/trees.conf", "where=src\ninstall_tree=$where\n"),
        ("dkmsd.toml", "[daemon]\nnice = 20\n"),
    ])
    .unwrap_err();
    let text = error.to_string();
    for wanted in [
        "/etc/dkms/framework.conf.d/trees.conf:2: install_tree=\"src\" is not a full path; ",
        "/etc/dkms/framework.conf.d/jobs.conf:2: parallel_jobs=\"some\" is not a number; ",
        "/etc/dkms/framework.conf:2: try_sign_modules=\"maybe\"; write ",
        "/etc/dkms/dkmsd.toml:2: nice is 20; write ",
    ] {
        assert!(text.contains(wanted), "{text}");
    }
    let codes = [error, load(&[("dkmsd.toml", "[x]\n")]).unwrap_err()].map(|error| error.exit_code());
    assert_eq!(codes, [8, 8]);
}
