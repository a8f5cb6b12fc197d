//! The model's chat template.
//!
//! **Promise.** Renders what `transformers` renders: the same functions and filters, `tojson` unescaped, tools `none`
//! when there are none. Rendering and tokenising happen on our side, so the prompt is counted before it enters the engine.
//!
//! **Failure behaviour.** Templates that refuse a system message, or that want users and assistants to take turns, get the
//! messages once more with the system text in the first user message and neighbours of one role joined; what they still
//! refuse is the client's error, in the template's own words.
//!
//! **What it does not do.** A template comes from whoever made the model and is trusted like the weights: it runs without
//! a limit of time. OpenAI's Harmony format is refused at load.

use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde_json::{Value as Json, json};

/// A template, compiled.
#[derive(Debug)]
pub(super) struct Template {
    environment: Environment<'static>,
    tools: bool,
    tool_role: bool,
    specials: Specials,
}

/// Special tokens that templates print.
#[derive(Clone, Debug, Default)]
pub(super) struct Specials {
    pub(super) bos: Option<String>,
    pub(super) eos: Option<String>,
    pub(super) unk: Option<String>,
}

const PLAIN: &str = "default";
const WITH_TOOLS: &str = "tool_use";

// === impl Template ===

impl Template {
    /// Compiles a template; some models have a second one for tools.
    pub(super) fn new(source: &str, for_tools: Option<&str>, specials: Specials) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_lstrip_blocks(true);
        environment.set_trim_blocks(true);
        environment.add_function("raise_exception", |why: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, why))
        });
        environment.add_function("strftime_now", |format: String| jiff::Zoned::now().strftime(&format).to_string());
        environment.add_filter("tojson", tojson);
        let plain = portable(source);
        let tools = for_tools.is_some() || plain.contains("tools");
        let tool_role = plain.contains("tool") || plain.contains("message.role") && !plain.contains("raise_exception");
        environment
            .add_template_owned(PLAIN, plain)
            .map_err(|error| format!("the chat template is not understood: {error}"))?;
        environment
            .add_template_owned(WITH_TOOLS, portable(for_tools.unwrap_or(source)))
            .map_err(|error| format!("the chat template for tools is not understood: {error}"))?;
        Ok(Self { environment, tools, tool_role, specials })
    }

    /// Whether it knows what to do with tools.
    pub(super) fn knows_tools(&self) -> bool {
        self.tools
    }

    /// Whether it knows messages of the role `tool`.
    pub(super) fn knows_tool_role(&self) -> bool {
        self.tool_role
    }

    /// Renders messages (and tools in OpenAI's form), ready for the assistant's turn.
    pub(super) fn render(&self, messages: &[Json], tools: &[Json]) -> Result<String, String> {
        let first = match self.attempt(messages, tools) {
            Ok(prompt) => return Ok(prompt),
            Err(error) => error,
        };
        let gentler = take_turns(messages);
        if gentler == messages {
            return Err(first);
        }
        self.attempt(&gentler, tools).map_err(|_| first)
    }

    fn attempt(&self, messages: &[Json], tools: &[Json]) -> Result<String, String> {
        let name = if tools.is_empty() { PLAIN } else { WITH_TOOLS };
        let template = self.environment.get_template(name).map_err(|error| error.to_string())?;
        let offered = if tools.is_empty() { Value::from(()) } else { Value::from_serialize(tools) };
        let text = |special: &Option<String>| Value::from(special.clone().unwrap_or_default());
        template
            .render(context! {
                messages => Value::from_serialize(messages),
                tools => offered,
                add_generation_prompt => true,
                bos_token => text(&self.specials.bos),
                eos_token => text(&self.specials.eos),
                unk_token => text(&self.specials.unk),
                date_string => jiff::Zoned::now().strftime("%d %b %Y").to_string(),
            })
            .map_err(|error| error.detail().map_or_else(|| error.to_string(), str::to_owned))
    }
}

