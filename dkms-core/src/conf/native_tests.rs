//! The native evaluator against bash itself: random programs from a grammar of what dkms.conf files use.
//! `PROPTEST_CASES` asks for more than the 2,000 of every run.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use super::*;

fn scope() -> Scope {
    let vars = [
        ("kernelver", "6.1.0-56-amd64"),
        ("arch", "x86_64"),
        ("kernel_source_dir", "/lib/modules/6.1.0-56-amd64/build"),
        ("dkms_tree", "/var/lib/dkms"),
        ("source_tree", "/usr/src"),
        ("install_tree", "/lib/modules"),
        ("parallel_jobs", "4"),
        ("module", "hello"),
        ("module_version", "1.0"),
    ];
    let vars = vars.into_iter().map(|(n, v)| (n, v.to_owned())).collect();
    Scope { names: directive::DIRECTIVES, vars, entries: Vec::new(), aloud: false, trace: Rc::default() }
}

fn file(text: &str) -> ConfFile {
    ConfFile { path: PathBuf::from("/usr/src/hello-1.0/dkms.conf"), text: text.as_bytes().to_vec() }
}

/// What the native evaluator makes of a program, or why it is not certain.
fn natively(text: &str) -> std::result::Result<Vec<Entry>, native::Uncertain> {
    native::read(&Layout::default(), &scope(), Some(&file(text)), "")
}

/// Less than bash's own limit of processor time.
const PATIENCE: Duration = Duration::from_secs(8);

fn by_bash(text: &str) -> Result<Vec<Entry>> {
    bash::read(&Layout::default(), &scope(), Some(&file(text)), "", PATIENCE).map(|said| said.entries)
}

pub(super) fn one_of(words: &'static [&'static str]) -> BoxedStrategy<String> {
    prop::sample::select(words).prop_map(str::to_owned).boxed()
}

fn variable() -> BoxedStrategy<String> {
    one_of(&["v", "w", "MAKE", "CLEAN", "kernelver", "unset_one", "arr"])
}

fn pattern() -> BoxedStrategy<String> {
    one_of(&[
        "*",
        "?",
        "a*",
        "*.",
        "[0-9]",
        "[!a-c]*",
        "@(a|b)",
        "+([0-9])",
        "*(x)y",
        "!(a)",
        "\\*",
        "'*'",
        "\"$w\"",
        "$v",
        "6.*",
        "*-*",
        "?(6).",
        "[[:digit:]]*",
        ".",
        "b",
        "-amd64",
    ])
}

fn expression() -> BoxedStrategy<String> {
    let leaf = one_of(&["1", "2", "n", "7", "010", "0x1f", "-3", "arr[3]", "$n", "${#v}", "n++", "--n"]);
    leaf.prop_recursive(3, 12, 2, |inner| {
        let op = one_of(&["+", "-", "*", "<", "<=", "==", "!=", "&&", "||", "&", "|", "^"]);
        let constant = one_of(&["/ 3", "% 7", "<< 2", ">> 1", "** 2", ", 5"]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            (inner.clone(), constant).prop_map(|(a, op)| format!("({a} {op})")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("!{a}")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a}) ? {b} : {c}")),
            (one_of(&["=", "+=", "-=", "*="]), inner).prop_map(|(op, a)| format!("(n {op} {a})")),
        ]
    })
    .boxed()
}

/// What may stand in double quotes.
fn part(inner: BoxedStrategy<String>) -> BoxedStrategy<String> {
    prop_oneof![
        4 => one_of(&["a", "b.c", "6.1", "-x", "M=", "/", "1", "x,y", "xy", ":", "@V@", "%", "#"]),
        3 => variable().prop_map(|v| format!("${v}")),
        3 => variable().prop_map(|v| format!("${{{v}}}")),
        1 => one_of(&["${arr[@]}", "${arr[*]}", "${arr[1]}", "${arr[-1]}", "${#arr[@]}", "${!arr[@]}", "${#v}", "$#", "$?",
                      "${arr[n]}", "${!p}", "${arr[@]:1}", "${arr[@]:0:1}", "$@", "$*", "$1", "${arr[@]#a}", "${arr[@]/a/Z}"]),
        2 => (variable(), one_of(&["#", "##", "%", "%%"]), pattern()).prop_map(|(v, op, p)| format!("${{{v}{op}{p}}}")),
        2 => (variable(), one_of(&["/", "//", "/#", "/%"]), pattern(), one_of(&["", "/", "/Z", "/$w", "/'q r'"]))
            .prop_map(|(v, op, p, with)| format!("${{{v}{op}{p}{with}}}")),
        2 => (variable(), one_of(&[":-", "-", ":+", "+", ":=", "="]), inner.clone())
            .prop_map(|(v, op, w)| format!("${{{v}{op}{w}}}")),
        1 => (variable(), one_of(&[":1", ":0:2", ": -2", ":1:-1", ":n", ":2:1"])).prop_map(|(v, s)| format!("${{{v}{s}}}")),
        1 => (variable(), one_of(&["^", "^^", ",", ",,"])).prop_map(|(v, op)| format!("${{{v}{op}}}")),
        1 => expression().prop_map(|e| format!("$(({e}))")),
        1 => inner.clone().prop_map(|w| format!("$(echo {w})")),
        1 => inner.clone().prop_map(|w| format!("$(printf '%s-' {w})")),
        1 => inner.prop_map(|w| format!("$(f {w}; echo $?)")),
    ]
    .boxed()
}

