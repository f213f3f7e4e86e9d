//! What `dkms` shows on a terminal and elsewhere. script(1) makes the terminal; what that was sent is drawn here.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::env::consts::ARCH;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rstest::rstest;

const COMPILE: &str = "gcc -c a.c -o a.ko";
const FAIL: &str = "echo 'a.c:1:1: error: no such thing'; exit 1";
/// A build that is half done when there is a log of an earlier one.
const BEGIN: &str = "echo '  CC [M]  a.o'";
const END: &str = "echo '  LD [M]  a.ko'";

/// As small as a module can be.
const SOURCE: &str = r#"
__attribute__((section(".modinfo"), used)) static const char info[] = "name=a\0license=GPL\0vermagic=9.9 mod_unload";
__attribute__((section(".gnu.linkonce.this_module"), used)) static char this_module[64];
"#;

/// A package `a/1` and a kernel `9.9` with headers, in trees of their own.
struct Trees {
    folder: tempfile::TempDir,
}

impl Trees {
    /// Built once, so that it is known how long that takes.
    fn new() -> Self {
        let trees = Self { folder: tempfile::tempdir().unwrap() };
        for (path, text) in [
            ("headers/Makefile", ""),
            ("headers/include/generated/autoconf.h", ""),
            ("headers/include/config/auto.conf", "CONFIG_X=y\n"),
            ("headers/Module.symvers", ""),
            ("src/a-1/a.c", SOURCE),
            (
                "src/a-1/dkms.conf",
                "PACKAGE_NAME=a\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME=a\nDEST_MODULE_LOCATION=/updates\nMAKE='sh make.sh'\n",
            ),
        ] {
            trees.write(path, text);
        }
        for tool in ["basic/fixdep", "mod/modpost"] {
            let tool = trees.path().join("headers/scripts").join(tool);
            fs::create_dir_all(tool.parent().unwrap()).unwrap();
            symlink("/bin/true", tool).unwrap();
        }
        fs::create_dir_all(trees.path().join("modules/9.9")).unwrap();
        symlink("../../headers", trees.path().join("modules/9.9/build")).unwrap();
        trees.made_by(&[BEGIN, COMPILE, END]);
        let built = trees.elsewhere("");
        assert_eq!(built.status.code(), Some(0), "{built:?}");
        trees
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// What its build does from now on.
    fn made_by(&self, lines: &[&str]) {
        self.write("src/a-1/make.sh", &(lines.join("\n") + "\n"));
    }

    /// A shell's line that builds it, where that has been done before.
    fn build(&self, options: &str) -> String {
        self.line(&format!("build a/1 -k 9.9/{ARCH} --force {options}"))
    }

    fn line(&self, words: &str) -> String {
        let dkms = env!("CARGO_BIN_EXE_dkms");
        let trees = [("--dkmstree", "tree"), ("--sourcetree", "src"), ("--installtree", "modules")];
        let trees = trees.map(|(option, folder)| format!(" {option} '{}'", self.path().join(folder).display()));
        format!("'{dkms}' {words}{}", trees.concat())
    }

    /// Builds it without a terminal, but where there could be one.
    fn elsewhere(&self, options: &str) -> Output {
        Command::new("sh")
            .args(["-c", &format!("exec {}", self.build(options))])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

/// A terminal with a command on it.
struct Terminal {
    columns: usize,
    script: Child,
    sent: Vec<u8>,
}

impl Terminal {
    /// `settings`: words for env(1).
    fn run(columns: usize, settings: &str, line: &str) -> Self {
        let line = format!("stty cols {columns}; exec env -u NO_COLOR TERM=xterm env {settings} {line}");
        let mut script = Command::new("script");
        script.args(["-qefc", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let script = script.spawn().unwrap_or_else(|e| panic!("script: {e}; install it, or use tests/run.sh"));
        Self { columns, script, sent: Vec::new() }
    }

    /// Waits until it was sent a text.
    fn await_text(&mut self, text: &str) {
        let out = self.script.stdout.as_mut().unwrap();
        let mut piece = [0; 4096];
        while !String::from_utf8_lossy(&self.sent).contains(text) {
            let n = out.read(&mut piece).unwrap();
            assert_ne!(n, 0, "{text} was never sent: {}", String::from_utf8_lossy(&self.sent));
            self.sent.extend(&piece[..n]);
        }
    }

    fn press(&mut self, key: &str) {
        self.script.stdin.as_mut().unwrap().write_all(key.as_bytes()).unwrap();
    }

    /// All that it was sent, what it shows in the end, and the command's exit status.
    fn end(mut self) -> (String, Vec<String>, i32) {
        self.script.stdout.take().unwrap().read_to_end(&mut self.sent).unwrap();
        let code = self.script.wait().unwrap().code().unwrap();
        let sent = String::from_utf8(self.sent).unwrap();
        let shown = shown(&sent, self.columns);
        (sent, shown, code)
    }
}

/// What a terminal shows that was sent this. Its cursor ends at the beginning of an empty line.
fn shown(sent: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![Vec::new()];
    let mut column = 0;
    let mut rest = sent.chars();
    while let Some(c) = rest.next() {
        match c {
            '\r' => column = 0,
            '\n' => lines.push(vec![' '; column]),
            '\x1b' => {
                let mut order = String::new();
                while !order.ends_with(|c: char| c.is_ascii_alphabetic()) {
                    order.extend(rest.next());
                }
                match order.as_str() {
                    "[K" => lines.last_mut().unwrap().truncate(column),
                    colour => assert!(colour.ends_with('m'), "{colour:?} in {sent:?}"),
                }
            }
            c => {
                assert!(!c.is_control(), "{c:?} in {sent:?}");
                if column == columns {
                    lines.push(Vec::new());
                    column = 0;
                }
                let line = lines.last_mut().unwrap();
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
    }
    let mut lines: Vec<String> = lines.into_iter().map(String::from_iter).collect();
    assert_eq!((lines.pop().as_deref(), column), (Some(""), 0), "{sent:?}");
    lines
}

/// Lines as a terminal breaks them.
fn broken(lines: &[String], columns: usize) -> Vec<String> {
    let broken = |line: &String| -> Vec<String> {
        let line: Vec<char> = line.chars().collect();
        line.chunks(columns).map(String::from_iter).collect()
    };
    lines.iter().flat_map(broken).collect()
}

/// What is said of a build that is forced.
fn results() -> [String; 2] {
    [
        format!("a/1, 9.9 ({ARCH}): built anew: it was asked for, whatever is there"),
        format!("a/1: built for 9.9 ({ARCH})"),
    ]
}

#[rstest]
#[case::wide(80)]
#[case::narrow(24)]
#[case::the_edge(31)]
fn progress_is_drawn_and_leaves_nothing_behind(#[case] columns: usize) {
    let trees = Trees::new();
    let said = trees.path().join("said");
    let terminal = Terminal::run(columns, "", &format!("{} 2> '{}'", trees.build(""), said.display()));
    let (sent, shown, code) = terminal.end();
    assert_eq!((shown, code), (broken(&results(), columns), 0), "{sent:?}");
    for how_far in ["preparing", "building", "building 50 %", "building 99 %", "finishing"] {
        assert!(sent.contains(&format!(": {how_far}\r\x1b[K")), "{how_far}: {sent:?}");
    }
    let said = fs::read_to_string(said).unwrap();
    assert!(!said.contains(['\x1b', '\r']), "{said:?}");
}

#[rstest]
#[case::no_terminal(None)]
#[case::a_dumb_one(Some("TERM=dumb"))]
#[case::one_that_nobody_names(Some("-u TERM"))]
fn elsewhere_there_are_lines_and_nothing_else(#[case] settings: Option<&str>) {
    let trees = Trees::new();
    let [anew, built] = results();
    let wanted = [&anew, &format!("a/1, 9.9 ({ARCH}): building"), &built].map(|line| format!("{line}\n")).concat();
    if let Some(settings) = settings {
        let said = trees.path().join("said");
        let line = format!("{} 2> '{}'", trees.build(""), said.display());
        let (sent, _, code) = Terminal::run(80, settings, &line).end();
        assert_eq!((sent, code), (wanted.replace('\n', "\r\n"), 0));
    } else {
        let built = trees.elsewhere("");
        assert_eq!(String::from_utf8_lossy(&built.stdout), wanted);
        trees.made_by(&[FAIL]);
        let failed = trees.elsewhere("");
        let told = String::from_utf8_lossy(&failed.stderr);
        assert!(told.contains("no such thing") && !told.contains(['\x1b', '\r']), "{told:?}");
    }
}

/// Each begins a line of its own, whichever output it goes to and whoever says it.
#[rstest]
#[case::coloured("", true)]
#[case::not_wanted("NO_COLOR=1", false)]
fn trouble_wipes_what_is_drawn(#[case] settings: &str, #[case] coloured: bool) {
    let trees = Trees::new();
    // What the engine remarks beside its events: a record of a failure that cannot be removed.
    let record = format!("tree/.dkmsd-state/failures/a/1/9.9-{ARCH}.json");
    trees.write(&format!("{record}/in the way"), "");
    let (sent, shown, code) = Terminal::run(500, settings, &trees.build("")).end();
    assert_eq!(code, 0, "{sent:?}");
    let remark = shown.iter().find(|line| line.contains(&record)).unwrap_or_else(|| panic!("{sent:?}"));
    assert!(remark.starts_with("dkms: warning: "), "{shown:#?}");

    trees.made_by(&[BEGIN, FAIL]);
    let (sent, shown, code) = Terminal::run(500, settings, &trees.build("")).end();
    assert_eq!(code, 10, "{sent:?}");
    let why = shown.iter().position(|line| line.starts_with("dkms: a/1") || line.starts_with("dkms: make"));
    let why = why.unwrap_or_else(|| panic!("{shown:#?}"));
    assert!(shown[why..].iter().any(|line| line.contains("no such thing")), "{shown:#?}");
    assert!(shown.iter().all(|line| !line.contains("%") && !line.contains(": building")), "{shown:#?}");
    assert_eq!(sent.contains("\x1b[1;31m"), coloured, "{sent:?}");
    assert_eq!(sent.matches("\x1b[1;31m").count() + sent.matches("\x1b[33m").count(), sent.matches("\x1b[0m").count());
    assert_eq!(sent.replace("\x1b[K", "").contains('\x1b'), coloured, "{sent:?}");

    // Fields of a remark have colours of their own.
    symlink("nowhere/9.9/none", trees.path().join(format!("tree/a/kernel-9.9-{ARCH}"))).unwrap();
    let (sent, shown, _) = Terminal::run(500, settings, &trees.line("status")).end();
    assert!(shown.iter().any(|line| line.starts_with("dkms: warning: ")), "{shown:#?}");
    assert_eq!(sent.contains('\x1b'), coloured, "{sent:?}");
}

/// Its exit status says it all.
#[test]
fn quiet_is_silent() {
    let trees = Trees::new();
    for (lines, code) in [(&[BEGIN, COMPILE, END][..], 0), (&[BEGIN, FAIL], 10)] {
        trees.made_by(lines);
        for option in ["-q", "--quiet"] {
            let (sent, _, ended) = Terminal::run(80, "", &trees.build(option)).end();
            assert_eq!((sent.as_str(), ended), ("", code));
            let built = trees.elsewhere(option);
            assert_eq!((&*built.stdout, &*built.stderr, built.status.code()), (&b""[..], &b""[..], Some(code)));
        }
    }
}

#[test]
fn interrupted_it_leaves_an_empty_line_and_a_tree_that_works() {
    let trees = Trees::new();
    trees.made_by(&[BEGIN, "sleep 777"]);
    let said = trees.path().join("said");
    let mut terminal = Terminal::run(80, "", &format!("{} 2> '{}'", trees.build(""), said.display()));
    terminal.await_text("building 50 %");
    terminal.press("\x03");
    let (sent, shown, code) = terminal.end();
    assert_eq!((shown, code), (vec![results()[0].clone()], 128 + 2), "{sent:?}");
    trees.made_by(&[BEGIN, COMPILE, END]);
    assert_eq!(trees.elsewhere("").status.code(), Some(0));
}
