//! Parts of the messages that several kinds show.

/// Maximum number of paths in a message.
pub(crate) const MAX_SHOWN_PATHS: usize = 8;

/// The first `max` items, and the number of the others, such as `a, b and 3 more`.
pub(super) fn list_items<'a>(items: impl IntoIterator<Item = &'a str>, max: usize) -> String {
    let items: Vec<&str> = items.into_iter().collect();
    let shown = items.iter().take(max).copied().collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(max) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The text, or its start and an ellipsis if the text has more than `max` bytes.
pub(super) fn truncate(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    const ELLIPSIS: &str = "…";
    format!("{}{ELLIPSIS}", &text[..text.floor_char_boundary(max - ELLIPSIS.len())])
}

/// Display name of another object: its kind and name, and its namespace only if that is not `own_namespace`.
pub fn display_object(kind: &str, namespace: &str, name: &str, own_namespace: &str) -> String {
    if namespace == own_namespace { format!("{kind} \"{name}\"") } else { format!("{kind} {namespace}/{name}") }
}

/// Message for a missing credential Secret. The object that shows the message can be in another namespace.
pub fn credential_not_found_message(secret: &str) -> String {
    format!(
        "Secret \"{secret}\" not found in the namespace of the SpiceOrganization. Create the Secret, or correct \
         spec.credentials"
    )
}

/// Message for a SpiceOrganization that does not exist. `name`: display name of the organization.
pub(super) fn organization_not_found_message(name: &str) -> String {
    format!(
        "SpiceOrganization \"{name}\" not found. Create the SpiceOrganization. With --watch-namespace, the \
         SpiceOrganization must be in that namespace"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_and_counted() {
        for (items, expected) in [
            (vec!["a"], "a"),
            (vec!["a", "b"], "a, b"),
            (vec!["a", "b", "c"], "a, b and 1 more"),
            (vec!["a", "b", "c", "d"], "a, b and 2 more"),
        ] {
            assert_eq!(list_items(items, 2), expected);
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        for (text, expected) in [("äöü", "äöü"), ("äöüß", "ä…"), ("abcdefgh", "abc…")] {
            assert_eq!(truncate(text, 6), expected);
        }
    }

    #[test]
    fn an_object_is_named_with_its_namespace_only_if_it_is_another_one() {
        assert_eq!(display_object("SpiceApp", "team", "my-app", "team"), "SpiceApp \"my-app\"");
        assert_eq!(display_object("SpiceApp", "other", "my-app", "team"), "SpiceApp other/my-app");
    }
}
