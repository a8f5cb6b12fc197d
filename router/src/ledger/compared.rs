//! What experiments come to: judged pairs, people's votes, and what was opened or closed because of them.
//!
//! **Promise.** A pair is on record before its second answer is asked for, so that what it cost is known to belong to its
//! experiment even after a crash. A vote is durable when it is acknowledged; of each voter the last one counts. What acts
//! on routing is never erased but by its age: undoing is a line of its own.
//!
//! **What it does not do.** It has no opinion: see [`crate::compare`].

use super::store::{Db, Row, cells};
use super::writer::Op;
use super::{Ledger, LedgerError};
use crate::compare::{Ballot, Side, Slice};
use policies::{ModelName, NanoDollars, RequestId};
use serde::Serialize;

/// The tables, as a step of the schema.
pub(super) const MIGRATION: &str = "
CREATE TABLE pairs (
    experiment TEXT NOT NULL, request TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    left_model TEXT NOT NULL, right_model TEXT NOT NULL,
    asked TEXT NOT NULL,                  -- left | right: who answered in the shadow
    version TEXT,                         -- that upstream's own word for its model
    slices TEXT NOT NULL,                 -- JSON list of {by, value}
    difference REAL,                      -- left less right, -1 to 1; NULL: not judged
    ballot TEXT,                          -- JSON: both words of a model as judge
    why TEXT,                             -- why it was not judged
    PRIMARY KEY (experiment, request)
) STRICT;
CREATE INDEX pairs_at ON pairs (experiment, at_us);

CREATE TABLE votes (
    experiment TEXT NOT NULL, request TEXT NOT NULL, voter TEXT NOT NULL,
    at_us INTEGER NOT NULL, side TEXT NOT NULL,   -- left | tie | right
    PRIMARY KEY (experiment, request, voter)
) STRICT;

CREATE TABLE steps (
    id INTEGER PRIMARY KEY, experiment TEXT NOT NULL, at_us INTEGER NOT NULL,
    slice_by TEXT NOT NULL, slice_value TEXT NOT NULL,
    opened INTEGER NOT NULL,              -- 1: the slice goes to the left side; 0: no longer
    by TEXT NOT NULL,                     -- verdict | alarm | drift | person
    why TEXT NOT NULL
) STRICT;
CREATE INDEX steps_experiment ON steps (experiment, id);
";

/// The first attempt number of an experiment's own calls: beyond every plan's.
pub const FIRST_ATTEMPT: u32 = 1_000;

/// What a pair's version has, before the prompt's digest, where the model in question answered under another system prompt
/// than the client's.
pub(crate) const UNDER_PROMPT: &str = " system ";

/// A pair.
#[derive(Clone, Debug, PartialEq)]
pub struct PairRecord {
    /// The experiment.
    pub experiment: String,
    /// The request.
    pub request: RequestId,
    /// Microseconds since 1970.
    pub at_us: i64,
    /// The model in question.
    pub left: ModelName,
    /// The model that it is compared with.
    pub right: ModelName,
    /// Who answered in the shadow.
    pub asked: Side,
    /// That upstream's own word for its model.
    pub version: Option<String>,
    /// The slices that it is in.
    pub slices: Vec<Slice>,
    /// Left less right.
    pub difference: Option<f64>,
    /// Both words of a model.
    pub ballot: Option<Ballot>,
    /// Why it was not judged.
    pub why: Option<String>,
}

/// A pair with people's word on it.
#[derive(Clone, Debug, PartialEq)]
pub struct PairRow {
    /// The pair.
    pub pair: PairRecord,
    /// What the last of its voters said.
    pub human: Option<Side>,
}

/// A person's vote.
#[derive(Clone, Debug, PartialEq)]
pub struct Vote {
    /// The experiment.
    pub experiment: String,
    /// The request.
    pub request: RequestId,
    /// Who votes.
    pub voter: String,
    /// Microseconds since 1970.
    pub at_us: i64,
    /// Whom he prefers.
    pub side: Side,
}