fn word() -> BoxedStrategy<String> {
    let leaf = one_of(&[
        "a",
        "b",
        "6.1.0",
        "x-y",
        "''",
        "\"\"",
        "a\\ b",
        "'a  b'",
        "$v",
        "\"$v\"",
        "\\$v",
        "\\\"q\\\"",
        "*",
        "z[0]",
    ]);
    leaf.prop_recursive(3, 16, 3, |inner| {
        let parts = prop::collection::vec(part(inner.clone()), 1..4);
        prop_oneof![
            parts.clone().prop_map(|p| format!("\"{}\"", p.concat())),
            parts.clone().prop_map(|p| format!("\"{}\"", p.join(" "))),
            parts.prop_map(|p| p.concat()),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{a}{b}")),
        ]
    })
    .boxed()
}

fn condition() -> BoxedStrategy<String> {
    let regex =
        one_of(&["^6", "^([0-9]+)\\.([0-9]+)", "a|b", "$w", "\"$w\"", "[.-]", "^[^.]*$", "amd64$", "(a)(b)?", "x{2}"]);
    let leaf = prop_oneof![
        (word(), one_of(&["==", "!=", "="]), pattern()).prop_map(|(a, op, p)| format!("[[ {a} {op} {p} ]]")),
        (word(), regex).prop_map(|(a, r)| format!("[[ {a} =~ {r} ]]")),
        (one_of(&["-n", "-z"]), word()).prop_map(|(op, a)| format!("[[ {op} {a} ]]")),
        (word(), one_of(&["=", "!="]), word()).prop_map(|(a, op, b)| format!(
            "[ \"{}\" {op} \"{}\" ]",
            bare(&a),
            bare(&b)
        )),
        (expression(), one_of(&["-eq", "-lt", "-ge"]), expression())
            .prop_map(|(a, op, b)| format!("[[ \"{a}\" {op} \"{b}\" ]]")),
        (one_of(&["$n", "3"]), one_of(&["-eq", "-gt", "-le", "-ne"])).prop_map(|(a, op)| format!("[ {a} {op} 2 ]")),
        expression().prop_map(|e| format!("(( {e} ))")),
        one_of(&[
            "true",
            "false",
            ":",
            "[ -f /etc/passwd ]",
            "[[ -e /nonexistent/x ]]",
            "[ -d /usr ]",
            "[ $v ]",
            "test -n \"$v\""
        ]),
        one_of(&[
            "f a b",
            "read -r x y <<< \"$v\"",
            "IFS=. read -r x y z <<< \"6.1.0-5\"",
            "command -v nonesuch",
            "nonesuch"
        ]),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), one_of(&["&&", "||"]), inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.prop_map(|a| format!("! {}", a.trim_start_matches("! "))),
        ]
    })
    .boxed()
}

/// A word without quotes, and with one `$` at most.
fn bare(word: &str) -> String {
    let plain: String = word.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')).collect();
    if word.contains("$v") { plain.replace('v', "$v ") } else { plain }
}

