//! The scanner and the rules find what they must find, and nothing else.

use crate::cycles::cycles;
use crate::layers::{forbidden_folders, forbidden_parts, impure_paths, part};
use crate::scanner::{tokens, type_names, without_tests};
use crate::sources::{Source, module, product_code, uses};

fn source(file: &str, text: &str) -> Source {
    Source { file: file.to_owned(), module: module(file), text: text.to_owned() }
}

/// A crate of these files, and of a `lib.rs`.
fn code(files: &[(&str, &str)]) -> Vec<Source> {
    let all = [("lib.rs", "")].iter().chain(files);
    all.map(|(file, text)| source(file, text)).collect()
}

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
        ("api/app.rs", "fn f() { for x in crate::cli::all() {} }", Some("crate::cli::all")),
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
        let source = source(file, text);
        let found = forbidden_parts(&source);
        match expected {
            Some(path) => {
                let part = part(&source.module);
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
        assert_eq!(impure_paths(&source("planner/a.rs", text)).len(), count, "{text}");
    }
}

#[test]
fn a_violation_is_reported_with_its_line() {
    let text = "//! Words.\n\nconst A: &str = \"one\n two\";\nuse crate::controller::x;\nuse tokio::time;\n";
    let source = source("planner/b.rs", text);
    assert_eq!(forbidden_parts(&source), ["planner/b.rs:5: planner may not use crate::controller::x"]);
    assert_eq!(impure_paths(&source), ["planner/b.rs:6: tokio::time is not pure: tokio"]);
}

#[test]
fn a_cycle_is_found_through_re_exports_modules_and_children() {
    for (files, expected) in [
        (
            vec![
                ("api/mod.rs", "mod a;\nmod b;\npub use b::B;"),
                ("api/a.rs", "use super::B;"),
                ("api/b.rs", "\nuse crate::api::a::A;"),
            ],
            "cycle of 2 files:\n  api/a.rs:1 uses api/b.rs\n  api/b.rs:2 uses api/a.rs",
        ),
        (
            vec![("api/mod.rs", "mod a;\nfn f() { a::g() }\npub struct B;"), ("api/a.rs", "fn g() -> super::B {}")],
            "cycle of 2 files:\n  api/a.rs:1 uses api/mod.rs\n  api/mod.rs:2 uses api/a.rs",
        ),
        (
            vec![
                ("api/mod.rs", "mod a; mod b; mod c;"),
                ("api/a.rs", "fn f() { super::b::f() }"),
                ("api/b.rs", "use super::c;"),
                ("api/c.rs", "mod inner { use super::super::a; }"),
            ],
            "cycle of 3 files:\n  api/a.rs:1 uses api/b.rs\n  api/b.rs:1 uses api/c.rs\n  api/c.rs:1 uses api/a.rs",
        ),
    ] {
        assert_eq!(cycles(&uses(&product_code(&code(&files)))), [expected], "{files:?}");
    }
}

#[test]
fn test_code_visibilities_and_re_exports_make_no_cycle() {
    for files in [
        vec![
            ("api/mod.rs", "mod a; #[cfg(test)] mod tests; pub use a::A; fn f() { a::g() }"),
            ("api/a.rs", "pub(in crate::api) struct A; #[cfg(test)] mod tests { use super::super::f; }"),
            ("api/tests.rs", "use super::*;"),
        ],
        vec![
            ("api/mod.rs", "mod a; mod b; pub use a::A; pub use b::B;"),
            ("api/a.rs", "pub struct A;"),
            ("api/b.rs", "use super::A; use crate::api::a; struct B;"),
        ],
    ] {
        assert_eq!(cycles(&uses(&product_code(&code(&files)))), [""; 0], "{files:?}");
    }
}

#[test]
fn a_folder_that_uses_a_later_folder_is_found() {
    let used_by = |folder: &str, text: &str| {
        let file = format!("controller/{folder}/a.rs");
        let files = [
            ("controller/mod.rs", "pub struct Settings;"),
            ("controller/triggers/b.rs", "pub struct B;"),
            ("controller/cluster/c.rs", "pub struct C;"),
            (file.as_str(), text),
        ];
        forbidden_folders(&uses(&product_code(&code(&files))))
    };
    let later = "controller/kinds/a.rs:1: uses controller/triggers/b.rs, which is in a later folder of controller";
    assert_eq!(used_by("kinds", "use crate::controller::triggers::b::B;"), [later]);
    let root = "controller/kinds/a.rs:1: uses controller/mod.rs, which is in a later folder of controller";
    assert_eq!(used_by("kinds", "use super::super::Settings;"), [root]);
    assert_eq!(used_by("kinds", "use crate::controller::cluster::c::C;"), [""; 0]);
    assert_eq!(used_by("new", ""), ["controller/new/a.rs: FOLDERS has no place for controller::new"]);
}

#[test]
fn only_definitions_of_product_types_are_names() {
    for (text, expected) in [
        ("pub struct A<T>(T); enum B {} pub(crate) trait C {} type D = u8;", "A B C D"),
        ("impl E for F { type G = u8; } trait H { type I; } type J = u8;", "H J"),
        ("fn f(x: impl Fn()) -> impl Copy { struct K; } impl<T> L for M<T> where T: N { type O = T; }", "K"),
        ("#[cfg(test)] mod tests { struct P; } #[cfg(test)] struct Q { x: u8 } struct R;", "R"),
        ("// struct S\nconst T: &str = \"struct U\"; let structure = 1;", ""),
    ] {
        let found = type_names(&without_tests(&tokens(text)).0);
        let names: Vec<_> = found.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names.join(" "), expected, "{text}");
    }
}
