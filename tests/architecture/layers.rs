//! Which parts of the crate may use which, and the order of the folders inside the parts.

use crate::scanner::{crate_paths, expand, tokens};
use crate::sources::{Source, Uses, module};

/// Which part may use which others. `lib.rs` only names the parts; every part may use itself.
const PARTS: [(&str, &[&str]); 11] = [
    ("main", &["cli"]),
    ("lib", &[]),
    ("cli", &["operator", "sandbox", "api"]),
    ("operator", &["controller", "management"]),
    ("controller", &["planner", "management", "api", "visits"]),
    ("planner", &["api", "management::types", "json"]),
    ("api", &["json"]),
    ("management", &["json", "visits"]),
    ("json", &[]),
    ("visits", &[]),
    ("sandbox", &[]),
];

/// The folders and files of a part. Each uses only those before it and itself; `mod.rs` comes last.
const FOLDERS: [(&str, &[&str]); 4] = [
    ("controller", &["cluster", "state", "lookup", "reconcile", "kinds", "triggers", "tasks", "metrics"]),
    (
        "planner",
        &[
            "digest",
            "messages",
            "outcome",
            "observation",
            "schedule",
            "runtime_state",
            "status",
            "conditions",
            "resource",
            "input",
            "requeue",
            "lifecycle",
            "steps",
            "organization_view",
            "remote_app",
            "errors",
            "credential_finalizer",
            "app",
            "secret",
            "organization",
        ],
    ),
    (
        "management",
        &[
            "types",
            "credential",
            "urls",
            "pages",
            "retry",
            "tls",
            "http",
            "metrics",
            "rate_limit",
            "auth",
            "client",
            "read_cache",
        ],
    ),
    ("sandbox", &["wire", "model", "settings", "auth", "traffic", "state", "api", "http"]),
];

/// I/O, clocks and randomness, which a pure part cannot use.
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

/// The part that a module belongs to.
pub fn part(module: &[String]) -> &str {
    module.first().map_or("", String::as_str)
}

/// The parts that a part may use; none if the part is not listed.
pub fn allowed_parts(part: &str) -> Option<&'static [&'static str]> {
    PARTS.iter().find(|(name, _)| *name == part).map(|(_, allowed)| *allowed)
}

/// The paths of a file into a part that the file must not use.
pub fn forbidden_parts(source: &Source) -> Vec<String> {
    let part = part(&source.module);
    let is_allowed = |path: &[String]| {
        let path = path.join("::");
        let is_inside = |prefix: &str| path == prefix || path.starts_with(&format!("{prefix}::"));
        is_inside(part) || allowed_parts(part).unwrap_or_default().iter().any(|prefix| is_inside(prefix))
    };
    let paths = crate_paths(&source.module, &tokens(&source.text)).into_iter();
    let forbidden = paths.filter(|(_, path)| !is_allowed(path));
    forbidden
        .map(|(line, path)| format!("{}:{line}: {part} may not use crate::{}", source.file, path.join("::")))
        .collect()
}

/// The paths of a file that are not pure.
pub fn impure_paths(source: &Source) -> Vec<String> {
    let tokens = tokens(&source.text);
    let mut found = Vec::new();
    let mut next = 0;
    while next < tokens.len() {
        let line = tokens[next].line;
        let (paths, end) = expand(&tokens, next);
        for path in &paths {
            let whole = format!("::{}::", path.join("::"));
            for word in IMPURE.iter().filter(|word| whole.contains(&format!("::{word}::"))) {
                found.push(format!("{}:{line}: {} is not pure: {word}", source.file, path.join("::")));
            }
        }
        next = end.max(next + 1);
    }
    found
}

/// The uses of a folder by a folder before it.
pub fn forbidden_folders(uses: &Uses) -> Vec<String> {
    let mut found = Vec::new();
    for (file, used) in uses {
        let (own, own_part) = (module(file), part(&module(file)).to_owned());
        let Some((_, order)) = FOLDERS.iter().find(|(name, _)| *name == own_part) else { continue };
        let Some(own_place) = place(order, &own) else {
            found.push(format!("{file}: FOLDERS has no place for {}", own[..2].join("::")));
            continue;
        };
        for (target, line) in used {
            let target_module = module(target);
            let is_later = place(order, &target_module).is_some_and(|place| place > own_place);
            if part(&target_module) == own_part && is_later {
                found.push(format!("{file}:{line}: uses {target}, which is in a later folder of {own_part}"));
            }
        }
    }
    found
}

/// The entries of the order that name no file or folder.
pub fn missing_folders(uses: &Uses) -> Vec<String> {
    let exists = |part: &str, name: &str| {
        let is_it = |file: &String| matches!(&module(file)[..], [own, folder, ..] if own == part && folder == name);
        uses.keys().any(is_it)
    };
    let listed = FOLDERS.iter().flat_map(|(part, order)| order.iter().map(move |name| (*part, *name)));
    listed.filter(|(part, name)| !exists(part, name)).map(|(part, name)| format!("FOLDERS: no {part}/{name}")).collect()
}

/// The place of a module in the order of its part. The module of the part itself comes last.
fn place(order: &[&str], module: &[String]) -> Option<usize> {
    match module.get(1) {
        Some(name) => order.iter().position(|listed| listed == name),
        None => Some(order.len()),
    }
}