pub(super) fn statement() -> BoxedStrategy<String> {
    let target = one_of(&["v", "w", "CLEAN", "PRE_BUILD", "x", "p", "n", "MAKE", "arr"]);
    let element = one_of(&["arr[0]", "arr[2]", "MAKE[0]", "MAKE[n]", "MAKE[${#MAKE[@]}]", "PATCH[1]", "v[1]"]);
    let leaf = prop_oneof![
        4 => (target.clone(), one_of(&["=", "+="]), word()).prop_map(|(t, op, w)| format!("{t}{op}{w}")),
        3 => (element, one_of(&["=", "+="]), word()).prop_map(|(t, op, w)| format!("{t}{op}{w}")),
        2 => (one_of(&["arr", "MAKE", "PATCH", "v"]), one_of(&["=", "+="]), prop::collection::vec(word(), 0..4))
            .prop_map(|(t, op, w)| format!("{t}{op}({})", w.join(" "))),
        1 => one_of(&["unset v", "unset arr", "unset 'arr[1]'", "unset MAKE", "n=3", "p=v", "p='arr[1]'", "set -- a 'b c' d", "shift",
                      "arr=([3]=x y [1]=z)", "v=$'a\\tb'", "local q=1", "v=\"a\nb  c\"", "w=\"$w \\\n t\"", ": # note", "x=`echo $v`"]),
        1 => word().prop_map(|w| format!("v=$(echo -n {w} | cut -d. -f1)")),
        1 => (word(), word()).prop_map(|(a, b)| format!("printf -v w '%s:%s' {a} {b}")),
        1 => word().prop_map(|w| format!("f {w} b")),
        1 => one_of(&["v=\"${BASH_REMATCH[1]}\"", "CLEAN=\"${BASH_REMATCH[0]}.${BASH_REMATCH[2]}\"", "v=$?", "CLEAN=$x.$y",
                      "read -ra arr <<< \"$v b  c\"", "IFS=- read -r x y <<< \"$kernelver\"", "read x y <<EOF\n$v  two\nEOF"]),
    ];
    leaf.prop_recursive(3, 24, 3, |inner| {
        let body = prop::collection::vec(inner.clone(), 1..3).prop_map(|b| b.join("\n  "));
        prop_oneof![
            (condition(), body.clone()).prop_map(|(c, b)| format!("if {c}; then\n  {b}\nfi")),
            (condition(), body.clone(), body.clone())
                .prop_map(|(c, a, b)| format!("if {c}\nthen {a}\nelse\n  {b}\nfi")),
            (condition(), inner.clone()).prop_map(|(c, s)| format!("{c} && {s}")),
            (condition(), inner.clone()).prop_map(|(c, s)| format!("{c} || {{ {s}; }}")),
            (word(), pattern(), body.clone(), pattern(), body.clone())
                .prop_map(|(w, p, a, q, b)| format!("case {w} in\n  {p}) {a} ;;\n  {q}|zz)\n {b}\n;;\nesac")),
            (prop::collection::vec(word(), 1..4), body.clone())
                .prop_map(|(w, b)| format!("for i in {}; do\n  {b}\n  w+=$i\ndone", w.join(" "))),
            body.clone().prop_map(|b| format!("k=0; while [ $k -lt 3 ]; do\n  {b}\n  k=$((k+1))\ndone")),
            (body.clone(), condition())
                .prop_map(|(b, c)| format!("for i in 1 2 3; do {b}\n {c} && break; continue; done")),
            body.clone().prop_map(|b| format!("g() {{\n  local v=$1 x\n  {b}\n  return 3\n}}\ng q")),
            body.prop_map(|b| format!("( {b}\n)")),
        ]
    })
    .boxed()
}

fn program() -> BoxedStrategy<String> {
    prop::collection::vec(statement(), 1..7)
        .prop_map(|statements| {
            format!(
                "v=a.b; w='x  y'; n=2; p=w; arr=(one 'two three' '' 4); f() {{ echo \"$1,$#\"; return $#; }}\n{}\n\
                 POST_ADD=\"<$v|$w|$n|$x|$y|$k|$i|$1|$#>\"\nPOST_BUILD=\"<${{arr[*]}}|${{!arr[@]}}>\"\n",
                statements.join("\n")
            )
        })
        .boxed()
}

