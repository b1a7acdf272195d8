//! As much of JSON Schema as docs/openapi.yaml uses. A keyword that is not known here is an error of the test.

use serde_json::{Map, Value};

/// The document with its definitions, and a value checked against one of its schemas.
pub(crate) fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    check_at(document, schema, value, "$")
}

/// Follows a `$ref` within the document, if it is one.
pub(crate) fn resolved<'a>(document: &'a Value, entry: &'a Value) -> &'a Value {
    let Some(reference) = entry.get("$ref").and_then(Value::as_str) else { return entry };
    let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads outside"));
    document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
}

/// Keywords that say nothing about a value's shape, or more than a test of shapes asks.
const PASSED_OVER: [&str; 9] = [
    "description",
    "default",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "minItems",
    "maxItems",
    "example",
];

fn check_at(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = resolved(document, schema);
    let keywords = schema.as_object().ok_or_else(|| format!("{at}: a schema is an object, not {schema}"))?;
    for (keyword, argument) in keywords {
        match keyword.as_str() {
            "type" => is_of_type(argument, value, at)?,
            "enum" => {
                let allowed = argument.as_array().ok_or("enum is a list")?;
                if !allowed.contains(value) {
                    return Err(format!("{at}: {value} is none of {argument}"));
                }
            }
            "oneOf" => {
                let choices = argument.as_array().ok_or("oneOf is a list")?;
                let fitting = choices.iter().filter(|one| check_at(document, one, value, at).is_ok());
                if fitting.count() != 1 {
                    return Err(format!("{at}: {value} fits none or several of {argument}"));
                }
            }
            "required" => {
                let missing = |name: &&Value| value.get(name.as_str().unwrap_or_default()).is_none();
                if let Some(name) = argument.as_array().ok_or("required is a list")?.iter().find(missing) {
                    return Err(format!("{at}: {name} is missing in {value}"));
                }
            }
            "properties" | "additionalProperties" => {}
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check_at(document, argument, item, &format!("{at}[{index}]"))?;
                }
            }
            other if PASSED_OVER.contains(&other) => {}
            other => return Err(format!("{at}: this test knows no keyword {other}")),
        }
    }
    check_members(document, keywords, value, at)
}

fn check_members(
    document: &Value,
    keywords: &Map<String, Value>,
    value: &Value,
    at: &str,
) -> Result<(), String> {
    let (Some(known), Some(members)) = (keywords.get("properties"), value.as_object()) else { return Ok(()) };
    for (name, member) in members {
        match known.get(name) {
            Some(schema) => check_at(document, schema, member, &format!("{at}.{name}"))?,
            None => return Err(format!("{at}: {name} is not described")),
        }
    }
    Ok(())
}

fn is_of_type(wanted: &Value, value: &Value, at: &str) -> Result<(), String> {
    let is = |name: &Value| match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => false,
    };
    let fits = wanted.as_array().map_or_else(|| is(wanted), |names| names.iter().any(is));
    if fits { Ok(()) } else { Err(format!("{at}: {value} is no {wanted}")) }
}

#[test]
fn a_wrong_shape_is_found() {
    let document = serde_json::json!({
        "schemas": {
            "Id": {"type": "string"},
            "Page": {
                "type": "object", "required": ["ids"], "additionalProperties": false,
                "properties": {
                    "ids": {"type": "array", "items": {"$ref": "#/schemas/Id"}},
                    "next": {"oneOf": [{"$ref": "#/schemas/Id"}, {"type": "null"}]},
                    "kind": {"enum": ["a", "b"]},
                    "n": {"type": ["integer", "null"]},
                },
            },
        },
    });
    let page = serde_json::json!({"$ref": "#/schemas/Page"});
    let is_good = |text: &str| check(&document, &page, &serde_json::from_str(text).expect("JSON")).is_ok();
    for good in [
        r#"{"ids":[]}"#,
        r#"{"ids":["1"],"next":null,"kind":"a","n":null}"#,
        r#"{"ids":[],"next":"x","n":1}"#,
    ] {
        assert!(is_good(good), "{good}");
    }
    for bad in [
        "[]",
        "{}",
        r#"{"ids":[1]}"#,
        r#"{"ids":[],"more":1}"#,
        r#"{"ids":[],"next":1}"#,
        r#"{"ids":[],"kind":"c"}"#,
        r#"{"ids":[],"n":1.5}"#,
    ] {
        assert!(!is_good(bad), "{bad}");
    }
}
