//! What goes when it is too old, or when the file is too large.

use super::store::{Db, cells};
use super::{LedgerError, Retention, answers, arms, claims, compared, hours, instances, learning, placed};

/// `kept`: bytes of the file that are never pruned.
pub(super) fn prune(db: &mut Db, retention: Retention, kept: u64) -> Result<(), LedgerError> {
    let age = i64::try_from(retention.age.as_micros()).unwrap_or(i64::MAX);
    let oldest = jiff::Timestamp::now().as_microsecond().saturating_sub(age);
    if db.is_postgres() {
        // One replica at a time: who comes second finds nothing left, and need not wait for the first.
        let sql = "SELECT pg_try_advisory_xact_lock(7235401, 2)";
        return match db.one(sql, &[], |row| row.get(0))? {
            true => {
                instances::drop_ended(db)?;
                claims::drop_old(db)?;
                drop_before(db, oldest)
            }
            false => Ok(()),
        };
    }
    drop_before(db, oldest)?;
    let used = |db: &mut Db| -> Result<u64, LedgerError> {
        let mut number = |name: &str| db.one(&format!("PRAGMA {name}"), &[], |row| row.get::<u64>(0));
        let all = number("page_count")?.saturating_sub(number("freelist_count")?) * number("page_size")?;
        Ok(all.saturating_sub(kept))
    };
    if used(db)? > retention.bytes {
        answers::drop_before(db, i64::MAX)?;
    }
    while used(db)? > retention.bytes {
        let sql = "SELECT max(at_us) FROM (SELECT at_us FROM attempts WHERE outcome IS NOT NULL ORDER BY at_us \
                   LIMIT 1 + (SELECT count(*) FROM attempts) / 50)";
        let Some(cut) = db.one(sql, &[], |row| row.get::<Option<i64>>(0))? else { return Ok(()) };
        drop_before(db, cut.saturating_add(1))?;
    }
    Ok(())
}

fn drop_before(db: &mut Db, at_us: i64) -> Result<(), LedgerError> {
    db.put("DELETE FROM attempts WHERE at_us < ?1 AND outcome IS NOT NULL", cells![at_us])?;
    learning::drop_before(db, at_us)?;
    arms::drop_before(db, at_us)?;
    placed::drop_before(db, at_us)?;
    compared::drop_before(db, at_us)?;
    db.put("DELETE FROM requests WHERE at_us < ?1", cells![at_us])?;
    db.put("DELETE FROM shadows WHERE at_us < ?1", cells![at_us])?;
    hours::drop_before(db, at_us)
}
