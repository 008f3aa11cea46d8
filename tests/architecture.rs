//! The layers of the crate: reads the sources as text and uses nothing of the crate itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by a panic, and its name says what holds"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Which part may use which others. `lib.rs` only names the parts; every part may use itself.
const ARROWS: [(&str, &[&str]); 8] = [
    ("main", &["cli"]),
    ("lib", &[]),
    ("cli", &["operator", "sandbox", "api"]),
    ("operator", &["controller", "management"]),
    ("controller", &["planner", "management", "api"]),
    ("planner", &["api", "management::types"]),
    ("api", &[]),
    ("management", &[]),
];

/// Sandbox and its like: parts that use nothing else of ours and are not in every build.
const ALONE: [&str; 1] = ["sandbox"];

/// What a pure part cannot have: I/O, a clock, randomness. `X::*` in a path stands for everything below it.
const IMPURE: [&str; 16] = [
    "tokio",
    "reqwest",
    "kube::Client",
    "kube::client",
    "Instant",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "rand",
    "uuid",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
];

#[test]
fn each_part_uses_only_the_parts_it_may() {
    refuse(sources().iter().flat_map(|(file, text)| arrows_broken(file, text)).collect());
}

#[test]
fn the_planner_is_pure() {
    let all = sources();
    let planner: Vec<_> = all.iter().filter(|(file, _)| part(&module(file)) == "planner").collect();
    assert!(planner.len() > 5, "the planner's files are not where they were");
    refuse(planner.into_iter().flat_map(|(file, text)| impurities(file, text)).collect());
}

#[test]
fn every_part_has_its_arrows() {
    for (file, _) in sources() {
        let part = part(&module(&file)).to_owned();
        assert!(allowed(&part).is_some(), "{file}: nothing says what {part} may use");
    }
}

/// ARCHITECTURE.md names the test that holds each invariant: a test that is renamed must not leave a claim behind.
#[test]
fn every_test_that_the_architecture_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let code: String = rust_files(&root.join("src"))
        .into_iter()
        .chain(rust_files(&root.join("tests")))
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    // A sentence in snake case is the name of a test.
    let is_test = |word: &&str| {
        word.matches('_').count() >= 3 && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let named: Vec<&str> = page.split('`').filter(is_test).collect();
    assert!(named.len() >= 10, "the page names its tests: {named:?}");
    refuse(named.into_iter().filter(|name| !code.contains(&format!("fn {name}("))).map(str::to_owned).collect());
}

fn refuse(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

// --- the rules ----------------------------------------------------------------------------------------------------

fn allowed(part: &str) -> Option<&'static [&'static str]> {
    let nothing: &[&str] = &[];
    ARROWS.iter().find(|(name, _)| *name == part).map(|(_, may)| *may).or(ALONE.contains(&part).then_some(nothing))
}

fn arrows_broken(file: &str, text: &str) -> Vec<String> {
    let own = module(file);
    let part = part(&own);
    let may_use = |path: &Vec<String>| {
        let inside = |prefix: &str| path.join("::") == prefix || path.join("::").starts_with(&format!("{prefix}::"));
        inside(part) || allowed(part).unwrap_or_default().iter().any(|prefix| inside(prefix))
    };
    let broken = own_paths(&own, text).into_iter().filter(|(_, path)| !may_use(path));
    broken.map(|(line, path)| format!("{file}:{line}: {part} may not use crate::{}", path.join("::"))).collect()
}

fn impurities(file: &str, text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    let mut next = 0;
    while next < tokens.len() {
        let line = tokens[next].line;
        let (paths, end) = expand(&tokens, next);
        for path in &paths {
            let whole = format!("::{}::", path.join("::"));
            for word in IMPURE.iter().filter(|word| whole.contains(&format!("::{word}::"))) {
                found.push(format!("{file}:{line}: {} is not pure: {word}", path.join("::")));
            }
        }
        next = end.max(next + 1);
    }
    found
}

// --- the scanner --------------------------------------------------------------------------------------------------

/// Every source file, by its path below `src/`.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let named = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    rust_files(&root).into_iter().map(named).collect()
}

/// Every Rust file below a folder, sorted.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The module that a file below `src/` is. The two roots are modules of their own name.
fn module(file: &str) -> Vec<String> {
    let mut names: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if names.last().is_some_and(|name| name == "mod") {
        names.pop();
    }
    names
}

fn part(module: &[String]) -> &str {
    module.first().map_or("", String::as_str)
}

