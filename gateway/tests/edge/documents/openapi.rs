//! docs/openapi.yaml: every example is sent, and every answer fits its schema and stands in the list.

use std::collections::BTreeSet;

use gochat_infra::errors::{Code, Error};
use serde_json::Value;

use super::{
    OPENAPI,
    schema::{check, resolved},
};
use crate::harness::{Answer, Gate, message, until};

struct Operation<'a> {
    method: String,
    path: &'a str,
    entry: &'a Value,
}

fn document() -> Value {
    serde_saphyr::from_str(OPENAPI).expect("docs/openapi.yaml")
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, entry) in methods.as_object().expect("methods") {
            operations.push(Operation { method: method.to_uppercase(), path, entry });
        }
    }
    operations
}

impl Operation<'_> {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn is_api(&self) -> bool {
        self.path.starts_with("/api/")
    }

    fn needs_token(&self) -> bool {
        self.entry.get("security").is_none()
    }

    fn parameters(&self) -> impl Iterator<Item = &Value> {
        self.entry["parameters"].as_array().into_iter().flatten()
    }

    /// The path with the examples of its parameters.
    fn target(&self) -> String {
        let mut path = self.path.to_owned();
        let mut query = Vec::new();
        for parameter in self.parameters() {
            let name = parameter["name"].as_str().expect("a name");
            let example = match &parameter["example"] {
                Value::Null => continue,
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            match parameter["in"].as_str() {
                Some("path") => path = path.replace(&format!("{{{name}}}"), &example),
                Some("query") => query.push(format!("{name}={example}")),
                other => panic!("a parameter in {other:?}"),
            }
        }
        if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
    }

    fn body(&self) -> Option<&Value> {
        self.entry.pointer("/requestBody/content/application~1json")
    }

    fn send(&self, gate: &Gate, token: Option<&str>) -> Answer {
        let body = self.body().map(|body| body["example"].clone());
        gate.http(&self.method, &self.target(), token, body)
    }

    fn codes(&self) -> Vec<Code> {
        let codes =
            self.entry["x-codes"].as_array().unwrap_or_else(|| panic!("{} has no x-codes", self.name()));
        let code = |number: &Value| Code::from_number(u32::try_from(number.as_u64()?).ok()?);
        codes.iter().map(|number| code(number).unwrap_or_else(|| panic!("{number} is no code"))).collect()
    }

    /// An answer is one of those described, with a body of the described form.
    fn fits(&self, document: &Value, answer: &Answer) {
        let status = answer.status.to_string();
        let response = self.entry["responses"].get(&status);
        let response = response.unwrap_or_else(|| panic!("{} answers {status}: {answer:?}", self.name()));
        match resolved(document, response).pointer("/content/application~1json") {
            Some(content) => {
                for value in [&answer.json(), &content["example"]] {
                    check(document, &content["schema"], value)
                        .unwrap_or_else(|why| panic!("{} {status}: {why}", self.name()));
                }
            }
            None if status == "204" => assert!(answer.body.is_empty(), "{} {answer:?}", self.name()),
            None => {}
        }
    }
}

fn gate() -> Gate {
    let gate = Gate::start();
    (1..=4).for_each(|seq| gate.fake.store(message("group_7", 2, seq)));
    gate
}

#[test]
fn every_example_is_answered_as_described() {
    let (document, gate) = (document(), gate());
    let token = gate.token(5, "phone");
    let mut ran = 0;
    for operation in operations(&document).iter().filter(|operation| operation.path != "/ws") {
        if let Some(body) = operation.body() {
            check(&document, &body["schema"], &body["example"])
                .unwrap_or_else(|why| panic!("{}: {why}", operation.name()));
        }
        let answer = operation.send(&gate, operation.needs_token().then_some(token.as_str()));
        assert!((200..300).contains(&answer.status), "{}: {answer:?}", operation.name());
        operation.fits(&document, &answer);
        ran += 1;
    }
    assert!(ran >= 17, "only {ran} examples");
}