#[test]
#[allow(clippy::print_stderr)] // How much of it was compared is what makes this test worth something.
fn random_programs_mean_what_bash_says() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(2000);
    let (certain, slow) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let reasons = Mutex::new(BTreeMap::<String, usize>::new());
    let mut runner =
        TestRunner::new(Config { cases, failure_persistence: None, max_shrink_iters: 1500, ..Config::default() });
    runner
        .run(&program(), |text| {
            match natively(&text) {
                Ok(native) => {
                    certain.fetch_add(1, Ordering::Relaxed);
                    match by_bash(&text) {
                        Ok(bash) => prop_assert_eq!(native, bash, "{}", text),
                        // Its patterns can take a time that grows with the power of their length; ours do not.
                        Err(why) if why.to_string().contains("took longer than") => {
                            slow.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(why) => return Err(TestCaseError::fail(format!("{why}\n{text}"))),
                    }
                }
                Err(why) => *reasons.lock().unwrap().entry(why.to_string()).or_default() += 1,
            }
            Ok(())
        })
        .unwrap_or_else(|e| panic!("{e}"));
    let (certain, slow) = (certain.into_inner(), slow.into_inner());
    assert!(slow * 500 <= cases as usize, "bash does not get through {slow} programs that are evaluated natively");
    let mut reasons: Vec<_> = reasons.into_inner().unwrap().into_iter().collect();
    reasons.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    eprintln!("{certain} of {cases} programs natively; of the rest: {reasons:?}");
    assert!(certain * 2 > cases as usize, "too few are evaluated natively for this test to mean something");
}

fn expression_of_grep() -> BoxedStrategy<String> {
    let leaf = one_of(&[
        "a",
        "b",
        "6",
        "\\.",
        ".",
        "[ab]",
        "[^a]",
        "[0-9]",
        "[[:digit:]]",
        "[].]",
        "[a-]",
        "[\\.-]",
        "^",
        "$",
        "x",
        "-",
        "{",
        "}",
        ")",
        "\\w",
        "\\b",
        "\\<",
        "\\d",
        "\\(",
        "(",
        "[",
        "*",
        "\\$",
        ",",
        "\\",
    ]);
    leaf.prop_recursive(3, 16, 3, |inner| {
        let repeat = one_of(&["*", "+", "?", "{2}", "{1,}", "{,2}", "{1,2}", "*?", "{2,1}"]);
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 1..4).prop_map(|p| p.concat()),
            1 => inner.clone().prop_map(|p| format!("({p})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}|{b}")),
            2 => (inner, repeat).prop_map(|(a, r)| format!("({a}){r}")),
        ]
    })
    .boxed()
}