/// Every path that starts at the crate's root or goes up from `module`, from the root on, with its line. Empty is the
/// root itself, from which everything can be reached.
fn own_paths(module: &[String], text: &str) -> Vec<(usize, Vec<String>)> {
    let tokens = tokens(text);
    let root = matches!(module, [only] if only == "main" || only == "lib");
    let mut inside: Vec<String> = if root { Vec::new() } else { module.to_vec() };
    // Depths at which the inline modules end.
    let (mut ends, mut depth) = (Vec::new(), 0_usize);
    let (mut found, mut next) = (Vec::new(), 0);
    while let Some(token) = tokens.get(next) {
        let after = |offset: usize| tokens.get(next + offset).map_or("", |token| token.text.as_str());
        match token.text.as_str() {
            "mod" if after(2) == "{" => {
                inside.push(after(1).to_owned());
                ends.push(depth);
                depth += 1;
                next += 3;
            }
            "{" => (depth, next) = (depth + 1, next + 1),
            "}" => {
                depth = depth.saturating_sub(1);
                if ends.last() == Some(&depth) {
                    ends.pop();
                    inside.pop();
                }
                next += 1;
            }
            "crate" | "super" | "self" | "spice_cloud_operator" if after(1) == "::" || after(1) == "as" => {
                let (paths, end) = expand(&tokens, next);
                // `self as name` in a group is no path of its own, and names nothing that its group does not.
                let judged = paths.iter().filter(|_| token.text != "self" || after(1) == "::");
                found.extend(judged.map(|path| (token.line, resolved(&inside, path))));
                next = end;
            }
            // Anybody else's path, whatever it is made of.
            _ => next = expand(&tokens, next).1.max(next + 1),
        }
    }
    found
}

/// From the crate's root on; `super` goes up from where it is read.
fn resolved(inside: &[String], path: &[String]) -> Vec<String> {
    let mut whole = inside.to_vec();
    for name in path {
        match name.as_str() {
            "crate" | "spice_cloud_operator" => whole.clear(),
            "super" => drop(whole.pop()),
            "self" | "*" => {}
            name => whole.push(name.to_owned()),
        }
    }
    whole
}

/// All paths of the tree that starts at a token, and where it ends.
fn expand(tokens: &[Token], start: usize) -> (Vec<Vec<String>>, usize) {
    let is = |index: usize, text: &str| tokens.get(index).is_some_and(|token| token.text == text);
    let Some(first) = tokens.get(start).filter(|token| token.is_name() || token.text == "*") else {
        return (Vec::new(), start);
    };
    if !is(start + 1, "::") || first.text == "*" {
        return (vec![vec![first.text.clone()]], start + 1);
    }
    let with_first = |path: Vec<String>| [vec![first.text.clone()], path].concat();
    if !is(start + 2, "{") {
        let (paths, end) = expand(tokens, start + 2);
        // A turbofish, or nothing that this scanner knows, ends a path.
        let paths = if paths.is_empty() { vec![Vec::new()] } else { paths };
        return (paths.into_iter().map(with_first).collect(), end.max(start + 2));
    }
    let (mut all, mut next) = (Vec::new(), start + 3);
    while next < tokens.len() && !is(next, "}") {
        let (paths, end) = expand(tokens, next);
        all.extend(paths.into_iter().map(with_first));
        next = end.max(next + 1);
        if is(next, "as") {
            next += 2;
        }
    }
    (all, next + 1)
}

#[derive(Debug)]
struct Token {
    line: usize,
    text: String,
}

impl Token {
    fn is_name(&self) -> bool {
        self.text.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
    }
}

/// Names, `::` and single signs; no comments, and of strings only those that are paths (attributes take such).
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let rest = &chars[at..];
        let length = match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['"', ..] => quoted(rest),
            ['r', '"' | '#', ..] => raw_string(rest, 1).unwrap_or(1),
            ['b' | 'c', 'r', '"' | '#', ..] => raw_string(rest, 2).unwrap_or(2),
            ['\'', '\\', ..] => 2 + rest.iter().skip(3).position(|c| *c == '\'').unwrap_or(0) + 2,
            ['\'', _, '\'', ..] => 3,
            [c, ..] if c.is_alphanumeric() || *c == '_' => {
                rest.iter().position(|c| !c.is_alphanumeric() && *c != '_').unwrap_or(rest.len())
            }
            [':', ':', ..] => 2,
            _ => 1,
        };
        let text: String = rest[..length.min(rest.len())].iter().collect();
        let comment = text.starts_with("//") || text.starts_with("/*");
        let inner = text.trim_matches('"');
        let path_string = inner.contains("::") && inner.chars().all(|c| c.is_alphanumeric() || "_:".contains(c));
        if text.starts_with('"') && path_string {
            found.extend(tokens(inner).into_iter().map(|token| Token { line, ..token }));
        } else if !comment && !text.contains(['"', '\'']) && !text.trim().is_empty() {
            found.push(Token { line, text: text.clone() });
        }
        line += text.matches('\n').count();
        at += length;
    }
    found
}

