//! What the ledger is asked: sums, one request's story, whether it is sound.

use super::store::{Cell, Db, Row, cells};
use super::sums::{self, By, LINE_SUMS, Sums};
use super::{FIRST_ATTEMPT, Ledger, LedgerError, UNDER_PROMPT};
use crate::learn::traffic::Pair;
use policies::NanoDollars;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// By what spend is grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// The configured model.
    Model,
    /// The provider.
    Provider,
    /// `local`, `hosted` or `none`.
    Route,
    /// The key.
    Key,
    /// The team.
    Team,
    /// Each tag; an attempt with two tags is in two rows.
    Tag,
    /// The UTC day.
    Day,
}

/// The sums of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SpendRow {
    /// The group; the total has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Number of attempts.
    pub requests: u64,
    /// Input tokens.
    pub input_tokens: u64,
    /// Those read from a cache.
    pub cached_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Attempts whose model has no price: their cost is not in `cost_usd`.
    pub unpriced_requests: u64,
    /// What was spent.
    pub cost_usd: NanoDollars,
    /// What the machines in the house cost, beside what was spent; `None` where it is known of no attempt.
    pub local_cost_usd: Option<NanoDollars>,
    /// Attempts in the house of which it is not known: their cost is not in `local_cost_usd`.
    pub local_cost_unknown: u64,
    /// What the hosted model would have cost.
    pub baseline_usd: NanoDollars,
}

/// The answer of `/api/spend`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SpendTable {
    /// A row a group, the dearest first.
    pub rows: Vec<SpendRow>,
    /// Everything.
    pub total: SpendRow,
    /// Where the next page begins; groups fit in one.
    pub next: Option<String>,
}

// === impl GroupBy ===

impl GroupBy {
    /// Reads the word of the query.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "model" => Self::Model,
            "provider" => Self::Provider,
            "route" => Self::Route,
            "key" => Self::Key,
            "team" => Self::Team,
            "tag" => Self::Tag,
            "day" => Self::Day,
            _ => return None,
        })
    }

    fn source(self, db: &Db) -> Source {
        let tag = "tag.key || '=' || tag.value";
        match self {
            Self::Model => Source::Hours(By::same(1, "model")),
            Self::Provider => Source::Hours(By::same(1, "provider")),
            Self::Route => Source::Hours(By::same(1, "route")),
            Self::Day => Source::Hours(By { columns: 1, of_line: db.day_of("at_us"), of_hour: db.day_of("begins") }),
            Self::Key => Source::Lines(
                "coalesce((SELECT name FROM keys WHERE keys.id = attempts.key_id), key_id, '')",
                "attempts",
            ),
            Self::Team => Source::Lines("coalesce(team, '')", "attempts"),
            Self::Tag if db.is_postgres() => Source::Lines(tag, "attempts, json_each_text(attempts.tags::json) AS tag"),
            Self::Tag => Source::Lines(tag, "attempts, json_each(attempts.tags) AS tag"),
        }
    }
}

/// What groups are read from.
enum Source {
    /// Summed hours, and the lines of the others.
    Hours(By),
    /// Only the lines know it: the group, and the tables.
    Lines(&'static str, &'static str),
}

// === impl Ledger: reading ===

impl Ledger {
    /// Sums of closed attempts in a time span, grouped.
    pub fn spend(&self, by: GroupBy, since_us: i64, until_us: i64) -> Result<SpendTable, LedgerError> {
        let span = [since_us, until_us];
        let group = |row: &Row<'_>| row.get::<String>(0);
        // All of the lines may have to be read, and requests read, too.
        self.aside(|db| {
            db.snapshot(|db| {
                let (found, total) = match by.source(db) {
                    Source::Hours(by) => {
                        let found: Vec<_> = sums::grouped(db, span, &by, "", group)?.into_iter().collect();
                        let total = all(found.iter().map(|(_, sums)| sums));
                        (found, total)
                    }
                    Source::Lines(of, from) => {
                        let when = "outcome IS NOT NULL AND at_us >= ?1 AND at_us < ?2";
                        let sql = format!("SELECT {of}, {LINE_SUMS} FROM {from} WHERE {when} GROUP BY 1");
                        let found =
                            db.query(&sql, &span.map(Cell::from), |row| Ok((group(row)?, Sums::read(row, 1)?)))?;
                        // Tags share attempts, so the total is asked on its own.
                        let total = sums::grouped(db, span, &By::same(1, "route"), "", group)?;
                        (found, all(total.values()))
                    }
                };
                let rows = found.into_iter().map(|(group, sums)| SpendRow { group: Some(group), ..spend_row(&sums) });
                let mut rows: Vec<SpendRow> = rows.collect();
                rows.sort_by(|one, other| other.cost_usd.cmp(&one.cost_usd).then_with(|| one.group.cmp(&other.group)));
                Ok(SpendTable { rows, total: spend_row(&total), next: None })
            })
        })
    }

