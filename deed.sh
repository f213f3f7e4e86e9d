             chmod -R a+rX . && mv -T /var/tmp/new /usr/src/{name}-1.0 && dkms add {name}/1.0 > /dev/null"
        ));
    }

    /// Has the daemon build it.
    fn build(&self, name: &str) -> Answer {
        self.machine.try_sh(&format!("timeout 300 dkmsctl install {name}/1.0 -k {} 2>&1", self.kernel))
    }

    fn set(&self, toml: &str) -> Answer {
        self.machine.try_sh(&format!("cat > /etc/dkms/dkmsd.toml <<'E'\n{toml}\nE\nsystemctl reload dkmsd"))
    }

    /// The last job of a package: what it ended with, and all that its result says.
    fn result(&self, name: &str) -> (String, String) {
        let history = self.machine.history(0);
        let job = history.iter().find(|job| job.package == name).unwrap_or_else(|| panic!("{name}: {history:#?}"));
        let row = self.machine.row(name, &self.kernel);
        (job.result.clone(), format!("{}\n{}", job.error, row.first_error))
    }
}

#[test]
fn a_build_gets_nowhere_and_what_it_tried_is_named() {
    let prison = Prison::start();
    let machine = &prison.machine;
    prison.set("[package.idles]\ntimeout = \"3s\"");
    let before = machine.sh(STATE);
    for (name, deed, word) in DENIED {
        prison.package(name, deed, "");
        let answer = prison.build(name);
        let (result, said) = prison.result(name);
        assert_ne!(answer.code, 0, "{name}: {answer:?}");
        assert_eq!(result, if name == "idles" { "timeout" } else { "failed" }, "{name}: {said}");
        assert!(said.contains(word) && answer.stdout.contains(word), "{name}: {word}: {said}\n{answer:?}");
        assert!(!answer.stdout.contains("SECRET"), "{name}: {answer:?}");
        assert_eq!(machine.sh(TRACES), "", "{name}");
        assert_eq!(machine.sh(LEFT), "", "{name}");
        assert_eq!(machine.sh(STATE), before, "{name}");
    }
    let log = machine.row("says", &prison.kernel).log;
    assert!(machine.numbers(&format!("stat -c %s {log}"))[0] < 65 << 20);
    assert_eq!(machine.sh("ls /lib/modules/*/updates/dkms 2> /dev/null | cat"), "");

    for (directive, deed, word) in PLACES {
        let name = directive.to_lowercase().replace('_', "-");
        let value = if directive == "PATCH" { "escape" } else { "script.sh" };
        prison.package(&name, "true", &format!("{directive}={value}"));
        machine.sh(&format!(
            "cd /usr/src/{name}-1.0 && printf '#!/bin/bash\\n%s\\n' '{deed}' > script.sh && chmod +x script.sh
             mkdir -p patches && ln -s /etc/open out
             printf -- '--- /dev/null\\n+++ b/out/pwned\\n@@ -0,0 +1 @@\\n+x\\n' > patches/escape"
        ));
        let answer = prison.build(&name);
        assert_ne!(answer.code, 0, "{name}: {answer:?}");
        assert!(answer.stdout.contains(word), "{name}: {word}: {answer:?}");
        assert_eq!(machine.sh(TRACES), "", "{name}");
        assert_eq!(machine.sh(STATE), before, "{name}");
    }
    a_process_left_behind_is_told_of_a_build_that_succeeds(&prison);
    it_all_works_where_nothing_keeps_it_apart(machine);
}

fn a_process_left_behind_is_told_of_a_build_that_succeeds(prison: &Prison) {
    prison.package("leaves", "setsid sleep 5000 > /dev/null 2>&1 &", "");
    let answer = prison.build("leaves");
    assert_eq!((answer.code, prison.machine.sh(LEFT)), (0, String::new()), "{answer:?}");
    let told = prison.machine.sh("journalctl --sync; journalctl -u dkmsd -p warning --output=cat DKMS_PACKAGE=leaves");
    assert!(told.contains("1 process: sleep"), "{told}");
}

/// By the same user, or the above would show nothing.
fn it_all_works_where_nothing_keeps_it_apart(machine: &Machine) {
    for (name, deed, _) in DENIED.iter().take_while(|(name, ..)| *name != "bus") {
        machine.sh(&format!(
            "cat > /var/tmp/deed <<'E'\n{deed}\nE\nsetpriv --reuid=dkms --regid=dkms --clear-groups bash /var/tmp/deed"
        ));
        assert!(machine.sh("id -un dkms") == "dkms", "{name}");
    }
    machine.sh("kill -0 $(cat /srv/victim); setpriv --reuid=dkms --regid=dkms --clear-groups kill -KILL $(cat /srv/victim)");
    machine.wait_until("it is gone", "! systemctl is-active victim", std::time::Duration::from_secs(60));
}

#[test]
fn a_setting_lifts_what_it_says_and_no_more() {
    let prison = Prison::start();
    for (name, setting, deed) in LIFTED {
        prison.package(name, deed, "");
        prison.set("[package.idles]\ntimeout = \"2s\"");
        let refused = prison.build(name);
        assert_ne!(refused.code, 0, "{name}: {refused:?}");

        let set = prison.set(&format!("[package.{name}]\n{setting}"));
        assert_eq!(set.code, 0, "{name}: {set:?}");
        let built = prison.build(name);
        assert_eq!(built.code, 0, "{name}: {built:?}");
        // Everything else is still denied, to it and to others.
        for (kind, other, word) in DENIED.iter().filter(|(kind, ..)| ["etc", "boot", "network"].contains(kind)) {
            if *kind == name {
                continue;
            }
            for package in [name, "another"] {
                prison.machine.sh(&format!("dkms remove {package}/1.0 --all 2> /dev/null; rm -rf /usr/src/{package}-1.0"));
                prison.package(package, other, "");
                let said = prison.build(package);
                assert!(said.code != 0 && said.stdout.contains(word), "{name}, {kind} by {package}: {said:?}");
            }
        }
    }
    // What is wrong is named by its line, and what was set before stays.
    let bad = prison.set("[package.network]\nnetwork = true\nwritable = [\"srv\"]");
    let told = prison.machine.sh("journalctl --sync; journalctl -u dkmsd -p warning --output=cat | tail -n 5");
    assert!(told.contains("dkmsd.toml") && told.contains('3') && told.contains("full path"), "{bad:?} {told}");
    prison.machine.sh("systemctl is-active dkmsd");
    let refused = prison.machine.try_sh("dkms status --verbose; dkms build network/1.0");
    assert!(refused.stderr.contains("dkmsd.toml") && refused.stderr.contains("full path"), "{refused:?}");
}
E
cat tests/fixtures/hello-dkmsd-1.0/dkms.conf; ls tests/fixtures/hello-dkmsd-1.0; date