fn block_comment(text: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match text[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(text: &[char]) -> usize {
    let mut at = 1;
    while at < text.len() && text[at] != '"' {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string(text: &[char], prefix: usize) -> Option<usize> {
    let hashes = text[prefix..].iter().take_while(|c| **c == '#').count();
    if text.get(prefix + hashes) != Some(&'"') {
        return None;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = prefix + hashes + 1;
    text[body..].windows(end.len()).position(|window| window == end).map(|at| body + at + end.len())
}

// --- the scanner, tested ------------------------------------------------------------------------------------------

#[test]
fn the_scanner_finds_every_way_to_name_another_part() {
    for (file, text, expected) in [
        ("planner/a.rs", "use crate::controller::Context;", Some("crate::controller::Context")),
        ("planner/a.rs", "use crate::{api, management::{types::App, Client}};", Some("crate::management::Client")),
        ("planner/a.rs", "use crate::management;", Some("crate::management")),
        ("planner/a.rs", "use crate::management::{self, types};", Some("crate::management")),
        ("planner/a.rs", "use crate::*;", Some("crate::")),
        ("planner/a.rs", "use crate as all;", Some("crate::")),
        ("planner/a.rs", "use {std::fmt, crate::operator::run};", Some("crate::operator::run")),
        ("planner/a.rs", "use super::super::controller;", Some("crate::controller")),
        ("planner/a.rs", "use self::super::super::controller;", Some("crate::controller")),
        ("planner/a.rs", "mod tests { use super::super::super::sandbox::x; }", Some("crate::sandbox::x")),
        ("planner/mod.rs", "fn f() { super::controller::g::<u8>() }", Some("crate::controller::g")),
        ("planner/mod.rs", "mod a { fn f() { if x {} } } use super::cli;", Some("crate::cli")),
        ("planner/mod.rs", "use super::{api::{self, X as Y}, cli as z};", Some("crate::cli")),
        ("api/app.rs", "#[serde(default = \"crate::planner::x\")]", Some("crate::planner::x")),
        ("api/app.rs", "fn f<'a>(c: char) -> &'a str { if c == '\"' {} crate::cli::x() }", Some("crate::cli::x")),
        ("api/app.rs", "const Q: char = '\\''; use crate::cli;", Some("crate::cli")),
        ("api/app.rs", "const Q: &str = r#\"\"#; use crate::cli;", Some("crate::cli")),
        ("sandbox/mod.rs", "use crate::api;", Some("crate::api")),
        ("main.rs", "spice_cloud_operator::operator::run();", Some("crate::operator::run")),
        ("lib.rs", "pub use crate::api::GROUP;", Some("crate::api::GROUP")),
        ("planner/a.rs", "use crate::{api::{self, X}, management::types::{App, Failure}}; use super::View;", None),
        ("planner/a.rs", "mod tests { use super::*; use super::super::digest; }", None),
        ("planner/a.rs", "pub(crate) fn f() {} pub(super) fn g() {} // crate::controller", None),
        ("planner/a.rs", "/* /* */ crate::controller */ const A: &str = \"see crate::controller\";", None),
        ("planner/a.rs", "const A: &str = r#\"crate::cli \"quoted\" crate::cli\"#;", None),
        ("main.rs", "spice_cloud_operator::cli::main()", None),
        ("cli/run.rs", "use crate::{operator, api};", None),
    ] {
        let found = arrows_broken(file, text);
        match expected {
            Some(path) => {
                let part = part(&module(file)).to_owned();
                assert_eq!(found, [format!("{file}:1: {part} may not use {path}")], "{text}");
            }
            None => assert!(found.is_empty(), "{text}: {found:?}"),
        }
    }
}

#[test]
fn the_scanner_finds_every_impure_word_in_code_only() {
    for (text, count) in [
        ("use tokio::time;", 1),
        ("use kube::{Client, ResourceExt};", 1),
        ("fn f(client: kube::Client) {}", 1),
        ("use std::time::{Duration, Instant};", 1),
        ("let now = jiff::Timestamp::now();", 1),
        ("use std::{fs, collections::BTreeMap};", 1),
        ("#[cfg(test)] mod tests { fn f() { uuid::Uuid::new_v4(); rand::random() } }", 2),
        ("use kube::ResourceExt; use std::time::Duration; use jiff::Timestamp;", 0),
        ("// tokio\nconst A: &str = \"tokio\"; /* uuid */", 0),
        ("let random = operand + 1;", 0),
    ] {
        assert_eq!(impurities("planner/a.rs", text).len(), count, "{text}");
    }
}

#[test]
fn what_is_found_is_told_with_its_line() {
    let text = "//! Words.\n\nconst A: &str = \"one\n two\";\nuse crate::controller::x;\nuse tokio::time;\n";
    assert_eq!(arrows_broken("planner/b.rs", text), ["planner/b.rs:5: planner may not use crate::controller::x"]);
    assert_eq!(impurities("planner/b.rs", text), ["planner/b.rs:6: tokio::time is not pure: tokio"]);
}