    /// One request's whole story; `None` when the ledger does not know it.
    pub fn request(&self, id: &str) -> Result<Option<Value>, LedgerError> {
        self.read(|db| {
            let sql = format!("SELECT {REQUEST_COLUMNS}, r.record, r.cascade FROM requests r WHERE r.id = ?1");
            let found = db.first(&sql, cells![id], |row| {
                Ok((request_row(row)?, row.get::<String>(15)?, row.get::<Option<String>>(16)?))
            })?;
            let Some((mut shown, record, cascade)) = found else { return Ok(None) };
            if let Ok(Value::Object(record)) = serde_json::from_str::<Value>(&record) {
                // What happened has columns of its own; the decision keeps what was planned, as it was explained.
                for (key, value) in &record {
                    if !shown.contains_key(key) {
                        shown.insert(key.clone(), value.clone());
                    }
                }
                shown.insert("decision".into(), Value::Object(record));
            }
            let cascade = cascade.and_then(|look| serde_json::from_str(&look).ok());
            shown.insert("cascade".into(), cascade.unwrap_or(Value::Null));
            let attempts = attempts_of(db, id)?;
            // What an experiment asked beside the answer was not for the client.
            let sql = "SELECT CAST(sum(cost_nd) AS BIGINT), count(*) FILTER (WHERE cost_nd IS NULL), \
                       CAST(sum(input) AS BIGINT), CAST(sum(output) AS BIGINT), max(ended_us) - min(at_us) \
                       FROM attempts WHERE request = ?1 AND attempt < ?2";
            db.one(sql, cells![id, FIRST_ATTEMPT], |row| {
                let (cost, unpriced): (Option<i64>, i64) = (row.get(0)?, row.get(1)?);
                shown.insert("cost_usd".into(), dollars(cost.filter(|_| unpriced == 0)));
                shown.insert("input_tokens".into(), row.get::<Option<i64>>(2)?.into());
                shown.insert("output_tokens".into(), row.get::<Option<i64>>(3)?.into());
                let took: Option<i64> = row.get(4)?;
                shown.insert("duration_ms".into(), took.map(|us| us as f64 / 1000.0).into());
                Ok(())
            })?;
            let sql = "SELECT CAST(sum(cost_nd) AS BIGINT), count(*) FILTER (WHERE cost_nd IS NULL) \
                       FROM attempts WHERE request = ?1 AND attempt >= ?2";
            let beside = db.one(sql, cells![id, FIRST_ATTEMPT], |row| experiment_cost(row.get(0)?, row.get(1)?))?;
            shown.insert("experiment_cost_usd".into(), beside);
            shown.insert("attempt_log".into(), Value::Array(attempts));
            let (judgement, labels) = super::learning::shown(db, id)?;
            shown.insert("judgement".into(), judgement);
            shown.insert("labels".into(), labels);
            let (arm, why) = super::arms::shown(db, id)?;
            shown.insert("arm".into(), arm);
            shown.insert("arm_excluded_by".into(), why);
            shown.insert("experiment".into(), super::placed::shown(db, id)?);
            Ok(Some(Value::Object(shown)))
        })
    }

