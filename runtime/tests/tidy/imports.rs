//! Which file imports which, read from the text: enough of Rust's paths for the rules about them.
//!
//! A path that begins with `crate::` or `super::` is followed as far as there are files for it:
//! `crate::plan::check::check` in any file leads to `plan/check.rs`, `super::Plan` in `plan/check.rs`
//! to `plan/mod.rs`, the folder's door. A door leads to every file of its folder. In-file tests are
//! left out: they stand at the end of a file, and their `super` is the file itself.

use std::collections::{BTreeMap, BTreeSet};

use super::Source;

/// The files of one crate and what each imports.
pub struct Imports {
    edges: BTreeMap<String, BTreeSet<String>>,
}

impl Imports {
    /// Of the crate whose sources lie in `root`, tests left out.
    pub fn of(files: &[Source], root: &str) -> Imports {
        let mut modules = BTreeMap::new();
        let sources = files.iter().filter(|file| file.is_within(root) && !file.is_test());
        let sources: Vec<&Source> = sources.collect();
        for file in &sources {
            modules.insert(module(root, &file.path), file.path.clone());
        }
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for file in &sources {
            let own = module(root, &file.path);
            let imported = edges.entry(file.path.clone()).or_default();
            let mut add = |target: Option<&String>| {
                imported.extend(target.filter(|path| **path != file.path).cloned());
            };
            for path in paths(&text(file)) {
                add(resolve(&modules, &own, &path));
            }
            for line in file.code().map(|(_, line)| line.trim()) {
                let line = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ");
                if let Some(child) = line.strip_prefix("mod ").and_then(|l| l.strip_suffix(';')) {
                    let child = [own.as_slice(), &[child.to_owned()]].concat();
                    add(modules.get(&child));
                }
            }
        }
        Imports { edges }
    }

    /// Without what files import from the doors of the folders they lie in. In the runtime a door
    /// defines the type, and the files behind it implement parts of it.
    pub fn without_own_doors(mut self) -> Imports {
        for (file, imported) in &mut self.edges {
            imported.retain(|other| {
                let folder = other.strip_suffix("/mod.rs");
                !folder.is_some_and(|folder| file.starts_with(&format!("{folder}/")))
            });
        }
        self
    }

    /// Files that import each other in a circle, each circle as the path around it.
    pub fn circles(&self) -> Vec<String> {
        let mut circles = Vec::new();
        let mut done = BTreeSet::new();
        for file in self.edges.keys() {
            self.walk(file, &mut Vec::new(), &mut done, &mut circles);
        }
        circles
    }

    fn walk<'a>(
        &'a self,
        file: &'a str,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
        circles: &mut Vec<String>,
    ) {
        if let Some(start) = way.iter().position(|other| *other == file) {
            circles.push([&way[start..], &[file]].concat().join(" -> "));
            return;
        }
        if done.contains(file) {
            return;
        }
        way.push(file);
        for next in self.edges.get(file).into_iter().flatten() {
            self.walk(next, way, done, circles);
        }
        way.pop();
        done.insert(file);
    }

    /// Imports from a room to one that stands above it in `order`, or that is missing there. A room
    /// is a folder of `root`, or a file in it that is no crate root.
    pub fn upward(&self, root: &str, order: &[&str]) -> Vec<String> {
        let room = |path: &str| module(root, path).into_iter().next();
        let height = |room: &str| order.iter().position(|other| *other == room);
        let mut offenders = Vec::new();
        for (file, imported) in &self.edges {
            // A crate's root sees all rooms.
            let Some(own) = room(file) else { continue };
            let Some(own_height) = height(&own) else {
                offenders.push(format!("{file}: {own} has no place in the order"));
                continue;
            };
            for other in imported.iter().filter_map(|path| room(path)).filter(|room| *room != own) {
                if height(&other).is_none_or(|height| height > own_height) {
                    offenders.push(format!("{file}: {own} uses {other}"));
                }
            }
        }
        offenders
    }
}

/// `["plan", "check"]` of `ROOT/plan/check.rs`; nothing of the crate's roots.
fn module(root: &str, path: &str) -> Vec<String> {
    let inside = path[root.len()..].trim_start_matches('/').trim_end_matches(".rs");
    let mut names: Vec<String> = inside.split('/').map(str::to_owned).collect();
    if names.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        names.pop();
    }
    names
}

/// The code of a file up to its tests, on one line.
fn text(file: &Source) -> String {
    let lines = file.code().map(|(_, line)| line.trim());
    let mut lines = lines.collect::<Vec<_>>().join(" ");
    if let Some(tests) = lines.find("#[cfg(test)] mod tests {") {
        lines.truncate(tests);
    }
    lines
}