/// One bash for many patterns: its `=~` says 0, 1, or 2 for a pattern it refuses.
#[test]
fn extended_expressions_match_as_regcomp_does() {
    let mut runner = TestRunner::deterministic();
    let texts =
        one_of(&["6.1.0-56-amd64", "a", "", "ab", "aab.b", "6-a\n", "x{2}", "(a)", "a.b-a.b", "$", "\\", "a d"]);
    let cases: Vec<(String, String)> =
        (0..3000).map(|_| (expression_of_grep(), texts.clone()).new_tree(&mut runner).unwrap().current()).collect();
    let mut program = String::new();
    for (i, (pattern, text)) in cases.iter().enumerate() {
        let (p, t) = (pattern.replace('\'', "'\\''"), text.replace('\'', "'\\''"));
        program.push_str(&format!("p='{p}'; [[ '{t}' =~ $p ]]; MAKE[{i}]=$?\n"));
    }
    let said = by_bash(&program).unwrap();
    let mut wrong = Vec::new();
    for (i, (pattern, text)) in cases.iter().enumerate() {
        let bash = said.iter().find(|(n, at, _)| n == "MAKE" && *at == i.to_string()).map(|(_, _, v)| v.as_str());
        let ours = match ere::compile(pattern) {
            Ok(regex) if regex.is_match(text) => "0",
            Ok(_) => "1",
            Err(_) => "2",
        };
        if bash != Some(ours) {
            wrong.push(format!("{pattern:?} on {text:?}: bash {bash:?}, ours {ours}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// What real files are made of has to be certain, and right.
#[rstest::rstest]
#[case("i=0\nfor m in a b c; do BUILT_MODULE_NAME[$i]=$m; DEST_MODULE_LOCATION[$i]=/extra/$m; i=$((i+1)); done")]
#[case("mods=(a b 'c d'); for i in \"${!mods[@]}\"; do BUILT_MODULE_NAME[i]=\"${mods[i]}\"; done")]
#[case(
    "s='ab cd'; MAKE=\"${s[@]:1}\"; for w in ${s[@]:1:3} ${s[*]: -2}; do CLEAN+=[$w]; done; s+=(x); PRE_BUILD=${s[@]:1}"
)]
#[case("nn=0\nBUILT_MODULE_NAME[$((nn++))]=a\nBUILT_MODULE_NAME[$((nn++))]=b\n")]
#[case("BUILT_MODULE_NAME+=(a)\nBUILT_MODULE_NAME+=(b c)\nMAKE[${#BUILT_MODULE_NAME[@]}]=x")]
#[case("MAKE=\"make -C ${kernel_source_dir} \\\n  M=${dkms_tree}/x\"\nCLEAN='make clean'\r\n")]
#[case("IFS=.- read -r major minor rest <<< \"$kernelver\"; MAKE=\"$major $minor $rest\"")]
#[case("if [[ $kernelver =~ ^([0-9]+)\\.([0-9]+) ]]; then MAKE=\"${BASH_REMATCH[1]}-${BASH_REMATCH[2]}\"; fi")]
#[case("v=${kernelver%%-*}; MAKE=${v//./_}; CLEAN=${kernelver##*-}; PRE_BUILD=${kernelver/amd64/x}")]
#[case("case $arch in x86_64|amd64) MAKE=x ;; arm*|aarch64) MAKE=a ;; *) MAKE=o ;; esac")]
#[case("[ \"$arch\" = x86_64 ] && MAKE=yes || MAKE=no\n[ -z \"$nothing\" -o -n \"$x\" ] && CLEAN=1")]
#[case("add() { local n=${#BUILT_MODULE_NAME[@]}; BUILT_MODULE_NAME[$n]=$1; STRIP[n]=${2:-yes}; }\nadd a\nadd b no")]
#[case("MAKE=\"make -j$(nproc) KVER=$(uname -r)\"\nCLEAN=`basename /a/b.c .c`$(dirname /a/b)")]
#[case(
    "major=$(echo $kernelver | cut -d. -f1); minor=$(echo ${kernelver} | cut -d. -f2 | cut -d- -f1)\nMAKE=$major/$minor"
)]
#[case("if (( ${kernelver%%.*} >= 6 )); then PATCH[0]=six.patch; else PATCH[0]=old.patch; fi")]
#[case("if [ ${kernelver%%.*} -ge 5 ]; then MAKE=new; elif [ 1 -eq 2 ]; then MAKE=never; else MAKE=old; fi")]
#[case("PRE_BUILD=\"configure\n  --a\n  $(\n if [ -e /nonexistent ]; then echo --b; else echo --c; fi\n )\n\"")]
#[case("MAKE='make M=\\$dkms_tree/$module/\\$module_version \"QUOTED=$arch\"'")]
#[case("MAKE=\"'make' all VER=\\\"1 2\\\" X=\\`echo y\\`\"\nCLEAN=\"a'b'c\"")]
#[case("BUILD_EXCLUSIVE_KERNEL=\"^(5\\.[6-9]\\.|5\\.[1-9][0-9]\\.|[6-9]\\.)\"\nBUILD_EXCLUSIVE_ARCH='^(x86_64|i.86)$'")]
#[case(
    "shopt -s extglob\n[[ $kernelver == 6.+([0-9]).* ]] && MAKE=ext\n[[ ${arch,,} == @(X86|x86)_64 ]] && CLEAN=${arch^^}"
)]
#[case("printf -v MAKE '%s-%03d' $arch 7; CLEAN=$(printf '%s,' a b c)")]
#[case("while read -r a b; do BUILT_MODULE_NAME+=(\"$b$a\"); done <<EOF\n1 x\n2 $arch\nEOF\n")]
#[case("x=y; y=z; MAKE=${!x}; declare -a l=(1 2); CLEAN=${l[*]}; export E=1; unset x; PRE_BUILD=\"${x-unset}\"")]
#[case("local a=1 b; b=$a; MAKE=$a$b\nreturn 0\nMAKE=never")]
#[case("ofed_info -s >/dev/null 2>&1 || MAKE=none; type=$(nonesuch 2>/dev/null); CLEAN=\"<$type>$?\"")]
#[case("MAKE=make; MAKE+=' -C x'; MAKE[2]=two; CLEAN=${MAKE[*]}; PRE_BUILD=${#MAKE[@]}${!MAKE[@]}")]
#[case("MAKE='make VER=\"1 2\" x'\nCLEAN='a \"b c\" d'\nPATCH='x\"y\"z'\nPOST_ADD='\"\" q'")]
#[case("source /nonexistent/dkms.conf; . /nonexistent/x; MAKE=$?")]
#[case("a=(x '' z); set -- \"${a[@]}\"; MAKE=$#$1$3; shift; CLEAN=\"$*\"; for w; do PRE_BUILD+=[$w]; done")]
#[case("MAKE=\"<$(</etc/passwd)>\"; CLEAN=`< /etc/passwd`; PRE_BUILD=$(</dev/null)")]
#[case("MAKE='$PRE_BUILD $CLEAN x'; PRE_BUILD=first; CLEAN=last")]
#[case("MAKE='${kernelver%%-+([a-z0-9])}'")]
#[case("i=3; MAKE[\"$i\"]=x; MAKE[\"4\"]=y; MAKE[\"${i}1\"]+=z; PATCH=([\"$i\"]=a b [\"7\"]=c)")]
fn what_real_files_are_made_of(#[case] text: &str) {
    let native = natively(text).unwrap_or_else(|why| panic!("{why}: {text}"));
    assert_eq!(native, by_bash(text).unwrap(), "{text}");
}

