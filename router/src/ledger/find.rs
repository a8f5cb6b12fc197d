//! Looking for requests on the ledger.
//!
//! **Promise.** What is looked for is a value and never a pattern or SQL: a word with `%`, quotes or a zero byte finds what
//! has it and nothing else, on a file as on a server.
//!
//! **What it does not do.** It searches no texts: prompts and answers are not on the ledger.

use super::query::{REQUEST_COLUMNS, dollars, experiment_cost, request_row};
use super::store::Cell;
use super::{FIRST_ATTEMPT, Ledger, LedgerError};
use serde_json::Value;

/// Which requests to list.
#[derive(Clone, Debug, Default)]
pub struct RequestFilter {
    /// Not before, microseconds since 1970.
    pub since_us: Option<i64>,
    /// Before, microseconds since 1970 (the page's cursor).
    pub before_us: Option<i64>,
    /// `local`, `hosted` or `none`.
    pub route: Option<String>,
    /// What to look for, and where.
    pub find: Option<(Find, String)>,
    /// At most so many, the latest first.
    pub limit: u32,
}

/// Where a word is looked for among the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// Anywhere of the below.
    Any,
    /// Ids that begin with it.
    Id,
    /// The session.
    Session,
    /// The key: its id or its name.
    Key,
    /// A tag: `name=value`, or its name.
    Tag,
    /// The model that answered, or the one that was asked for.
    Model,
    /// The reason word.
    Reason,
}

// === impl Find ===

impl Find {
    /// Reads the word of the query.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "any" => Self::Any,
            "id" => Self::Id,
            "session" => Self::Session,
            "key" => Self::Key,
            "tag" => Self::Tag,
            "model" => Self::Model,
            "reason" => Self::Reason,
            _ => return None,
        })
    }

    /// The condition, with the word at `?at`, the end of the ids that begin with it behind, then the tag as it is written.
    fn condition(self, at: usize) -> String {
        let (word, end, tag) = (format!("?{at}"), format!("?{}", at + 1), format!("?{}", at + 2));
        let one = |find| match find {
            Self::Id => format!("(r.id >= {word} AND r.id < {end})"),
            Self::Session => format!("r.session = {word}"),
            Self::Key => format!("(r.key_id = {word} OR r.key_id IN (SELECT id FROM keys WHERE name = {word}))"),
            // Not LIKE: what is looked for may hold its signs.
            Self::Tag => format!("replace(r.tags, {tag}, '') <> r.tags"),
            Self::Model => format!("(r.model = {word} OR r.asked = {word})"),
            Self::Reason => format!("r.reason = {word}"),
            Self::Any => "FALSE".into(),
        };
        match self {
            Self::Any => {
                let all = [Self::Id, Self::Session, Self::Key, Self::Tag, Self::Model, Self::Reason];
                format!("({})", all.map(one).join(" OR "))
            }
            Self::Id | Self::Session | Self::Key | Self::Tag | Self::Model | Self::Reason => {
                // Every place is named, because PostgreSQL wants to know the type of each.
                format!("({} OR FALSE AND ({word} = '' OR {end} = '' OR {tag} = ''))", one(self))
            }
        }
    }

    /// A tag as the ledger writes it, `"name":"value"` or `"name":`; quotes inside of a value are escaped there, so this is
    /// found nowhere else.
    fn tag(word: &str) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        match word.split_once('=') {
            Some((name, value)) => format!("{}:{}", quoted(name), quoted(value)),
            None => format!("{}:", quoted(word)),
        }
    }
}

// === impl Ledger: looking for requests ===

impl Ledger {
    /// The latest requests.
    pub fn requests(&self, filter: &RequestFilter) -> Result<Vec<Value>, LedgerError> {
        let mut conditions = vec!["TRUE".to_owned()];
        let mut values: Vec<Cell<'_>> = vec![];
        if let Some(since) = filter.since_us {
            conditions.push(format!("r.at_us >= ?{}", values.len() + 1));
            values.push(since.into());
        }
        if let Some(before) = filter.before_us {
            conditions.push(format!("r.at_us < ?{}", values.len() + 1));
            values.push(before.into());
        }
        if let Some(route) = &filter.route {
            conditions.push(format!("coalesce(r.route, 'none') = ?{}", values.len() + 1));
            values.push(route.into());
        }
        let (last, tag) = match &filter.find {
            Some((_, word)) => (format!("{word}\u{10ffff}"), Find::tag(word)),
            None => Default::default(),
        };
        if let Some((find, word)) = &filter.find {
            conditions.push(find.condition(values.len() + 1));
            values.extend([word.into(), (&last).into(), Cell::from(&tag)]);
        }
        values.push(i64::from(filter.limit.clamp(1, 1_000)).into());
        // What an experiment asked beside the answer was not for the client.
        let of = |what: &str, whose: &str| {
            format!("(SELECT {what} FROM attempts a WHERE a.request = r.id AND a.attempt {whose})")
        };
        let own = format!("< {FIRST_ATTEMPT}");
        let beside = format!(">= {FIRST_ATTEMPT}");
        let sums = [
            of("CAST(sum(cost_nd) AS BIGINT)", &own),
            of("count(*) FILTER (WHERE cost_nd IS NULL)", &own),
            of("CAST(sum(input) AS BIGINT)", &own),
            of("CAST(sum(output) AS BIGINT)", &own),
            of("max(ended_us)", &own),
            of("CAST(sum(cost_nd) AS BIGINT)", &beside),
            of("count(*) FILTER (WHERE cost_nd IS NULL)", &beside),
        ];
        let sql = format!(
            "SELECT {REQUEST_COLUMNS}, {} FROM requests r WHERE {} ORDER BY r.at_us DESC LIMIT ?{}",
            sums.join(", "),
            conditions.join(" AND "),
            values.len()
        );
        self.read(|db| {
            db.query(&sql, &values, |row| {
                let mut shown = request_row(row)?;
                let unpriced: i64 = row.get(16)?;
                let cost: Option<i64> = row.get(15)?;
                let at: i64 = row.get(1)?;
                let ended: Option<i64> = row.get(19)?;
                shown.insert("cost_usd".into(), dollars(cost.filter(|_| unpriced == 0)));
                shown.insert("experiment_cost_usd".into(), experiment_cost(row.get(20)?, row.get(21)?)?);
                shown.insert("input_tokens".into(), row.get::<Option<i64>>(17)?.into());
                shown.insert("output_tokens".into(), row.get::<Option<i64>>(18)?.into());
                shown.insert("duration_ms".into(), ended.map(|ended| (ended - at) as f64 / 1000.0).into());
                Ok(Value::Object(shown))
            })
        })
    }
}
