//! One line of the log as a JSON object.
//!
//! **Promise.** `{"timestamp","level","fields":{"message",...},"target"}` a line, as `tracing-subscriber`'s own JSON has it: strings,
//! numbers and truth values keep their types, everything else is the text of its `Debug`.
//!
//! **Why not that one.** It goes through serde's maps for every field and cost 21,000 instructions for the line of a request, more
//! than the routing decision; this writes the text as it comes (counted by `make lint-perf`).
//!
//! **What it does not do.** Spans: nothing here opens any.

use std::fmt::{self, Debug, Write};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes events as JSON, one a line.
pub(crate) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        writer.write_str("\",\"level\":\"")?;
        writer.write_str(event.metadata().level().as_str())?;
        writer.write_str("\",\"fields\":{")?;
        let mut fields = Fields { out: &mut writer, any: false, told: Ok(()), target: None };
        event.record(&mut fields);
        let Fields { told, target, .. } = fields;
        told?;
        writer.write_str("},\"target\":")?;
        text(&mut writer, target.as_deref().unwrap_or(event.metadata().target()))?;
        writer.write_str("}\n")
    }
}

/// The fields of an event, written as they are visited.
struct Fields<'a, 'w> {
    out: &'a mut Writer<'w>,
    any: bool,
    told: fmt::Result,
    /// Of a line that came through the `log` crate: its own target is there.
    target: Option<String>,
}

// === impl Fields ===

impl Fields<'_, '_> {
    fn put(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.told.is_err() || field.name().starts_with("log.") {
            return;
        }
        let comma = if self.any { "," } else { "" };
        self.any = true;
        self.told = self
            .out
            .write_str(comma)
            .and_then(|()| text(self.out, field.name().trim_start_matches("r#")))
            .and_then(|()| self.out.write_char(':'))
            .and_then(|()| value(self.out));
    }
}

impl Visit for Fields<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "log.target" {
            self.target = Some(value.to_owned());
        }
        self.put(field, |out| text(out, value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, |out| out.write_str(if value { "true" } else { "false" }));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, |out| write!(out, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, |out| write!(out, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinities.
        self.put(field, |out| if value.is_finite() { write!(out, "{value:?}") } else { out.write_str("null") });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, |out| {
            out.write_char('"')?;
            write!(Escaped(out), "{value:?}")?;
            out.write_char('"')
        });
    }
}

/// A JSON string.
fn text(out: &mut Writer<'_>, text: &str) -> fmt::Result {
    out.write_char('"')?;
    Escaped(out).write_str(text)?;
    out.write_char('"')
}

/// Writes the inside of a JSON string (RFC 8259, section 7).
struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        // What has to be escaped is ASCII, so that both sides of it are whole characters.
        while let Some(at) = rest.bytes().position(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\')) {
            let (plain, tail) = rest.split_at(at);
            self.0.write_str(plain)?;
            let mut characters = tail.chars();
            match characters.next() {
                Some('\n') => self.0.write_str("\\n")?,
                Some(sign @ ('"' | '\\')) => {
                    self.0.write_char('\\')?;
                    self.0.write_char(sign)?;
                }
                Some(control) => write!(self.0, "\\u{:04x}", u32::from(control))?,
                None => {}
            }
            rest = characters.as_str();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use std::io;
    use std::sync::Arc;
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Page {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// The same event through both formats.
    fn told(say: impl Fn()) -> [Value; 2] {
        let (ours, theirs) = (Page::default(), Page::default());
        let layers = tracing_subscriber::registry()
            .with(tracing_subscriber::fmt::layer().event_format(JsonLines).with_writer(ours.clone()))
            .with(tracing_subscriber::fmt::layer().json().with_writer(theirs.clone()));
        tracing::subscriber::with_default(layers, say);
        [ours, theirs].map(|page| {
            let text = String::from_utf8(page.0.lock().clone()).unwrap();
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            let mut line: Value = serde_json::from_str(&text).unwrap();
            let at = line.as_object_mut().unwrap().remove("timestamp").unwrap();
            assert!(at.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{at}");
            line
        })
    }

    #[test]
    fn a_line_says_what_the_librarys_own_says() {
        let nasty = "a \"quote\", a \\, \n\t\r\u{0}\u{1f}\u{7f}, \u{e9}\u{1f600}";
        let nothing: Option<&str> = None;
        let [ours, theirs] = told(|| {
            tracing::warn!(
                text = nasty, shown = %nasty, debug = ?nasty, yes = true, number = 7_u64, less = -7_i64, part = 0.25,
                whole = 3.0, small = 1e-9, endless = f64::INFINITY, nothing, some = Some("x"), r#type = "t",
                "said {nasty}"
            );
        });
        assert_eq!(ours, theirs);
        assert_eq!(ours["fields"]["text"], json!(nasty));
    }

    #[test]
    fn an_event_without_fields_is_a_line_too() {
        let [ours, theirs] = told(|| tracing::info!("x"));
        assert_eq!(ours, theirs);
    }
}
