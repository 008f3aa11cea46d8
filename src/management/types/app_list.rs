//! The app list, with an index: a reconcile looks for one app, and the list has the apps of all reconciles.

use std::collections::HashMap;

use super::app::App;

/// The apps of a complete list, by ID and by name.
#[derive(Debug, Default, PartialEq)]
pub struct ListedApps {
    apps: HashMap<i64, App>,
    /// IDs in the order of the list, by name in lower case.
    names: HashMap<String, Vec<i64>>,
}

impl ListedApps {
    /// The app with this ID.
    pub fn get(&self, id: i64) -> Option<&App> {
        self.apps.get(&id)
    }

    /// The apps with this name, in the order of the list. Names are case-insensitive.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &App> {
        self.names.get(&name.to_ascii_lowercase()).into_iter().flatten().filter_map(|id| self.get(*id))
    }

    /// IDs of all apps.
    pub fn ids(&self) -> impl Iterator<Item = i64> {
        self.apps.keys().copied()
    }
}

impl From<Vec<App>> for ListedApps {
    fn from(list: Vec<App>) -> Self {
        let mut all = Self::default();
        for app in list {
            all.names.entry(app.name.to_ascii_lowercase()).or_default().push(app.id);
            all.apps.insert(app.id, app);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_app_is_found_by_id_and_by_name_in_any_case() {
        let app = |id: i64, name: &str| serde_json::from_value::<App>(json!({ "id": id, "name": name })).unwrap();
        let list = ListedApps::from(vec![app(3, "My-App"), app(1, "other"), app(2, "my-app")]);
        let named = |name: &str| list.named(name).map(|app| app.id).collect::<Vec<_>>();
        assert_eq!((named("MY-APP"), named("other"), named("none")), (vec![3, 2], vec![1], vec![]));
        assert_eq!((list.get(2), list.get(4)), (Some(&app(2, "my-app")), None));
        let mut ids: Vec<_> = list.ids().collect();
        ids.sort_unstable();
        assert_eq!(ids, [1, 2, 3]);
    }
}
