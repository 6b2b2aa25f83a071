//! `docs/report.schema.json`, against which reports are held.

use serde_json::{Value, json};

/// What is wrong with a report; nothing if it is as documented.
///
/// Readers must take fields that they don't know. Here, one that isn't documented is a mistake.
pub(crate) fn violations(report: &Value) -> Vec<String> {
    let mut schema: Value =
        serde_json::from_str(include_str!("../../../docs/report.schema.json")).unwrap();
    refuse_what_is_not_described(&mut schema);
    let validator = jsonschema::validator_for(&schema).expect("the schema is one");
    let violation =
        |error: jsonschema::ValidationError<'_>| format!("{}: {error}", error.instance_path());
    validator.iter_errors(report).map(violation).collect()
}

/// Closes every object of the schema that lists its properties.
fn refuse_what_is_not_described(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            // A condition lists only what it is about.
            let is_whole = object.get("type") == Some(&json!("object"));
            if is_whole && object.contains_key("properties") {
                object.insert("additionalProperties".to_owned(), json!(false));
            }
            object.values_mut().for_each(refuse_what_is_not_described);
        }
        Value::Array(list) => list.iter_mut().for_each(refuse_what_is_not_described),
        _ => {}
    }
}