/// What looks like an assignment and is not certain to be one is not taken for a command.
#[rstest::rstest]
#[case("MAKE['5']=x")]
#[case("MAKE=(['5']=x)")]
#[case("MAKE[\\3]=x")]
#[case("MAKE[\"3\"+1]=x")]
fn a_strange_subscript_is_left_to_bash(#[case] text: &str) {
    assert!(natively(text).is_err(), "{text}");
}

/// What a value that bash cannot read costs, as runs of the classic tool show it: it and what is read after it.
#[rstest::rstest]
#[case("PRE_BUILD='a\" b'; POST_ADD=x; MAKE=lost", &[("POST_ADD", "x")])]
#[case("MAKE='$('; PRE_BUILD=x; CLEAN=lost", &[("PRE_BUILD", "x")])]
#[case("MAKE='a\\'; PRE_BUILD=x", &[("PRE_BUILD", "x")])]
#[case("POST_ADD='${'; PRE_BUILD=x", &[])]
#[case("MAKE='${kernelver%%-+([a-z0-9])}'; PRE_BUILD='a\"b c\"'", &[("MAKE", "6.1.0-56")])]
#[case("MAKE=lost; exit 0", &[])]
fn a_value_that_bash_cannot_read(#[case] text: &str, #[case] wanted: &[(&str, &str)]) {
    let said = by_bash(text).unwrap();
    let said: Vec<(&str, &str)> = said.iter().map(|(name, _, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(said, wanted, "{text}");
}

/// A line as the configuration of a kernel has them, and some that it has not.
fn setting() -> BoxedStrategy<String> {
    let name =
        one_of(&["CONFIG_A", "CONFIG_B", "CONFIG_64BIT", "CONFIG_A", "CONFIG_", "OTHER", " CONFIG_A", "CONFIG_A[0]"]);
    let value = one_of(&[
        "y",
        "m",
        "",
        "-1",
        "0x1f",
        "/sbin/x.d",
        "\"a b  c\"",
        "\"\"",
        "\"#~*?[a]{1,2}!;&|()<>'=%\"",
        "a b",
        "a;b",
        "$v",
        "\"$v\"",
        "\"a",
        "'a'",
        "\"a\"b",
        "a\\",
        "~",
        "*",
        "y\r",
        "\"\\\\\"",
        "y #",
        "\"a\" ",
        "=",
        "\"\t\"",
        "ä",
    ]);
    let comment = one_of(&["# CONFIG_A is not set", "", "#", "# a\\", " # x"]);
    let end = one_of(&["\n", "\n", "\n", ""]);
    prop_oneof![8 => (name, value, end).prop_map(|(name, value, end)| format!("{name}={value}{end}")),
        2 => comment.prop_map(|line| line + "\n")]
    .boxed()
}

proptest::proptest! {
    /// A file that is all settings means the same to bash, line by line.
    #[test]
    fn the_settings_of_a_kernel_are_what_bash_takes_them_for(lines in prop::collection::vec(setting(), 1..4)) {
        let text = lines.concat();
        let Some(settings) = native::settings(&text) else { return Ok(()) };
        let mut all = text.clone();
        let names = ["CONFIG_A", "CONFIG_B", "CONFIG_64BIT", "CONFIG_"];
        for (at, name) in names.iter().enumerate() {
            let last = settings.iter().rev().find(|(set, _)| set == name).map_or("", |(_, value)| value);
            all.push_str(&format!("\n[[ ${name} == \"{last}\" ]] && MAKE[{at}]=same"));
        }
        let said = by_bash(&all).unwrap();
        let wanted: Vec<Entry> = (0..names.len()).map(|at| ("MAKE".into(), at.to_string(), "same".into())).collect();
        prop_assert_eq!(said, wanted, "{}", text);
    }
}
