//! Actions of the soak run. The sequence follows from the seed alone: this file reads neither a clock nor a server.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;
use serde_json::{Value, json};

use super::declared::{APPS, Declared, KEYS, SECRETS, Target, secret_name};
use crate::support::sandbox::{Action as FaultAction, Fault, When};

/// Maximum pause between two actions.
const MAX_PAUSE: Duration = Duration::from_millis(1500);

/// Finalizer of another operator.
pub const FOREIGN_FINALIZER: &str = "example.com/soak";

/// An action. An action on a missing object or app has no effect.
#[derive(Clone, Debug)]
pub enum Action {
    /// Creates or edits an object as declared.
    Apply(Target),
    Delete {
        target: Target,
        object: String,
    },
    SetSource(usize),
    DeleteSource(usize),
    SetConfigMap(usize),
    AddFinalizer {
        target: Target,
        object: String,
    },
    RemoveFinalizer {
        target: Target,
        object: String,
    },
    PortalEdit {
        app: usize,
        number: u8,
    },
    PortalTag {
        app: usize,
        number: u8,
    },
    PortalDelete(usize),
    PortalSetSecret {
        app: usize,
        name: String,
        value: String,
    },
    PortalDeleteSecret {
        app: usize,
        name: String,
    },
    AddFault(Fault),
    ClearFaults,
    KillOperator {
        pause: Duration,
    },
    KillApiserver {
        pause: Duration,
    },
}

impl Action {
    /// Returns the label in the figures.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Apply(Target::App(_)) => "apply SpiceApp",
            Self::Apply(Target::Secret(_)) => "apply SpiceSecret",
            Self::Delete { target: Target::App(_), .. } => "delete SpiceApp",
            Self::Delete { target: Target::Secret(_), .. } => "delete SpiceSecret",
            Self::SetSource(_) => "set Secret",
            Self::DeleteSource(_) => "delete Secret",
            Self::SetConfigMap(_) => "set ConfigMap",
            Self::AddFinalizer { .. } => "add foreign finalizer",
            Self::RemoveFinalizer { .. } => "remove foreign finalizer",
            Self::PortalEdit { .. } | Self::PortalTag { .. } => "edit app in portal",
            Self::PortalDelete(_) => "delete app in portal",
            Self::PortalSetSecret { .. } => "set secret in portal",
            Self::PortalDeleteSecret { .. } => "delete secret in portal",
            Self::AddFault(_) => "add fault",
            Self::ClearFaults => "clear faults",
            Self::KillOperator { .. } => "kill operator",
            Self::KillApiserver { .. } => "kill apiserver",
        }
    }

    /// Returns true if the action affects this object, its source or its app.
    pub fn concerns(&self, subject: Target) -> bool {
        let app = match subject {
            Target::App(app) => app,
            Target::Secret(index) => SECRETS[index].app,
        };
        match self {
            Self::Apply(target)
            | Self::Delete { target, .. }
            | Self::AddFinalizer { target, .. }
            | Self::RemoveFinalizer { target, .. } => *target == subject || *target == Target::App(app),
            Self::SetSource(index) | Self::DeleteSource(index) => subject == Target::Secret(*index),
            Self::SetConfigMap(index) | Self::PortalDelete(index) => *index == app,
            Self::PortalEdit { app: index, .. } | Self::PortalTag { app: index, .. } => subject == Target::App(*index),
            Self::PortalSetSecret { app: index, .. } | Self::PortalDeleteSecret { app: index, .. } => {
                *index == app && matches!(subject, Target::Secret(_))
            }
            Self::AddFault(_) | Self::ClearFaults | Self::KillOperator { .. } | Self::KillApiserver { .. } => true,
        }
    }
}

