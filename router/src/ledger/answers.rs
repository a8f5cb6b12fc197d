//! Answers that are kept for repeats of their request (`idempotency-key`).
//!
//! A repeat must not be billed again, also after a restart; so what was answered is on disk before the client has its last
//! byte. The text of an answer is in it: for a day, then it goes, and it goes first when the file grows too large.

use super::store::{Db, cells};
use super::writer::Op;
use super::{Ledger, LedgerError};
use policies::{Permit, Sink};

/// How long an answer is kept, in microseconds.
pub const KEPT_US: i64 = 24 * 3_600 * 1_000_000;

/// An answer as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// Digest of caller, path and key.
    pub name: [u8; 32],
    /// Digest of the request's body.
    pub request: [u8; 32],
    /// Microseconds since 1970.
    pub at_us: i64,
    /// The status.
    pub status: u16,
    /// The headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

// === impl Ledger ===

impl Ledger {
    /// Keeps an answer, in place of an older one of that name; returns once that is durable.
    ///
    /// # Cancel safety
    /// Once called, it is written even if the future is dropped.
    pub async fn keep_answer(&self, answer: KeptAnswer, permit: &Permit) -> Result<(), LedgerError> {
        if !permit.is_for(Sink::Cache) {
            return Ok(());
        }
        self.writer.commit_within(Op::Keep(Box::new(answer)), super::stall::ENDING).await
    }

    /// The answer of that name, if it is not older than [`KEPT_US`].
    pub fn kept_answer(&self, name: &[u8; 32], now_us: i64) -> Result<Option<KeptAnswer>, LedgerError> {
        self.glance(|db| {
            let sql = "SELECT request, at_us, status, headers, body FROM answers WHERE name = ?1 AND at_us > ?2";
            db.first(sql, cells![name, now_us.saturating_sub(KEPT_US)], |row| {
                let headers: String = row.get(3)?;
                Ok(KeptAnswer {
                    name: *name,
                    request: row.get(0)?,
                    at_us: row.get(1)?,
                    status: row.get(2)?,
                    headers: serde_json::from_str(&headers).unwrap_or_default(),
                    body: row.get(4)?,
                })
            })
        })
    }
}

pub(super) fn keep(db: &mut Db, answer: &KeptAnswer) -> Result<(), LedgerError> {
    drop_before(db, answer.at_us.saturating_sub(KEPT_US))?;
    let headers = serde_json::to_string(&answer.headers).unwrap_or_default();
    db.put(
        "INSERT INTO answers (name, request, at_us, status, headers, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (name) DO UPDATE SET request = excluded.request, at_us = excluded.at_us, \
         status = excluded.status, headers = excluded.headers, body = excluded.body",
        cells![&answer.name, &answer.request, answer.at_us, answer.status, &headers, &answer.body],
    )
}

pub(super) fn drop_before(db: &mut Db, at_us: i64) -> Result<(), LedgerError> {
    db.put("DELETE FROM answers WHERE at_us < ?1", cells![at_us])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::bed::{Bed, on_both_stores};
    use crate::ledger::{Durability, Retention};
    use std::time::Duration;

    on_both_stores! {
        an_answer_is_kept_for_a_day_through_a_restart_and_goes_before_any_line_does;
    }

    fn answer(name: u8, at_us: i64) -> KeptAnswer {
        KeptAnswer {
            name: [name; 32],
            request: [7; 32],
            at_us,
            status: 200,
            headers: vec![("content-type".into(), "application/json".into())],
            body: b"{}".to_vec(),
        }
    }

    async fn an_answer_is_kept_for_a_day_through_a_restart_and_goes_before_any_line_does(bed: Bed) {
        let now = jiff::Timestamp::now().as_microsecond();
        {
            let (ledger, _) = bed.start(Durability::Process);
            let classes = policies::Classes::standard();
            let leave = classes.permit_sink(classes.highest(), Sink::Cache).unwrap();
            ledger.keep_answer(answer(1, now - KEPT_US - 1), &leave).await.unwrap();
            ledger.keep_answer(answer(2, now), &leave).await.unwrap();
            ledger.shutdown().await.unwrap();
        }
        let (ledger, _) = bed.start(Durability::Process);
        assert_eq!(ledger.kept_answer(&[2; 32], now).unwrap(), Some(answer(2, now)));
        assert_eq!(ledger.kept_answer(&[2; 32], now + KEPT_US).unwrap(), None, "a day later");
        for name in [1, 3] {
            assert_eq!(ledger.kept_answer(&[name; 32], now - KEPT_US).unwrap(), None, "{name}");
        }
        ledger.prune(Retention { age: Duration::from_secs(3_600), bytes: 1 }).await.unwrap();
        let left = ledger.is_shared().then(|| answer(2, now));
        assert_eq!(ledger.kept_answer(&[2; 32], now).unwrap(), left, "a file is too large");
    }
}
