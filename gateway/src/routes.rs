//! The table of routes. GET of `/`, `/assets/*` and `/ws` stands here too; all else is JSON.

use gochat_infra::errors::Error;

use crate::rest::{Call, Caller, Work, auth, conversations, groups, users};

/// What answers a route.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Handler {
    /// Anyone may call it.
    Public(fn(&Call<'_>) -> Result<Work, Error>),
    /// Needs an access token.
    User(fn(&Call<'_>, Caller<'_>) -> Result<Work, Error>),
    /// A file of the page.
    Page,
    /// The WebSocket.
    Socket,
}
use Handler::{Page, Public, Socket, User};

/// Which of the side's two lanes a route's work takes. Whatever hashes a password waits for other such work only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Auth,
    Data,
}
use Lane::{Auth, Data};

pub(crate) struct Route {
    method: &'static str,
    /// `:name` matches one segment, which the handler gets; a final `*` matches the rest.
    pattern: &'static str,
    pub(crate) lane: Lane,
    pub(crate) handler: Handler,
}

const fn route(method: &'static str, pattern: &'static str, lane: Lane, handler: Handler) -> Route {
    Route { method, pattern, lane, handler }
}

#[rustfmt::skip]
const ROUTES: &[Route] = &[
    route("GET",    "/",                               Data, Page),
    route("GET",    "/assets/*",                       Data, Page),
    route("GET",    "/ws",                             Data, Socket),
    route("POST",   "/api/auth/register",              Auth, Public(auth::register)),
    route("POST",   "/api/auth/login",                 Auth, Public(auth::login)),
    route("POST",   "/api/auth/refresh",               Data, Public(auth::refresh)),
    route("POST",   "/api/auth/logout",                Data, User(auth::logout)),
    route("GET",    "/api/users",                      Data, User(users::find)),
    route("GET",    "/api/users/me",                   Data, User(users::me)),
    route("PATCH",  "/api/users/me",                   Data, User(users::update_me)),
    route("POST",   "/api/users/me/password",          Auth, User(auth::change_password)),
    route("GET",    "/api/conversations",              Data, User(conversations::list)),
    route("GET",    "/api/conversations/:id/messages", Data, User(conversations::messages)),
    route("POST",   "/api/conversations/:id/read",     Data, User(conversations::mark_read)),
    route("POST",   "/api/groups",                     Data, User(groups::create)),
    route("GET",    "/api/groups/:id/members",         Data, User(groups::members)),
    route("POST",   "/api/groups/:id/members",         Data, User(groups::add_members)),
    route("DELETE", "/api/groups/:id/members/:userId", Data, User(groups::remove_member)),
];

/// What a method and a path lead to.
pub(crate) enum Found<'a> {
    Route(&'static Route, [&'a str; 2]),
    /// The path is known with these methods only, for the header `Allow`.
    OtherMethod(String),
    Nothing,
}

pub(crate) fn find<'a>(method: &str, path: &'a str) -> Found<'a> {
    let mut allowed: Vec<&'static str> = Vec::new();
    for route in ROUTES {
        if let Some(params) = matches(route.pattern, path) {
            if route.method == method {
                return Found::Route(route, params);
            }
            allowed.push(route.method);
        }
    }
    if allowed.is_empty() { Found::Nothing } else { Found::OtherMethod(allowed.join(", ")) }
}

fn matches<'a>(pattern: &str, path: &'a str) -> Option<[&'a str; 2]> {
    let mut params = [""; 2];
    let mut taken = 0;
    let mut segments = path.split('/');
    for expect in pattern.split('/') {
        let segment = segments.next()?;
        if expect == "*" {
            return (!segment.is_empty()).then_some(params);
        }
        if expect.starts_with(':') {
            if segment.is_empty() {
                return None;
            }
            params[taken] = segment;
            taken += 1;
        } else if expect != segment {
            return None;
        }
    }
    segments.next().is_none().then_some(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(method: &str, path: &str) -> Option<(&'static str, Vec<String>)> {
        match find(method, path) {
            Found::Route(route, params) => {
                Some((route.pattern, params.iter().map(ToString::to_string).collect()))
            }
            _ => None,
        }
    }

    #[test]
    fn paths_lead_to_routes() {
        let check = |method: &str, path: &str, expect: &str, params: [&str; 2]| {
            let params = params.map(str::to_owned).to_vec();
            assert_eq!(pattern(method, path), Some((expect, params)), "{method} {path}");
        };
        check("GET", "/", "/", ["", ""]);
        check("GET", "/assets/app.js", "/assets/*", ["", ""]);
        check("GET", "/ws", "/ws", ["", ""]);
        check("GET", "/api/users", "/api/users", ["", ""]);
        check("PATCH", "/api/users/me", "/api/users/me", ["", ""]);
        let messages = "/api/conversations/:id/messages";
        check("GET", "/api/conversations/world/messages", messages, ["world", ""]);
        check("DELETE", "/api/groups/7/members/9", "/api/groups/:id/members/:userId", ["7", "9"]);
    }

    #[test]
    fn unknown_paths_and_methods() {
        for path in ["", "/x", "/api", "/api/users/", "/api/groups//members", "/assets/", "//", "/ws/", "*"] {
            assert!(matches!(find("GET", path), Found::Nothing), "{path:?}");
        }
        let allow = |method: &str, path: &str| match find(method, path) {
            Found::OtherMethod(allow) => allow,
            _ => panic!("{method} {path}"),
        };
        assert_eq!(allow("DELETE", "/api/users/me"), "GET, PATCH");
        assert_eq!(allow("GET", "/api/auth/login"), "POST");
        assert_eq!(allow("PUT", "/api/groups/1/members"), "GET, POST");
        assert_eq!(allow("get", "/"), "GET");
    }

    #[test]
    fn no_pattern_has_more_variables_than_fit() {
        for route in ROUTES {
            assert!(route.pattern.matches(':').count() <= 2, "{}", route.pattern);
        }
    }

    /// What stands there about each route is held to the code by tests/edge/documents.
    #[test]
    fn openapi_lists_these_routes_and_no_others() {
        let document: serde_json::Value =
            serde_saphyr::from_str(include_str!("../../docs/openapi.yaml")).expect("YAML");
        let mut listed: Vec<String> = Vec::new();
        for (path, methods) in document["paths"].as_object().expect("paths") {
            for method in methods.as_object().expect("methods").keys() {
                listed.push(format!("{} {path}", method.to_uppercase()));
            }
        }
        let written = |route: &Route| {
            let named = |segment: &str| match segment.strip_prefix(':') {
                Some(name) => format!("{{{name}}}"),
                None => segment.replace('*', "{name}"),
            };
            let path: Vec<String> = route.pattern.split('/').map(named).collect();
            format!("{} {}", route.method, path.join("/"))
        };
        let mut routes: Vec<String> = ROUTES.iter().map(written).collect();
        listed.sort();
        routes.sort();
        assert_eq!(listed, routes);
    }

    #[test]
    fn the_protocol_page_has_every_route_and_every_code() {
        let page = include_str!("../../docs/protocol.md");
        for route in ROUTES.iter().filter(|route| route.pattern.starts_with("/api")) {
            let entry = format!("| `{} {}", route.method, route.pattern);
            assert!(page.contains(&entry), "{entry}");
        }
        for code in gochat_infra::errors::Code::ALL {
            assert!(page.contains(code.name()) && page.contains(&code.number().to_string()), "{code}");
        }
        for reason in ["1008", "1013", "4401", "4429"] {
            assert!(page.contains(&format!("| {reason} |")), "{reason}");
        }
    }
}
