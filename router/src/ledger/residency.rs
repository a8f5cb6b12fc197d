//! What left, what stayed and what was refused, by class, place and day.

use super::store::cells;
use super::{Ledger, LedgerError};
use serde::Serialize;

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResidencyRow {
    /// The day, UTC.
    pub day: String,
    /// The data class.
    pub class: String,
    /// The class of what was sent, where that had placeholders.
    pub masked: Option<String>,
    /// `local`, `hosted`, or `refused`.
    pub route: String,
    /// The provider.
    pub provider: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// `answer`, `shadow`, `judge`; nothing for a refusal.
    pub purpose: Option<String>,
    /// Attempts, or refused requests.
    pub count: u64,
}

impl Ledger {
    /// Attempts by day, class and destination, and requests that residency refused.
    pub fn residency(&self, since_us: i64, until_us: i64) -> Result<Vec<ResidencyRow>, LedgerError> {
        self.read(|db| {
            let day = db.day_of("at_us");
            let sql = format!(
                "SELECT {day}, coalesce(class, 'unknown'), masked, route, provider, region, purpose, count(*) FROM attempts \
                 WHERE at_us >= ?1 AND at_us < ?2 GROUP BY 1, 2, 3, 4, 5, 6, 7 \
                 UNION ALL \
                 SELECT {day}, class, NULL, 'refused', NULL, NULL, NULL, count(*) FROM requests \
                 WHERE at_us >= ?1 AND at_us < ?2 AND reason = 'residency' AND attempts = 0 GROUP BY 1, 2 \
                 ORDER BY 1 DESC, 2, 4, 5"
            );
            db.query(&sql, cells![since_us, until_us], |row| {
                Ok(ResidencyRow {
                    day: row.get(0)?,
                    class: row.get(1)?,
                    masked: row.get(2)?,
                    route: row.get(3)?,
                    provider: row.get(4)?,
                    region: row.get(5)?,
                    purpose: row.get(6)?,
                    count: row.get(7)?,
                })
            })
        })
    }
}