/// The sequence of actions of a seed.
pub struct Plan {
    random: Rng,
    /// Sum of the pauses.
    at: Duration,
    /// Later actions by time and number.
    scheduled: BTreeMap<(Duration, u64), Action>,
    actions: u64,
    /// Part of every secret value.
    pub marker: String,
    /// State after the last action.
    pub declared: Declared,
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let marker = format!("fake-{:016x}", random.u64(..));
        let (scheduled, declared) = (BTreeMap::new(), Declared::default());
        let mut plan = Self { random, at: Duration::ZERO, scheduled, actions: 0, marker, declared };
        // The run starts with all objects.
        for (index, slot) in APPS.iter().enumerate() {
            if slot.has_config_map {
                plan.schedule(Duration::ZERO, Action::SetConfigMap(index));
            }
            plan.schedule(Duration::ZERO, Action::Apply(Target::App(index)));
        }
        for index in 0..SECRETS.len() {
            plan.schedule(Duration::ZERO, Action::SetSource(index));
            plan.schedule(Duration::ZERO, Action::Apply(Target::Secret(index)));
        }
        plan
    }

    /// Returns the next action and the pause before the action, and updates the declared state.
    pub fn next(&mut self) -> (Duration, Action) {
        self.actions += 1;
        let pause = Duration::from_millis(self.random.u64(..MAX_PAUSE.as_millis() as u64));
        let next = self.scheduled.first_entry().filter(|entry| entry.key().0 <= self.at + pause);
        let (at, action) = match next.map(|entry| entry.remove_entry()) {
            Some(((at, _), action)) => (at.max(self.at), action),
            None => (self.at + pause, self.draw()),
        };
        let pause = at - self.at;
        self.at = at;
        self.declare(&action);
        (pause, action)
    }

    fn schedule(&mut self, delay: Duration, action: Action) {
        let number = self.scheduled.len() as u64 + (self.actions << 8);
        self.scheduled.insert((self.at + delay, number), action);
    }

    /// Draws an applicable action.
    fn draw(&mut self) -> Action {
        loop {
            let (app, secret) = (self.random.usize(..APPS.len()), self.random.usize(..SECRETS.len()));
            let target = if self.random.bool() { Target::App(app) } else { Target::Secret(secret) };
            let applicable = match self.random.u8(..100) {
                0..26 if self.declared.exists(target) => Some(Action::Apply(target)),
                26..36 if self.declared.secrets[secret].has_source => Some(Action::SetSource(secret)),
                36..40 if APPS[app].has_config_map => Some(Action::SetConfigMap(app)),
                40..42 if self.declared.secrets[secret].has_source => Some(self.delete_source(secret)),
                42..48 if self.declared.exists(target) => Some(self.delete(target)),
                48..52 if self.declared.apps[app].exists => Some(self.delete_with_secrets(app)),
                52..55 if self.declared.exists(target) => Some(self.add_finalizer(target)),
                55..75 => self.draw_portal(app, secret),
                75..90 => Some(Action::AddFault(self.draw_fault())),
                90..93 => Some(Action::ClearFaults),
                93..98 => Some(Action::KillOperator { pause: self.seconds(0..4) }),
                98..100 => Some(Action::KillApiserver { pause: self.seconds(0..6) }),
                _ => None,
            };
            if let Some(action) = applicable {
                return action;
            }
        }
    }

    fn seconds(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_secs(self.random.u64(range))
    }

    fn draw_portal(&mut self, app: usize, secret: usize) -> Option<Action> {
        let number = self.random.u8(..);
        match number % 8 {
            0..3 => Some(Action::PortalEdit { app, number }),
            3 => Some(Action::PortalTag { app, number }),
            4 => APPS[app].is_deleted_in_portal.then_some(Action::PortalDelete(app)),
            5 if self.random.bool() => {
                let (name, value) = (format!("FOREIGN_{}", number % 3), self.value());
                Some(Action::PortalSetSecret { app, name, value })
            }
            selected => {
                let key = self.random.choice(KEYS)?;
                let (app, name) = (SECRETS[secret].app, secret_name(secret, key));
                if selected == 6 {
                    return Some(Action::PortalDeleteSecret { app, name });
                }
                let value = self.value();
                SECRETS[secret].adopts.then_some(Action::PortalSetSecret { app, name, value })
            }
        }
    }

    /// Schedules the creation of a deleted object: two of three within seconds, the others within two minutes.
    fn schedule_creation(&mut self, created: Action) {
        let delay = if self.random.u8(..3) < 2 { self.seconds(0..6) } else { self.seconds(20..120) };
        self.schedule(delay, created);
    }

    fn delete_source(&mut self, secret: usize) -> Action {
        self.schedule_creation(Action::SetSource(secret));
        Action::DeleteSource(secret)
    }

    fn delete(&mut self, target: Target) -> Action {
        self.schedule_creation(Action::Apply(target));
        Action::Delete { target, object: self.declared.object(target) }
    }

    /// Deletes an app and its SpiceSecrets in random order without a pause.
    fn delete_with_secrets(&mut self, app: usize) -> Action {
        let mut targets: Vec<_> = Declared::secrets_of(app).map(Target::Secret).collect();
        targets.retain(|target| self.declared.exists(*target));
        targets.push(Target::App(app));
        self.random.shuffle(&mut targets);
        let first = targets.remove(0);
        for target in targets {
            let object = self.declared.object(target);
            self.schedule(Duration::ZERO, Action::Delete { target, object });
            self.schedule_creation(Action::Apply(target));
        }
        self.delete(first)
    }

    /// Adds a finalizer, which the plan removes later. Half of the objects are deleted before the removal.
    fn add_finalizer(&mut self, target: Target) -> Action {
        let object = self.declared.object(target);
        let delay = self.seconds(5..60);
        self.schedule(delay, Action::RemoveFinalizer { target, object: object.clone() });
        if self.random.bool() {
            let (delay, object) = (self.seconds(0..5), object.clone());
            self.schedule(delay, Action::Delete { target, object });
            self.schedule_creation(Action::Apply(target));
        }
        Action::AddFinalizer { target, object }
    }

    fn value(&mut self) -> String {
        let (marker, number) = (&self.marker, self.random.u32(..));
        if self.random.u8(..4) == 0 {
            format!("{marker}\nline {number:08x}\n{marker}")
        } else {
            format!("{marker}-{number:08x}")
        }
    }

    /// Draws a fault of the operator's requests. A rejection takes no effect, as the API documents.
    fn draw_fault(&mut self) -> Fault {
        const SECRETS_ROUTE: &str = "/v1/apps/{appId}/secrets";
        let request = self.random.choice([
            ("GET", "/v1/apps", &[403, 404][..]),
            ("GET", "/v1/apps/{appId}", &[403, 404]),
            ("GET", SECRETS_ROUTE, &[403, 404]),
            ("POST", "/v1/apps", &[402, 404, 409, 451]),
            ("PUT", "/v1/apps/{appId}", &[404, 409, 413, 422]),
            ("DELETE", "/v1/apps/{appId}", &[403, 404, 409]),
            ("POST", SECRETS_ROUTE, &[400, 403, 404, 422]),
            ("DELETE", "/v1/apps/{appId}/secrets/{secretName}", &[403, 404]),
        ]);
        let Some((method, route, rejections)) = request else { unreachable!("the list has elements") };
        let when = if self.random.bool() { When::Before } else { When::After };
        let (when, action) = match self.random.u8(..10) {
            0..3 => (When::Before, FaultAction::Status(*self.random.choice(rejections).unwrap_or(&429))),
            3 => (When::Before, self.rate_limit()),
            4..7 => (when, FaultAction::Status(self.random.choice([500, 502, 503, 504]).unwrap_or(500))),
            7..9 => (when, FaultAction::Close),
            _ => (when, FaultAction::Delay(self.random.u64(50..800))),
        };
        Fault::new(when, action).method(method).route(route).credential("operator").times(self.random.u32(1..5))
    }

    fn rate_limit(&mut self) -> FaultAction {
        let headers: Value = json!({ "Retry-After": self.random.u8(0..3).to_string() });
        FaultAction::Response { status: 429, headers, body: json!({ "error": "Too many requests" }) }
    }

    /// Applies the action to the declared state.
    fn declare(&mut self, action: &Action) {
        match action {
            Action::Apply(Target::App(index)) => self.declare_app(*index),
            Action::Apply(Target::Secret(index)) => self.declare_secret(*index),
            // A scheduled deletion can concern an earlier object of the app.
            Action::Delete { target, object } if *object != self.declared.object(*target) => {}
            Action::Delete { target: Target::App(index), .. } => {
                let app = &mut self.declared.apps[*index];
                app.copies += u32::from(app.exists);
                (app.exists, app.was_deleted) = (false, true);
            }
            Action::Delete { target: Target::Secret(index), .. } => self.declared.secrets[*index].exists = false,
            Action::SetSource(index) => self.declare_source(*index),
            Action::DeleteSource(index) => self.declared.secrets[*index].has_source = false,
            Action::SetConfigMap(index) => self.declared.apps[*index].config_map += 1,
            Action::PortalDelete(index) => self.declared.apps[*index].was_deleted = true,
            Action::PortalSetSecret { app, name, .. } => {
                self.declared.set_in_portal.insert((*app, name.clone()));
            }
            _ => {}
        }
    }

    fn declare_app(&mut self, index: usize) {
        let app = &mut self.declared.apps[index];
        app.exists = true;
        app.revision += 1;
        app.is_public = self.random.bool();
        app.has_tier = self.random.bool();
        app.replicas = self.random.u8(1..=2);
    }

    fn declare_secret(&mut self, index: usize) {
        let items = KEYS.into_iter().filter(|key| *key == KEYS[0] || self.random.bool()).collect();
        let secret = &mut self.declared.secrets[index];
        (secret.exists, secret.items) = (true, items);
        self.record_requests(index);
    }

    fn declare_source(&mut self, index: usize) {
        for (number, key) in KEYS.into_iter().enumerate() {
            let is_optional = SECRETS[index].has_all_keys && number > 0;
            if is_optional && self.random.u8(..3) == 0 {
                self.declared.secrets[index].values.remove(key);
            } else if self.random.bool() || !self.declared.secrets[index].values.contains_key(key) {
                let value = self.value();
                self.declared.secrets[index].values.insert(key, value);
            }
        }
        self.declared.secrets[index].has_source = true;
        self.record_requests(index);
    }

    fn record_requests(&mut self, index: usize) {
        let names = self.declared.requests(index).into_keys().map(|name| (SECRETS[index].app, name));
        self.declared.requested.extend(names);
    }
}

#[test]
fn sequence_of_actions_follows_from_the_seed() {
    let sequence = |seed| {
        let mut plan = Plan::new(seed);
        (0..2000).map(|_| format!("{:?}", plan.next())).collect::<Vec<_>>()
    };
    assert_eq!(sequence(1), sequence(1));
    assert_ne!(sequence(1), sequence(2));
    let mut plan = Plan::new(1);
    let labels: std::collections::BTreeSet<_> = (0..2000).map(|_| plan.next().1.label()).collect();
    assert_eq!(labels.len(), 17, "every kind of action occurs: {labels:?}");
}