/// All paths of a text that begin with `crate` or `super`, those in braces written out.
fn paths(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in text.match_indices(start) {
            let is_part = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            // The second `super` of `super::super::x` is reached from the first.
            if !is_part && !text[..at].ends_with("::") {
                expand(&text[at..], &mut Vec::new(), &mut found);
            }
        }
    }
    found
}

/// Writes out the path at the beginning of `text`; what is left after it.
fn expand<'t>(text: &'t str, before: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'t str {
    let text = text.trim_start();
    if let Some(mut inside) = text.strip_prefix('{') {
        loop {
            inside = expand(inside, &mut before.clone(), found).trim_start();
            match inside.strip_prefix(',') {
                Some(rest) => inside = rest,
                None => return inside.strip_prefix('}').unwrap_or(inside),
            }
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if !name.is_empty() {
        before.push(name.to_owned());
    }
    match rest.strip_prefix("::") {
        Some(rest) => expand(rest, before, found),
        None => {
            found.push(before.clone());
            // `name as other` within braces.
            let rest = rest.trim_start();
            match rest.strip_prefix("as ") {
                Some(alias) => alias.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'),
                None => rest,
            }
        }
    }
}

fn resolve<'m>(
    modules: &'m BTreeMap<Vec<String>, String>,
    own: &[String],
    path: &[String],
) -> Option<&'m String> {
    let mut at: Vec<String> = match path.first().map(String::as_str) {
        Some("crate") => Vec::new(),
        _ => own[..own.len().saturating_sub(1)].to_vec(),
    };
    for name in &path[1..] {
        if name == "super" {
            at.pop();
            continue;
        }
        at.push(name.clone());
        if !modules.contains_key(&at) {
            at.pop();
            break;
        }
    }
    modules.get(&at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(files: &[(&str, &str)]) -> Imports {
        let source = |(path, text): &(&str, &str)| Source {
            path: format!("a/src/{path}"),
            text: (*text).to_owned(),
        };
        Imports::of(&files.iter().map(source).collect::<Vec<_>>(), "a/src")
    }

    #[test]
    fn a_circle_is_found_however_the_path_is_written() {
        let uses = [
            "use crate::high::top::Top;",
            "use crate::{\n    other::X,\n    high::{self as h, top},\n};",
            "fn f() -> super::high::top::Top { g() }",
        ];
        for text in uses {
            let found = imports(&[
                ("lib.rs", "mod high;\nmod low;"),
                ("high/mod.rs", "mod top;\npub use top::Top;"),
                ("high/top.rs", "use crate::low::f;"),
                ("low.rs", text),
            ]);
            let circles = found.circles();
            assert!(circles.iter().any(|c| c.contains("low.rs")), "{text}: {circles:?}");
            let upward = found.upward("a/src", &["low", "high"]);
            assert!(upward.contains(&"a/src/low.rs: low uses high".to_owned()), "{text}");
            assert_eq!(
                found.upward("a/src", &["high", "low"]),
                ["a/src/high/top.rs: high uses low"]
            );
        }
    }

    #[test]
    fn a_file_that_goes_through_its_own_door_is_a_circle() {
        let files = [("lib.rs", "mod room;"), ("room/mod.rs", "mod a;\npub use a::A;")];
        let door = imports(&[files.as_slice(), &[("room/a.rs", "use super::b::B;")]].concat());
        assert_eq!(door.circles().len(), 1, "there is no b.rs: it is the door's");
        let files = [files[0], ("room/mod.rs", "mod a;\nmod b;"), ("room/b.rs", "")];
        let clean = imports(&[files.as_slice(), &[("room/a.rs", "use super::b::B;")]].concat());
        assert_eq!(clean.circles(), Vec::<String>::new());
        let own = [("room/a.rs", "#[cfg(test)]\nmod tests {\n    use super::*;\n}")];
        let own = imports(&[files.as_slice(), &own].concat());
        assert_eq!(own.circles(), Vec::<String>::new());
        let door = imports(&[files.as_slice(), &[("room/a.rs", "use super::B;")]].concat());
        assert_eq!(door.circles().len(), 1);
        assert_eq!(door.without_own_doors().circles(), Vec::<String>::new());
    }

    #[test]
    fn a_room_without_a_place_is_named() {
        let found = imports(&[("lib.rs", "mod new;"), ("new.rs", "")]);
        assert_eq!(found.upward("a/src", &[]), ["a/src/new.rs: new has no place in the order"]);
    }
}
