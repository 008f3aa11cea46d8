//! The structure of the crate: parts, layers inside the parts, no cycles, one meaning for each type name. Reads the
//! sources as text and uses nothing of the crate itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by a panic, and its name states what holds"
)]

mod cycles;
mod layers;
mod scanner;
mod scanner_tests;
mod sources;

use std::{collections::BTreeMap, fs, path::Path};

use cycles::cycles;
use sources::{product_code, rust_files, sources, uses};

#[test]
fn each_part_uses_only_the_parts_it_may() {
    assert_no_violations(sources().iter().flat_map(layers::forbidden_parts).collect());
}

#[test]
fn every_part_has_an_entry() {
    for source in sources() {
        let part = layers::part(&source.module);
        assert!(layers::allowed_parts(part).is_some(), "{}: PARTS has no entry for {part}", source.file);
    }
}

#[test]
fn the_planner_is_pure() {
    let all = sources();
    let planner: Vec<_> = all.iter().filter(|source| layers::part(&source.module) == "planner").collect();
    assert!(planner.len() > 5, "the files of the planner are not found");
    assert_no_violations(planner.into_iter().flat_map(layers::impure_paths).collect());
}

#[test]
fn each_folder_uses_only_the_folders_before_it() {
    let all = sources();
    let uses = uses(&product_code(&all));
    assert_no_violations([layers::forbidden_folders(&uses), layers::missing_folders(&uses)].concat());
}

#[test]
fn no_files_use_each_other_in_a_cycle() {
    let all = sources();
    assert_no_violations(cycles(&uses(&product_code(&all))));
}

#[test]
fn each_type_name_is_defined_once() {
    let all = sources();
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for product in product_code(&all) {
        for (line, name) in scanner::type_names(&product.tokens) {
            places.entry(name).or_default().push(format!("{}:{line}", product.file));
        }
    }
    assert!(places.len() > 300, "the types are not found: {}", places.len());
    let repeated = places.into_iter().filter(|(_, places)| places.len() > 1);
    assert_no_violations(
        repeated.map(|(name, places)| format!("{name} is defined in {}", places.join(" and "))).collect(),
    );
}

/// ARCHITECTURE.md names the test that holds each invariant, so a renamed test must not leave a claim behind.
#[test]
fn every_test_that_the_architecture_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let files = rust_files(&root.join("src")).into_iter().chain(rust_files(&root.join("tests")));
    let code: String = files.map(|file| fs::read_to_string(file).unwrap()).collect();
    // A sentence in snake case is the name of a test.
    let is_test = |word: &&str| {
        word.matches('_').count() >= 3 && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let named: Vec<&str> = page.split('`').filter(is_test).collect();
    assert!(named.len() >= 10, "the page names its tests: {named:?}");
    assert_no_violations(
        named.into_iter().filter(|name| !code.contains(&format!("fn {name}("))).map(str::to_owned).collect(),
    );
}

fn assert_no_violations(violations: Vec<String>) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}
