//! Names that one process at a time may use, where several write a ledger: a request's id that a client chose, and an
//! `idempotency-key` whose first request still runs.
//!
//! On a file there is one process, which keeps such names in memory; here it has only to look at what is written.

use super::store::{Db, cells};
use super::writer::Op;
use super::{Ledger, LedgerError, instances};

/// Claims are forgotten after a day: by then an id is on a line, and a request has ended.
const KEPT_US: i64 = 86_400_000_000;

// === impl Ledger: claims ===

impl Ledger {
    /// Takes a request's id that nobody had before, for good; `false`: somebody had it.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub fn claim_request(&self, id: &str) -> Result<bool, LedgerError> {
        if !self.is_shared() {
            return self.knows(id).map(|known| !known);
        }
        let (name, me) = (format!("request:{id}"), self.instance());
        let sql = "INSERT INTO claims (name, instance, at_us) SELECT ?1, ?2, ?3 \
                   WHERE NOT EXISTS (SELECT 1 FROM requests WHERE id = ?4) \
                   AND NOT EXISTS (SELECT 1 FROM attempts WHERE request = ?4) ON CONFLICT (name) DO NOTHING";
        let now = jiff::Timestamp::now().as_microsecond();
        self.glance(|db| db.execute(sql, cells![&name, &me, now, id])).map(|made| made > 0)
    }

    /// Takes the name of an answer that is to be kept, until [`Ledger::release_answer`] or until this process is dead;
    /// `false`: another process has it, whose answer may come.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub fn claim_answer(&self, name: &[u8; 32]) -> Result<bool, LedgerError> {
        if !self.is_shared() {
            return Ok(true);
        }
        let (name, me) = (answer(name), self.instance());
        let sql = format!(
            "INSERT INTO claims (name, instance, at_us) VALUES (?1, ?2, ?3) \
             ON CONFLICT (name) DO UPDATE SET instance = excluded.instance, at_us = excluded.at_us \
             WHERE NOT EXISTS (SELECT 1 FROM instances i WHERE i.id = claims.instance AND i.until_us > {})",
            instances::NOW
        );
        let now = jiff::Timestamp::now().as_microsecond();
        self.glance(|db| db.execute(&sql, cells![&name, &me, now])).map(|made| made > 0)
    }

    /// Gives the name of an answer back, after what was written before.
    pub fn release_answer(&self, name: &[u8; 32]) {
        if self.is_shared() {
            self.writer.push(Op::Release(answer(name)), None);
        }
    }
}

fn answer(name: &[u8; 32]) -> String {
    format!("answer:{}", hex::encode(name))
}

/// Gives a name back, if it is still this process that has it.
pub(super) fn release(db: &mut Db, name: &str) -> Result<(), LedgerError> {
    db.put("DELETE FROM claims WHERE name = ?1 AND instance = current_setting('sluice.instance', true)", cells![name])
}

/// Forgets old claims.
pub(super) fn drop_old(db: &mut Db) -> Result<(), LedgerError> {
    let oldest = jiff::Timestamp::now().as_microsecond().saturating_sub(KEPT_US);
    db.put("DELETE FROM claims WHERE at_us < ?1", cells![oldest])
}

#[cfg(test)]
mod tests {
    use crate::ledger::Durability;
    use crate::ledger::bed::Bed;

    #[tokio::test]
    async fn a_name_is_one_processes_until_it_gives_it_back_or_is_dead() {
        let Some(bed) = Bed::server() else { return };
        let (one, _) = bed.start(Durability::Process);
        let (two, _) = bed.start(Durability::Process);
        assert!(one.claim_answer(&[1; 32]).unwrap() && !two.claim_answer(&[1; 32]).unwrap());
        two.release_answer(&[1; 32]);
        two.beat().await.unwrap();
        assert!(!two.claim_answer(&[1; 32]).unwrap(), "it was not two's to give back");
        one.release_answer(&[1; 32]);
        one.beat().await.unwrap();
        assert!(two.claim_answer(&[1; 32]).unwrap());
        bed.run(&format!("UPDATE instances SET until_us = 1 WHERE id = '{}'", two.instance()));
        assert!(one.claim_answer(&[1; 32]).unwrap(), "two is dead");
        assert!(one.claim_request("r").unwrap() && !two.claim_request("r").unwrap());
        assert!(!one.claim_request("r").unwrap(), "for good");
    }
}
