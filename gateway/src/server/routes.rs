//! What is at which path of the data listener.
//!
//! **Promise.** Requests are matched against [`TABLE`] and the OpenAPI document is made of it, so that neither has what the
//! other lacks.

use adapters::wire::Door;
use http::Method;

/// The shape of an endpoint's errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `{"error": {...}}`
    OpenAi,
    /// `{"type": "error", "error": {...}}`
    Anthropic,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Livez,
    Readyz,
    Answer(Door),
    Decision,
    Feedback,
    Models,
    /// By its name.
    Model(String),
    WrongMethod,
    Unknown,
}

/// A path and what is there.
pub(super) struct Entry {
    /// In capitals.
    pub(super) method: &'static str,
    /// Its last segment may be `{id}`.
    pub(super) path: &'static str,
    /// One line.
    pub(super) summary: &'static str,
    route: Route,
}

const fn entry(method: &'static str, path: &'static str, summary: &'static str, route: Route) -> Entry {
    Entry { method, path, summary, route }
}

/// Everything on the data listener.
pub(super) const TABLE: &[Entry] = &[
    entry("POST", "/v1/chat/completions", "Answers a chat", Route::Answer(Door::Chat)),
    entry("POST", "/v1/completions", "Continues a text", Route::Answer(Door::Completions)),
    entry("POST", "/v1/messages", "Answers a chat in the form of Anthropic's API", Route::Answer(Door::Messages)),
    entry("POST", "/v1/messages/count_tokens", "Reckons the size of a prompt", Route::Answer(Door::CountTokens)),
    entry("POST", "/v1/responses", "Answers in the form of OpenAI's Responses API", Route::Answer(Door::Responses)),
    entry("POST", "/v1/embeddings", "Makes vectors of texts", Route::Answer(Door::Embeddings)),
    entry("POST", "/v1/route", "The decision on a chat: nothing is dialled, nothing charged", Route::Decision),
    entry("POST", "/v1/feedback", "What a client thinks of an answer", Route::Feedback),
    entry("GET", "/v1/models", "The models that may be asked for", Route::Models),
    entry("GET", "/v1/models/{id}", "One model", Route::Model(String::new())),
    entry("GET", "/livez", "Whether the process runs", Route::Livez),
    entry("GET", "/healthz", "Whether the process runs", Route::Livez),
    entry("GET", "/readyz", "Whether requests should come", Route::Readyz),
];

// === impl Shape ===

impl Shape {
    /// The shape that goes with an API.
    pub(super) fn of(door: Door) -> Self {
        match door {
            Door::Messages | Door::CountTokens => Self::Anthropic,
            Door::Chat | Door::Completions | Door::Responses | Door::Embeddings => Self::OpenAi,
        }
    }

    /// The shape of whatever is wrong at a path.
    pub(super) fn at(path: &str) -> Self {
        if path == "/v1/messages" || path.starts_with("/v1/messages/") { Self::Anthropic } else { Self::OpenAi }
    }
}

// === impl Route ===

impl Route {
    /// What a request is for.
    pub(super) fn of(method: &Method, path: &str) -> Self {
        let method = if method == Method::HEAD { "GET" } else { method.as_str() };
        let mut found = Self::Unknown;
        for entry in TABLE {
            let Some(route) = entry.at(path) else { continue };
            if entry.method == method {
                return route;
            }
            found = Self::WrongMethod;
        }
        found
    }
}

// === impl Entry ===

impl Entry {
    /// What is here, if this is the path.
    fn at(&self, path: &str) -> Option<Route> {
        match self.path.strip_suffix("{id}") {
            None => (self.path == path).then(|| self.route.clone()),
            Some(folder) => path.strip_prefix(folder).filter(|id| !id.is_empty()).map(|id| Route::Model(id.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_leads_to_what_the_table_says_and_by_no_other_method() {
        for entry in TABLE {
            let path = entry.path.replace("{id}", "a/b");
            let found = Route::of(&entry.method.parse().unwrap(), &path);
            let expected = if entry.path.contains("{id}") { Route::Model("a/b".into()) } else { entry.route.clone() };
            assert_eq!(found, expected, "{path}");
            assert_eq!(Route::of(&Method::DELETE, &path), Route::WrongMethod, "{path}");
        }
        assert_eq!(Route::of(&Method::HEAD, "/livez"), Route::Livez);
        for unknown in ["/", "/v1", "/v1/models/", "/v1/messages/", "/v1/chat"] {
            assert_eq!(Route::of(&Method::GET, unknown), Route::Unknown, "{unknown}");
        }
    }

    #[test]
    fn errors_have_the_shape_of_the_path() {
        for entry in TABLE {
            if let Route::Answer(door) = entry.route {
                assert_eq!(Shape::of(door), Shape::at(entry.path), "{}", entry.path);
            }
        }
    }
}