#[test]
fn the_statuses_are_those_of_the_codes_and_each_is_answered() {
    let (document, gate) = (document(), gate());
    let token = gate.token(5, "phone");
    for operation in operations(&document) {
        let codes = operation.codes();
        let statuses: BTreeSet<String> = codes.iter().map(|code| code.http_status().to_string()).collect();
        let listed = operation.entry["responses"].as_object().expect("responses").keys();
        let listed: BTreeSet<String> =
            listed.filter(|status| status.as_str() >= "400" && *status != "426").cloned().collect();
        assert_eq!(listed, statuses, "{}", operation.name());
        if !operation.is_api() {
            continue;
        }
        for code in codes {
            gate.fake.fail("*", Error::new(code, "for the test"));
            let answer = operation.send(&gate, Some(&token));
            assert_eq!(answer.status, code.http_status(), "{} {code}", operation.name());
            operation.fits(&document, &answer);
        }
        gate.fake.work_again();
    }
}

#[test]
fn refusals_of_the_socket_are_described() {
    let document = document();
    let gate = Gate::with(|config| {
        config.shards = 1;
        config.rates.user_rest_per_s = 1;
        config.rates.user_rest_burst = 1;
    });
    let all = operations(&document);
    let socket = all.iter().find(|operation| operation.path == "/ws").expect("the socket");
    let (token, path) = (gate.token(5, "phone"), socket.target());
    let refused = |headers: &str, status: u16| {
        let answer = gate.raw("GET", &path, headers, b"");
        if answer.status == status {
            socket.fits(&document, &answer);
        }
        answer.status == status
    };
    assert!(refused("", 401));
    assert!(refused("Origin: http://evil.example\r\n", 403));
    assert!(refused("Sec-WebSocket-Protocol: gochat.v9\r\n", 400));
    let bearer = format!("Authorization: Bearer {token}\r\n");
    assert!(refused(&bearer, 426));
    until("a refusal for the rate", || refused(&bearer, 429));
}

#[test]
fn what_is_not_described_is_refused() {
    let (document, gate) = (document(), gate());
    let token = gate.token(5, "phone");
    for operation in operations(&document).iter().filter(|operation| operation.is_api()) {
        let target = operation.target();
        let joined = if target.contains('?') { '&' } else { '?' };
        let body = operation.body().map(|body| body["example"].clone());
        let refused = |target: &str, body: Option<Value>| {
            let answer = gate.http(&operation.method, target, Some(&token), body);
            assert_eq!(answer.status, 400, "{} {target}: {answer:?}", operation.name());
            operation.fits(&document, &answer);
        };
        refused(&format!("{target}{joined}unheardOf=1"), body.clone());
        if let Some(mut body) = body {
            body["unheardOf"] = 1.into();
            refused(&target, Some(body));
        }
        if operation.needs_token() {
            let answer = operation.send(&gate, None);
            assert_eq!(answer.status, 401, "{}", operation.name());
            operation.fits(&document, &answer);
        }
    }
}

#[test]
fn what_a_body_must_have_is_asked_for() {
    let (document, gate) = (document(), gate());
    let token = gate.token(5, "phone");
    let mut asked = 0;
    for operation in operations(&document) {
        let Some(body) = operation.body() else { continue };
        for name in resolved(&document, &body["schema"])["required"].as_array().into_iter().flatten() {
            let name = name.as_str().expect("a name");
            let mut without = body["example"].clone();
            without.as_object_mut().expect("an object").remove(name);
            let answer = gate.http(&operation.method, &operation.target(), Some(&token), Some(without));
            assert_eq!(answer.status, 400, "{} without {name}: {answer:?}", operation.name());
            operation.fits(&document, &answer);
            asked += 1;
        }
    }
    assert!(asked >= 10, "only {asked} fields");
}
