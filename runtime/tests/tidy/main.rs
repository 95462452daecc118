//! Keeps the tree tidy by reading it: what the compiler does not check and reviewers forget.
//!
//! The rules about who may know whom are those of ARCHITECTURE.md.

mod imports;

use std::fs;
use std::path::{Path, PathBuf};

use imports::Imports;

/// A file of the repository: its path from the root, with `/`, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Lines of code with their numbers: comments and documentation are left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.map(|(number, line)| (number, line.split("//").next().unwrap_or("")))
    }

    fn is_within(&self, folder: &str) -> bool {
        self.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    }

    fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("tests.rs")
    }
}

/// All text files of the repository with one of these endings.
fn sources(endings: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a crate lies in a folder");
    let mut found = Vec::new();
    walk(root, &mut |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if endings.iter().any(|ending| name.ends_with(ending)) {
            let text = fs::read_to_string(&path).expect("source files are readable UTF-8");
            let path = path.strip_prefix(root).expect("it was found under the root");
            found.push(Source { path: path.to_string_lossy().replace('\\', "/"), text });
        }
    });
    assert!(!found.is_empty(), "no files end in {endings:?}: the test looks in the wrong place");
    found
}

fn walk(folder: &Path, visit: &mut impl FnMut(PathBuf)) {
    for entry in fs::read_dir(folder).expect("folders are readable") {
        let path = entry.expect("folders are readable").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match path.is_dir() {
            true if ["target", ".git", "__pycache__"].contains(&name.as_str()) => {}
            true => walk(&path, visit),
            false => visit(path),
        }
    }
}

/// Whether `word` stands in `line` as a word of its own, or begins a path if it ends in `::`.
fn has_word(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let (before, after) = (&line[..start], &line[start + word.len()..]);
        !before.ends_with(is_name) && (word.ends_with("::") || !after.starts_with(is_name))
    })
}

fn report(rule: &str, offenders: Vec<String>) {
    assert!(offenders.is_empty(), "{rule}:\n{}", offenders.join("\n"));
}

/// Lines of code in `folder`, tests left out, that hold one of `words`.
fn mentions(files: &[Source], folder: &str, words: &[&str]) -> Vec<String> {
    let mut offenders = Vec::new();
    for file in files.iter().filter(|file| file.is_within(folder) && !file.is_test()) {
        for (number, line) in file.code() {
            if let Some(word) = words.iter().find(|word| has_word(line, word)) {
                offenders.push(format!("{}:{number}: {word}", file.path));
            }
        }
    }
    offenders
}

/// The tower of the runtime, from the bottom up: a module may use those below it.
const TOWER: &[&str] =
    &["units", "ids", "region", "graph", "halo", "plan", "program", "cost", "solve", "coord"];

#[test]
fn planning_knows_no_tensors_no_wire_and_no_files() {
    let files = sources(&[".rs"]);
    let mut offenders = Vec::new();
    for (height, module) in TOWER.iter().enumerate() {
        let belongs = |file: &&Source| {
            file.is_within(&format!("runtime/src/{module}"))
                || file.path == format!("runtime/src/{module}.rs")
        };
        for file in files.iter().filter(belongs) {
            for (number, line) in file.code() {
                let mut used = line.split("crate::").skip(1).map(|rest| {
                    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")
                });
                let foreign = |name: &&str| !name.is_empty() && !TOWER[..=height].contains(name);
                if let Some(name) = used.find(foreign) {
                    offenders.push(format!("{}:{number}: {module} uses {name}", file.path));
                }
                if ["burn::", "burn_ndarray::"].iter().any(|name| has_word(line, name)) {
                    offenders.push(format!("{}:{number}: {module} uses {line}", file.path));
                }
            }
        }
    }
    report("modules use only what lies below them", offenders);
}

/// The rooms of the actors crate, from the bottom up: a room may use those before it. Its crate
/// root sees all of them; `cli` is the binary's and uses only what the library shows.
const ROOMS: &[&str] = &[
    "clock",
    "api",
    "input",
    "task",
    "transport",
    "pairing",
    "storage",
    "profiler",
    "worker",
    "discovery",
    "planner",
    "pipeline",
    "cluster",
    "serve",
    "cli",
];

#[test]
fn rooms_use_only_rooms_below_them() {
    let files = sources(&[".rs"]);
    let imports = Imports::of(&files, "actors/src");
    report("the rooms' order, see ARCHITECTURE.md", imports.upward("actors/src", ROOMS));
}

#[test]
fn no_files_import_each_other_in_circles() {
    let files = sources(&[".rs"]);
    report("circles of imports", Imports::of(&files, "actors/src").circles());
    let runtime = Imports::of(&files, "runtime/src").without_own_doors();
    report("circles of imports", runtime.circles());
}

