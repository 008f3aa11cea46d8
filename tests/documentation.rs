//! The pages in `docs/` say something of every reason, field, annotation and setting that there is.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by a panic, and its name says what holds")]

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The words of a page that are set as code.
fn code(page: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_alphanumeric() || "./-_".contains(c);
    let spans = page.split('`').skip(1).step_by(2);
    spans.flat_map(|span| span.split(|c| !is_word(c))).map(str::to_owned).collect()
}

/// The names of all properties below a schema.
fn properties(schema: &Value, names: &mut BTreeSet<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        names.insert(name.clone());
        // What is below these is Kubernetes' own, or told in words.
        if !["conditions", "selector", "sources"].contains(&name.as_str()) {
            properties(property, names);
        }
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            properties(&schema[inner], names);
        }
    }
}

#[test]
fn every_field_of_a_kind_is_on_its_page() {
    for (definition, page) in [
        ("crds/spiceorganizations.cloud.spice.ai.yaml", "docs/spiceorganization.md"),
        ("crds/spiceapps.cloud.spice.ai.yaml", "docs/spiceapp.md"),
    ] {
        let definition: Value = serde_saphyr::from_str(&text(definition)).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        let (page, mut names) = (text(page), BTreeSet::new());
        for part in ["spec", "status"] {
            properties(&schema[part], &mut names);
        }
        assert!(names.len() > 20, "{names:?}");
        // Manifests on the page count as well: they show where a field goes.
        let words: BTreeSet<&str> = page.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let missing: Vec<_> = names.iter().filter(|name| !words.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

#[test]
fn every_reason_has_its_paragraph() {
    let source = text("src/api/condition.rs");
    let body = source.split("pub enum Reason {").nth(1).unwrap().split("\n}").next().unwrap();
    let lines = body.lines().map(str::trim).filter(|line| !line.starts_with("//") && !line.is_empty());
    let reasons: Vec<&str> = lines.map(|line| line.trim_end_matches(',')).collect();
    assert!(reasons.len() > 15, "{reasons:?}");
    let page = text("docs/reasons.md");
    let told: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(told, reasons, "in the order of the code");
}

#[test]
fn every_annotation_is_told() {
    let source = text("src/api/mod.rs");
    let constants = source.split("pub const ").skip(1).filter_map(|rest| rest.split('"').nth(1));
    let annotations: Vec<&str> = constants.filter(|value| value.starts_with("cloud.spice.ai/")).collect();
    assert!(annotations.len() > 5, "{annotations:?}");
    let pages: String = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let words = code(&pages);
    let missing: Vec<_> = annotations.iter().filter(|annotation| !words.contains(**annotation)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
