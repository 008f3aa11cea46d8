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
fn check_foreign(world: &World, foreign: &BTreeMap<String, There>) {
    for (name, there) in foreign {
        assert_eq!(world.remote.get(name), Some(there), "{name} is not ours");
    }
}

/// The names that the spec asks for, each with its key.
fn asked(world: &World, held: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, String> {
    let items = &world.object.spec.secret_ref.as_ref().unwrap().items;
    if items.is_empty() {
        return held.keys().map(|key| (key.clone(), key.clone())).collect();
    }
    items.iter().map(|item| (item.name.clone().unwrap(), item.key.clone())).collect()
}

fn apply(world: &mut World, foreign: &mut BTreeMap<String, There>, event: Event) {
    // Times are told in seconds: no two things happen in one.
    world.pass(1);
    let value = |value: u8| format!("value {value}");
    match event {
        Event::Source(held) => {
            world.source(held.into_iter().map(|(name, of)| (NAMES[name].to_owned(), value(of).into_bytes())).collect());
        }
        Event::SourceGone => world.source = None,
        Event::Spec(named) => {
            let items = named.iter().map(|(name, key)| json!({ "key": NAMES[*key], "name": NAMES[*name] }));
            world.edit(json!({ "secretRef": { "name": "source", "items": items.collect::<Vec<_>>() } }));
        }
        Event::Portal(name, of) => {
            world.portal(NAMES[name], &value(of));
            // What an older object of ours has set passes to us.
            let passes = world.status().conflicts.iter().any(|held| held.name == NAMES[name]);
            let ours = passes || world.names().iter().any(|ours| ours == NAMES[name]);
            if !ours && !foreign.contains_key(NAMES[name]) {
                foreign.insert(NAMES[name].to_owned(), world.remote[NAMES[name]].clone());
            }
            if let Some(theirs) = foreign.get_mut(NAMES[name]) {
                *theirs = world.remote[NAMES[name]].clone();
            }
        }
        Event::PortalDeletes(name) => {
            world.remote.remove(NAMES[name]);
            foreign.remove(NAMES[name]);
        }
        Event::CompetingApp(name, set) => {
            let names = BTreeSet::from([NAMES[name].to_owned()]);
            let set = if set && !foreign.contains_key(NAMES[name]) { names.clone() } else { BTreeSet::new() };
            set.iter().for_each(|name| world.portal(name, "of the other object"));
            let created = Some(Timestamp::UNIX_EPOCH);
            let (object, managed, acknowledged) = ("other".to_owned(), set.clone(), set.clone());
            world.siblings = vec![SiblingSecret {
                object,
                created,
                requested: names,
                managed,
                acknowledged,
                ..SiblingSecret::default()
            }];
        }
        Event::ClaimGone => world.siblings.clear(),
        Event::KeyLost => world.key = DigestKey::new(format!("{:?} another key", world.now).into_bytes()),
        Event::Restart => world.restart(),
        Event::Killed(writes) => drop(world.visit_until(writes)),
        Event::Pass(seconds) => world.pass(seconds.into()),
    }
    // Whoever changes something wakes the object.
    world.runtime_state.force_resync = true;
    world.pass(1);
}

proptest! {
    #![proptest_config(ProptestConfig { ..ProptestConfig::default() })]
    #[test]
    fn what_is_ours_follows_the_source_and_what_is_not_is_never_touched(happened in prop::collection::vec(events(), 1..24)) {
        let mut world = World::new(all(), &[("A", "value 0")]);
        (world.app.created_at, world.timings.write_settle_period) = (None, Duration::ZERO);
        world.timings.correction_loop_cooldown = Duration::ZERO;
        let (mut foreign, mut of_others) = (BTreeMap::new(), BTreeSet::new());
        for event in happened {
            apply(&mut world, &mut foreign, event);
            world.visit();
            // What an older object asks for is released to it, and may come back to us or not.
            of_others.extend(world.siblings.iter().flat_map(|other| other.requested.clone()));
            foreign.retain(|name, _| !world.siblings.iter().any(|other| other.managed.contains(name)));
            check_foreign(&world, &foreign);
        }
        // A check, and one more that finds nothing to do.
        for _ in 0..2 {
            world.pass(1260);
            world.visit();
        }
        world.pass(1260);
        let (last, remote) = (world.visit(), world.remote.clone());
        prop_assert!(last.set.is_empty() && last.deleted.is_empty() && last.first.is_empty(), "{:?}", last);
        check_foreign(&world, &foreign);
        let Some((_, held)) = &world.source else { return Ok(()) };
        let held_elsewhere =
            |name: &str| of_others.contains(name) || world.siblings.iter().any(|other| other.requested.contains(name));
        let asked = asked(&world, held);
        for (name, key) in asked.iter().filter(|(name, _)| !held_elsewhere(name) && !foreign.contains_key(*name)) {
            // Of a key that is gone, what was set stays.
            let Some(value) = held.get(key) else { continue };
            prop_assert_eq!(remote.get(name).map(|(value, _)| value.as_bytes()), Some(value.as_slice()), "{}: {:?}", name, last);
        }
        let settled = last.outcome == Outcome::InSync;
        for entry in world.status().secrets.iter().filter(|_| settled) {
            prop_assert!(asked.contains_key(&entry.name), "{} is no longer asked for", entry.name);
        }
    }
}