/// Python that minijinja does not know.
fn portable(source: &str) -> String {
    let mut source = source.replace("[::-1]", "|reverse");
    for tag in ["generation", "endgeneration"] {
        for (open, close) in [("{%", "%}"), ("{%-", "%}"), ("{%", "-%}"), ("{%-", "-%}")] {
            source = source.replace(&format!("{open} {tag} {close}"), "");
        }
    }
    source
}

/// `json.dumps` as templates use it: unescaped, with Python's separators.
fn tojson(value: Value, kwargs: Kwargs) -> Result<Value, Error> {
    let failed =
        |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, "cannot write JSON").with_source(error);
    let json = serde_json::to_value(&value).map_err(failed)?;
    let text = match kwargs.get::<Option<usize>>("indent").unwrap_or(None) {
        None => spaced(&json),
        Some(width) => {
            let indent = " ".repeat(width);
            let mut out = Vec::new();
            let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
            serde::Serialize::serialize(&json, &mut serializer).map_err(failed)?;
            String::from_utf8(out).map_err(|_| Error::new(ErrorKind::BadSerialization, "cannot write JSON"))?
        }
    };
    Ok(Value::from_safe_string(text))
}

/// JSON with a space after each comma and colon, as Python writes it and as models have seen it.
pub(super) fn spaced(json: &Json) -> String {
    match json {
        Json::Array(items) => format!("[{}]", items.iter().map(spaced).collect::<Vec<_>>().join(", ")),
        Json::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| format!("{}: {}", Json::from(key.as_str()), spaced(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => json.to_string(),
    }
}

/// The system text goes into the first user message, and neighbours of one role become one message.
fn take_turns(messages: &[Json]) -> Vec<Json> {
    let text = |message: &Json| message["content"].as_str().unwrap_or_default().to_owned();
    let system: Vec<String> = messages.iter().filter(|message| message["role"] == "system").map(text).collect();
    let mut turns: Vec<Json> = Vec::new();
    for message in messages.iter().filter(|message| message["role"] != "system") {
        match turns.last_mut() {
            Some(last)
                if last["role"] == message["role"]
                    && last.get("tool_calls").is_none()
                    && message.get("tool_calls").is_none() =>
            {
                last["content"] = format!("{}\n\n{}", text(last), text(message)).into();
            }
            Some(_) | None => turns.push(message.clone()),
        }
    }
    if system.is_empty() {
        return turns;
    }
    let instructions = system.join("\n\n");
    match turns.iter_mut().find(|message| message["role"] == "user") {
        Some(user) => user["content"] = format!("{instructions}\n\n{}", text(user)).into(),
        None => turns.insert(0, json!({"role": "user", "content": instructions})),
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEMMA: &str = "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}<{{ m['role'] }}>{{ m['content'] | trim }}{% endfor %}";

    fn message(role: &str, content: &str) -> Json {
        json!({"role": role, "content": content})
    }

    #[test]
    fn templates_that_refuse_a_system_message_get_it_with_the_user_s() {
        let specials = Specials { bos: Some("<s>".into()), ..Specials::default() };
        let template = Template::new(GEMMA, None, specials).unwrap();
        let prompt = template
            .render(&[message("system", "be brief"), message("user", "hi"), message("user", "you")], &[])
            .unwrap();
        assert_eq!(prompt, "<s><user>be brief\n\nhi\n\nyou");
        let error = template.render(&[message("assistant", "x")], &[]).unwrap_err();
        assert_eq!(error, "roles must alternate");
    }

    #[test]
    fn json_is_written_as_python_writes_it() {
        let template = Template::new(
            "{{ tools | tojson }}|{{ messages[0].content.strip() }}|{{ messages[::-1] | length }}",
            None,
            Specials::default(),
        )
        .unwrap();
        let prompt = template.render(&[message("user", " a ")], &[json!({"a": "<b> & 'c'", "n": [1, 2]})]).unwrap();
        assert_eq!(prompt, r#"[{"a": "<b> & 'c'", "n": [1, 2]}]|a|1"#);
        assert!(template.knows_tools());
    }

    #[test]
    fn a_broken_template_is_an_error_at_load() {
        assert!(Template::new("{% if %}", None, Specials::default()).is_err());
    }
}
