//! The pages in `docs/` say something of every reason, field, annotation and metric that there is.
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
        if !["conditions", "selector", "observedSources"].contains(&name.as_str()) {
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
        ("crds/spicesecrets.cloud.spice.ai.yaml", "docs/spicesecret.md"),
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

/// The names in `/metrics`, from where they are registered.
fn metrics() -> BTreeSet<String> {
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
fn every_metric_is_told_and_none_that_there_is_not() {
    let (metrics, page) = (metrics(), text("docs/operating.md"));
    assert!(metrics.len() > 12, "{metrics:?}");
    let words = |page: &str| {
        let words = page.split(|c: char| !c.is_ascii_lowercase() && c != '_');
        words.filter(|word| word.starts_with("spice_operator_")).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    // The library adds an ending to counters, and to what tells a version.
    let endings = ["", "_total", "_info"];
    let told = words(&page);
    let missing: Vec<_> =
        metrics.iter().filter(|name| !endings.iter().any(|ending| told.contains(&format!("{name}{ending}")))).collect();
    assert!(missing.is_empty(), "{missing:?}");
    for page in ["docs/operating.md", "README.md", "CHANGELOG.md"] {
        let there_is = |word: &String| {
            endings.iter().any(|ending| word.strip_suffix(ending).is_some_and(|name| metrics.contains(name)))
        };
        let stale: Vec<_> = words(&text(page)).into_iter().filter(|word| !there_is(word)).collect();
        assert!(stale.is_empty(), "{page}: {stale:?}");
    }
}

#[test]
fn the_alert_rules_on_the_page_are_rules() {
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
        assert!(page.contains(&format!("| {name} |")), "what to do about {name}");
    }
}