/// Something that was opened or closed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The experiment.
    pub experiment: String,
    /// Microseconds since 1970.
    pub at_us: i64,
    /// The slice.
    pub slice: Slice,
    /// It goes to the left side from here on.
    pub opened: bool,
    /// What did it: `verdict`, `alarm`, `drift` or `person`.
    pub by: &'static str,
    /// Why, in words.
    pub why: String,
}

/// Something of an experiment to write.
pub(super) enum Entry {
    Pair(PairRecord),
    Vote(Vote),
    Step(Step),
}

/// Both texts of a pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Texts {
    /// What was asked: `messages` or `prompt` as JSON text.
    pub prompt: String,
    /// The answers, left and right.
    pub answers: [String; 2],
}

// === impl Ledger: experiments ===

impl Ledger {
    /// Puts a pair on record, in place of what was there of it.
    pub fn pair_later(&self, pair: PairRecord) {
        self.writer.push(Op::Compared(Box::new(Entry::Pair(pair))), None);
    }

    /// Keeps a vote; returns once that is durable.
    pub async fn vote(&self, vote: Vote) -> Result<(), LedgerError> {
        self.writer.commit(Op::Compared(Box::new(Entry::Vote(vote)))).await
    }

    /// Puts an opening or a closing on record; returns once that is durable.
    pub async fn step(&self, step: Step) -> Result<(), LedgerError> {
        self.writer.commit(Op::Compared(Box::new(Entry::Step(step)))).await
    }

    /// The pairs of an experiment, the oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn pairs_of(&self, experiment: &str) -> Result<Vec<PairRow>, LedgerError> {
        let sql = "SELECT request, at_us, left_model, right_model, asked, version, slices, difference, ballot, why, \
                   (SELECT side FROM votes v WHERE v.experiment = p.experiment AND v.request = p.request \
                    ORDER BY v.at_us DESC LIMIT 1) \
                   FROM pairs p WHERE experiment = ?1 ORDER BY at_us, request";
        self.read(|db| db.query(sql, cells![experiment], |row| pair_row(experiment, row)))
    }

    /// What was opened and closed, the oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn steps_of(&self, experiment: &str) -> Result<Vec<Step>, LedgerError> {
        let sql = "SELECT at_us, slice_by, slice_value, opened, by, why FROM steps WHERE experiment = ?1 ORDER BY id";
        self.read(|db| {
            db.query(sql, cells![experiment], |row| {
                Ok(Step {
                    experiment: experiment.to_owned(),
                    at_us: row.get(0)?,
                    slice: Slice { by: row.get(1)?, value: row.get(2)? },
                    opened: row.get(3)?,
                    by: match row.get::<String>(4)?.as_str() {
                        "verdict" => "verdict",
                        "alarm" => "alarm",
                        "drift" => "drift",
                        _ => "person",
                    },
                    why: row.get(5)?,
                })
            })
        })
    }

    /// What an experiment's own calls have cost since then; what runs, or is in doubt, counts at its ceiling.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn spent_by_experiment(&self, experiment: &str, since_us: i64) -> Result<NanoDollars, LedgerError> {
        // A sum of PostgreSQL's is no whole number of its own.
        let sql = "SELECT CAST(coalesce(sum(coalesce(a.cost_nd, a.ceiling_nd, 0)), 0) AS BIGINT) FROM pairs p \
                   JOIN attempts a ON a.request = p.request AND a.attempt >= ?3 \
                   WHERE p.experiment = ?1 AND a.at_us >= ?2";
        let spent = self.read(|db| db.one(sql, cells![experiment, since_us, FIRST_ATTEMPT], |row| row.get::<u64>(0)));
        spent.map(NanoDollars)
    }

    /// Both texts of a pair; `None` where they are not kept any longer.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn texts_of(&self, pair: &PairRecord) -> Result<Option<Texts>, LedgerError> {
        let sql = "SELECT prompt, served_text, shadow_text FROM shadows WHERE request = ?1 AND experiment = ?2";
        let found = self.read(|db| {
            db.first(sql, cells![pair.request.as_str(), &pair.experiment], |row| {
                Ok((row.get(0)?, row.get::<String>(1)?, row.get::<String>(2)?))
            })
        });
        Ok(found?.map(|(prompt, served, shadow)| Texts {
            prompt,
            answers: if pair.asked == Side::Left { [shadow, served] } else { [served, shadow] },
        }))
    }
}

