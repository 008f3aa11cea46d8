//! Objects that cannot be decoded, because of what somebody wrote into their status, or under a looser schema. As much is
//! left out of them as a visit can do without; otherwise it is said what is wrong.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, ObjectMeta, Time};
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use serde_json::{Map, Value, json};

use super::context::Context;
use super::driver::{Reconciler, kubernetes_words};
use super::store::{self, bounded};
use crate::planner::unreadable;

/// What became of an object that cannot be decoded.
pub(super) enum DecodeRecovery<K> {
    /// It can be visited without what is wrong with it.
    Recovered(Box<K>),
    /// It cannot, for the reason that the words give.
    Unrecoverable { message: String, news: bool },
}

/// Reads an object again. Conditions are computed anew in every visit, and an object that is being deleted takes a few
/// fields only. Nothing else can be left out: without its id an app would be forgotten.
///
/// # Errors
/// When it cannot be read at all; in words.
pub(super) async fn reread<K: Reconciler>(context: &Context, meta: &ObjectMeta) -> Result<DecodeRecovery<K>, String> {
    let api = dynamic::<K>(context, meta);
    let object =
        bounded(api.get(meta.name.as_deref().unwrap_or_default())).await.map_err(|error| kubernetes_words(&error))?;
    let mut mended = object.clone();
    part(&mut mended, "status").remove("conditions");
    let Err(error) = mended.clone().try_parse::<K>() else { return parsed(mended) };
    if let Some(Time(deleted)) = &object.metadata.deletion_timestamp {
        let mut reduced = mended.clone();
        K::reduce(&mut reduced.data, *deleted);
        if reduced.clone().try_parse::<K>().is_ok() {
            return parsed(reduced);
        }
    }
    let field = culprit::<K>(&mended).unwrap_or_else(|| "the object".to_owned());
    let message = format!(
        "{field} cannot be read ({}): correct it; until then nothing is done",
        without_values(&error.to_string())
    );
    let news = tell::<K>(context, object, &message).await;
    Ok(DecodeRecovery::Unrecoverable { message, news })
}

fn parsed<K: Reconciler>(object: DynamicObject) -> Result<DecodeRecovery<K>, String> {
    object.try_parse().map(|object| DecodeRecovery::Recovered(Box::new(object))).map_err(|error| error.to_string())
}

/// The field without which the rest can be decoded.
fn culprit<K: Reconciler>(object: &DynamicObject) -> Option<String> {
    let fields = |name: &str| object.data.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
    let all = ["spec", "status"].map(|name| fields(name).into_iter().map(move |(field, _)| (name, field)));
    let mut all = all.into_iter().flatten();
    let suspect = all.find(|(name, field)| {
        let mut without = object.clone();
        part(&mut without, name).remove(field);
        without.try_parse::<K>().is_ok()
    });
    suspect.map(|(name, field)| format!("{name}.{field}"))
}

/// Says in the object's status what is wrong with it; whether it did not say so yet.
async fn tell<K: Reconciler>(context: &Context, mut object: DynamicObject, message: &str) -> bool {
    let stored = object.data.get("status").and_then(|status| status.get("conditions")).cloned().unwrap_or_default();
    let before: Vec<Condition> = serde_json::from_value(stored).unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or_default();
    let conditions = unreadable(&before, generation, message, context.now());
    if conditions == before {
        return false;
    }
    let status = part(&mut object, "status");
    status.insert("observedGeneration".to_owned(), json!(generation));
    status.insert("conditions".to_owned(), json!(conditions));
    if let Err(error) = store::set_raw_status(context, K::NAME, &dynamic::<K>(context, &object.metadata), &object).await
    {
        tracing::warn!(error = kubernetes_words(&error), "what is wrong with the object is not told in its status");
    }
    true
}

fn dynamic<K: Reconciler>(context: &Context, meta: &ObjectMeta) -> Api<DynamicObject> {
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    Api::namespaced_with(context.client.clone(), namespace, &ApiResource::erase::<K>(&()))
}

/// The spec or the status, as far as it is an object.
fn part<'a>(object: &'a mut DynamicObject, name: &str) -> &'a mut Map<String, Value> {
    fields_of(&mut object.data, name)
}

/// The fields of a part of an object; it is made one if it is none.
pub(super) fn fields_of<'a>(data: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    let value = &mut data[name];
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(fields) => fields,
        _ => unreachable!("it was made an object"),
    }
}

/// Of some fields of a part only these.
pub(super) fn retain(data: &mut Value, name: &str, kept: &[&str]) {
    fields_of(data, name).retain(|field, _| kept.contains(&field.as_str()));
}

/// An error of the decoder without the value that it quotes.
pub(super) fn without_values(error: &str) -> String {
    let (mut quoted, mut message, mut letters) = (false, String::new(), error.chars());
    while let Some(letter) = letters.next() {
        match (quoted, letter) {
            (false, letter) => {
                message.push(letter);
                quoted = letter == '"';
            }
            (true, '"') => {
                message.push_str("...\"");
                quoted = false;
            }
            // A quote after it belongs to the value.
            (true, '\\') => drop(letters.next()),
            (true, _) => {}
        }
    }
    message
}

/// A create that cannot be read any more: it was begun, and only the tag tells what came of it.
pub(super) fn some_intent(name: &Value, at: Timestamp) -> Value {
    json!({ "id": "", "name": name, "at": MicroTime(at), "nameConflict": true })
}

#[cfg(test)]
mod tests {
    use super::without_values;

    #[test]
    fn an_error_of_the_decoder_quotes_no_value() {
        for (error, message) in [
            (r#"invalid type: string "a \ b", expected i64"#, r#"invalid type: string "...", expected i64"#),
            (r#"invalid type: string "a: {key: \"hunter2\"}", expected"#, r#"invalid type: string "...", expected"#),
            ("missing field `credentials`", "missing field `credentials`"),
            (r#"invalid value "cut"#, r#"invalid value ""#),
        ] {
            assert_eq!(without_values(error), message);
        }
    }
}