    /// Whether a request of that id is on the ledger.
    pub fn knows(&self, id: &str) -> Result<bool, LedgerError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM requests WHERE id = ?1) \
                   OR EXISTS (SELECT 1 FROM attempts WHERE request = ?1)";
        self.glance(|db| db.one(sql, cells![id], |row| row.get(0)))
    }

    /// Counts of attempts by route and outcome since a time, for the page's overview.
    pub fn overview(&self, since_us: i64) -> Result<Value, LedgerError> {
        let mean = |sum: i64, of: u64| (of > 0).then(|| sum as f64 / of as f64);
        let milliseconds = |us: Option<f64>| us.map(|us| (us / 10.0).round() / 100.0);
        let by = By::same(2, "route, outcome");
        self.aside(|db| {
            db.snapshot(|db| {
                let found = sums::grouped(db, [since_us, i64::MAX], &by, "AND purpose = 'answer'", |row| {
                    Ok((row.get::<String>(0)?, row.get::<String>(1)?))
                })?;
                let rows = found.into_iter().map(|((route, outcome), sums)| {
                    json!({
                        "route": route, "outcome": outcome, "attempts": sums.attempts,
                        "first_event_ms": milliseconds(mean(sums.first_us, sums.firsts)),
                        "duration_ms": milliseconds(mean(sums.took_us, sums.ended)),
                    })
                });
                Ok(Value::Array(rows.collect()))
            })
        })
    }

    /// The latest shadow comparisons.
    pub fn shadows(&self, limit: u32) -> Result<Vec<Value>, LedgerError> {
        let sql = "SELECT request, experiment, at_us, served_model, shadow_model, prompt, served_text, shadow_text, \
                   shadow_finish, shadow_error FROM shadows ORDER BY at_us DESC LIMIT ?1";
        self.read(|db| {
            db.query(sql, cells![limit], |row| {
                Ok(json!({
                    "request_id": row.get::<String>(0)?, "experiment": row.get::<String>(1)?,
                    "time": time(row.get(2)?), "served_model": row.get::<String>(3)?,
                    "shadow_model": row.get::<String>(4)?, "prompt": row.get::<String>(5)?,
                    "served_text": row.get::<String>(6)?, "shadow_text": row.get::<String>(7)?,
                    "shadow_finish": row.get::<Option<String>>(8)?, "shadow_error": row.get::<Option<String>>(9)?,
                }))
            })
        })
    }

    /// Requests that both sides answered, the oldest first; the same request, so not where one of them answered under another
    /// system prompt.
    pub fn pairs(&self, since_us: i64) -> Result<Vec<Pair>, LedgerError> {
        let sql = format!(
            "SELECT s.request, s.at_us, r.team, s.prompt, s.served_model, s.served_text, s.shadow_model, \
                   s.shadow_text, a.route FROM shadows s JOIN attempts a ON a.request = s.request AND a.purpose = 'shadow' \
                   JOIN requests r ON r.id = s.request WHERE s.shadow_error IS NULL AND s.at_us >= ?1 \
                   AND r.route <> a.route AND NOT EXISTS (SELECT 1 FROM pairs p WHERE p.request = s.request \
                   AND p.experiment = s.experiment AND p.version LIKE '%{UNDER_PROMPT}%') ORDER BY s.at_us"
        );
        self.read(|db| {
            db.query(&sql, cells![since_us], |row| {
                let (served, shadow) = ((row.get(4)?, row.get(5)?), (row.get(6)?, row.get(7)?));
                let shadow_is_weak = row.get::<String>(8)? == "local";
                let (weak, strong) = if shadow_is_weak { (shadow, served) } else { (served, shadow) };
                Ok(Pair { id: row.get(0)?, at_us: row.get(1)?, team: row.get(2)?, prompt: row.get(3)?, weak, strong })
            })
        })
    }

    /// Checks the database's integrity (a file's; a server checks its own) and that every closed line has its parts.
    pub fn verify(&self) -> Result<Vec<String>, LedgerError> {
        self.read(|db| {
            let mut faults = Vec::new();
            if !db.is_postgres() {
                faults = db.query("PRAGMA integrity_check", &[], |row| row.get::<String>(0))?;
                faults.retain(|line| line != "ok");
            }
            let sql = "SELECT count(*) FROM attempts WHERE outcome IS NOT NULL AND (counted IS NULL OR input IS NULL OR \
                       output IS NULL OR (cost_nd IS NULL) != (price IS NULL AND price_source = 'unpriced') OR cost_nd < 0)";
            let odd: i64 = db.one(sql, &[], |row| row.get(0))?;
            if odd > 0 {
                faults.push(format!("{odd} closed lines lack tokens, or have a cost without a price"));
            }
            Ok(faults)
        })
    }
}

