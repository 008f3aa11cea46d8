//! Cycles between files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::sources::Uses;

/// Returns one cycle for each group of files that use each other: the shortest one through the first file of the group.
pub fn cycles(uses: &Uses) -> Vec<String> {
    let mut reported: BTreeSet<&str> = BTreeSet::new();
    let mut found = Vec::new();
    for file in uses.keys() {
        if reported.contains(file.as_str()) {
            continue;
        }
        let Some(cycle) = shortest_cycle(uses, file) else { continue };
        found.push(describe(uses, &cycle));
        reported.extend(group(uses, file));
    }
    found
}

/// Returns the files that use `file` and that `file` uses, directly or through other files.
fn group<'a>(uses: &'a Uses, file: &'a str) -> BTreeSet<&'a str> {
    let used = reachable(uses, file);
    used.into_iter().filter(|other| reachable(uses, other).contains(file)).collect()
}

fn reachable<'a>(uses: &'a Uses, file: &'a str) -> BTreeSet<&'a str> {
    let (mut seen, mut queue) = (BTreeSet::new(), vec![file]);
    while let Some(file) = queue.pop() {
        for next in uses.get(file).into_iter().flat_map(BTreeMap::keys) {
            if seen.insert(next.as_str()) {
                queue.push(next);
            }
        }
    }
    seen
}

fn shortest_cycle<'a>(uses: &'a Uses, file: &'a str) -> Option<Vec<&'a str>> {
    let (mut before, mut queue) = (BTreeMap::new(), VecDeque::from([file]));
    while let Some(current) = queue.pop_front() {
        for next in uses.get(current).into_iter().flat_map(BTreeMap::keys) {
            if next == file {
                let mut cycle = vec![current];
                while let Some(earlier) = before.get(cycle[cycle.len() - 1]) {
                    cycle.push(*earlier);
                }
                cycle.reverse();
                return Some(cycle);
            }
            if !before.contains_key(next.as_str()) {
                before.insert(next.as_str(), current);
                queue.push_back(next);
            }
        }
    }
    None
}

fn describe(uses: &Uses, cycle: &[&str]) -> String {
    let steps = cycle.iter().zip(cycle.iter().cycle().skip(1));
    let step = |(file, next): (&&str, &&str)| format!("  {file}:{} uses {next}", uses[*file][*next]);
    format!("cycle of {} files:\n{}", cycle.len(), steps.map(step).collect::<Vec<_>>().join("\n"))
}