fn word(side: Side) -> &'static str {
    match side {
        Side::Left => "left",
        Side::Tie => "tie",
        Side::Right => "right",
    }
}

fn side(word: &str) -> Side {
    match word {
        "left" => Side::Left,
        "right" => Side::Right,
        _ => Side::Tie,
    }
}

fn pair_row(experiment: &str, row: &Row<'_>) -> Result<PairRow, LedgerError> {
    let text = |at: usize| row.get::<Option<String>>(at);
    let slices: String = row.get(6)?;
    Ok(PairRow {
        pair: PairRecord {
            experiment: experiment.to_owned(),
            request: RequestId::from(row.get::<String>(0)?),
            at_us: row.get(1)?,
            left: ModelName::from(row.get::<String>(2)?),
            right: ModelName::from(row.get::<String>(3)?),
            asked: side(&row.get::<String>(4)?),
            version: text(5)?,
            slices: serde_json::from_str(&slices).unwrap_or_default(),
            difference: row.get(7)?,
            ballot: text(8)?.and_then(|ballot| serde_json::from_str(&ballot).ok()),
            why: text(9)?,
        },
        human: text(10)?.map(|word| side(&word)),
    })
}

/// Writes an entry.
pub(super) fn put(db: &mut Db, entry: &Entry) -> Result<(), LedgerError> {
    let json = |value: serde_json::Result<String>| value.unwrap_or_default();
    match entry {
        Entry::Pair(pair) => {
            let slices = json(serde_json::to_string(&pair.slices));
            let ballot = pair.ballot.map(|ballot| json(serde_json::to_string(&ballot)));
            db.put(
                "INSERT INTO pairs (experiment, request, at_us, left_model, right_model, asked, version, slices, \
                 difference, ballot, why) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
                 ON CONFLICT (experiment, request) DO UPDATE SET at_us = excluded.at_us, \
                 left_model = excluded.left_model, right_model = excluded.right_model, asked = excluded.asked, \
                 version = excluded.version, slices = excluded.slices, difference = excluded.difference, \
                 ballot = excluded.ballot, why = excluded.why",
                cells![
                    &pair.experiment,
                    pair.request.as_str(),
                    pair.at_us,
                    pair.left.as_str(),
                    pair.right.as_str(),
                    word(pair.asked),
                    pair.version.as_ref(),
                    &slices,
                    pair.difference,
                    ballot.as_ref(),
                    pair.why.as_ref(),
                ],
            )
        }
        Entry::Vote(vote) => db.put(
            "INSERT INTO votes (experiment, request, voter, at_us, side) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (experiment, request, voter) DO UPDATE SET at_us = excluded.at_us, side = excluded.side",
            cells![&vote.experiment, vote.request.as_str(), &vote.voter, vote.at_us, word(vote.side)],
        ),
        Entry::Step(step) => db.put(
            "INSERT INTO steps (experiment, at_us, slice_by, slice_value, opened, by, why) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            cells![&step.experiment, step.at_us, &step.slice.by, &step.slice.value, step.opened, step.by, &step.why],
        ),
    }
}

/// Drops what is too old; openings stay, since they are in force.
pub(super) fn drop_before(db: &mut Db, at_us: i64) -> Result<(), LedgerError> {
    db.put("DELETE FROM votes WHERE request IN (SELECT request FROM pairs WHERE at_us < ?1)", cells![at_us])?;
    db.put("DELETE FROM pairs WHERE at_us < ?1", cells![at_us])
}