#[test]
fn every_room_says_what_it_is() {
    let files = sources(&[".rs"]);
    let doors = files
        .iter()
        .filter(|file| ROOMS.iter().any(|room| file.path == format!("actors/src/{room}/mod.rs")));
    let silent = doors.filter(|door| {
        let about: Vec<&str> = door.text.lines().take_while(|l| l.starts_with("//!")).collect();
        about.len() < 3 || !about.join(" ").contains("never")
    });
    let silent = silent.map(|door| format!("{}: what lives here, and what never?", door.path));
    report("a room's mod.rs says what it is", silent.collect());
}

#[test]
fn kernels_know_no_plans() {
    let files = sources(&[".rs"]);
    let words = ["crate::plan", "crate::program", "crate::wire", "crate::exec", "crate::onnx"];
    report("kernels see graphs and regions", mentions(&files, "runtime/src/kernel", &words));
    let words = ["crate::plan", "crate::program", "crate::wire", "crate::exec", "crate::kernel"];
    report("onnx sees graphs and bytes", mentions(&files, "runtime/src/onnx", &words));
    let words = ["crate::exec", "crate::onnx", "burn::"];
    report("the wire sees graphs and programs", mentions(&files, "runtime/src/wire", &words));
}

#[test]
fn the_runtime_has_no_clock_no_sockets_and_no_threads() {
    let files = sources(&[".rs"]);
    let words = [
        "tokio",
        "actix",
        "async",
        "std::net",
        "thread::spawn",
        "thread::scope",
        "Instant",
        "SystemTime",
        ".elapsed(",
    ];
    report("the runtime is pure", mentions(&files, "runtime/src", &words));
}

#[test]
fn the_actors_do_no_arithmetic() {
    let files = sources(&[".rs"]);
    let words = ["burn::", "burn_ndarray::"];
    report("tensors are the runtime's", mentions(&files, "actors/src", &words));
}

#[test]
fn plans_do_not_depend_on_hash_order() {
    let files = sources(&[".rs"]);
    let offenders = ["plan", "program", "cost", "solve", "coord"]
        .iter()
        .flat_map(|module| {
            mentions(&files, &format!("runtime/src/{module}"), &["HashMap", "HashSet"])
        })
        .collect();
    report("decisions are the same in every run", offenders);
}

#[test]
fn files_are_short_and_named_for_what_they_hold() {
    const MOST_LINES: usize = 700;
    let mut offenders = Vec::new();
    for file in sources(&[".rs"]) {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        if ["util.rs", "utils.rs", "helper.rs", "helpers.rs", "misc.rs", "common.rs"]
            .contains(&name)
        {
            offenders.push(format!("{}: says nothing", file.path));
        }
        let lines = file.text.lines().count();
        if lines > MOST_LINES {
            offenders.push(format!("{}: {lines} lines, {MOST_LINES} at most", file.path));
        }
    }
    report("a file has one subject and says which", offenders);
}

#[test]
fn nothing_is_left_unfinished() {
    let mut offenders = Vec::new();
    for file in sources(&[".rs"]) {
        for (number, line) in file.code() {
            // Names without the `!` in this list, or this file would find itself.
            for name in ["todo", "unimplemented", "dbg"] {
                if line.contains(&format!("{name}!(")) {
                    offenders.push(format!("{}:{number}: {name}!", file.path));
                }
            }
        }
    }
    report("no placeholder is committed", offenders);
}

#[test]
fn tests_wait_for_events_not_for_time() {
    let mut offenders = Vec::new();
    for file in sources(&[".rs"]).iter().filter(|file| file.is_test()) {
        for (number, line) in file.code() {
            if line.contains(&format!("{}(", "sleep")) {
                offenders.push(format!("{}:{number}", file.path));
            }
            if line.trim_start().starts_with("#[ignore") {
                offenders.push(format!("{}:{number}: an ignored test", file.path));
            }
        }
    }
    report("a test that sleeps is slow or wrong", offenders);
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let machine = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"], ["..", "/shared"]];
    let endings = [".rs", ".toml", ".md", ".py", ".sh", ".service", "justfile", "run"];
    let mut offenders = Vec::new();
    for file in sources(&endings) {
        for (number, line) in file.text.lines().enumerate() {
            if let Some(path) =
                machine.iter().map(|parts| parts.concat()).find(|p| line.contains(p))
            {
                offenders.push(format!("{}:{}: {path}", file.path, number + 1));
            }
        }
    }
    report("the repository works anywhere", offenders);
}
