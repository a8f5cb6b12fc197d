//! Which arm of an experiment a request was in, and what is known of each arm.
//!
//! **Promise.** The arm is written in the commit that closes the request, with what that arm did (`what`: its side, model, threshold,
//! or the digest of its system prompt), and pruned with the request. An arm that does something else now is another arm: what
//! was known of it before does not count.
//!
//! **Two ways to count.** All that was put in an arm, whatever became of it (*intention to treat*), and what the arm itself
//! served (*as served*, [`Own`]): without refusals, and without answers that came from the other arm's side or model, because
//! its own failed. Figures are given for both; which of them a verdict is about is not decided here.
//!
//! **How sessions fell** ([`Fallen`]) is over the first request of each session, with the share that was in force then: a
//! ramp or a changed share spoils nothing. Lines of older versions say neither, and are not in it.

use super::store::{Cell, Db, cells};
use super::{FIRST_ATTEMPT, Ledger, LedgerError, RequestRecord};
use crate::again::{REASK, REGENERATE};
use crate::compare::{Fallen, Side};
use crate::learn::traffic::FEEDBACK;
use policies::{Location, ModelName, NanoDollars};
use serde::Serialize;
use serde_json::Value;

/// The table, as a step of the schema of a file.
pub(super) const MIGRATION: &str = "
CREATE TABLE placed (
    request TEXT PRIMARY KEY, at_us INTEGER NOT NULL,
    experiment TEXT NOT NULL,
    arm TEXT NOT NULL,                    -- left | right
    what TEXT NOT NULL                    -- what the arm does otherwise, e.g. 'system 0f3c...' or 'hosted_share 0.2'
) STRICT;
CREATE INDEX placed_at ON placed (at_us);
CREATE INDEX placed_arm ON placed (experiment, arm, what);
";

/// The same for a server.
pub(super) const SERVER_MIGRATION: &str = "
CREATE TABLE placed (
    request TEXT PRIMARY KEY, at_us BIGINT NOT NULL,
    experiment TEXT NOT NULL, arm TEXT NOT NULL, what TEXT NOT NULL
);
CREATE INDEX placed_at ON placed (at_us);
CREATE INDEX placed_arm ON placed (experiment, arm, what);
";

/// How the session was drawn, as a step of the schema of a file.
pub(super) const DRAWN_MIGRATION: &str = "
ALTER TABLE placed ADD COLUMN session TEXT;   -- keyed digest of what was drawn; NULL: written by an older version
ALTER TABLE placed ADD COLUMN weight REAL;    -- the share of sessions that went left then
";

/// The same for a server.
pub(super) const SERVER_DRAWN_MIGRATION: &str = "
ALTER TABLE placed ADD COLUMN session TEXT COLLATE \"C\";
ALTER TABLE placed ADD COLUMN weight DOUBLE PRECISION;
";

/// The arm of an experiment that a request counts for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Placed {
    /// The experiment.
    #[serde(rename = "name")]
    pub experiment: String,
    /// The arm.
    pub arm: Side,
    /// What it does otherwise.
    pub what: String,
    /// Its session: a keyed digest.
    #[serde(skip)]
    pub session: String,
    /// The share (0 to 1) of sessions that went left when it was drawn.
    #[serde(skip)]
    pub weight: f64,
}

/// What an answer must have come from to be an arm's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// This side.
    pub side: Option<Location>,
    /// This model.
    pub model: Option<ModelName>,
    /// What was decided on, and not another target because that one failed.
    pub planned: bool,
}

/// An arm, to ask for what is known of it.
#[derive(Clone, Debug)]
pub struct ArmAsked<'a> {
    /// The experiment.
    pub experiment: &'a str,
    /// The arm.
    pub arm: Side,
    /// What it does otherwise.
    pub what: &'a str,
    /// What its own answers come from.
    pub own: Own,
}

