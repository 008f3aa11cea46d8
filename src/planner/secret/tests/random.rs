//! Random events in random order: own secrets follow their source, and secrets of other clients stay unchanged.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Event {
    /// The source has these values, by key.
    Source(Vec<(usize, u8)>),
    SourceGone,
    /// The spec requests these names, each from a key. Without names, the spec requests every key.
    Spec(BTreeMap<usize, usize>),
    /// Another client sets a secret in the portal.
    Portal(usize, u8),
    PortalDeletes(usize),
    /// An older sibling requests a name, and may have set the secret.
    Sibling(usize, bool),
    SiblingGone,
    KeyLost,
    Restart,
    /// The process is killed after this number of writes.
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
        1 => (name, any::<bool>()).prop_map(|(name, set)| Event::Sibling(name, set)),
        1 => Just(Event::SiblingGone),
        1 => Just(Event::KeyLost),
        1 => Just(Event::Restart),
        2 => (0..4_usize).prop_map(Event::Killed),
        2 => (1..2000_u16).prop_map(Event::Pass),
    ]
}

/// Checks that foreign secrets are unchanged: secrets set in the portal while the status had no record of the name.
fn check_foreign(fixture: &Fixture, foreign: &BTreeMap<String, StoredSecret>) {
    for (name, secret) in foreign {
        assert_eq!(fixture.remote.get(name), Some(secret), "{name} is foreign");
    }
}

/// The names that the spec requests, each with its key.
fn requested(fixture: &Fixture, data: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, String> {
    let Some(items) = fixture.object.spec.items() else {
        return data.keys().map(|key| (key.clone(), key.clone())).collect();
    };
    items.iter().map(|item| (item.name.clone().unwrap(), item.key.clone())).collect()
}

fn apply(fixture: &mut Fixture, foreign: &mut BTreeMap<String, StoredSecret>, event: Event) {
    // Times have a precision of one second, so each second has at most one event.
    fixture.advance(1);
    let value = |value: u8| format!("value {value}");
    match event {
        Event::Source(data) => {
            fixture.set_source(
                data.into_iter().map(|(name, of)| (NAMES[name].to_owned(), value(of).into_bytes())).collect(),
            );
        }
        Event::SourceGone => fixture.source = None,
        Event::Spec(names) => {
            let items = names.iter().map(|(name, key)| json!({ "key": NAMES[*key], "name": NAMES[*name] }));
            let mut secret_ref = json!({ "name": "source" });
            if !names.is_empty() {
                secret_ref["items"] = items.collect();
            }
            fixture.edit(json!({ "secretRef": secret_ref }));
        }
        Event::Portal(name, of) => {
            fixture.set_in_portal(NAMES[name], &value(of));
            // A secret of an older sibling is handed over.
            let is_handed_over = fixture.status().conflicts.iter().any(|conflict| conflict.name == NAMES[name]);
            let is_own = is_handed_over || fixture.names().iter().any(|own| own == NAMES[name]);
            if !is_own && !foreign.contains_key(NAMES[name]) {
                foreign.insert(NAMES[name].to_owned(), fixture.remote[NAMES[name]].clone());
            }
            if let Some(secret) = foreign.get_mut(NAMES[name]) {
                *secret = fixture.remote[NAMES[name]].clone();
            }
        }
        Event::PortalDeletes(name) => {
            fixture.remote.remove(NAMES[name]);
            foreign.remove(NAMES[name]);
        }
        Event::Sibling(name, set) => {
            let names = BTreeSet::from([NAMES[name].to_owned()]);
            let set = if set && !foreign.contains_key(NAMES[name]) { names.clone() } else { BTreeSet::new() };
            set.iter().for_each(|name| fixture.set_in_portal(name, "of the sibling"));
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
        Event::SiblingGone => fixture.siblings.clear(),
        Event::KeyLost => fixture.key = DigestKey::new(format!("{:?} another key", fixture.now).into_bytes()),
        Event::Restart => fixture.restart(),
        Event::Killed(writes) => drop(fixture.reconcile_until_killed(writes)),
        Event::Pass(seconds) => fixture.advance(seconds.into()),
    }
    // Every change triggers a reconcile.
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
        let (mut foreign, mut sibling_names) = (BTreeMap::new(), BTreeSet::new());
        for event in happened {
            apply(&mut fixture, &mut foreign, event);
            fixture.reconcile();
            // A name that an older sibling requests is released, and may be handed over later.
            sibling_names.extend(fixture.siblings.iter().flat_map(|other| other.requested.clone()));
            foreign.retain(|name, _| !fixture.siblings.iter().any(|other| other.managed.contains(name)));
            check_foreign(&fixture, &foreign);
        }
        // Two resyncs, and a third one that changes nothing.
        for _ in 0..2 {
            fixture.advance(1260);
            fixture.reconcile();
        }
        fixture.advance(1260);
        let (last, remote) = (fixture.reconcile(), fixture.remote.clone());
        prop_assert!(last.set.is_empty() && last.deleted.is_empty() && last.first.is_empty(), "{:?}", last);
        check_foreign(&fixture, &foreign);
        let Some((_, data)) = &fixture.source else { return Ok(()) };
        let is_requested_by_sibling =
            |name: &str| sibling_names.contains(name) || fixture.siblings.iter().any(|other| other.requested.contains(name));
        let requested = requested(&fixture, data);
        for (name, key) in requested.iter().filter(|(name, _)| !is_requested_by_sibling(name) && !foreign.contains_key(*name)) {
            // The secret of a removed key stays.
            let Some(value) = data.get(key) else { continue };
            prop_assert_eq!(remote.get(name).map(|(value, _)| value.as_bytes()), Some(value.as_slice()), "{}: {:?}", name, last);
        }
        let settled = last.outcome == Outcome::InSync;
        for entry in fixture.status().secrets.iter().filter(|_| settled) {
            prop_assert!(requested.contains_key(&entry.name), "{} is no longer requested", entry.name);
        }
    }
}
