//! The web page's files, embedded: no network is needed to show it.
//!
//! They hold nothing secret and are open to whoever reaches the listener; what they show comes from the API, which is not.
//! What is below `/vendor` is as its authors published it (`src/web/vendor/README.md`).

use super::Answered;
use super::admin::Shared;
use axum::Router as Routes;
use axum::body::Body;
use axum::routing::get;
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, kind, text.
const FILES: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("../web/index.html")),
    ("/app.css", STYLE, include_str!("../web/app.css")),
    ("/icon.svg", "image/svg+xml", include_str!("../web/icon.svg")),
    ("/app.js", SCRIPT, include_str!("../web/app.js")),
    ("/api.js", SCRIPT, include_str!("../web/api.js")),
    ("/kit.js", SCRIPT, include_str!("../web/kit.js")),
    ("/chart.js", SCRIPT, include_str!("../web/chart.js")),
    ("/overview.js", SCRIPT, include_str!("../web/overview.js")),
    ("/trends.js", SCRIPT, include_str!("../web/trends.js")),
    ("/requests.js", SCRIPT, include_str!("../web/requests.js")),
    ("/models.js", SCRIPT, include_str!("../web/models.js")),
    ("/budgets.js", SCRIPT, include_str!("../web/budgets.js")),
    ("/keys.js", SCRIPT, include_str!("../web/keys.js")),
    ("/residency.js", SCRIPT, include_str!("../web/residency.js")),
    ("/compare.js", SCRIPT, include_str!("../web/compare.js")),
    ("/ballot.js", SCRIPT, include_str!("../web/ballot.js")),
    ("/pairs.js", SCRIPT, include_str!("../web/pairs.js")),
    ("/interval.js", SCRIPT, include_str!("../web/interval.js")),
    ("/playground.js", SCRIPT, include_str!("../web/playground.js")),
    ("/decision.js", SCRIPT, include_str!("../web/decision.js")),
    ("/request.js", SCRIPT, include_str!("../web/request.js")),
    ("/live.js", SCRIPT, include_str!("../web/live.js")),
    ("/vendor/uPlot.iife.min.js", SCRIPT, include_str!("../web/vendor/uPlot.iife.min.js")),
    ("/vendor/uPlot.min.css", STYLE, include_str!("../web/vendor/uPlot.min.css")),
];

/// The page.
pub(super) fn routes() -> Routes<Shared> {
    FILES.iter().fold(Routes::new(), |routes, (path, kind, text)| {
        routes.route(path, get(move || async move { file(kind, text) }))
    })
}

fn file(kind: &'static str, text: &'static str) -> Answered {
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    for (name, value) in [
        ("content-security-policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use policies::Constraint;
    use policies::Reason::{self, Constraint as By};

    #[test]
    fn every_reason_has_a_sentence_on_the_page() {
        let reasons = [
            Reason::Classifier,
            Reason::Unsure,
            Reason::Pinned,
            Reason::Header,
            Reason::Rule,
            Reason::Only,
            Reason::Fallback,
            Reason::Cascade,
            Reason::Session,
            Reason::ToolLoop,
            Reason::Exploration,
            Reason::Holdout,
            Reason::Experiment,
            By(Constraint::RateLimit),
            By(Constraint::Health),
            By(Constraint::FirstToken),
            By(Constraint::Budget),
            By(Constraint::Context),
            By(Constraint::Capability),
            By(Constraint::Price),
            By(Constraint::AllowList),
            By(Constraint::KeyRoute),
            By(Constraint::KeyClass),
            By(Constraint::Residency),
            By(Constraint::Route),
        ];
        let text = include_str!("../web/decision.js");
        for reason in reasons {
            let word = reason.word();
            assert!(text.contains(&format!("\n  {word}: \"")), "{word}");
        }
    }
}
