//! Answers that are kept for repeats of their request (`idempotency-key`).
//!
//! A repeat must not be billed again, also after a restart; so what was answered is on disk before the client has its last
//! byte. The text of an answer is in it: for a day, then it goes, and it goes first when the file grows too large.

use super::writer::Op;
use super::{Ledger, LedgerError};
use policies::{Permit, Sink};
use rusqlite::{Connection, OptionalExtension, params};

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
        self.writer.commit(Op::Keep(Box::new(answer))).await
    }

    /// The answer of that name, if it is not older than [`KEPT_US`].
    pub fn kept_answer(&self, name: &[u8; 32], now_us: i64) -> Result<Option<KeptAnswer>, LedgerError> {
        self.read(|connection| {
            let sql = "SELECT request, at_us, status, headers, body FROM answers WHERE name = ?1 AND at_us > ?2";
            let row = connection.prepare_cached(sql)?.query_row(
                params![name.as_slice(), now_us.saturating_sub(KEPT_US)],
                |row| {
                    let headers: String = row.get(3)?;
                    Ok(KeptAnswer {
                        name: *name,
                        request: row.get(0)?,
                        at_us: row.get(1)?,
                        status: row.get(2)?,
                        headers: serde_json::from_str(&headers).unwrap_or_default(),
                        body: row.get(4)?,
                    })
                },
            );
            row.optional()
        })
    }
}

pub(super) fn keep(connection: &Connection, answer: &KeptAnswer) -> Result<(), rusqlite::Error> {
    drop_before(connection, answer.at_us.saturating_sub(KEPT_US))?;
    let headers = serde_json::to_string(&answer.headers).unwrap_or_default();
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO answers (name, request, at_us, status, headers, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            answer.name.as_slice(),
            answer.request.as_slice(),
            answer.at_us,
            answer.status,
            headers,
            answer.body
        ])?;
    Ok(())
}

pub(super) fn drop_before(connection: &Connection, at_us: i64) -> Result<usize, rusqlite::Error> {
    connection.prepare_cached("DELETE FROM answers WHERE at_us < ?1")?.execute([at_us])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Durability, Retention};
    use std::time::Duration;

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

    #[tokio::test]
    async fn an_answer_is_kept_for_a_day_through_a_restart_and_goes_before_any_line_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.db");
        let now = jiff::Timestamp::now().as_microsecond();
        {
            let (ledger, _) = Ledger::start(&path, Durability::Process).unwrap();
            let classes = policies::Classes::standard();
            let leave = classes.permit_sink(classes.highest(), Sink::Cache).unwrap();
            ledger.keep_answer(answer(1, now - KEPT_US - 1), &leave).await.unwrap();
            ledger.keep_answer(answer(2, now), &leave).await.unwrap();
            ledger.shutdown().await.unwrap();
        }
        let (ledger, _) = Ledger::start(&path, Durability::Process).unwrap();
        assert_eq!(ledger.kept_answer(&[2; 32], now).unwrap(), Some(answer(2, now)));
        assert_eq!(ledger.kept_answer(&[2; 32], now + KEPT_US).unwrap(), None, "a day later");
        for name in [1, 3] {
            assert_eq!(ledger.kept_answer(&[name; 32], now - KEPT_US).unwrap(), None, "{name}");
        }
        ledger.prune(Retention { age: Duration::from_secs(3_600), bytes: 1 }).await.unwrap();
        assert_eq!(ledger.kept_answer(&[2; 32], now).unwrap(), None, "the file is too large");
    }
}
