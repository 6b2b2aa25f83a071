//! Validates reports against `docs/report.schema.json`.

use serde_json::{Value, json};

/// Validates a report, and returns the errors; none if it matches the schema.
///
/// Readers must accept unknown fields, but here an undocumented field is an error.
pub(crate) fn violations(report: &Value) -> Vec<String> {
    let mut schema: Value =
        serde_json::from_str(include_str!("../../../docs/report.schema.json")).unwrap();
    refuse_what_is_not_described(&mut schema);
    let validator = jsonschema::validator_for(&schema).expect("the schema is one");
    let violation =
        |error: jsonschema::ValidationError<'_>| format!("{}: {error}", error.instance_path());
    validator.iter_errors(report).map(violation).collect()
}

/// Forbids further properties in every object of the schema that lists its properties.
fn refuse_what_is_not_described(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            // A condition lists only the properties that it tests.
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