/// An arm in figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArmFigures {
    /// Requests that were put in it, whatever became of them.
    pub requests: u64,
    /// Those of them that were answered, by whomever.
    pub answered: u64,
    /// Those that it served itself.
    pub served: u64,
    /// Those that a hosted model answered.
    pub hosted: u64,
    /// What answering all of them cost.
    pub cost: NanoDollars,
    /// What was said of the answers to its requests, 0 to 1, the oldest first.
    pub marks: Vec<Mark>,
}

/// What was said of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// 0 to 1.
    pub value: f64,
    /// The arm itself served that answer.
    pub own: bool,
}

// === impl Own ===

impl Own {
    /// The condition on a request `r`, with its places from `?at` on.
    fn condition(&self, at: usize) -> String {
        let mut all = vec![ANSWERED.to_owned()];
        if self.side.is_some() {
            all.push(format!("r.route = ?{at}"));
        }
        if self.model.is_some() {
            all.push(format!("r.model = ?{}", at + usize::from(self.side.is_some())));
        }
        if self.planned {
            all.push("r.reason <> 'fallback'".into());
        }
        format!("({})", all.join(" AND "))
    }

    /// What stands in those places.
    fn values(&self) -> impl Iterator<Item = Cell<'_>> {
        self.side
            .map(|side| side.word().into())
            .into_iter()
            .chain(self.model.as_ref().map(|model| model.as_str().into()))
    }
}

// === impl ArmFigures ===

impl ArmFigures {
    /// What was said of the answers to all of its requests.
    pub fn intended(&self) -> Vec<f64> {
        self.marks.iter().map(|mark| mark.value).collect()
    }

    /// What was said of the answers that it served itself.
    pub fn as_served(&self) -> Vec<f64> {
        self.marks.iter().filter(|mark| mark.own).map(|mark| mark.value).collect()
    }
}

/// A request `r` that was answered.
const ANSWERED: &str = "r.route IS NOT NULL AND r.status < 400";

// === impl Ledger: arms of experiments ===

impl Ledger {
    /// What is known of an arm. A client's word is a mark; with `quiet_before_us`, so is that the same was asked again (0) and, for
    /// an answer older than that, that it was not (1).
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn arm_figures(&self, asked: &ArmAsked<'_>, quiet_before_us: Option<i64>) -> Result<ArmFigures, LedgerError> {
        let arm = cells![asked.experiment, word(asked.arm), asked.what];
        let with = |more: &[Cell<'static>], at: usize| {
            let values: Vec<_> = arm.iter().chain(more).copied().chain(asked.own.values()).collect();
            (asked.own.condition(at), values)
        };
        // It may take a while, in which nobody shall wait for the reader.
        self.aside(|db| {
            let (own, values) = with(&[], 4);
            let sql = format!(
                "SELECT count(*), count(*) FILTER (WHERE {ANSWERED}), count(*) FILTER (WHERE {own}), \
                 count(*) FILTER (WHERE {ANSWERED} AND r.route = 'hosted') FROM placed p \
                 JOIN requests r ON r.id = p.request WHERE {ARM}"
            );
            let figures = db.one(&sql, &values, |row| {
                let (requests, answered, served, hosted) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                Ok(ArmFigures { requests, answered, served, hosted, ..ArmFigures::default() })
            })?;
            let sql = format!(
                "SELECT CAST(coalesce(sum(coalesce(a.cost_nd, a.ceiling_nd, 0)), 0) AS BIGINT) FROM placed p \
                 JOIN attempts a ON a.request = p.request AND a.attempt < ?4 WHERE {ARM}"
            );
            let values: Vec<_> = arm.iter().copied().chain([FIRST_ATTEMPT.into()]).collect();
            let cost = db.one(&sql, &values, |row| row.get::<u64>(0).map(NanoDollars))?;
            let (sql, (own, values)) = match quiet_before_us {
                None => (SAID, with(&[FEEDBACK.into()], 5)),
                Some(before) => (HEARD, with(&[FEEDBACK.into(), REASK.into(), REGENERATE.into(), before.into()], 8)),
            };
            let marks =
                db.query(&sql.replace("OWN", &own), &values, |row| Ok(Mark { value: row.get(0)?, own: row.get(1)? }))?;
            Ok(ArmFigures { cost, marks, ..figures })
        })
    }

