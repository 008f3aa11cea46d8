//! Deletion of a SpiceApp and its SpiceSecrets in any order, and their creation afterwards.

mod world;

use serde_json::json;

use world::World;

/// Wait for the deletion of SpiceSecrets, in seconds.
const WAIT: i64 = 10;

/// Seconds at which the client deletes the app and each SpiceSecret; none for an object that stays.
#[derive(Clone, Copy, Debug)]
struct Order {
    app: Option<i64>,
    secrets: &'static [(&'static str, Option<i64>)],
}

const ORDERS: [Order; 14] = [
    Order { app: Some(0), secrets: &[("a", Some(0))] },
    Order { app: Some(0), secrets: &[("a", Some(WAIT - 1))] },
    Order { app: Some(0), secrets: &[("a", Some(WAIT))] },
    Order { app: Some(0), secrets: &[("a", Some(WAIT + 1))] },
    Order { app: Some(0), secrets: &[("a", None)] },
    Order { app: Some(1), secrets: &[("a", Some(0))] },
    Order { app: Some(WAIT + 1), secrets: &[("a", Some(0))] },
    Order { app: None, secrets: &[("a", Some(0))] },
    Order { app: Some(0), secrets: &[("a", Some(0)), ("b", Some(0))] },
    Order { app: Some(0), secrets: &[("a", Some(1)), ("b", Some(WAIT - 1))] },
    Order { app: Some(0), secrets: &[("a", Some(1)), ("b", Some(WAIT + 1))] },
    Order { app: Some(0), secrets: &[("a", Some(1)), ("b", None)] },
    Order { app: Some(1), secrets: &[("a", Some(0)), ("b", Some(2))] },
    Order { app: Some(2), secrets: &[("a", Some(0)), ("b", Some(1))] },
];

/// Creates the objects, deletes them in an order, and creates the deleted ones again after `gap` seconds.
fn delete_and_create_again(order: Order, policy: Option<&str>, age: i64, gap: i64, app_first: bool) -> World {
    let retains = policy == Some("Retain");
    let spec = |adopts: bool| {
        let adoption = if adopts { "Adopt" } else { "Fail" };
        json!({ "deletionPolicy": policy, "adoptionPolicy": adoption })
    };
    let mut world = World::new();
    world.create_app(&spec(false));
    for (name, _) in order.secrets {
        world.create_secret(name, "Fail");
    }
    world.run(age);
    world.assert_ready("created");
    for second in 0..=2 * WAIT {
        if order.app == Some(second) {
            world.delete_app();
        }
        for (name, _) in order.secrets.iter().filter(|(_, at)| *at == Some(second)) {
            world.delete_secret(name);
        }
        world.run(1);
    }
    check_deleted(&world, order, retains);
    world.run(gap);
    // A kept app and its secrets have no owner any more.
    let create_secrets = |world: &mut World| {
        for (name, at) in order.secrets {
            if at.is_some() {
                world.create_secret(name, if retains { "Adopt" } else { "Fail" });
            }
        }
    };
    if !app_first {
        create_secrets(&mut world);
        world.run(2);
    }
    if order.app.is_some() {
        world.create_app(&spec(retains));
    }
    if app_first {
        world.run(2);
        create_secrets(&mut world);
    }
    // Longer than the settle period.
    world.run(60);
    world
}

/// Checks the remote side and the events after the deletion.
fn check_deleted(world: &World, order: Order, retains: bool) {
    let case = format!("{order:?}, retains: {retains}: {:#?}", world.events());
    assert_eq!(world.app.is_none(), order.app.is_some(), "{case}");
    assert_eq!(world.apps.list().len(), usize::from(order.app.is_none() || retains), "{case}");
    let mut kept = Vec::new();
    for (name, at) in order.secrets {
        let upper = name.to_uppercase();
        let is_deleted = at.is_some_and(|at| order.app.is_none_or(|app| at < app + WAIT));
        let is_late = at.is_some() && !is_deleted;
        assert_eq!(world.secrets.contains_key(name), at.is_none(), "{case}");
        assert_eq!(world.has_event(&format!("{name}: Deleted: Deleted secret {upper}")), is_deleted, "{case}");
        let message = format!("{name}: SecretsKept: Did not delete secret {upper} from app 101");
        assert_eq!(world.has_event(&message), is_late, "{case}");
        if !is_deleted {
            kept.push(upper);
        }
    }
    // The names also show that the app kept no other secret.
    assert_eq!(world.names_in_app(), kept, "{case}");
    let message =
        format!("SecretsKept: App 101 is kept with the secrets that SpiceSecrets have set: {}", kept.join(", "));
    assert_eq!(world.has_event(&message), retains && order.app.is_some() && !kept.is_empty(), "{case}");
    assert_eq!(world.has_event("my-app: Deleted: Deleted app 101"), order.app.is_some() && !retains, "{case}");
}

#[test]
fn objects_that_are_deleted_and_created_again_become_ready_in_any_order_and_after_any_time() {
    for order in ORDERS {
        for policy in [None, Some("Delete"), Some("Retain")] {
            for (age, gap) in [(2, 0), (60, 2), (60, 45), (60, 400)] {
                for app_first in [true, false] {
                    let world = delete_and_create_again(order, policy, age, gap, app_first);
                    let case = format!("{order:?} {policy:?} {age} {gap} {app_first}: {:#?}", world.events());
                    world.assert_ready(&case);
                    let names: Vec<String> = order.secrets.iter().map(|(name, _)| name.to_uppercase()).collect();
                    assert_eq!(
                        (world.names_in_app(), world.apps.list().len()),
                        (names.iter().map(String::as_str).collect(), 1)
                    );
                }
            }
        }
    }
}

#[test]
fn an_app_that_is_retained_after_its_deletion_waits_for_nothing() {
    let mut world = World::new();
    world.create_app(&json!({}));
    world.create_secret("a", "Fail");
    world.run(2);
    world.delete_app();
    world.run(1);
    let subject = world.app.as_mut().unwrap();
    subject.object.spec.deletion_policy = Some(crate::api::DeletionPolicy::Retain);
    subject.increment_generation();
    world.run(0);
    assert!(world.app.is_none(), "{:#?}", world.events());
    assert_eq!((world.apps.list().len(), world.names_in_app()), (1, vec!["A"]));
    assert!(world.has_event("my-app: SecretsKept: App 101 is kept with the secrets that SpiceSecrets have set: A"));
}
