//! Whatever happens, in whatever order: what we have set follows its source, and what others have set stays.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Event {
    /// The source holds these values, by key.
    Source(Vec<(usize, u8)>),
    SourceGone,
    /// The spec asks for these names, each from a key; for all keys under their own names, if for none.
    Spec(BTreeMap<usize, usize>),
    /// Somebody sets a secret in the portal.
    Portal(usize, u8),
    PortalDeletes(usize),
    /// An older object asks for a name, and may have set it.
    CompetingApp(usize, bool),
    ClaimGone,
    KeyLost,
    Restart,
    /// The process is killed after so many writes.
    Killed(usize),
    Pass(u16),
}

const NAMES: [&str; 4] = ["A", "B", "C", "D"];

fn events() -> impl Strategy<Value = Event> {
    let name = 0..NAMES.len();
    prop_oneof![
        3 => prop::collection::vec((name.clone(), any::<u8>()), 0..4).prop_map(Event::Source),
        1 => Just(Event::SourceGone),
        2 => prop::collection::btree_map(name.clone(), name.clone(), 0..4).prop_map(Event::Spec),
        3 => (name.clone(), any::<u8>()).prop_map(|(name, value)| Event::Portal(name, value)),
        2 => name.clone().prop_map(Event::PortalDeletes),
        1 => (name, any::<bool>()).prop_map(|(name, set)| Event::CompetingApp(name, set)),
        1 => Just(Event::ClaimGone),
        1 => Just(Event::KeyLost),
        1 => Just(Event::Restart),
        2 => (0..4_usize).prop_map(Event::Killed),
        2 => (1..2000_u16).prop_map(Event::Pass),
    ]
}

/// What has never been ours: set in the portal while nothing of ours was recorded under the name.
fn check_foreign(fixture: &Fixture, foreign: &BTreeMap<String, There>) {
    for (name, there) in foreign {
        assert_eq!(fixture.remote.get(name), Some(there), "{name} is not ours");
    }
}

/// The names that the spec asks for, each with its key.
fn asked(fixture: &Fixture, held: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, String> {
    let items = &fixture.object.spec.secret_ref.as_ref().unwrap().items;
    if items.is_empty() {
        return held.keys().map(|key| (key.clone(), key.clone())).collect();
    }
    items.iter().map(|item| (item.name.clone().unwrap(), item.key.clone())).collect()
}

fn apply(fixture: &mut Fixture, foreign: &mut BTreeMap<String, There>, event: Event) {
    // Times are told in seconds: no two things happen in one.
    fixture.advance(1);
    let value = |value: u8| format!("value {value}");
    match event {
        Event::Source(held) => {
            fixture
                .source(held.into_iter().map(|(name, of)| (NAMES[name].to_owned(), value(of).into_bytes())).collect());
        }
        Event::SourceGone => fixture.source = None,
        Event::Spec(named) => {
            let items = named.iter().map(|(name, key)| json!({ "key": NAMES[*key], "name": NAMES[*name] }));
            fixture.edit(json!({ "secretRef": { "name": "source", "items": items.collect::<Vec<_>>() } }));
        }
        Event::Portal(name, of) => {
            fixture.set_in_portal(NAMES[name], &value(of));
            // What an older object of ours has set passes to us.
            let passes = fixture.status().conflicts.iter().any(|held| held.name == NAMES[name]);
            let ours = passes || fixture.names().iter().any(|ours| ours == NAMES[name]);
            if !ours && !foreign.contains_key(NAMES[name]) {
                foreign.insert(NAMES[name].to_owned(), fixture.remote[NAMES[name]].clone());
            }
            if let Some(theirs) = foreign.get_mut(NAMES[name]) {
                *theirs = fixture.remote[NAMES[name]].clone();
            }
        }
        Event::PortalDeletes(name) => {
            fixture.remote.remove(NAMES[name]);
            foreign.remove(NAMES[name]);
        }
        Event::CompetingApp(name, set) => {
            let names = BTreeSet::from([NAMES[name].to_owned()]);
            let set = if set && !foreign.contains_key(NAMES[name]) { names.clone() } else { BTreeSet::new() };
            set.iter().for_each(|name| fixture.set_in_portal(name, "of the other object"));
            let created = Some(Timestamp::UNIX_EPOCH);
            let (object, managed, acknowledged) = ("other".to_owned(), set.clone(), set.clone());
            fixture.siblings = vec![SiblingSecret {
                object,
                created,
                requested: names,
                managed,
                acknowledged,
                ..SiblingSecret::default()
            }];
        }
        Event::ClaimGone => fixture.siblings.clear(),
        Event::KeyLost => fixture.key = DigestKey::new(format!("{:?} another key", fixture.now).into_bytes()),
        Event::Restart => fixture.restart(),
        Event::Killed(writes) => drop(fixture.reconcile_until_killed(writes)),
        Event::Pass(seconds) => fixture.advance(seconds.into()),
    }
    // Whoever changes something wakes the object.
    fixture.runtime_state.force_resync = true;
    fixture.advance(1);
}

proptest! {
    #![proptest_config(ProptestConfig { ..ProptestConfig::default() })]
    #[test]
    fn own_secrets_follow_the_source_and_foreign_secrets_are_never_written(happened in prop::collection::vec(events(), 1..24)) {
        let mut fixture = Fixture::new(all(), &[("A", "value 0")]);
        (fixture.app.created_at, fixture.timings.write_settle_period) = (None, Duration::ZERO);
        fixture.timings.correction_loop_cooldown = Duration::ZERO;
        let (mut foreign, mut of_others) = (BTreeMap::new(), BTreeSet::new());
        for event in happened {
            apply(&mut fixture, &mut foreign, event);
            fixture.reconcile();
            // What an older object asks for is released to it, and may come back to us or not.
            of_others.extend(fixture.siblings.iter().flat_map(|other| other.requested.clone()));
            foreign.retain(|name, _| !fixture.siblings.iter().any(|other| other.managed.contains(name)));
            check_foreign(&fixture, &foreign);
        }
        // A check, and one more that finds nothing to do.
        for _ in 0..2 {
            fixture.advance(1260);
            fixture.reconcile();
        }
        fixture.advance(1260);
        let (last, remote) = (fixture.reconcile(), fixture.remote.clone());
        prop_assert!(last.set.is_empty() && last.deleted.is_empty() && last.first.is_empty(), "{:?}", last);
        check_foreign(&fixture, &foreign);
        let Some((_, held)) = &fixture.source else { return Ok(()) };
        let held_elsewhere =
            |name: &str| of_others.contains(name) || fixture.siblings.iter().any(|other| other.requested.contains(name));
        let asked = asked(&fixture, held);
        for (name, key) in asked.iter().filter(|(name, _)| !held_elsewhere(name) && !foreign.contains_key(*name)) {
            // Of a key that is gone, what was set stays.
            let Some(value) = held.get(key) else { continue };
            prop_assert_eq!(remote.get(name).map(|(value, _)| value.as_bytes()), Some(value.as_slice()), "{}: {:?}", name, last);
        }
        let settled = last.outcome == Outcome::InSync;
        for entry in fixture.status().secrets.iter().filter(|_| settled) {
            prop_assert!(asked.contains_key(&entry.name), "{} is no longer asked for", entry.name);
        }
    }
}
