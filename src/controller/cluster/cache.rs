//! Look-ups in the caches that watches fill.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};

use super::predicates::has_same_desired_state;

/// The cached version of this very object; none for another object of the same name.
pub(in crate::controller) fn get_cached<K>(
    store: &Store<DeserializeGuard<K>>,
    object: &K,
) -> Option<Arc<DeserializeGuard<K>>>
where
    K: Resource<DynamicType = ()> + Clone,
{
    let key = ObjectRef::new(&object.name_any()).within(object.meta().namespace.as_deref().unwrap_or_default());
    store.get(&key).filter(|cached| cached.meta().uid == object.meta().uid)
}

/// Returns true if the cache has an object with this name and UID.
pub(in crate::controller) fn cache_contains<K>(store: &Store<DeserializeGuard<K>>, object: &K) -> bool
where
    K: Resource<DynamicType = ()> + Clone,
{
    get_cached(store, object).is_some()
}

/// Returns true if the object is at least as new as the cached version, or if both have the same desired state. The
/// cache may lag behind the operator's own writes.
pub(in crate::controller) fn is_current<K>(store: &Store<DeserializeGuard<K>>, object: &K) -> bool
where
    K: Resource<DynamicType = ()> + Clone,
{
    get_cached(store, object).is_some_and(|cached| {
        resource_version(cached.meta()) <= resource_version(object.meta())
            || has_same_desired_state(cached.as_ref(), object)
    })
}

/// The resourceVersion as a number, which grows with each change of a resource; zero if it is no number.
pub(in crate::controller) fn resource_version(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_ref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// A cached object, or the error of its decoding.
pub(in crate::controller) fn decoded<K: Clone>(object: Option<Arc<DeserializeGuard<K>>>) -> Option<Result<K, String>> {
    let guard = object?;
    Some(match &guard.0 {
        Ok(object) => Ok(object.clone()),
        Err(invalid) => Err(redact_quoted_values(&invalid.error)),
    })
}

/// Removes quoted values from an error of the decoder.
pub(in crate::controller) fn redact_quoted_values(error: &str) -> String {
    let (mut is_quoted, mut message, mut letters) = (false, String::new(), error.chars());
    while let Some(letter) = letters.next() {
        match (is_quoted, letter) {
            (false, letter) => {
                message.push(letter);
                is_quoted = letter == '"';
            }
            (true, '"') => {
                message.push_str("...\"");
                is_quoted = false;
            }
            // An escaped quote belongs to the value.
            (true, '\\') => drop(letters.next()),
            (true, _) => {}
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::redact_quoted_values;

    #[test]
    fn an_error_of_the_decoder_quotes_no_value() {
        for (error, message) in [
            (r#"invalid type: string "a \ b", expected i64"#, r#"invalid type: string "...", expected i64"#),
            (r#"invalid type: string "a: {key: \"hunter2\"}", expected"#, r#"invalid type: string "...", expected"#),
            ("missing field `credentials`", "missing field `credentials`"),
            (r#"invalid value "cut"#, r#"invalid value ""#),
        ] {
            assert_eq!(redact_quoted_values(error), message);
        }
    }
}
