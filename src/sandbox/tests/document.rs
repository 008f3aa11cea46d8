//! The OpenAPI document: that it is one, and that the server does what it says.

use std::collections::BTreeSet;

use reqwest::{Method, header};
use serde_json::{Map, Value, json};

use super::super::{Config, Credential, CredentialKind, Profile, Switches, api};
use super::{OPERATOR, READER, World, named, path, reply};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
const NOBODY: &str = "sandbox-fake-token-nobody";

/// A document, with what the tests ask of one.
struct Document(Value);

/// An operation of a document.
struct Operation<'a> {
    path: &'a str,
    method: &'a str,
    body: &'a Value,
}

impl Document {
    async fn of(world: &World) -> Self {
        let (status, document) = reply(world.request(Method::GET, "/openapi.json")).await;
        assert_eq!(status, 200, "{document}");
        Self(document)
    }

    fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        self.0["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
            let item = item.as_object().unwrap();
            item.iter().map(move |(method, body)| Operation { path, method, body })
        })
    }

    /// A part of the document, or the part that it refers to.
    fn resolved<'a>(&'a self, part: &'a Value) -> &'a Value {
        let Some(reference) = part["$ref"].as_str() else { return part };
        let found = reference.strip_prefix('#').and_then(|pointer| self.0.pointer(pointer));
        found.unwrap_or_else(|| panic!("{reference} is nowhere"))
    }

    /// What an operation answers with a status; `None` if it says nothing of it.
    fn response(&self, path: &str, method: &str, status: u16) -> Option<&Value> {
        self.0["paths"][path][method]["responses"].get(status.to_string()).map(|response| self.resolved(response))
    }

    /// The fields of a schema, those of its parts included.
    fn properties(&self, schema: &Value) -> Map<String, Value> {
        let schema = self.resolved(schema);
        let mut all = schema["properties"].as_object().cloned().unwrap_or_default();
        for part in schema["allOf"].as_array().into_iter().flatten() {
            all.extend(self.properties(part));
        }
        all
    }

    /// What of a value does not fit its schema. A field that the schema does not name is one.
    fn misfits(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let schema = self.resolved(schema);
        if let Some(choices) = schema["oneOf"].as_array() {
            let fits = choices.iter().any(|choice| self.misfits(choice, value, at).is_empty());
            return if fits { Vec::new() } else { vec![format!("{at} fits no choice: {value}")] };
        }
        let properties = self.properties(schema);
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let kinds: Vec<&str> = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            kind => kind.as_str().or(schema.get("allOf").map(|_| "object")).into_iter().collect(),
        };
        if !(kinds.contains(&kind) || kind == "integer" && kinds.contains(&"number")) {
            return vec![format!("{at} is {kind}, not {kinds:?}")];
        }
        match value {
            Value::Array(items) => items.iter().flat_map(|item| self.misfits(&schema["items"], item, at)).collect(),
            Value::Object(fields) if properties.is_empty() => {
                let free = schema.get("additionalProperties");
                fields
                    .values()
                    .flat_map(|field| free.map_or(Vec::new(), |free| self.misfits(free, field, at)))
                    .collect()
            }
            Value::Object(fields) => fields
                .iter()
                .flat_map(|(name, field)| match properties.get(name) {
                    Some(schema) => self.misfits(schema, field, &format!("{at}.{name}")),
                    None => vec![format!("{at}.{name} is not named")],
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Asserts that an answer is one of those that the document has for its operation: status, body and headers.
    async fn assert_covers(&self, response: reqwest::Response, method: &str, path: &str) -> Value {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let at = format!("{method} {path} {status}");
        let described = self.response(path, method, status).unwrap_or_else(|| panic!("{at} is not described"));
        let bytes = response.bytes().await.unwrap();
        let told: BTreeSet<_> = described["headers"].as_object().into_iter().flat_map(Map::keys).cloned().collect();
        let limits = headers.keys().map(|name| name.to_string()).filter(|name| name.contains('-'));
        let limits = limits.filter(|name| name.starts_with("x-ratelimit") || name == "retry-after").collect();
        assert_eq!(told, limits, "{at}");
        let schema = &described["content"]["application/json"]["schema"];
        assert_eq!(schema.is_null(), bytes.is_empty(), "{at}");
        if bytes.is_empty() {
            return Value::Null;
        }
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(self.misfits(schema, &body, &at), Vec::<String>::new(), "{body:#}");
        body
    }
}

async fn of_profile(profile: Profile) -> World {
    World::with(Config { switches: Switches { profile, ..Switches::default() }, ..Config::default() }).await
}

/// A path that fits a pattern.
fn filled(pattern: &str) -> String {
    pattern.replace("{appId}", "1")
}

#[tokio::test]
async fn the_document_is_at_three_addresses_for_anybody_and_does_not_count() {
    let world = World::start().await;
    let document = Document::of(&world).await;
    assert!(document.0["openapi"].as_str().unwrap().starts_with("3.1."));
    for url in ["/v1/docs", "/v1/docs/openapi.json", "/openapi.json"] {
        let response = world.request(Method::GET, url).bearer_auth(OPERATOR).send().await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json", "{url}");
        assert!(!response.headers().contains_key("x-ratelimit-limit"), "{url}");
        assert_eq!(response.json::<Value>().await.unwrap(), document.0, "{url}");
    }
}

/// A router has no list of its routes, but what it shows for debugging has every path in quotes, its own ones included.
fn paths_of(router: &impl std::fmt::Debug) -> BTreeSet<String> {
    let shown = format!("{router:?}");
    shown.split('"').filter(|text| text.starts_with('/')).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_document_and_the_router_have_the_same_paths_and_methods() {
    for profile in [Profile::Current, Profile::Seed] {
        let world = of_profile(profile).await;
        let document = Document::of(&world).await;
        let described = document.0["paths"].as_object().unwrap();
        let (router, _) = api::routes(profile).split_for_parts();
        let served = &paths_of(&router) - &paths_of(&axum::Router::<()>::new());
        assert_eq!(described.keys().cloned().collect::<BTreeSet<_>>(), served, "{profile:?}");
        for (path, item) in described {
            for method in METHODS {
                let verb = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let (status, body) = world.call(verb, &filled(path), OPERATOR, None).await;
                let is_served = status != 405 && body["error"] != "Not found";
                assert_eq!(item.get(method).is_some(), is_served, "{profile:?} {method} {path}: {status} {body}");
            }
        }
    }
}

#[tokio::test]
async fn the_document_of_the_seed_lacks_what_the_seed_lacks() {
    let old = Document::of(&of_profile(Profile::Seed).await).await;
    let new = Document::of(&World::start().await).await;
    for newer in ["/v1/projects", "/v1/projects/{appId}", "/v1/orgs", "/v1/limits", "/v1/clusters"] {
        assert!(old.0["paths"].get(newer).is_none(), "{newer}");
        assert!(new.0["paths"].get(newer).is_some(), "{newer}");
    }
    assert!(new.0.to_string().contains("X-Org-Name"));
    assert!(!old.0.to_string().contains("X-Org-Name"));
}

/// Calls for every object below a value.
fn visit<'a>(value: &'a Value, see: &mut impl FnMut(&'a Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            see(fields);
            fields.values().for_each(|field| visit(field, see));
        }
        Value::Array(items) => items.iter().for_each(|item| visit(item, see)),
        _ => {}
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere_and_every_component_is_referred_to() {
    for profile in [Profile::Current, Profile::Seed] {
        let document = Document::of(&of_profile(profile).await).await;
        let mut used = BTreeSet::new();
        visit(&document.0, &mut |fields| {
            if let Some(reference) = fields.get("$ref") {
                document.resolved(&json!({ "$ref": reference }));
                used.insert(reference.as_str().unwrap());
            }
        });
        for (section, parts) in document.0["components"].as_object().unwrap() {
            for name in parts.as_object().unwrap().keys().filter(|_| section != "securitySchemes") {
                let reference = format!("#/components/{section}/{name}");
                assert!(used.contains(reference.as_str()), "{profile:?}: nothing refers to {reference}");
            }
        }
    }
}

#[tokio::test]
async fn every_operation_is_whole() {
    for profile in [Profile::Current, Profile::Seed] {
        let document = Document::of(&of_profile(profile).await).await;
        let mut ids = BTreeSet::new();
        for Operation { path, method, body } in document.operations() {
            let at = format!("{method} {path}");
            assert!(METHODS.contains(&method), "{at}");
            assert!(ids.insert(body["operationId"].as_str().unwrap()), "{at}");
            assert!(body["summary"].is_string(), "{at}");

            let parameters = body["parameters"].as_array().cloned().unwrap_or_default();
            let in_path = parameters.iter().map(|parameter| document.resolved(parameter));
            let in_path = in_path.filter(|parameter| parameter["in"] == "path" && parameter["required"] == true);
            let in_path: Vec<_> = in_path.map(|parameter| parameter["name"].as_str().unwrap()).collect();
            let placeholders: Vec<_> = path.split(['{', '}']).skip(1).step_by(2).collect();
            assert_eq!(in_path, placeholders, "{at}");

            let responses = body["responses"].as_object().unwrap();
            assert_eq!(responses.keys().filter(|status| status.starts_with('2')).count(), 1, "{at}");
            for (status, response) in responses {
                let response = document.resolved(response);
                assert!(!response["description"].as_str().unwrap_or_default().is_empty(), "{at} {status}");
                assert_eq!(response.get("content").is_none(), status == "204", "{at} {status}");
            }
            let mut expected = Vec::new();
            if let Some(alternatives) = body["security"].as_array() {
                expected.extend(["401", "403", "429", "500"]);
                for scheme in alternatives.iter().flat_map(|scheme| scheme.as_object().unwrap().keys()) {
                    assert!(document.0["components"]["securitySchemes"].get(scheme).is_some(), "{at} {scheme}");
                }
            }
            if body.get("requestBody").is_some() {
                expected.extend(["400", "413"]);
            }
            if !placeholders.is_empty() {
                expected.extend(["400", "404"]);
            }
            for status in expected {
                assert!(responses.contains_key(status), "{at} {status}");
            }
        }
    }
}

#[tokio::test]
async fn every_operation_asks_for_the_scope_that_it_names() {
    let nobody = Credential {
        kind: CredentialKind::PersonalAccessToken { token: NOBODY.into() },
        name: "nobody".into(),
        scopes: Vec::new(),
        organization: "sandbox".into(),
        user: None,
        is_limited: true,
    };
    let world = World::with(Config { credentials: vec![nobody], ..Config::default() }).await;
    let document = Document::of(&world).await;
    for Operation { path, method, body } in document.operations() {
        let verb = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let (anonymous, _) = reply(world.request(verb.clone(), &filled(path))).await;
        assert_eq!(anonymous == 401, body.get("security").is_some(), "{method} {path}");
        for scheme in body["security"].as_array().into_iter().flatten() {
            let scopes: Vec<_> =
                scheme.as_object().unwrap().values().flat_map(|scopes| scopes.as_array().unwrap()).collect();
            let [scope] = scopes.as_slice() else { panic!("{method} {path} {scopes:?}") };
            let refusal = format!("Insufficient scope. Required: {}", scope.as_str().unwrap());
            let (status, answer) = world.call(verb.clone(), &filled(path), NOBODY, None).await;
            assert_eq!((status, &answer["error"]), (403, &json!(refusal)), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_body_may_have_the_fields_that_its_schema_names_and_no_others() {
    let world = World::start().await;
    let document = Document::of(&world).await;
    let app = world.app(named("app-one")).await;
    let schemas = &document.0["components"]["schemas"];
    let names = |schema: &str| document.properties(&schemas[schema]).into_iter().map(|(name, _)| name);
    let all = ["CreateApp", "UpdateApp", "AppWithConfig", "AppConfig"].into_iter().flat_map(names);
    // Right for no field there is.
    let wrong: Map<_, _> = all.map(|name| (name, json!([true]))).collect();
    for (method, url, schema) in [(Method::POST, "/v1/apps", "CreateApp"), (Method::PUT, &path(&app), "UpdateApp")] {
        let (status, body) = world.call(method, url, OPERATOR, Some(&wrong.clone().into())).await;
        assert_eq!(status, 400, "{body}");
        let read = body["details"]["fieldErrors"].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(schema).collect::<BTreeSet<_>>(), read, "{schema}");
    }
}

/// Values of a field with whether its schema allows them.
fn at_the_bounds(schema: &Value) -> Vec<(Value, bool)> {
    let mut values = Vec::new();
    for (name, inward) in [("minimum", 1), ("maximum", -1)] {
        if let Some(bound) = schema[name].as_i64() {
            values.extend([(json!(bound), true), (json!(bound + inward), true), (json!(bound - inward), false)]);
        }
    }
    if let Some(bound) = schema["exclusiveMinimum"].as_i64() {
        values.extend([(json!(bound), false), (json!(bound + 1), true)]);
    }
    for (name, inward) in [("minLength", 1), ("maxLength", -1)] {
        if let Some(bound) = schema[name].as_i64() {
            let text = |length: i64| json!("a".repeat(usize::try_from(length).unwrap()));
            values.extend([(text(bound), true), (text(bound + inward), true), (text(bound - inward), false)]);
        }
    }
    if let Some(words) = schema["enum"].as_array() {
        values.extend(words.iter().map(|word| (word.clone(), true)));
        values.push((json!("another"), false));
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        let class = pattern.trim_start_matches("^[").trim_end_matches("]+$");
        assert!(class.starts_with("a-zA-Z0-9") && class.len() < 13, "more than this test understands: {class}");
        for other in ["-", ".", "_", "@", "/", " "] {
            values.push((json!(format!("ab{other}cd")), class["a-zA-Z0-9".len()..].contains(other)));
        }
    }
    let kind = &schema["type"];
    let nullable = kind.as_array().is_some_and(|kinds| kinds.contains(&json!("null"))) || schema["oneOf"].is_array();
    values.push((Value::Null, nullable));
    values
}

#[tokio::test]
async fn the_bounds_that_a_schema_names_are_the_bounds() {
    let world = World::start().await;
    let document = Document::of(&world).await;
    let app = path(&world.app(named("app-one")).await);
    let schemas = &document.0["components"]["schemas"];
    for (method, url, schema) in [(Method::POST, "/v1/apps", "CreateApp"), (Method::PUT, &app, "UpdateApp")] {
        for (field, schema) in document.properties(&schemas[schema]) {
            for (value, allowed) in at_the_bounds(&schema) {
                let mut body = json!({ field.as_str(): value });
                if method == Method::POST && field != "name" {
                    body["name"] = "app-two".into();
                }
                let (status, answer) = world.call(method.clone(), url, OPERATOR, Some(&body)).await;
                assert_eq!(status < 300, allowed, "{method} {body}: {answer}");
                if method == Method::POST && status < 300 {
                    world.delete(&path(&answer)).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn what_the_server_answers_is_what_the_document_says() {
    for profile in [Profile::Current, Profile::Seed] {
        let world = of_profile(profile).await;
        let document = Document::of(&world).await;
        let app = "/v1/apps/{appId}";
        let full = json!({
            "name": "app-one", "region": "us-west-2", "description": "text", "tags": { "a": "1" }, "replicas": 2,
            "resources": { "limits": { "cpu": "-", "memory": "1Gi", "ephemeral-storage": "1Gi" } },
            "executor": { "replicas": 2, "resources": { "requests": { "cpu": "1" } }, "storage_size_gb": 2.5 },
            "storage_size_gb": 10, "update_channel": "stable",
        });
        let send = async |method: Method, path: &str, id: &Value, token: &str, body: Option<&Value>| {
            let request = world.request(method.clone(), &path.replace("{appId}", &id.to_string())).bearer_auth(token);
            let request = if let Some(body) = body { request.json(body) } else { request };
            let response = request.send().await.unwrap();
            document.assert_covers(response, &method.as_str().to_lowercase(), path).await
        };
        let none = &Value::Null;
        let id = send(Method::POST, "/v1/apps", none, OPERATOR, Some(&full)).await["id"].clone();
        let spicepod = json!({ "spicepod": { "name": "pod", "datasets": [1] }, "image_tag": "1.0", "node_group": "a" });
        let other = json!({ "name": "app-two", "cname": "us-east-2.spice.cloud" });
        let steps = [
            (Method::PUT, app, &id, OPERATOR, Some(&spicepod)),
            (Method::POST, "/v1/apps", none, OPERATOR, Some(&other)),
            (Method::POST, "/v1/apps", none, OPERATOR, Some(&other)),
            (Method::POST, "/v1/apps", none, OPERATOR, Some(&spicepod)),
            (Method::POST, "/v1/apps", none, READER, Some(&other)),
            (Method::POST, "/v1/apps", none, NOBODY, Some(&other)),
            (Method::PUT, app, &id, OPERATOR, Some(none)),
            (Method::GET, app, &id, OPERATOR, None),
            (Method::GET, app, &json!(1), OPERATOR, None),
            (Method::GET, app, &json!(0), OPERATOR, None),
            (Method::GET, "/v1/apps", none, OPERATOR, None),
            (Method::DELETE, app, &id, OPERATOR, None),
            (Method::DELETE, app, &id, OPERATOR, None),
        ];
        for (method, path, id, token, body) in steps {
            send(method, path, id, token, body).await;
        }
        for Operation { path, method, .. } in document.operations() {
            if method == "get" && !path.contains('{') {
                let answer = send(Method::GET, path, none, OPERATOR, None).await;
                assert!(answer.get("error").is_none(), "{path} {answer}");
            }
        }
        let grant =
            json!({ "client_id": "sandbox-fake-client-oauth", "client_secret": "sandbox-fake-client-secret-oauth" });
        let mut whole = grant.clone();
        whole["grant_type"] = "client_credentials".into();
        for body in
            [grant, whole, json!({ "grant_type": "client_credentials", "client_id": "a", "client_secret": "b" })]
        {
            send(Method::POST, "/api/oauth/token", none, OPERATOR, Some(&body)).await;
        }
    }
}

#[tokio::test]
async fn what_the_document_says_of_too_much_is_so() {
    let mut config = Config::default();
    config.rate_limits.per_user = 0;
    let world = World::with(config).await;
    let document = Document::of(&world).await;
    let request = world.request(Method::GET, "/v1/regions").bearer_auth(OPERATOR);
    document.assert_covers(request.send().await.unwrap(), "get", "/v1/regions").await;
    let request = world.request(Method::POST, "/v1/apps").bearer_auth(OPERATOR).body("x".repeat(1024 * 1024 + 1));
    document.assert_covers(request.send().await.unwrap(), "post", "/v1/apps").await;
}
