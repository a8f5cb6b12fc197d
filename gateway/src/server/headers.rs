//! The headers of the contract, both ways.

use super::fault::Fault;
use adapters::wire::MessagesVersion;
use http::header::HeaderValue;
use http::{HeaderMap, HeaderName};
use policies::{NanoDollars, RequestId, RouteWish, SessionId};
use router::Head;
use std::borrow::Cow;
use std::time::Duration;

/// The most tags a request may carry, and the longest name or value.
const MOST_TAGS: usize = 16;
const LONGEST: usize = 128;

/// What a client says in headers.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) wish: RouteWish,
    pub(super) class: Option<String>,
    pub(super) session: Option<SessionId>,
    pub(super) tags: Vec<(String, String)>,
    pub(super) traceparent: Option<String>,
}

/// Reads what a client says; what cannot be read is refused, never ignored.
pub(super) fn read(headers: &HeaderMap) -> Result<Said, Fault> {
    let wish = match text(headers, "x-sluice-route")? {
        None | Some("auto") => RouteWish::Auto,
        Some("local") => RouteWish::Local,
        Some("hosted") => RouteWish::Hosted,
        Some(_) => return Err(Fault::invalid("`x-sluice-route` must be `local`, `hosted` or `auto`", None)),
    };
    let mut session = None;
    for name in ["x-sluice-session", "x-session-id", "x-conversation-id"] {
        if let Some(id) = text(headers, name)? {
            if id.len() > LONGEST {
                return Err(Fault::invalid(format!("`{name}` is longer than {LONGEST} bytes"), None));
            }
            session = Some(SessionId::from(id));
            break;
        }
    }
    Ok(Said {
        wish,
        class: text(headers, "x-sluice-data-class")?.map(str::to_owned),
        session,
        tags: tags(text(headers, "x-sluice-tags")?.unwrap_or_default())?,
        traceparent: traceparent(headers).map(str::to_owned),
    })
}

/// The client's trace context; one that is none is passed over.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<&str> {
    headers.get("traceparent")?.to_str().ok().filter(|value| is_traceparent(value))
}

/// Which version of the Messages API a client speaks; one that does not say is not held to the newest.
///
/// Source: Anthropic API reference, "Versions".
pub(super) fn anthropic_version(headers: &HeaderMap) -> Result<MessagesVersion, Fault> {
    match text(headers, "anthropic-version")? {
        None | Some("2023-06-01") => Ok(MessagesVersion::June2023),
        Some("2026-10-21") => Ok(MessagesVersion::October2026),
        Some(_) => Err(Fault::invalid("`anthropic-version` must be `2026-10-21` or `2023-06-01`", None)),
    }
}

/// The id a client chose, if it is fit to be one.
pub(super) fn chosen_id(headers: &HeaderMap) -> Option<&str> {
    let fit = |id: &&str| {
        !id.is_empty()
            && id.len() <= LONGEST
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    headers.get("x-request-id")?.to_str().ok().filter(fit)
}

/// Puts the request's id on a response.
pub(super) fn put_id(out: &mut HeaderMap, id: &RequestId) {
    put(out, "x-sluice-request-id", id.as_str());
    put(out, "x-request-id", id.as_str());
}

/// The head of what no model answers, be it refused or a list: `reason` says why, or what it is.
pub(super) fn unrouted(id: &RequestId, reason: &str, overhead: Duration) -> Head {
    Head {
        id: id.clone(),
        route: None,
        model: None,
        provider: None,
        reason: reason.to_owned(),
        score: None,
        attempts: 0,
        overhead,
        budget: None,
        arm: None,
        cache: None,
    }
}

/// Puts all that a head knows on a response.
pub(super) fn put_head(out: &mut HeaderMap, head: &Head) {
    put_id(out, &head.id);
    if let Some(route) = head.route {
        put(out, "x-sluice-route", route.word());
    }
    if let Some(model) = &head.model {
        put(out, "x-sluice-model", model.as_str());
    }
    if let Some(provider) = &head.provider {
        put(out, "x-sluice-provider", provider.as_str());
    }
    put(out, "x-sluice-reason", &head.reason);
    if let Some(score) = head.score {
        put(out, "x-sluice-score", &format!("{score:.4}"));
    }
    if let Some(budget) = &head.budget {
        put(out, "x-sluice-budget-warning", budget);
    }
    put(out, "x-sluice-attempts", &head.attempts.to_string());
    put(out, "x-sluice-overhead-ms", &format!("{:.3}", head.overhead.as_secs_f64() * 1000.0));
}

/// Puts what a whole answer cost on its response.
pub(super) fn put_cost(out: &mut HeaderMap, cost: Option<NanoDollars>) {
    put(out, "x-sluice-cost-usd", &cost_text(cost));
}

/// Dollars, or `unpriced`.
pub(super) fn cost_text(cost: Option<NanoDollars>) -> String {
    cost.map_or_else(|| "unpriced".to_owned(), |cost| cost.to_string())
}

/// A name from the configuration may hold what a header may not: such bytes become `?`.
pub(super) fn put(out: &mut HeaderMap, name: &'static str, value: &str) {
    let plain = |c: char| c.is_ascii() && !c.is_ascii_control();
    let visible = match value.chars().all(plain) {
        true => Cow::Borrowed(value),
        false => value.chars().map(|c| if plain(c) { c } else { '?' }).collect(),
    };
    if let Ok(value) = HeaderValue::from_str(&visible) {
        out.insert(HeaderName::from_static(name), value);
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Fault> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().map_err(|_| Fault::invalid(format!("`{name}` is not plain text"), None))?.trim();
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn tags(text: &str) -> Result<Vec<(String, String)>, Fault> {
    let wrong = |what: String| Fault::invalid(format!("`x-sluice-tags`: {what}"), None);
    let mut tags: Vec<(String, String)> = Vec::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(wrong("write `a=b,c=d`".into()));
        };
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty() || key.len() > LONGEST || value.len() > LONGEST {
            return Err(wrong(format!("names and values have 1 to {LONGEST} bytes")));
        }
        if tags.iter().any(|(known, _)| known == key) {
            return Err(wrong("a name is there twice".into()));
        }
        tags.push((key.to_owned(), value.to_owned()));
    }
    if tags.len() > MOST_TAGS {
        return Err(wrong(format!("at most {MOST_TAGS} tags")));
    }
    tags.sort();
    Ok(tags)
}

/// W3C Trace Context, version 00.
fn is_traceparent(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let hex = |part: &str, length: usize| part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    matches!(parts.as_slice(), [version, trace, span, flags]
        if hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &'static str, value: &str) -> Result<Said, Fault> {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        read(&headers)
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        assert!(said("x-sluice-route", "everywhere").is_err());
        assert!(said("x-sluice-tags", "a").is_err() && said("x-sluice-tags", "a=1,a=2").is_err());
        let tags = said("x-sluice-tags", "job=nightly, b=2,").unwrap().tags;
        assert_eq!(tags, [("b".to_owned(), "2".to_owned()), ("job".to_owned(), "nightly".to_owned())]);
        assert!(said("traceparent", "nonsense").unwrap().traceparent.is_none());
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(said("traceparent", parent).unwrap().traceparent.as_deref(), Some(parent));
    }

    #[test]
    fn only_plain_ids_are_taken_over() {
        for (id, fit) in [("abc-1_2.3:4", true), ("", false), ("a b", false), ("a'--", false)] {
            let mut headers = HeaderMap::new();
            headers.insert("x-request-id", id.parse().unwrap());
            assert_eq!(chosen_id(&headers).is_some(), fit, "{id}");
        }
    }
}
