//! Checks that the pages in `docs/` describe every reason, field, annotation and metric.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests fail by panicking, and their names describe them")]

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

/// The content of a file of the repository.
fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The words in code spans of a page.
fn code_words(page: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_alphanumeric() || "./-_".contains(c);
    let spans = page.split('`').skip(1).step_by(2);
    spans.flat_map(|span| span.split(|c| !is_word(c))).map(str::to_owned).collect()
}

/// Adds the names of all properties of a schema.
fn add_property_names(schema: &Value, names: &mut BTreeSet<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        names.insert(name.clone());
        // The fields of these are standard Kubernetes fields, or the page describes them in the text.
        if !["conditions", "selector", "observedSources"].contains(&name.as_str()) {
            add_property_names(property, names);
        }
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            add_property_names(&schema[inner], names);
        }
    }
}

#[test]
fn every_field_of_a_kind_is_documented() {
    for (definition, page) in [
        ("crds/spiceorganizations.cloud.spice.ai.yaml", "docs/spiceorganization.md"),
        ("crds/spiceapps.cloud.spice.ai.yaml", "docs/spiceapp.md"),
        ("crds/spicesecrets.cloud.spice.ai.yaml", "docs/spicesecret.md"),
    ] {
        let definition: Value = serde_saphyr::from_str(&text(definition)).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        let (page, mut names) = (text(page), BTreeSet::new());
        for part in ["spec", "status"] {
            add_property_names(&schema[part], &mut names);
        }
        assert!(names.len() > 20, "{names:?}");
        // Manifests count also: they show the position of a field.
        let words: BTreeSet<&str> = page.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let missing: Vec<_> = names.iter().filter(|name| !words.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

#[test]
fn every_reason_is_documented_in_order() {
    let source = text("src/api/condition.rs");
    let body = source.split("pub enum Reason {").nth(1).unwrap().split("\n}").next().unwrap();
    let lines = body.lines().map(str::trim).filter(|line| !line.starts_with("//") && !line.is_empty());
    let reasons: Vec<&str> = lines.map(|line| line.trim_end_matches(',')).collect();
    assert!(reasons.len() > 15, "{reasons:?}");
    let page = text("docs/reasons.md");
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(headings, reasons, "in the order of the code");
}

#[test]
fn every_annotation_is_documented() {
    let source = text("src/api/mod.rs");
    let constants = source.split("pub const ").skip(1).filter_map(|rest| rest.split('"').nth(1));
    let annotations: Vec<&str> = constants.filter(|value| value.starts_with("cloud.spice.ai/")).collect();
    assert!(annotations.len() > 5, "{annotations:?}");
    let pages: String = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let words = code_words(&pages);
    let missing: Vec<_> = annotations.iter().filter(|annotation| !words.contains(**annotation)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The names of all metrics, from the source files that register metrics.
fn registered_metrics() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in [
        "src/management/metrics.rs",
        "src/controller/metrics.rs",
        "src/controller/cluster/counters.rs",
        "src/operator/metrics.rs",
    ] {
        let source = text(file);
        let code = source.split("#[cfg(test)]").next().unwrap();
        let before = names.len();
        for call in ["registry.register(", "encode_descriptor(", "gauges(&mut encoder,"] {
            let arguments = code.split(call).skip(1).map(str::trim_start);
            let literals = arguments.filter_map(|rest| rest.strip_prefix('"')?.split('"').next());
            names.extend(literals.map(|name| format!("spice_operator_{name}")));
        }
        assert!(names.len() > before, "{file} registers nothing");
    }
    names
}

#[test]
fn documented_metrics_are_exactly_the_registered_metrics() {
    let (metrics, page) = (registered_metrics(), text("docs/operating.md"));
    assert!(metrics.len() > 12, "{metrics:?}");
    let metric_words = |page: &str| {
        let words = page.split(|c: char| !c.is_ascii_lowercase() && c != '_');
        words.filter(|word| word.starts_with("spice_operator_")).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    // The library adds a suffix to counters and info metrics.
    let suffixes = ["", "_total", "_info"];
    let documented = metric_words(&page);
    let missing: Vec<_> = metrics
        .iter()
        .filter(|name| !suffixes.iter().any(|suffix| documented.contains(&format!("{name}{suffix}"))))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    for page in ["docs/operating.md", "README.md", "CHANGELOG.md"] {
        let is_registered = |word: &String| {
            suffixes.iter().any(|suffix| word.strip_suffix(suffix).is_some_and(|name| metrics.contains(name)))
        };
        let stale: Vec<_> = metric_words(&text(page)).into_iter().filter(|word| !is_registered(word)).collect();
        assert!(stale.is_empty(), "{page}: {stale:?}");
    }
}

#[test]
fn documented_alert_rules_are_well_formed() {
    let page = text("docs/operating.md");
    let rules = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let rules: Value = serde_saphyr::from_str(rules).unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() >= 5);
    for rule in rules {
        for field in ["alert", "expr", "for"] {
            assert!(rule[field].is_string(), "{field}: {rule}");
        }
        let expr = rule["expr"].as_str().unwrap();
        for (open, close) in ["()", "{}", "[]"].map(|pair| pair.split_at(1)) {
            assert_eq!(expr.matches(open).count(), expr.matches(close).count(), "{expr}");
        }
        let name = rule["alert"].as_str().unwrap();
        assert!(page.contains(&format!("| {name} |")), "no table row for alert {name}");
    }
}