pub(super) const REQUEST_COLUMNS: &str = "r.id, r.at_us, r.key_id, r.team, r.\"user\", r.session, r.tags, r.endpoint, r.asked, r.class, \
    r.route, r.model, r.reason, r.score, r.status";

pub(super) fn request_row(row: &Row<'_>) -> Result<Map<String, Value>, LedgerError> {
    let text = |at: usize| row.get::<Option<String>>(at).map(Value::from);
    let tags: String = row.get(6)?;
    let score: Option<f64> = row.get(13)?;
    let mut shown = Map::new();
    shown.insert("id".into(), text(0)?);
    shown.insert("time".into(), time(row.get(1)?).into());
    for (at, name) in [(2, "key"), (3, "team"), (4, "user"), (5, "session")] {
        shown.insert(name.into(), text(at)?);
    }
    shown.insert("tags".into(), serde_json::from_str(&tags).unwrap_or_default());
    for (at, name) in [(7, "endpoint"), (8, "asked"), (9, "class"), (10, "route"), (11, "model"), (12, "reason")] {
        shown.insert(name.into(), text(at)?);
    }
    shown.insert("score".into(), score.map(|score| (score * 1e4).round() / 1e4).into());
    shown.insert("status".into(), row.get::<i64>(14)?.into());
    Ok(shown)
}

fn attempts_of(db: &mut Db, id: &str) -> Result<Vec<Value>, LedgerError> {
    let sql = "SELECT attempt, at_us, ended_us, purpose, model, provider, route, upstream, ceiling_nd, outcome, counted, \
               input, cached, cache_write, output, reasoning, cost_nd, baseline_nd, price, price_source, first_event_us, \
               error, local_cost_nd, class, region FROM attempts WHERE request = ?1 ORDER BY attempt";
    db.query(sql, cells![id], |row| {
        let text = |at: usize| row.get::<Option<String>>(at);
        let number = |at: usize| row.get::<Option<i64>>(at);
        let price = text(18)?.and_then(|price| serde_json::from_str::<Value>(&price).ok());
        Ok(json!({
            "attempt": number(0)?, "time": time(row.get(1)?), "ended": number(2)?.map(time), "purpose": text(3)?,
            "model": text(4)?, "provider": text(5)?, "route": text(6)?, "upstream_model": text(7)?,
            "ceiling_usd": dollars(number(8)?), "outcome": text(9)?, "counted": text(10)?,
            "input_tokens": number(11)?, "cached_tokens": number(12)?, "cache_write_tokens": number(13)?,
            "output_tokens": number(14)?, "reasoning_tokens": number(15)?,
            "cost_usd": dollars(number(16)?), "baseline_usd": dollars(number(17)?),
            "local_cost_usd": dollars(number(22)?),
            "price_nanodollars_per_mtok": price, "price_source": text(19)?,
            "first_event_ms": number(20)?.map(|us| us as f64 / 1000.0), "error": text(21)?,
            "class": text(23)?, "region": text(24)?,
        }))
    })
}

fn all<'a>(parts: impl Iterator<Item = &'a Sums>) -> Sums {
    parts.fold(Sums::default(), |mut all, part| {
        all.add(part);
        all
    })
}

fn spend_row(sums: &Sums) -> SpendRow {
    SpendRow {
        group: None,
        requests: sums.attempts,
        input_tokens: sums.input,
        cached_tokens: sums.cached,
        output_tokens: sums.output,
        unpriced_requests: sums.unpriced,
        cost_usd: NanoDollars(sums.cost),
        local_cost_usd: sums.local_cost.map(NanoDollars),
        local_cost_unknown: sums.local_unknown,
        baseline_usd: NanoDollars(sums.baseline),
    }
}

/// Dollars as a decimal text, or null.
pub(super) fn dollars(nanos: Option<i64>) -> Value {
    nanos.and_then(|nanos| u64::try_from(nanos).ok()).map_or(Value::Null, |nanos| NanoDollars(nanos).to_string().into())
}

/// What an experiment paid for a request beside its answer; null where it asked for nothing, runs, or a price is not known.
pub(super) fn experiment_cost(cost: Option<i64>, unknown: i64) -> Result<Value, LedgerError> {
    Ok(dollars(cost.filter(|_| unknown == 0)))
}

/// RFC 3339, UTC.
pub(super) fn time(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).map(|at| at.to_string()).unwrap_or_default()
}