    /// How the sessions of an experiment fell into its two arms, left and right, as they are now.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn sessions_of(&self, experiment: &str, [left, right]: [&str; 2]) -> Result<Fallen, LedgerError> {
        self.aside(|db| {
            db.one(FALLEN, cells![experiment, left, right], |row| {
                Ok(Fallen { sessions: [row.get(0)?, row.get(1)?], expected: row.get(2)?, variance: row.get(3)? })
            })
        })
    }
}

/// A line `p` of an arm.
const ARM: &str = "p.experiment = ?1 AND p.arm = ?2 AND p.what = ?3";

/// What clients said.
const SAID: &str = "SELECT l.value, CAST(CASE WHEN OWN THEN 1 ELSE 0 END AS BIGINT) FROM placed p \
    JOIN requests r ON r.id = p.request JOIN labels l ON l.request = p.request AND l.source = ?4 \
    WHERE p.experiment = ?1 AND p.arm = ?2 AND p.what = ?3 ORDER BY l.at_us, l.request";

/// What clients said, else whether they asked again.
const HEARD: &str = "SELECT coalesce(f.value, CASE WHEN EXISTS (SELECT 1 FROM labels l WHERE l.request = p.request \
    AND l.source IN (?5, ?6)) THEN 0.0 ELSE 1.0 END), CAST(CASE WHEN OWN THEN 1 ELSE 0 END AS BIGINT) \
    FROM placed p JOIN requests r ON r.id = p.request LEFT JOIN labels f ON f.request = p.request AND f.source = ?4 \
    WHERE p.experiment = ?1 AND p.arm = ?2 AND p.what = ?3 AND r.route IS NOT NULL AND r.status < 400 \
    AND (f.value IS NOT NULL OR p.at_us < ?7) ORDER BY p.at_us, p.request";

/// The first request of each session. A session that a ramp or a changed share has moved is where it began.
const FALLEN: &str = "WITH begun AS (SELECT arm, weight, row_number() OVER (PARTITION BY session ORDER BY at_us, request) \
    AS place FROM placed WHERE experiment = ?1 AND session IS NOT NULL AND weight IS NOT NULL \
    AND (arm = 'left' AND what = ?2 OR arm = 'right' AND what = ?3)) \
    SELECT count(*) FILTER (WHERE arm = 'left'), count(*) FILTER (WHERE arm = 'right'), coalesce(sum(weight), 0.0), \
    coalesce(sum(weight * (1.0 - weight)), 0.0) FROM begun WHERE place = 1";

fn word(arm: Side) -> &'static str {
    match arm {
        Side::Left => "left",
        Side::Right => "right",
        Side::Tie => "tie",
    }
}

/// Writes the arm beside its request.
pub(super) fn put(db: &mut Db, request: &RequestRecord, placed: &Placed) -> Result<(), LedgerError> {
    db.put(
        "INSERT INTO placed (request, at_us, experiment, arm, what, session, weight) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
         ON CONFLICT (request) DO UPDATE SET at_us = excluded.at_us, experiment = excluded.experiment, \
         arm = excluded.arm, what = excluded.what, session = excluded.session, weight = excluded.weight",
        cells![
            request.id.as_str(),
            request.at_us,
            &placed.experiment,
            word(placed.arm),
            &placed.what,
            &placed.session,
            placed.weight,
        ],
    )
}

/// Drops the arms of requests that are about to go.
pub(super) fn drop_before(db: &mut Db, at_us: i64) -> Result<(), LedgerError> {
    db.put("DELETE FROM placed WHERE at_us < ?1", cells![at_us])
}

/// A request's arm, for its story.
pub(super) fn shown(db: &mut Db, request: &str) -> Result<Value, LedgerError> {
    let sql = "SELECT experiment, arm, what FROM placed WHERE request = ?1";
    let found = db.first(sql, cells![request], |row| {
        Ok(serde_json::json!({
            "name": row.get::<String>(0)?, "arm": row.get::<String>(1)?, "what": row.get::<String>(2)?,
        }))
    })?;
    Ok(found.unwrap_or(Value::Null))
}
