//! The OpenAPI document, made of the tables that the listeners route by.
//!
//! **Promise.** Every path that is served is in it, and none that is not: [`super::routes::TABLE`] and
//! [`super::admin::table`] are the only sources.
//!
//! **What it does not do.** Bodies are described as JSON objects only: their fields are those of the APIs that they belong to
//! (`docs/api.md`).
//!
//! Source: OpenAPI Specification 3.1.0.

use super::Answered;
use super::data::json_response;
use super::{admin, routes};
use http::StatusCode;
use serde_json::{Map, Value, json};

/// `GET /api/openapi.json`
pub(super) async fn show() -> Answered {
    json_response(StatusCode::OK, &document())
}

/// The document.
pub(super) fn document() -> Value {
    let data = routes::TABLE.iter().map(|entry| (entry.method, entry.path, entry.summary, "data"));
    let admin = admin::table();
    let admin = admin.iter().map(|entry| (entry.method, entry.path, entry.summary, "admin"));
    let mut paths: Map<String, Value> = Map::new();
    for (method, path, summary, listener) in data.chain(admin) {
        let at = paths.entry(path).or_insert_with(|| json!({}));
        at[method.to_lowercase()] = operation(method, path, summary, listener);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sluice",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Two listeners: operations tagged `data` are on the one, those tagged `admin` on the other.",
        },
        "tags": [{"name": "data"}, {"name": "admin"}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A virtual key, or the admin token"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    })
}

fn operation(method: &str, path: &str, summary: &str, listener: &str) -> Value {
    let open = ["/livez", "/healthz", "/readyz"].contains(&path);
    let security = match (open, listener) {
        (true, _) => json!([]),
        (false, "data") => json!([{"key": []}, {"header": []}]),
        (false, _) => json!([{"key": []}]),
    };
    let names = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let parameters =
        names.map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    let parameters: Vec<Value> = parameters.collect();
    let failed = json!({"description": "An error, in the shape of the API that was called"});
    let mut operation = json!({
        "operationId": format!("{}{}", method.to_lowercase(), path.replace(['/', '{', '}', '.'], "_")),
        "summary": summary,
        "tags": [listener],
        "security": security,
        "parameters": parameters,
        "responses": {"200": {"description": "Done"}, "default": failed},
    });
    if method == "POST" {
        let content = json!({"application/json": {"schema": {"type": "object"}}});
        operation["requestBody"] = json!({"required": listener == "data", "content": content});
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_in_the_document_once() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let operations: usize = paths.values().map(|at| at.as_object().unwrap().len()).sum();
        assert_eq!(operations, routes::TABLE.len() + admin::table().len(), "no two entries are the same");
        for entry in routes::TABLE {
            assert_eq!(paths[entry.path][entry.method.to_lowercase()]["summary"], entry.summary);
        }
        for entry in admin::table() {
            let told = &paths[entry.path][entry.method.to_lowercase()];
            assert_eq!(told["summary"], entry.summary);
            let wanted = entry.path.matches('{').count();
            assert_eq!(told["parameters"].as_array().unwrap().len(), wanted, "{}", entry.path);
        }
    }
}
