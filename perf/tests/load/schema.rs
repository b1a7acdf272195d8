//! Goal: docs/report.schema.json and docs/figures.schema.json say what reports and files of figures are.
//! Method: the part of JSON Schema that it uses, checked here; an unknown keyword is an error, so that nothing in it goes unheard.

use serde_json::{Value, json};

/// Holds a report to its schema.
#[track_caller]
pub(crate) fn check(report: &Value) {
    hold(report, "report");
}

/// Holds a file of figures to its schema.
#[track_caller]
pub(crate) fn check_figures(file: &Value) {
    hold(file, "figures");
}

#[track_caller]
fn hold(value: &Value, name: &str) {
    let path = format!("{}/../docs/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
    let schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut offences = Vec::new();
    Judge { root: &schema, offences: &mut offences }.judge(&schema, value, name);
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

struct Judge<'a> {
    root: &'a Value,
    offences: &'a mut Vec<String>,
}

impl Judge<'_> {
    fn judge(&mut self, schema: &Value, value: &Value, at: &str) {
        for (keyword, rule) in schema.as_object().expect("a schema is an object") {
            match keyword.as_str() {
                "$schema" | "$id" | "$defs" | "title" | "description" => {}
                "$ref" => {
                    let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                    self.judge(&self.root["$defs"][name], value, at);
                }
                "type" => {
                    let types: Vec<&str> = match rule {
                        Value::Array(types) => types.iter().map(|kind| kind.as_str().unwrap()).collect(),
                        one => vec![one.as_str().unwrap()],
                    };
                    let fits = types.iter().any(|kind| is_of(value, kind));
                    self.expect(fits, at, || format!("{value:.80} is no {types:?}"));
                }
                "enum" => {
                    let fits = rule.as_array().unwrap().contains(value);
                    self.expect(fits, at, || format!("{value} is none of {rule}"));
                }
                "minimum" => {
                    let fits = value.as_f64().is_none_or(|value| value >= rule.as_f64().unwrap());
                    self.expect(fits, at, || format!("{value} is below {rule}"));
                }
                "required" => {
                    for key in rule.as_array().unwrap() {
                        let key = key.as_str().unwrap();
                        self.expect(!value.is_object() || value.get(key).is_some(), at, || {
                            format!("{key} is missing")
                        });
                    }
                }
                "properties" => {
                    for (key, value) in value.as_object().into_iter().flatten() {
                        if let Some(schema) = rule.get(key) {
                            self.judge(schema, value, &format!("{at}.{key}"));
                        }
                    }
                }
                "additionalProperties" => {
                    for (key, value) in value.as_object().into_iter().flatten() {
                        if schema["properties"].get(key).is_some() {
                            continue;
                        }
                        match rule {
                            Value::Bool(allowed) => {
                                self.expect(*allowed, at, || format!("{key} is not described"))
                            }
                            schema => self.judge(schema, value, &format!("{at}.{key}")),
                        }
                    }
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.judge(rule, item, &format!("{at}[{index}]"));
                    }
                }
                other => panic!("{at}: this check does not know {other}"),
            }
        }
    }

    fn expect(&mut self, fits: bool, at: &str, why: impl FnOnce() -> String) {
        if !fits {
            self.offences.push(format!("{at}: {}", why()));
        }
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type {other}"),
    }
}

#[test]
fn the_check_finds_what_does_not_fit() {
    let schema = json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {"a": {"$ref": "#/$defs/count"}, "b": {"type": "array", "items": {"type": ["string", "null"]}}},
        "$defs": {"count": {"type": "integer", "minimum": 0}},
    });
    let offences = |value: Value| {
        let mut offences = Vec::new();
        Judge { root: &schema, offences: &mut offences }.judge(&schema, &value, "it");
        offences.len()
    };
    assert_eq!(offences(json!({"a": 1, "b": ["x", null]})), 0);
    assert_eq!(offences(json!({"a": -1})), 1);
    assert_eq!(offences(json!({"a": 1.5})), 1);
    assert_eq!(offences(json!({"b": [3]})), 2, "a is missing, and 3 is no string");
    assert_eq!(offences(json!({"a": 1, "c": 1})), 1);
}
